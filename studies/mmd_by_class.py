"""MMD-CD kind by kind: `python -m studies.mmd_by_class --network FILE --data DATASET --by type,legs --out DIR`.

Which kinds of held-out shape a generator comes near, and what each adds to the distance that is left above the floor.
Prints and writes kinds.md; measured shapes are kept in DIR.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from torch import Tensor

from dataset_tool.dataset import open_dataset
from metrics.cache import ChunkStore
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from metrics.shapes.shape_table import shape_table
from metrics.sources.dataset import DatasetSource
from metrics.sources.network import NetworkSource
from metrics.sources.shape_source import ShapeSource
from networks.pretrained import load_generator_file, network_file
from studies.plain_errors import PlainErrors
from torch_utils.errors import UserError
from torch_utils.files import write_text
from torch_utils.ops.chamfer import chamfer_matrix
from training.class_balance import kinds_of

POINTS = 2048


@dataclass(frozen=True)
class Kind:
    """One kind of held-out shape. mmd, floor: mean distance of its shapes to the nearest generated and training one,
    ×10⁻³. excess: what it adds to the whole set's mean above the floor."""

    name: str
    shapes: int
    mmd: float
    floor: float
    excess: float


def compare(kinds: Sequence[Hashable], generated: Tensor, training: Tensor) -> list[Kind]:
    """Kinds by excess, largest first. generated, training [R]: nearest distance of every held-out shape, ×10⁻³."""
    found = []
    for kind in dict.fromkeys(kinds):
        rows = [row for row, other in enumerate(kinds) if other == kind]
        mmd, floor = float(generated[rows].mean()), float(training[rows].mean())
        name = ", ".join(kind) if isinstance(kind, tuple) else str(kind)
        found.append(Kind(name, len(rows), mmd, floor, (mmd - floor) * len(rows) / len(kinds)))
    return sorted(found, key=lambda kind: -kind.excess)


def markdown(kinds: Sequence[Kind]) -> str:
    """The table, with the whole set in its last row."""
    count = sum(kind.shapes for kind in kinds)
    mmd, floor = (sum(getattr(k, name) * k.shapes for k in kinds) / count for name in ("mmd", "floor"))
    lines = ["| kind | shapes | MMD-CD ×10⁻³ | floor | excess |", "|---|---|---|---|---|"]
    for kind in [*kinds, Kind("**all**", count, mmd, floor, mmd - floor)]:
        lines.append(f"| {kind.name} | {kind.shapes} | {kind.mmd:.2f} | {kind.floor:.2f} | {kind.excess:.3f} |")
    return "\n".join(lines) + "\n"


def _points(source: ShapeSource, store: ChunkStore) -> Tensor:
    table = shape_table(source, store, points=POINTS, meshes=False, light_fields=False)
    if not table.usable.any():
        raise UserError(f"{source.label}: no shape has a surface")
    return table.points[table.usable]


@click.command(cls=PlainErrors)
@click.option("--network", required=True, help="A network file, a folder with one, or a included network's name.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset rendered from meshes.")
@click.option("--by", "attributes", required=True, help="Attributes that make a kind, e.g. type,legs.")
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Shapes on each side at most.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Output folder.")
def main(network: str, data: Path, attributes: str, count: int, out: Path) -> None:
    """Hold a network against held-out shapes of each kind."""
    dataset = open_dataset(data)
    references, training = (DatasetSource(dataset, split, count) for split in ("test", "train"))
    if not references.ids or not training.ids:
        raise UserError(f"{data}: needs a test and a train split; split again with: tetragan dataset split")
    kinds = kinds_of(dataset, references.ids, attributes.split(","))
    file = network_file(network)
    made = NetworkSource(file, load_generator_file(file)[0], len(references.ids), truncation=1.0)
    store = ChunkStore(out / "cache")
    real = _points(references, store)
    if len(real) < len(kinds):
        raise UserError(
            f"{data}: {len(kinds) - len(real)} held-out shapes have no surface; tetragan dataset check {data}"
        )
    matrices = [DistanceMatrix(1000 * chamfer_matrix(real, _points(source, store))) for source in (made, training)]
    nearest = [matrix.nearest_generated()[0] for matrix in matrices]
    text = markdown(compare(kinds, *nearest))
    write_text(out / "kinds.md", text)
    click.echo(text)


if __name__ == "__main__":
    main()
