"""Figures of the page: histograms with labeled axes, and galleries. Images are embedded; meshes are linked."""

import base64
from html import escape
from pathlib import Path

from metrics.report.report_schema import RANDOM_REFERENCES, RANDOM_SAMPLES, GalleryItem, Histogram, Report
from metrics.report.values import number

# Images in each of the two rows with which a report opens.
OPENING = 8
# Characters of a name in a caption.
LONGEST_NAME = 16
# A histogram, in its own units: the whole, and the rectangle of the bars.
WIDTH, HEIGHT = 280.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 276.0, 10.0, 96.0


def opening_images(report: Report, folder: Path) -> str:
    """A row of samples above a row of real shapes, for a first look at both."""
    rows = ((RANDOM_SAMPLES, "Samples, not picked"), (RANDOM_REFERENCES, "Real shapes that the network never saw"))
    if not report.run.num_training:
        rows = (rows[0], (RANDOM_REFERENCES, "References"))
    strips = [
        f"<figure><figcaption>{label}</figcaption><div class=strip>"
        f"{''.join(_linked(item.thumbnail, item.id, item.mesh, folder) for item in items[:OPENING])}</div></figure>"
        for title, label in rows
        if (items := report.galleries.get(title, []))
    ]
    return f"<div class=opening>{''.join(strips)}</div>" if strips else ""


def histograms_html(histograms: list[Histogram]) -> str:
    """All histograms under one heading."""
    if not histograms:
        return ""
    figures = "".join(map(_histogram, histograms))
    return f"<section><h2>Distributions</h2>\n<div class=histograms>{figures}</div></section>"


def _histogram(histogram: Histogram) -> str:
    """Bars over labeled axes: the quantity with its unit below, the number of shapes on the left."""
    top, step = max(histogram.counts) or 1, (RIGHT - LEFT) / len(histogram.counts)
    scale = (BOTTOM - TOP) / top
    bars = "".join(
        f'<rect x="{LEFT + i * step + 0.5:.1f}" y="{BOTTOM - scale * count:.1f}" width="{max(step - 1, 0.5):.1f}" '
        f'height="{scale * count:.1f}"><title>{number(histogram.edges[i])} … '
        f"{number(histogram.edges[i + 1])}: {count}</title></rect>"
        for i, count in enumerate(histogram.counts)
    )
    low, middle, high = histogram.edges[0], (histogram.edges[0] + histogram.edges[-1]) / 2, histogram.edges[-1]
    ticks = "".join(
        f'<text x="{x:.0f}" y="{BOTTOM + 13:.0f}" text-anchor="{anchor}">{number(value)}</text>'
        for x, anchor, value in (
            (LEFT, "start", low),
            ((LEFT + RIGHT) / 2, "middle", middle),
            (RIGHT, "end", high),
        )
    )
    return (
        f"<figure><figcaption>{escape(histogram.title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(histogram.title, quote=True)}">'
        f'{bars}<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>{ticks}'
        f'<text x="{LEFT - 4:.0f}" y="{TOP + 8:.0f}" text-anchor="end">{top}</text>'
        f'<text x="{LEFT - 4:.0f}" y="{BOTTOM:.0f}" text-anchor="end">0</text>'
        f'<text class=axis x="{(LEFT + RIGHT) / 2:.0f}" y="{HEIGHT - 6:.0f}" text-anchor="middle">'
        f"{escape(histogram.unit)}</text>"
        f'<text class=axis transform="translate(10 {(TOP + BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "shapes</text>"
        "</svg></figure>"
    )


def gallery(title: str, items: list[GalleryItem], folder: Path) -> str:
    """One gallery under its heading; "" without items."""
    if not items:
        return ""
    pairs = any(item.other_id for item in items)
    figures = "".join(_item(item, folder, pairs) for item in items)
    return (
        f'<section><h2>{escape(title)}</h2>\n<div class="gallery{" pairs" if pairs else ""}">{figures}</div></section>'
    )


def _item(item: GalleryItem, folder: Path, pair: bool) -> str:
    images = _linked(item.thumbnail, item.id, item.mesh, folder)
    if pair:
        images += _linked(item.other_thumbnail, item.other_id, item.other_mesh, folder)
    names = _short(item.id) + (f" | {_short(item.other_id)}" if item.other_id else "")
    caption = f"<br>{escape(item.caption)}" if item.caption else ""
    return f"<figure><div class=images>{images}</div><figcaption>{names}{caption}</figcaption></figure>"


def _short(name: str) -> str:
    """A name for a caption: of a hash or another long one, its start, and the rest for the pointer."""
    if len(name) <= LONGEST_NAME:
        return escape(name)
    return f'<span title="{escape(name, quote=True)}">{escape(name[: LONGEST_NAME - 1])}…</span>'


def _linked(thumbnail: str, label: str, mesh: str, folder: Path) -> str:
    """An image that is a link to its mesh, if there is one."""
    image = _image(thumbnail, label, folder)
    if not mesh:
        return image
    return f'<a href="{escape(mesh, quote=True)}" title="open the mesh of {escape(label, quote=True)}">{image}</a>'


def _image(name: str, label: str, folder: Path) -> str:
    path = folder / name
    if not name or not path.is_file():
        return "<div class=none>no surface</div>"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(label, quote=True)}">'
