"""`report.html`: one file that works offline. It opens with images and a verdict and ends with hashes."""

from html import escape
from pathlib import Path

from metrics.report.html_figures import gallery, histograms_html, opening_images
from metrics.report.report_schema import Metric, Report
from metrics.report.values import arrow, comparison_rows, detectors, number, shown_columns, train_test_reference
from metrics.report.words import Group, findings, grouped_scores, report_verdict, standing, warnings

STYLE = Path(__file__).parent / "report.css"
# Metrics in large type, if they were measured.
HEADLINE = (
    "mmd_cd",
    "cov_cd",
    "one_nna_cd",
    "cov_lfd",
    "fid",
    "fd",
    "recall",
    "auth_pct",
    "mesh_watertight",
    "mesh_empty",
)


def report_html(report: Report, folder: Path) -> str:
    """The page. folder: of the report, from which thumbnails are read."""
    body = "\n".join(
        part
        for part in (
            _opening(report, folder),
            _cards(report),
            *[_scores(report, group) for group in grouped_scores(report)],
            _reference_note(report),
            _comparison(report),
            histograms_html(report.histograms),
            *[gallery(title, items, folder) for title, items in report.galleries.items()],
            _failures(report),
            _skipped(report),
            _how(report),
            _run(report),
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


def _opening(report: Report, folder: Path) -> str:
    """Images, the verdict, warnings, and the findings that the verdict rests on."""
    notes = "".join(f"<p class=warning>{escape(line)}</p>" for line in warnings(report))
    rows = "".join(f"<dt>{heading}</dt><dd>{escape(text)}</dd>" for heading, text in findings(report))
    return (
        f"<h1>{escape(report.run.generated).replace('ψ ', 'ψ&nbsp;')}</h1>\n"
        f"<p class=soft>Evaluation against {escape(report.run.references)}</p>\n"
        f"{opening_images(report, folder)}\n<p class=verdict>{escape(report_verdict(report))}</p>\n{notes}\n"
        f"<dl class=findings>{rows}</dl>"
    )


def _cards(report: Report) -> str:
    known = train_test_reference(report).values
    shown = [m for name in HEADLINE if (m := report.metric(name)) is not None and m.value is not None]
    cards = "".join(
        f"<div class=card><span>{escape(m.title)} {arrow(m)}</span>"
        f"<b>{number(m.value)} <small>{escape(m.unit)}</small></b>"
        + (f"<span>train vs test: {number(known[m.name])}</span></div>" if m.name in known else "</div>")
        for m in shown
    )
    return f"<div class=cards>{cards}</div>" if cards else ""


def _interval(metric: Metric) -> str:
    if metric.interval is None:
        return ""
    method = escape(metric.interval.method, quote=True)
    return f'<span title="{method}">{number(metric.interval.low)} … {number(metric.interval.high)}</span>'


def _scores(report: Report, group: Group) -> str:
    """One table of scores with the meaning of each and its train-vs-test reference."""
    known = train_test_reference(report).values
    rows = []
    for metric, meaning in zip(group.metrics, group.meanings, strict=True):
        reference = known.get(metric.name)
        state = standing(metric, reference)
        word = f"<small class={state}>{state}</small>" if state else ""
        rows.append(
            f"<tr><td><b>{escape(metric.title)}</b><p>{escape(meaning)}</p></td>"
            f"<td data-label=value>{number(metric.value)} <small>{escape(metric.unit)}</small></td>"
            f'<td data-label="train vs test">{number(reference)} {word}</td><td data-label=better>{arrow(metric)}</td>'
            f'<td data-label="95 % interval">{_interval(metric)}</td></tr>'
        )
    about = f"<p class=soft>{escape(group.about)}</p>\n" if group.about else ""
    return (
        f"<section><h2>{escape(group.title)}</h2>\n{about}<div class=scroll><table class=scores>\n"
        "<thead><tr><th>score</th><th>value</th><th>train vs test</th><th>better</th><th>95 % interval</th></tr>"
        f"</thead>\n<tbody>{''.join(rows)}</tbody>\n</table></div></section>"
    )


def _reference_note(report: Report) -> str:
    """What the train-vs-test reference is, and what is special about it here."""
    reference = train_test_reference(report)
    if not reference.values:
        return ""
    special = f" Train vs test: {escape(reference.note)}." if reference.note else ""
    return (
        "<p class='soft note'>Train vs test is the same score of training shapes and their images in the place of the "
        "samples. A perfect generator of this data gets it; a dash stands where it cannot be measured. "
        f"Even: the reference lies in the interval of the score, or within 2 %.{special}</p>"
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
        "<section><h2>Comparison</h2>\n<p class=soft>Rows in italics are not comparable.</p>\n"
        f"<div class=scroll><table>\n<thead><tr><th></th>{head}<th class=text></th></tr></thead>\n"
        f"<tbody>{''.join(rows)}</tbody>\n</table></div></section>"
    )


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    rows = "".join(f"<li><b>{escape(f.id)}</b> {escape(f.caption)}</li>" for f in report.failures)
    return f"<h2 class=bad>Samples without a usable surface</h2>\n<ul>{rows}</ul>"


def _skipped(report: Report) -> str:
    missing = [m for m in report.metrics if m.status != "ok"]
    if not missing:
        return ""
    rows = "".join(f"<li>{escape(m.title)}: {m.status}, {escape(m.reason)}</li>" for m in missing)
    return f"<h2>Not measured</h2>\n<ul>{rows}</ul>"


def _how(report: Report) -> str:
    """How each score was measured: counts, time, and its remark."""
    rows = "".join(
        f"<tr><td>{escape(m.title)}</td><td>{m.n}</td><td>{m.seconds:.1f}</td>"
        f"<td class=text>{escape(m.reason)}</td></tr>"
        for m in report.metrics
        if m.status == "ok"
    )
    return (
        "<section><h2>How it was measured</h2>\n<div class=scroll><table>\n<thead><tr><th>score</th><th>n</th>"
        f"<th>seconds</th><th class=text>how</th></tr></thead>\n<tbody>{rows}</tbody>\n</table></div></section>"
    )


def _run(report: Report) -> str:
    """The inputs, remarks, and hashes."""
    run, protocol = report.run, report.protocol
    about = f"{protocol['name']} v{protocol['version']}: {str(protocol['description']).strip()}"
    rows = [
        ("generated", f"{run.num_generated} shapes, {escape(run.generated)}"),
        ("references", f"{run.num_references} shapes, {escape(run.references)}"),
    ]
    if run.num_training:
        rows.append(("training", f"{run.num_training} shapes, {escape(run.training)}"))
    rows.append(("protocol", escape(about)))
    if run.nimg is not None:
        rows.append(("trained for", f"{run.nimg / 1000:.1f} kimg"))
    rows += [("note", escape(note)) for note in run.notes]
    rows.append(("time", f"{run.seconds:.0f} s"))
    rows.append(("code", f"<code>{escape(run.commit or 'unknown')}</code>"))
    rows += [("detector", f"<code>{escape(name)}</code>") for name in detectors(report)]
    if run.dataset_hash:
        rows.append(("dataset", f"{escape(run.dataset)} <code>{escape(run.dataset_hash)}</code>"))
    if run.network:
        rows.append(("network", f"{escape(run.network)} <code>sha256 {escape(run.network_sha256)}</code>"))
    listing = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in rows)
    return f"<section><h2>Inputs and hashes</h2>\n<dl class=run>{listing}</dl></section>"
