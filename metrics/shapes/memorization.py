"""Does the generator copy training shapes? Compares distances to the nearest training shapes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.shapes.mmd_cov_1nna import DistanceMatrix


@dataclass(frozen=True)
class Memorization:
    """nearest [G]: distance of each generated shape to its nearest training shape. index [G]: row of that shape.

    authentic [G] bool: the generated shape is not nearer to that training shape than the training shape's own nearest
    neighbor (Alaa et al. 2022).
    """

    nearest: Tensor
    index: Tensor
    authentic: Tensor

    @property
    def authentic_share(self) -> float:
        """AuthPct / 100, the share of authentic generated shapes."""
        return float(self.authentic.double().mean())


def memorization(training_by_generated: DistanceMatrix, within_training: Tensor) -> Memorization:
    """Memorization from the distances of training shapes (rows) and generated ones, and inside the training set [T, T].

    T ≥ 2. Empty generated shapes are infinitely far away and count as authentic.
    """
    count = training_by_generated.num_references
    if tuple(within_training.shape) != (count, count) or count < 2:
        raise ValueError(
            f"memorization(): expected [{count}, {count}] with at least 2, got {list(within_training.shape)}"
        )
    nearest, index = training_by_generated.nearest_reference()
    inside = within_training.clone()
    inside.fill_diagonal_(torch.inf)
    own_neighbor = inside.min(dim=1).values
    return Memorization(nearest, index, ~(nearest < own_neighbor[index]))
