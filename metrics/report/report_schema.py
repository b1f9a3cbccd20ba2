"""The schema of `report.json`. The Markdown (`markdown.py`) and the page (`html.py`) are generated from it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from configs.strict import StrictModel, first_mistake
from torch_utils.errors import UserError
from torch_utils.files import write_text

# Names of the rows for comparison.
TRAIN_TEST_REFERENCE = "training shapes (train-vs-test reference)"
BEST_TRAINING_SHAPE = "best single training shape, repeated"
# Titles of the galleries with which the page opens.
RANDOM_SAMPLES, RANDOM_REFERENCES = "Random samples (seeded, not picked)", "References, chosen at random"

Direction = Literal["lower", "higher", "target"]


class Interval(StrictModel):
    """A 95 % interval [low, high] in the metric's unit, and the method that gave it."""

    low: float
    high: float
    method: str


class Metric(StrictModel):
    """One number, or the reason why there is none.

    name: stable, e.g. "mmd_cd". direction: which way is better; "target" means that `target` is ideal. n: number of
    shapes or images behind the value. status: "ok", "skipped" (not requested, or an input is missing) or "failed".
    group: "" for scores, "attributes" for those of the classifier, which have their own table.
    detector: the network whose features or answers were compared, with its hash; "" for scores without one.
    """

    name: str
    title: str
    value: float | None = None
    unit: str = ""
    direction: Direction = "lower"
    target: float | None = None
    interval: Interval | None = None
    n: int = 0
    status: Literal["ok", "skipped", "failed"] = "ok"
    reason: str = ""
    seconds: float = 0.0
    group: Literal["", "attributes"] = ""
    detector: str = ""


class Baseline(StrictModel):
    """A row for comparison. values: by metric name. comparable: measured under the same protocol on the same data."""

    name: str
    values: dict[str, float]
    comparable: bool
    note: str = ""


class EvaluationRun(StrictModel):
    """The inputs of an evaluation, the version of the code, and remarks."""

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


class GalleryItem(StrictModel):
    """One shape in a gallery, and the shape it is paired with, if any.

    thumbnail, mesh, other_thumbnail, other_mesh: file names below the report's folder ("" if there is none).
    """

    id: str
    caption: str = ""
    thumbnail: str = ""
    mesh: str = ""
    other_id: str = ""
    other_thumbnail: str = ""
    other_mesh: str = ""


class Histogram(StrictModel):
    """Counts between edges, of which there is one more."""

    title: str
    unit: str
    edges: list[float]
    counts: list[int]


class Report(StrictModel):
    """All results of an evaluation."""

    schema_version: Literal[1] = 1
    run: EvaluationRun
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
        raise UserError(f"{path}: is not a report of `evaluate`: {first_mistake(error)}") from None
