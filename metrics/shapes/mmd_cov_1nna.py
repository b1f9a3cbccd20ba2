"""MMD, COV and 1-NNA of two sets of shapes, from the matrix of distances between them.

Swapping rows and columns is a common mistake that gives plausible numbers. `DistanceMatrix` therefore names its sides.

Sources: Achlioptas et al. 2018 (MMD, COV), Lopez-Paz and Oquab 2017 and Yang et al. 2019 (1-NNA).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DistanceMatrix:
    """Distances between references (rows) and generated shapes (columns).

    values [R, G] float: values[r, g] is the distance of reference r and generated shape g, in any unit. An empty
    generated shape is at distance +inf from everything, so it covers nothing and is never the nearest.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"DistanceMatrix(): expected values [R, G], got {list(self.values.shape)}")
        if torch.isnan(self.values).any():
            raise ValueError("DistanceMatrix(): expected distances, got NaN")

    @property
    def num_references(self) -> int:
        """Number of references R."""
        return self.values.shape[0]

    @property
    def num_generated(self) -> int:
        """Number of generated shapes G."""
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
        """The matrix of some references and some generated shapes; index tensors [r], [g] int64."""
        values = self.values if references is None else self.values[references]
        return DistanceMatrix(values if generated is None else values[:, generated])


def minimum_matching_distance(matrix: DistanceMatrix) -> float:
    """MMD, the mean over references of the distance to the nearest generated shape. Lower is better."""
    distance, _ = matrix.nearest_generated()
    return float(distance.double().mean())


def coverage(matrix: DistanceMatrix) -> float:
    """COV, the share of references that are the nearest reference of some generated shape. In [0, 1], higher is better.

    A generated shape at infinite distance from everything, such as an empty mesh, covers no reference.
    """
    distance, reference = matrix.nearest_reference()
    return float(reference[torch.isfinite(distance)].unique().numel() / matrix.num_references)


@dataclass(frozen=True)
class OneNearestNeighbor:
    """Leave-one-out accuracy of the 1-nearest-neighbor label, in [0, 1]; 0.5 is ideal for sets of equal size.

    overall: over all shapes. references: the share of references whose nearest other shape is a reference; low if the
    generated shapes crowd around the references, high if they stay away. generated: the same for generated shapes.
    """

    overall: float
    references: float
    generated: float


def pooled_nearest(between: DistanceMatrix, within_references: Tensor, within_generated: Tensor) -> Tensor:
    """The nearest other shape of every shape in the pool of references, then generated shapes: [R + G] int64.

    between: the R × G distances. within_references [R, R], within_generated [G, G]: distances inside each set; their
    diagonals are ignored. A tie goes to the lower index.
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
    # The infinite distances of empty meshes must stay above any real one, but below that of a shape to itself, which
    # is excluded. float64 has room for both.
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
    """p-value of the hypothesis that both sets have one distribution, by a permutation test of the 1-NNA.

    The neighbors stay and the labels are shuffled `draws` times. Returns (1 + k) / (1 + draws), where k is the number
    of shuffles with at least the observed 1-NNA.
    """
    observed = one_nearest_neighbor(nearest, is_generated).overall
    generator = torch.Generator().manual_seed(seed)
    extreme = 0
    for _ in range(draws):
        labels = is_generated[torch.randperm(is_generated.numel(), generator=generator)]
        extreme += (labels[nearest] == labels).double().mean().item() >= observed - 1e-12
    return (1 + extreme) / (1 + draws)
