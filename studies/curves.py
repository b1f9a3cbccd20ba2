"""Curves as plain SVG: panels in rows, one line for each series."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Eight colors that color-blind readers can tell apart (Okabe and Ito, 2008); black comes first.
COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800")
WIDTH, HEIGHT = 300, 220  # of a panel, px
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 30  # around a panel's axes, px
LEGEND_LINE = 16
COLUMNS = 3


@dataclass(frozen=True)
class Series:
    """A line. points: (x, y), y finite. color: an index. Lines with the same label share one entry of the legend."""

    label: str
    color: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """A diagram. y_from_zero: the y axis starts at 0 instead of the smallest value."""

    title: str
    series: tuple[Series, ...]
    y_from_zero: bool = False


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers inside [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** (math.log10(raw) // 1)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 12) for i in range(first, int((high / step + 1e-9) // 1) + 1)]


def svg(panels: Sequence[Panel], x_title: str) -> str:
    """The SVG: panels in rows of three above a legend."""
    labels = {series.label: series.color for panel in panels for series in panel.series}
    below = HEIGHT * math.ceil(len(panels) / COLUMNS)
    width, height = WIDTH * COLUMNS, below + LEGEND_LINE * len(labels) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for i, panel in enumerate(panels):
        parts += [
            f'<g transform="translate({i % COLUMNS * WIDTH},{i // COLUMNS * HEIGHT})">',
            *_panel(panel, x_title),
            "</g>",
        ]
    for i, (label, color) in enumerate(labels.items()):
        y = below + LEGEND_LINE * i + 10
        parts.append(f'<path d="M{LEFT} {y - 4}h22" stroke="{_color(color)}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + 28}" y="{y}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _panel(panel: Panel, x_title: str) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(panel.title)}</text>',
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#888"/>',
        f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_title)}</text>',
    ]
    points = [point for series in panel.series for point in series.points]
    if not points:
        return [*parts, f'<text x="{LEFT + 8}" y="{TOP + 20}" fill="#888">no data</text>']
    x_low, x_high = min(0.0, *(x for x, _ in points)), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    if panel.y_from_zero:
        y_low = min(0.0, y_low)
    x_span, y_span = (x_high - x_low) or 1.0, (y_high - y_low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (x - x_low) / x_span * (right - LEFT), bottom - (y - y_low) / y_span * (bottom - TOP)

    for value in ticks(x_low, x_high):
        x, _ = place(value, y_low)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{value:g}</text>')
    for value in ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for series in panel.series:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in series.points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_color(series.color)}" stroke-width="1.5"/>')
    return parts
