"""The intermediate results of an evaluation, which the scores, galleries and histograms read and extend."""

from dataclasses import dataclass, field

from metrics.protocols import Distance
from metrics.report.report_schema import Baseline, Metric
from metrics.shapes.memorization import Memorization
from metrics.shapes.set_scores import Matrices
from metrics.shapes.shape_table import ShapeTable

# Names of the rows for comparison.
TRAIN_TEST_REFERENCE = "training shapes (train-vs-test reference)"
BEST_TRAINING_SHAPE = "best single training shape, repeated"


@dataclass
class Results:
    """Tables of all shapes, distances by kind, and what was derived from them so far."""

    generated: ShapeTable
    references: ShapeTable
    training: ShapeTable | None
    matrices: dict[Distance, Matrices] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    baselines: list[Baseline] = field(default_factory=list)
    memorization: Memorization | None = None
    notes: list[str] = field(default_factory=list)
