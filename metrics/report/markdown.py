"""The report as Markdown."""

from metrics.report.report_schema import Metric, Report
from metrics.report.values import (
    arrow,
    comparison_rows,
    detectors,
    measured,
    number,
    shown_columns,
    train_test_reference,
)
from metrics.report.words import findings, report_verdict, warnings


def report_markdown(report: Report) -> str:
    """The report as Markdown: the verdict, inputs, scores, rows for comparison, and what was skipped, with reasons."""
    run, protocol = report.run, report.protocol
    lines = [
        "# Evaluation",
        "",
        f"**{report_verdict(report)}**",
        "",
        *[f"- {heading}: {text}" for heading, text in findings(report)],
        "",
        *[line for warning in warnings(report) for line in (f"> {warning}", "")],
        f"- generated: {run.num_generated} shapes, {run.generated}",
        f"- references: {run.num_references} shapes, {run.references}",
        *([f"- training: {run.num_training} shapes, {run.training}"] if run.num_training else []),
        *([f"- network: `{run.network}`, sha256 `{run.network_sha256}`"] if run.network else []),
        f"- protocol: {protocol['name']} v{protocol['version']}: {protocol['description'].strip()}",
        *[f"- detector: {name}" for name in detectors(report)],
        f"- code: {run.commit or 'unknown'}; {run.seconds:.0f} s",
        *[f"- note: {note}" for note in run.notes],
        "",
        *_score_lines(report),
    ]
    lines += _baseline_lines(report) + _attribute_lines(report) + _skipped_lines(report) + _failure_lines(report)
    return "\n".join(lines) + "\n"


def _score_lines(report: Report) -> list[str]:
    """The table of scores, each beside its train-vs-test reference."""
    reference = train_test_reference(report)
    lines = [
        "| score | better | value | train vs test | unit | 95 % interval | n | seconds | how |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for metric in measured(report):
        cells = _score_cells(metric, number(reference.values.get(metric.name)))
        lines.append(f"{cells} {metric.seconds:.1f} | {metric.reason} |")
    if reference.note:
        lines += ["", f"Train vs test: {reference.note}."]
    return lines


def _score_cells(metric: Metric, *more: str) -> str:
    """more: cells after the value."""
    interval = metric.interval
    spread = f"{number(interval.low)} … {number(interval.high)}" if interval else ""
    value = " | ".join([number(metric.value), *more, metric.unit, spread, str(metric.n)]) + " |"
    return f"| {metric.title} | {arrow(metric)} | {value}"


def _attribute_lines(report: Report) -> list[str]:
    rows = measured(report, "attributes")
    if not rows:
        return []
    known = train_test_reference(report).values
    head = [
        "| attribute | better | value | train vs test | unit | 95 % interval | n | how |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shown = [f"{_score_cells(m, number(known.get(m.name)))} {m.reason} |" for m in rows]
    return ["", "## Attributes", "", *head, *shown]


def _baseline_lines(report: Report) -> list[str]:
    columns = shown_columns(report)
    if not columns:
        return []
    lines = [
        "",
        "## Comparison",
        "",
        "| | " + " | ".join(f"{m.title} {arrow(m)}" for m in columns) + " | comparable |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for name, comparable, note, values in comparison_rows(report):
        cells = " | ".join(number(values.get(m.name)) for m in columns)
        lines.append(f"| {name} | {cells} | {'yes' if comparable else 'no'}{f' ({note})' if note else ''} |")
    return lines


def _skipped_lines(report: Report) -> list[str]:
    missing = [m for m in report.metrics if m.status != "ok"]
    if not missing:
        return []
    return ["", "## Not measured", "", *[f"- {m.title}: {m.status}, {m.reason}" for m in missing]]


def _failure_lines(report: Report) -> list[str]:
    if not report.failures:
        return []
    return ["", "## Shapes without a usable surface", "", *[f"- {f.id}: {f.caption}" for f in report.failures]]
