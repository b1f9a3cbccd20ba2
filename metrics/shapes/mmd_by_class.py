"""MMD-CD class by class: which held-out shapes a generator comes near, and what each class adds to the score."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dataset_tool.attributes import attribute_classes
from dataset_tool.dataset import open_dataset
from metrics.cache import ChunkStore
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from metrics.shapes.shape_table import TableColumns, shape_table
from metrics.sources.dataset import DatasetSource
from metrics.sources.network import NetworkSource
from metrics.sources.shape_source import ShapeSource
from networks.pretrained import load_generator, network_file
from torch_utils.errors import UserError
from torch_utils.files import write_text
from torch_utils.ops.chamfer import chamfer_matrix

POINTS = 2048


@dataclass(frozen=True)
class ClassDistance:
    """One class of held-out shapes. mmd, reference: mean Chamfer distance of its shapes to the nearest generated and
    the nearest training shape, ×10⁻³. excess: what the class adds to the difference of the two over the whole set."""

    name: str
    shapes: int
    mmd: float
    reference: float
    excess: float


def report_mmd_by_class(
    network: Path | str,
    data: Path,
    attributes: Sequence[str],
    out: Path,
    *,
    count: int = 200,
    device: torch.device | str = "cpu",
) -> str:
    """Write classes.md, the distances of every class of the test split; the table. Measured shapes are kept in `out`.

    attributes: of the shapes, whose values make a class. count: at most this many held-out shapes, training shapes and
    samples (at ψ 1). UserError where a split, an attribute or a surface is missing.
    """
    dataset = open_dataset(data)
    references, training = (DatasetSource(dataset, split, count, at_random=True) for split in ("test", "train"))
    if not references.ids or not training.ids:
        raise UserError(f"{data}: needs a test and a train split; split again with: tetragan dataset split {data}")
    classes = attribute_classes(dataset, references.ids, attributes)
    file = network_file(network)
    generated = NetworkSource(file, load_generator(file, device), len(references.ids), truncation=1.0)
    store = ChunkStore(out / "cache")
    real = _points(references, store)
    if len(real) < len(classes):
        raise UserError(
            f"{data}: {len(classes) - len(real)} held-out shapes have no surface; tetragan dataset check {data}"
        )
    matrices = [DistanceMatrix(1000 * chamfer_matrix(real, _points(source, store))) for source in (generated, training)]
    table = class_table(class_distances(classes, *(matrix.nearest_generated()[0] for matrix in matrices)))
    write_text(out / "classes.md", table)
    return table


def class_distances(classes: Sequence[Hashable], generated: Tensor, training: Tensor) -> list[ClassDistance]:
    """The classes by excess, largest first. generated, training [R]: nearest distance of each held-out shape, ×10⁻³."""
    distances = []
    for each in dict.fromkeys(classes):
        rows = [row for row, other in enumerate(classes) if other == each]
        mmd, reference = float(generated[rows].mean()), float(training[rows].mean())
        name = ", ".join(each) if isinstance(each, tuple) else str(each)
        distances.append(ClassDistance(name, len(rows), mmd, reference, (mmd - reference) * len(rows) / len(classes)))
    return sorted(distances, key=lambda distance: -distance.excess)


def class_table(distances: Sequence[ClassDistance]) -> str:
    """Markdown, with the whole set in the last row."""
    count = sum(each.shapes for each in distances)
    mmd = sum(each.mmd * each.shapes for each in distances) / count
    reference = sum(each.reference * each.shapes for each in distances) / count
    lines = ["| class | shapes | MMD-CD ×10⁻³ | train-vs-test reference | excess |", "|---|---|---|---|---|"]
    for each in [*distances, ClassDistance("**all**", count, mmd, reference, mmd - reference)]:
        lines.append(f"| {each.name} | {each.shapes} | {each.mmd:.2f} | {each.reference:.2f} | {each.excess:.3f} |")
    return "\n".join(lines) + "\n"


def _points(source: ShapeSource, store: ChunkStore) -> Tensor:
    table = shape_table(source, store, TableColumns(POINTS))
    if not table.usable.any():
        raise UserError(f"{source.label}: no shape has a surface")
    return table.points[table.usable]
