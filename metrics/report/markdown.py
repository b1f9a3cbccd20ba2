"""The report as Markdown, and how values are written in every form of the report."""

from metrics.report.report_schema import TRAIN_TEST_REFERENCE, Baseline, Metric, Report


def number(value: float | None) -> str:
    """A value as text: four significant digits, without an exponent for values of usual size."""
    if value is None:
        return "–"
    if value == 0 or 0.01 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.3g}"


def arrow(metric: Metric) -> str:
    """The better direction: ↓, ↑, or → with the ideal value."""
    if metric.direction == "target":
        return f"→ {number(metric.target)}"
    return "↓" if metric.direction == "lower" else "↑"


def report_markdown(report: Report) -> str:
    """The report as Markdown: inputs, scores, rows for comparison, and what was skipped, with reasons."""
    run, protocol = report.run, report.protocol
    lines = [
        "# Evaluation",
        "",
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


def detectors(report: Report) -> list[str]:
    """The networks by which the scores were measured, each with its hash."""
    used = (metric.detector for metric in report.metrics if metric.status == "ok" and metric.detector)
    return list(dict.fromkeys(used))


def train_test_reference(report: Report) -> Baseline:
    """The row of the train-vs-test reference, without values where there is none."""
    nothing = Baseline(name=TRAIN_TEST_REFERENCE, values={}, comparable=True)
    return next((row for row in report.baselines if row.name == TRAIN_TEST_REFERENCE), nothing)


def _score_lines(report: Report) -> list[str]:
    """The table of scores, each beside its train-vs-test reference."""
    reference = train_test_reference(report)
    lines = [
        "| score | better | value | train vs test | unit | 95 % interval | n | seconds | how |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for metric in measured(report):
        known = reference.values.get(metric.name)
        cells = _score_cells(metric, number(known) if known is not None else "")
        lines.append(f"{cells} {metric.seconds:.1f} | {metric.reason} |")
    if reference.note:
        lines += ["", f"Train vs test: {reference.note}."]
    return lines


def measured(report: Report, group: str = "") -> list[Metric]:
    """The metrics of a group that have a value."""
    return [metric for metric in report.metrics if metric.status == "ok" and metric.group == group]


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
    head = ["| attribute | better | value | unit | 95 % interval | n | how |", "|---|---|---|---|---|---|---|"]
    return ["", "## Attributes", "", *head, *[f"{_score_cells(m)} {m.reason} |" for m in rows]]


def shown_columns(report: Report) -> list[Metric]:
    """The columns of the comparison: the metrics for which any baseline but the train-vs-test reference has a value.

    The table of scores already shows that reference beside each score.
    """
    named = {name for row in report.baselines if row.name != TRAIN_TEST_REFERENCE for name in row.values}
    return [metric for metric in report.metrics if metric.name in named]


def comparison_rows(report: Report) -> list[tuple[str, bool, str, dict[str, float]]]:
    """The rows (name, comparable, note, values) of the comparison: this evaluation, then the baselines."""
    own = {m.name: m.value for m in report.metrics if m.value is not None}
    return [
        ("**this evaluation**", True, "", own),
        *[(b.name, b.comparable, b.note, b.values) for b in report.baselines],
    ]


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
