"""`report.html`: one file that works offline. Images are embedded; meshes are links to files in the same folder."""

import base64
from html import escape
from pathlib import Path

from metrics.report.markdown import (
    arrow,
    comparison_rows,
    detectors,
    measured,
    number,
    shown_columns,
    train_test_reference,
)
from metrics.report.report_schema import GalleryItem, Histogram, Metric, Report

STYLE = Path(__file__).parent / "report.css"
# Metrics in large type at the top of the page, if they were measured.
HEADLINE = (
    "fid",
    "fd",
    "mmd_cd",
    "cov_cd",
    "one_nna_cd",
    "cov_lfd",
    "mesh_watertight",
    "mesh_empty",
    "auth_pct",
    "recall",
)


def report_html(report: Report, folder: Path) -> str:
    """The page. folder: of the report, from which thumbnails are read."""
    body = "\n".join(
        part
        for part in (
            _head(report),
            _cards(report),
            _scores(report),
            _comparison(report),
            _attributes(report),
            _histograms(report.histograms),
            *[_gallery(title, items, folder) for title, items in report.galleries.items()],
            _failures(report),
            _skipped(report),
        )
        if part
    )
    style = STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.run.generated)}: evaluation</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    run, protocol = report.run, report.protocol
    rows = [
        ("generated", f"{run.num_generated} shapes, {escape(run.generated)}"),
        ("references", f"{run.num_references} shapes, {escape(run.references)}"),
    ]
    if run.num_training:
        rows.append(("training", f"{run.num_training} shapes, {escape(run.training)}"))
    if run.network:
        rows.append(("network", f"{escape(run.network)}<br><code>sha256 {escape(run.network_sha256)}</code>"))
    if run.nimg is not None:
        rows.append(("trained for", f"{run.nimg / 1000:.1f} kimg"))
    rows += [("detector", f"<code>{escape(name)}</code>") for name in detectors(report)]
    rows.append(("code", f"<code>{escape(run.commit or 'unknown')}</code>, {run.seconds:.0f} s"))
    rows += [("note", escape(note)) for note in run.notes]
    listing = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in rows)
    return (
        f"<h1>Evaluation</h1>\n<p class=soft>Protocol {escape(str(protocol['name']))} v{protocol['version']}: "
        f"{escape(str(protocol['description']).strip())}</p>\n<dl class=run>{listing}</dl>"
    )


def _cards(report: Report) -> str:
    shown = [m for name in HEADLINE if (m := report.metric(name)) is not None and m.value is not None]
    cards = "".join(
        f"<div class=card><span>{escape(m.title)} {arrow(m)}</span>"
        f"<b>{number(m.value)} <small>{escape(m.unit)}</small></b>"
        f"<span>{_interval(m)}</span></div>"
        for m in shown
    )
    return f"<div class=cards>{cards}</div>" if cards else ""


def _interval(metric: Metric) -> str:
    if metric.interval is None:
        return ""
    return f"{number(metric.interval.low)} … {number(metric.interval.high)}"


def _scores(report: Report) -> str:
    reference = train_test_reference(report)
    note = f"\n<p class=soft>Train vs test: {escape(reference.note)}.</p>" if reference.note else ""
    return _table("Scores", "score", measured(report), reference.values) + note


def _attributes(report: Report) -> str:
    rows = measured(report, "attributes")
    return _table("Attributes", "attribute", rows) if rows else ""


def _table(title: str, what: str, metrics: list[Metric], references: dict[str, float] | None = None) -> str:
    """A table of metrics. references: the train-vs-test reference of each, by name; None leaves its column out."""
    rows = []
    for metric in metrics:
        method = f' title="{escape(metric.interval.method, quote=True)}"' if metric.interval else ""
        known = (references or {}).get(metric.name)
        beside = "" if references is None else f"<td>{number(known) if known is not None else ''}</td>"
        rows.append(
            f"<tr><td>{escape(metric.title)} {arrow(metric)}</td><td>{number(metric.value)}</td>{beside}"
            f"<td>{escape(metric.unit)}</td><td{method}>{_interval(metric)}</td><td>{metric.n}</td>"
            f"<td>{metric.seconds:.1f}</td><td class=text>{escape(metric.reason)}</td></tr>"
        )
    beside = "" if references is None else "<th>train vs test</th>"
    return (
        f"<h2>{title}</h2>\n<div class=scroll><table>\n<tr><th>{what}</th><th>value</th>{beside}<th>unit</th>"
        f"<th>95 % interval</th><th>n</th><th>seconds</th><th class=text>how</th></tr>\n{''.join(rows)}\n</table></div>"
    )


