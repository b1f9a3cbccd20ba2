"""Scores of one set of shapes against another, from the matrix of distances between them.

The classic mistake here is to swap rows and columns, so the matrix is a type with named sides (`DistanceMatrix`) and
nothing in this file indexes an axis by number without saying which side it is.

Sources: Achlioptas et al. 2018 (MMD, COV), Lopez-Paz and Oquab 2017 and Yang et al. 2019 (1-NNA).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.ops.chamfer import chamfer_matrix

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DistanceMatrix:
    """Distances between references (rows) and generated shapes (columns).

    values [R, G] float: values[r, g] = distance of reference r and generated shape g; any unit, smaller is nearer.
    An empty generated shape has the distance +inf to everything: it covers nothing and is nobody's nearest.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"DistanceMatrix(): expected values [R, G], got {list(self.values.shape)}")
        if torch.isnan(self.values).any():
            raise ValueError("DistanceMatrix(): expected distances, got NaN")

    @property
    def num_references(self) -> int:
        """R."""
        return self.values.shape[0]

    @property
    def num_generated(self) -> int:
        """G."""
        return self.values.shape[1]

    def nearest_generated(self) -> tuple[Tensor, Tensor]:
        """For each reference the nearest generated shape: (distance [R], index of the generated shape [R])."""
        distance, index = self.values.min(dim=1)
        return distance, index

    def nearest_reference(self) -> tuple[Tensor, Tensor]:
        """For each generated shape the nearest reference: (distance [G], index of the reference [G])."""
        distance, index = self.values.min(dim=0)
        return distance, index

    def select(self, references: Tensor | None = None, generated: Tensor | None = None) -> "DistanceMatrix":
        """The matrix of a part of either side; index tensors [r], [g] int64."""
        values = self.values if references is None else self.values[references]
        return DistanceMatrix(values if generated is None else values[:, generated])


def chamfer_distances(
    references: Tensor, generated: Tensor, *, block: int = 64, progress: Progress | None = None
) -> DistanceMatrix:
    """Chamfer distance of every reference and every generated cloud.

    references [R, P, 3], generated [G, Q, 3]: float, finite, one unit of length. The distance is the sum of the two
    means of squared nearest distances: mean_x min_y |x − y|² + mean_y min_x |x − y|², length².
    block: references of one call of the kernel. progress(done, total) is told after each block, in references.
    """
    rows = []
    for start in range(0, references.shape[0], block):
        rows.append(chamfer_matrix(references[start : start + block], generated))
        if progress is not None:
            progress(min(start + block, references.shape[0]), references.shape[0])
    return DistanceMatrix(torch.cat(rows) if rows else references.new_empty(0, generated.shape[0]))


def minimum_matching_distance(matrix: DistanceMatrix) -> float:
    """MMD: the mean over references of the distance to the nearest generated shape (unit of the distance; lower)."""
    distance, _ = matrix.nearest_generated()
    return float(distance.double().mean())


def coverage(matrix: DistanceMatrix) -> float:
    """COV: the share of references that are the nearest reference of some generated shape, in [0, 1] (higher).

    A generated shape at infinite distance from everything (an empty mesh) covers no reference.
    """
    distance, reference = matrix.nearest_reference()
    return float(reference[torch.isfinite(distance)].unique().numel() / matrix.num_references)


@dataclass(frozen=True)
class OneNearestNeighbor:
    """Leave-one-out accuracy of the 1-nearest-neighbor label, in [0, 1]; 0.5 is ideal for sets of equal size.

    overall: over all shapes. references: the share of references whose nearest other shape is a reference (low: the
    generated shapes crowd around the references, high: they stay away). generated: the same for generated shapes.
    """

    overall: float
    references: float
    generated: float


def pooled_nearest(between: DistanceMatrix, within_references: Tensor, within_generated: Tensor) -> Tensor:
    """The nearest other shape of every shape of the pool [R + G] int64: references first, then generated shapes.

    between: the R × G distances. within_references [R, R], within_generated [G, G]: distances inside either set; their
    diagonals are ignored. Ties go to the lower index of the pool.
    """
    num_references, num_generated = between.num_references, between.num_generated
    for name, matrix, count in (
        ("within_references", within_references, num_references),
        ("within_generated", within_generated, num_generated),
    ):
        if tuple(matrix.shape) != (count, count):
            raise ValueError(f"pooled_nearest(): expected {name} [{count}, {count}], got {list(matrix.shape)}")
    pool = torch.cat(
        [
            torch.cat([within_references, between.values], dim=1),
            torch.cat([between.values.T, within_generated], dim=1),
        ]
    )
    # Infinite distances (empty meshes) stay above any real one but below the shape itself, which is never its own
    # neighbor; float64 has the room for both.
    pool = pool.double().clamp(max=torch.finfo(torch.float32).max)
    pool.fill_diagonal_(torch.inf)
    return pool.argmin(dim=1)


def one_nearest_neighbor(nearest: Tensor, is_generated: Tensor) -> OneNearestNeighbor:
    """1-NNA from the nearest other shape of each shape.

    nearest [N] int64: `pooled_nearest`. is_generated [N] bool: the label of each shape of the pool.
    """
    right = is_generated[nearest] == is_generated
    return OneNearestNeighbor(
        float(right.double().mean()),
        float(right[~is_generated].double().mean()),
        float(right[is_generated].double().mean()),
    )


def pool_labels(num_references: int, num_generated: int) -> Tensor:
    """Labels of `pooled_nearest`'s pool [R + G] bool: False for references, True for generated shapes."""
    return torch.arange(num_references + num_generated) >= num_references


def permutation_p_value(nearest: Tensor, is_generated: Tensor, *, draws: int = 999, seed: int = 0) -> float:
    """How often shuffled labels give a 1-NNA at least as far above chance: small means that the sets differ.

    The neighbors stay; only the labels are shuffled. draws: number of shuffles. Returns (1 + hits) / (1 + draws).
    """
    observed = one_nearest_neighbor(nearest, is_generated).overall
    generator = torch.Generator().manual_seed(seed)
    hits = 0
    for _ in range(draws):
        labels = is_generated[torch.randperm(is_generated.numel(), generator=generator)]
        hits += (labels[nearest] == labels).double().mean().item() >= observed - 1e-12
    return (1 + hits) / (1 + draws)
