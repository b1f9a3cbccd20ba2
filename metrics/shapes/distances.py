"""All distances between two sets of shapes, in blocks that are stored on disk and divided among ranks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.protocols import Distance
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from torch_utils.ops.chamfer import chamfer_matrix
from torch_utils.ops.loading import available

# Rows per block on disk.
BLOCK = 32


@dataclass(frozen=True)
class ShapeSet:
    """The shapes along one side of a distance matrix.

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

    def subset(self, rows: Tensor) -> "ShapeSet":
        """Some of the shapes; rows [n] int64."""
        if len(rows) == len(self) and bool((rows == torch.arange(len(self))).all()):
            return self
        key = content_key({"of": self.key, "rows": rows.tolist()})
        return ShapeSet(key, self.points[rows], None if self.descriptors is None else self.descriptors[rows])


def distance_device(device: torch.device) -> torch.device:
    """The device that computes CD and LFD: the CUDA device if its kernels are built, otherwise the CPU.

    The CPU's kernels are far faster than the PyTorch references that would run on the device. EMD and the features of
    LFD are always computed on the CPU.
    """
    return device if device.type == "cuda" and available("cuda") else torch.device("cpu")


def block_function(
    distance: Distance, emd_points: int, device: torch.device | str = "cpu"
) -> Callable[[ShapeSet, slice, ShapeSet, slice], Tensor]:
    """A function (set of the rows, rows, set of the columns, columns) → distances [rows, columns] on the CPU."""

    def chamfer(a: ShapeSet, rows: slice, b: ShapeSet, columns: slice) -> Tensor:
        return chamfer_matrix(a.points[rows].to(device), b.points[columns].to(device)).cpu()

    def earth_mover(a: ShapeSet, rows: slice, b: ShapeSet, columns: slice) -> Tensor:
        from metrics.shapes.earth_mover import approximate_matrix, exact_matrix

        matrix = exact_matrix if distance == "emd" else approximate_matrix
        return matrix(a.points[rows, :emd_points], b.points[columns, :emd_points])

    def light_field(a: ShapeSet, rows: slice, b: ShapeSet, columns: slice) -> Tensor:
        from torch_utils.ops.lfd_distance import lfd_distance

        assert a.descriptors is not None and b.descriptors is not None, "LFD needs descriptors on both sides"
        return lfd_distance(a.descriptors[rows].to(device), b.descriptors[columns].to(device)).float().cpu()

    return {"cd": chamfer, "emd": earth_mover, "emd_approx": earth_mover, "lfd": light_field}[distance]


def between(
    distance: Distance,
    references: ShapeSet,
    generated: ShapeSet,
    store: ChunkStore,
    *,
    emd_points: int = 512,
    device: torch.device | str = "cpu",
    progress: Callable[[], None] | None = None,
) -> DistanceMatrix:
    """Distances of every reference (row) and every generated shape (column); +inf if either is empty."""
    function = block_function(distance, emd_points, device)

    def compute(rows: range) -> Tensors:
        return {"d": function(references, slice(rows.start, rows.stop), generated, slice(0, len(generated)))}

    values = _stored(distance, emd_points, references, generated, store, compute, progress)
    return DistanceMatrix(_mask(values, references, generated))


def within(
    distance: Distance,
    shapes: ShapeSet,
    store: ChunkStore,
    *,
    emd_points: int = 512,
    device: torch.device | str = "cpu",
    progress: Callable[[], None] | None = None,
) -> Tensor:
    """Distances inside one set [N, N], symmetric; each pair is computed once; +inf if either is empty."""
    function = block_function(distance, emd_points, device)

    def compute(rows: range) -> Tensors:
        block = torch.zeros(len(rows), len(shapes))
        # An expensive distance goes row by row, which skips half of the block's own square; a cheap one goes at once.
        step = 1 if distance.startswith("emd") else len(rows)
        for start in range(rows.start, rows.stop, step):
            part = slice(start, start + step)
            block[start - rows.start :][:step, start:] = function(shapes, part, shapes, slice(start, len(shapes)))
        return {"d": block}

    upper = _stored(distance, emd_points, shapes, shapes, store, compute, progress).triu(1)
    return _mask(upper + upper.T, shapes, shapes)


def _stored(
    distance: Distance,
    emd_points: int,
    rows: ShapeSet,
    columns: ShapeSet,
    store: ChunkStore,
    compute: Callable[[range], Tensors],
    progress: Callable[[], None] | None,
) -> Tensor:
    # `within` and `between` store different blocks of one set (half of the pairs or all), hence the flag.
    parts = {"kind": distance, "rows": rows.key, "columns": columns.key, "within": rows is columns}
    if distance.startswith("emd"):
        parts["points"] = emd_points
    stored = store.rows(f"distance-{distance}", content_key(parts), len(rows), BLOCK, compute, progress)
    return stored["d"] if stored else torch.empty(0, len(columns))


def _mask(values: Tensor, rows: ShapeSet, columns: ShapeSet) -> Tensor:
    both = rows.usable[:, None] & columns.usable[None, :]
    return torch.where(both, values, torch.inf)