def _comparison(report: Report) -> str:
    columns = shown_columns(report)
    if not columns:
        return ""
    head = "".join(f"<th>{escape(m.title)} {arrow(m)}</th>" for m in columns)
    rows = []
    for i, (name, comparable, note, values) in enumerate(comparison_rows(report)):
        style = "own" if i == 0 else "" if comparable else "apart"
        cells = "".join(f"<td>{number(values.get(m.name))}</td>" for m in columns)
        mark = "" if i == 0 else "comparable" if comparable else "not comparable"
        remark = "; ".join(filter(None, (mark, escape(note))))
        rows.append(f'<tr class="{style}"><td>{escape(name.strip("*"))}</td>{cells}<td class=text>{remark}</td></tr>')
    return (
        "<h2>Comparison</h2>\n<p class=soft>The train-vs-test reference measures training shapes against the "
        "references: the score of a perfect generator of this data. Rows in italics are not comparable.</p>\n"
        f"<div class=scroll><table>\n<tr><th></th>{head}<th class=text></th></tr>\n{''.join(rows)}\n</table></div>"
    )


def _histograms(histograms: list[Histogram]) -> str:
    if not histograms:
        return ""
    return f"<h2>Distributions</h2>\n<div class=histograms>{''.join(map(_histogram, histograms))}</div>"


def _histogram(histogram: Histogram) -> str:
    width, height, base = 260.0, 96.0, 78.0
    top, step = max(histogram.counts) or 1, width / len(histogram.counts)
    bars = "".join(
        f'<rect x="{i * step + 0.5:.1f}" y="{base - base * 0.92 * count / top:.1f}" width="{max(step - 1, 0.5):.1f}" '
        f'height="{base * 0.92 * count / top:.1f}"><title>{number(histogram.edges[i])} … '
        f"{number(histogram.edges[i + 1])}: {count}</title></rect>"
        for i, count in enumerate(histogram.counts)
    )
    return (
        f"<figure><figcaption>{escape(histogram.title)}</figcaption>"
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(histogram.title, quote=True)}">'
        f'{bars}<line x1="0" x2="{width:.0f}" y1="{base}" y2="{base}"/>'
        f'<text x="0" y="{height - 5:.0f}">{number(histogram.edges[0])}</text>'
        f'<text x="{width / 2:.0f}" y="{height - 5:.0f}" text-anchor="middle">{escape(histogram.unit)}</text>'
        f'<text x="{width:.0f}" y="{height - 5:.0f}" text-anchor="end">{number(histogram.edges[-1])}</text>'
        "</svg></figure>"
    )


def _gallery(title: str, items: list[GalleryItem], folder: Path) -> str:
    if not items:
        return ""
    pairs = any(item.other_id for item in items)
    figures = "".join(_item(item, folder, pairs) for item in items)
    return f'<h2>{escape(title)}</h2>\n<div class="gallery{" pairs" if pairs else ""}">{figures}</div>'


def _item(item: GalleryItem, folder: Path, pair: bool) -> str:
    images = _linked(item.thumbnail, item.id, item.mesh, folder)
    if pair:
        images += _linked(item.other_thumbnail, item.other_id, item.other_mesh, folder)
    names = escape(item.id) + (f" | {escape(item.other_id)}" if item.other_id else "")
    caption = f"<br>{escape(item.caption)}" if item.caption else ""
    return f"<figure><div class=images>{images}</div><figcaption>{names}{caption}</figcaption></figure>"


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
    return f'<img src="data:image/png;base64,{data}" alt="{escape(label, quote=True)}" loading="lazy">'


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    rows = "".join(f"<li><b>{escape(f.id)}</b> {escape(f.caption)}</li>" for f in report.failures)
    return (
        f"<h2 class=bad>Failures</h2>\n<p>{len(report.failures)} generated shapes have no usable surface. They "
        f"count as empty and cover no reference.</p>\n<ul>{rows}</ul>"
    )


def _skipped(report: Report) -> str:
    missing = [m for m in report.metrics if m.status != "ok"]
    if not missing:
        return ""
    rows = "".join(f"<li>{escape(m.title)}: {m.status}, {escape(m.reason)}</li>" for m in missing)
    return f"<h2>Not measured</h2>\n<ul>{rows}</ul>"
