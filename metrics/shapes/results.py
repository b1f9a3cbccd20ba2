"""What an evaluation has found so far; its parts (scores, galleries, histograms) read and extend it."""

from dataclasses import dataclass, field

from metrics.protocols import Distance
from metrics.report.report_schema import Baseline, Metric
from metrics.shapes.memorization import Memorization
from metrics.shapes.set_scores import Matrices
from metrics.shapes.shape_table import ShapeTable


@dataclass
class Found:
    """Everything that later parts (galleries, histograms, baselines) need of one evaluation."""

    generated: ShapeTable
    references: ShapeTable
    training: ShapeTable | None
    matrices: dict[Distance, Matrices] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    baselines: list[Baseline] = field(default_factory=list)
    memorization: Memorization | None = None
    notes: list[str] = field(default_factory=list)
