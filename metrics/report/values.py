"""What every form of a report shows, and how its values are written."""

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


def detectors(report: Report) -> list[str]:
    """The networks by which the scores were measured, each with its hash."""
    used = (metric.detector for metric in report.metrics if metric.status == "ok" and metric.detector)
    return list(dict.fromkeys(used))


def train_test_reference(report: Report) -> Baseline:
    """The row of the train-vs-test reference, without values where there is none."""
    nothing = Baseline(name=TRAIN_TEST_REFERENCE, values={}, comparable=True)
    return next((row for row in report.baselines if row.name == TRAIN_TEST_REFERENCE), nothing)


def measured(report: Report, group: str = "") -> list[Metric]:
    """The metrics of a group that have a value."""
    return [metric for metric in report.metrics if metric.status == "ok" and metric.group == group]


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
