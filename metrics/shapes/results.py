"""The intermediate results of an evaluation, which the scores, galleries and histograms read and extend."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from metrics.protocols import Distance
from metrics.report.report_schema import Baseline, Metric
from metrics.shapes.memorization import Memorization
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from metrics.shapes.set_scores import Matrices
from metrics.shapes.shape_table import ShapeTable


@dataclass
class Results:
    """Tables of all shapes, distances by kind, and what was derived from them so far.

    training_part: rows of `training`, as many as there are samples, that stand for them in the train-vs-test reference.
    training_matrices: distances of the references to that part.
    """

    generated: ShapeTable
    references: ShapeTable
    training: ShapeTable | None
    training_part: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    matrices: dict[Distance, Matrices] = field(default_factory=dict)
    training_matrices: dict[Distance, DistanceMatrix] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    baselines: list[Baseline] = field(default_factory=list)
    memorization: Memorization | None = None
    notes: list[str] = field(default_factory=list)

    def add_values(self, name: str, values: dict[str, float], note: str = "") -> None:
        """Add values to the comparable baseline of that name, which is created if there is none."""
        for position, row in enumerate(self.baselines):
            if row.name == name:
                notes = [n for n in (row.note, note) if n]
                self.baselines[position] = row.model_copy(
                    update={"values": {**row.values, **values}, "note": "; ".join(dict.fromkeys(notes))}
                )
                return
        self.baselines.append(Baseline(name=name, values=values, comparable=True, note=note))
