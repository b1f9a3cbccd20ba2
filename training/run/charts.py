"""Parts of a run's page: curves as SVG, tables, and the page around them. They need no network and no script."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

COLORS = ("#1f6feb", "#d1242f", "#2da44e")
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 180, 52, 22
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2328; }
figure { display: inline-block; margin: 0 1rem 1rem 0; } figcaption { font-size: 13px; }
img { width: 100%; image-rendering: auto; } table { border-collapse: collapse; }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
svg text { font-size: 10px; fill: #57606a; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3; } svg text { fill: #9198a1; } }
"""


def page(title: str, body: str) -> str:
    """A whole page of HTML. title: plain text. body: HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def html_rows(rows: Sequence[tuple[str, str]]) -> str:
    """A table of names and plain texts; "" without rows."""
    if not rows:
        return ""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>"


def line_chart(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    end: float,
    label_of: Callable[[float], str],
) -> str:
    """One figure of curves of points (x, y) by label, with x from 0 to `end`; "" where no curve has a point.

    label_of: text of `end` at the axis.
    """
    curves = {label: points for label, points in curves.items() if points}
    if not curves:
        return ""
    values = [value for points in curves.values() for _, value in points]
    low, high = min(values), max(values)
    span = high - low or 1.0

    def place(x: float, value: float) -> str:
        along = LEFT + (WIDTH - LEFT - 6) * x / end
        return f"{along:.1f},{6 + (HEIGHT - BOTTOM - 6) * (high - value) / span:.1f}"

    lines, legend = [], []
    for color, (label, points) in zip(COLORS, curves.items(), strict=False):
        drawn = " ".join(place(*point) for point in points)
        lines.append(f'<polyline points="{drawn}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        if len(points) == 1:
            x, y = place(*points[0]).split(",")
            lines.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{color}"/>')
        legend.append(f'<span style="color:{color}">{escape(label)}</span>')
    axes = (
        f'<text x="{LEFT - 4}" y="12" text-anchor="end">{high:.3g}</text>'
        f'<text x="{LEFT - 4}" y="{HEIGHT - BOTTOM}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{WIDTH - 6}" y="{HEIGHT - 6}" text-anchor="end">{label_of(end)}</text>'
    )
    caption = f"{escape(title)}: {', '.join(legend)}" if len(legend) > 1 else escape(title)
    svg = f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{axes}{"".join(lines)}</svg>'
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"
