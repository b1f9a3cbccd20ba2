"""The report: `report.json` is the source of truth; Markdown (here) and HTML (`html.py`) are made from it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from torch_utils.errors import UserError
from torch_utils.files import write_text

Direction = Literal["lower", "higher", "target"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IntervalRecord(_Section):
    """A confidence interval, in the metric's unit."""

    low: float
    high: float
    method: str


class Metric(_Section):
    """One number, or the reason why there is none.

    name: stable, e.g. "mmd_cd". direction: which way is better; "target" means that `target` is ideal. n: how many
    shapes or images it stands on. status: "ok", "skipped" (not asked for or something is not at hand) or "failed".
    group: "" for the scores, "attributes" for what a classifier says, which has a table of its own.
    """

    name: str
    title: str
    value: float | None = None
    unit: str = ""
    direction: Direction = "lower"
    target: float | None = None
    interval: IntervalRecord | None = None
    n: int = 0
    status: Literal["ok", "skipped", "failed"] = "ok"
    reason: str = ""
    seconds: float = 0.0
    group: Literal["", "attributes"] = ""


class Baseline(_Section):
    """A row to compare with: values by metric name. comparable: measured here under the same protocol and data."""

    name: str
    values: dict[str, float]
    comparable: bool
    note: str = ""


class Run(_Section):
    """What was measured, and with what."""

    generated: str
    references: str
    training: str = ""
    network: str = ""
    network_sha256: str = ""
    nimg: int | None = None
    dataset: str = ""
    dataset_hash: str = ""
    num_generated: int
    num_references: int
    num_training: int = 0
    commit: str = ""
    seconds: float = 0.0
    notes: list[str] = Field(default_factory=list)


class GalleryItem(_Section):
    """One shape in a gallery, and the shape beside it, if any.

    thumbnail, mesh, other_thumbnail, other_mesh: file names below the report's folder ("" if there is none).
    """

    id: str
    caption: str = ""
    thumbnail: str = ""
    mesh: str = ""
    other_id: str = ""
    other_thumbnail: str = ""
    other_mesh: str = ""


class Histogram(_Section):
    """Counts between edges (one more than counts)."""

    title: str
    unit: str
    edges: list[float]
    counts: list[int]


class Report(_Section):
    """Everything that an evaluation found."""

    schema_version: Literal[1] = 1
    run: Run
    protocol: dict[str, Any]
    metrics: list[Metric]
    baselines: list[Baseline] = Field(default_factory=list)
    galleries: dict[str, list[GalleryItem]] = Field(default_factory=dict)
    histograms: list[Histogram] = Field(default_factory=list)
    failures: list[GalleryItem] = Field(default_factory=list)

    def metric(self, name: str) -> Metric | None:
        """A metric by name, None if the report has none of that name."""
        return next((m for m in self.metrics if m.name == name), None)


def save_json(report: Report, path: Path) -> None:
    """Write `report.json`."""
    write_text(path, json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_report(path: Path) -> Report:
    """Read and check a `report.json`. UserError names the file and the first field that is wrong."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a report.json of `evaluate`") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: is not a report of `evaluate`: {field}: {first['msg']}") from None


def number(value: float | None) -> str:
    """A value as it is printed: four significant digits, no exponent for usual sizes."""
    if value is None:
        return "–"
    if value == 0 or 0.01 <= abs(value) < 1e5:
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.3g}"


def arrow(metric: Metric) -> str:
    """↓, ↑, or → with the ideal value."""
    if metric.direction == "target":
        return f"→ {number(metric.target)}"
    return "↓" if metric.direction == "lower" else "↑"


def markdown(report: Report) -> str:
    """The report as Markdown: what was measured, the scores, the rows to compare with, and what was skipped and why."""
    run, protocol = report.run, report.protocol
    lines = [
        "# Evaluation",
        "",
        f"- generated: {run.num_generated} shapes, {run.generated}",
        f"- references: {run.num_references} shapes, {run.references}",
        *([f"- training: {run.num_training} shapes, {run.training}"] if run.num_training else []),
        *([f"- network: `{run.network}`, sha256 `{run.network_sha256}`"] if run.network else []),
        f"- protocol: {protocol['name']} v{protocol['version']}: {protocol['description'].strip()}",
        f"- code: {run.commit or 'unknown'}; {run.seconds:.0f} s",
        *[f"- note: {note}" for note in run.notes],
        "",
        "| score | better | value | unit | 95 % interval | n | seconds |",
        "|---|---|---|---|---|---|---|",
        *[f"{_score_cells(metric)} {metric.seconds:.1f} |" for metric in measured(report)],
    ]
    lines += _baseline_lines(report) + _attribute_lines(report) + _skipped_lines(report) + _failure_lines(report)
    return "\n".join(lines) + "\n"


def measured(report: Report, group: str = "") -> list[Metric]:
    """The metrics of a group that have a value."""
    return [metric for metric in report.metrics if metric.status == "ok" and metric.group == group]


def _score_cells(metric: Metric) -> str:
    interval = metric.interval
    spread = f"{number(interval.low)} … {number(interval.high)}" if interval else ""
    value = f"{number(metric.value)} | {metric.unit} | {spread} | {metric.n} |"
    return f"| {metric.title} | {arrow(metric)} | {value}"


def _attribute_lines(report: Report) -> list[str]:
    rows = measured(report, "attributes")
    if not rows:
        return []
    head = ["| attribute | better | value | unit | 95 % interval | n | how |", "|---|---|---|---|---|---|---|"]
    return ["", "## Attributes, by the classifier", "", *head, *[f"{_score_cells(m)} {m.reason} |" for m in rows]]


def shown_columns(report: Report) -> list[Metric]:
    """The metrics that any baseline has a value for: the columns of the comparison."""
    named = {name for row in report.baselines for name in row.values}
    return [metric for metric in report.metrics if metric.name in named]


def comparison_rows(report: Report) -> list[tuple[str, bool, str, dict[str, float]]]:
    """Rows (name, comparable, note, values) of the comparison: this run first, then the baselines."""
    own = {m.name: m.value for m in report.metrics if m.value is not None}
    return [("**this run**", True, "", own), *[(b.name, b.comparable, b.note, b.values) for b in report.baselines]]


def _baseline_lines(report: Report) -> list[str]:
    columns = shown_columns(report)
    if not columns:
        return []
    lines = [
        "",
        "## Beside it",
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
