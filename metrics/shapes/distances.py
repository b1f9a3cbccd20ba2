"""All distances between two tables of shapes, in blocks that are kept on disk and shared out over ranks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.protocols import Distance
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from torch_utils.ops.chamfer import chamfer_matrix
from torch_utils.ops.loading import available

# Rows of one block on disk.
BLOCK = 32


@dataclass(frozen=True)
class Side:
    """Shapes on one side of a distance matrix.

    key: changes with any shape. points [N, P, 3] in the protocol's units, NaN rows for empty shapes. descriptors
    [N, 10, 10, 47] uint8, needed for LFD alone.
    """

    key: str
    points: Tensor
    descriptors: Tensor | None = None

    @property
    def usable(self) -> Tensor:
        """Shapes with a surface [N] bool."""
        return torch.isfinite(self.points).all(-1).all(-1)

    def __len__(self) -> int:
        return self.points.shape[0]

    def part(self, rows: Tensor) -> "Side":
        """Some of the shapes; rows [n] int64."""
        if len(rows) == len(self) and bool((rows == torch.arange(len(self))).all()):
            return self
        key = content_key({"of": self.key, "rows": rows.tolist()})
        return Side(key, self.points[rows], None if self.descriptors is None else self.descriptors[rows])


def distance_device(device: torch.device) -> torch.device:
    """Where CD and LFD are computed: the CUDA device where its kernels are built, else the CPU, whose kernels are far
    faster than the references that would run on the device. EMD and the LFD features always are the CPU's.
    """
    return device if device.type == "cuda" and available("cuda") else torch.device("cpu")


def block_function(
    distance: Distance, emd_points: int, device: torch.device | str = "cpu"
) -> Callable[[Side, slice, Side, slice], Tensor]:
    """distances(rows' side, rows, columns' side, columns) -> [rows, columns] on the CPU for a kind of distance."""

    def chamfer(a: Side, rows: slice, b: Side, columns: slice) -> Tensor:
        return chamfer_matrix(a.points[rows].to(device), b.points[columns].to(device)).cpu()

    def earth_mover(a: Side, rows: slice, b: Side, columns: slice) -> Tensor:
        from metrics.shapes.earth_mover import approximate_matrix, exact_matrix

        matrix = exact_matrix if distance == "emd" else approximate_matrix
        return matrix(a.points[rows, :emd_points], b.points[columns, :emd_points])

    def light_field(a: Side, rows: slice, b: Side, columns: slice) -> Tensor:
        from torch_utils.ops.lfd_distance import lfd_distance

        assert a.descriptors is not None and b.descriptors is not None, "LFD needs descriptors on both sides"
        return lfd_distance(a.descriptors[rows].to(device), b.descriptors[columns].to(device)).float().cpu()

    return {"cd": chamfer, "emd": earth_mover, "emd_approx": earth_mover, "lfd": light_field}[distance]


def between(
    distance: Distance,
    references: Side,
    generated: Side,
    store: ChunkStore,
    *,
    emd_points: int = 512,
    device: torch.device | str = "cpu",
    progress: Callable[[], None] | None = None,
) -> DistanceMatrix:
    """Distances of every reference (row) and every generated shape (column); +inf where either is empty."""
    function = block_function(distance, emd_points, device)

    def compute(rows: range) -> Tensors:
        return {"d": function(references, slice(rows.start, rows.stop), generated, slice(0, len(generated)))}

    values = _stored(distance, emd_points, references, generated, store, compute, progress)
    return DistanceMatrix(_mask(values, references, generated))


def within(
    distance: Distance,
    side: Side,
    store: ChunkStore,
    *,
    emd_points: int = 512,
    device: torch.device | str = "cpu",
    progress: Callable[[], None] | None = None,
) -> Tensor:
    """Distances inside one set [N, N], symmetric; each pair is computed once; +inf where either is empty."""
    function = block_function(distance, emd_points, device)

    def compute(rows: range) -> Tensors:
        block = torch.zeros(len(rows), len(side))
        # Few rows at a time where a pair is dear (half of the block's own square is not needed), all where it is cheap.
        step = 1 if distance.startswith("emd") else len(rows)
        for start in range(rows.start, rows.stop, step):
            part = slice(start, start + step)
            block[start - rows.start :][:step, start:] = function(side, part, side, slice(start, len(side)))
        return {"d": block}

    upper = _stored(distance, emd_points, side, side, store, compute, progress).triu(1)
    return _mask(upper + upper.T, side, side)


def _stored(
    distance: Distance,
    emd_points: int,
    rows: Side,
    columns: Side,
    store: ChunkStore,
    compute: Callable[[range], Tensors],
    progress: Callable[[], None] | None,
) -> Tensor:
    # `within` and `between` of one set hold different blocks (half of the pairs or all), hence the flag.
    parts = {"kind": distance, "rows": rows.key, "columns": columns.key, "within": rows is columns}
    if distance.startswith("emd"):
        parts["points"] = emd_points
    found = store.rows(f"distance-{distance}", content_key(parts), len(rows), BLOCK, compute, progress)
    return found["d"] if found else torch.empty(0, len(columns))


def _mask(values: Tensor, rows: Side, columns: Side) -> Tensor:
    both = rows.usable[:, None] & columns.usable[None, :]
    return torch.where(both, values, torch.inf)
