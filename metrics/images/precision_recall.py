"""Precision, recall, density and coverage from the nearest neighbors of features."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ManifoldScores:
    """precision, recall (Kynkäänniemi et al. 2019), density, coverage (Naeem et al. 2020). Density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbor_radius(features: Tensor, k: int) -> Tensor:
    """Distance of each feature to its k-th nearest neighbor [N]."""
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    # The feature itself is one of the k + 1 smallest, at zero.
    return distances.kthvalue(k + 1, dim=1).values


def manifold_scores(real: Tensor, fake: Tensor, *, k: int = 3, k_density: int = 5) -> ManifoldScores:
    """Scores of features real [N, D] and fake [M, D], N, M > max(k, k_density), in float64.

    The ball of a feature reaches to its k-th nearest neighbor. Precision: the share of fakes in the ball of some real
    feature (≤). Recall: the share of real features in the ball of some fake (≤). Density: the mean number of real balls
    (k_density, <) that contain a fake, divided by k_density. Coverage: the share of those balls that contain any fake.
    """
    largest = max(k, k_density)
    if min(real.shape[0], fake.shape[0]) <= largest:
        raise ValueError(
            f"manifold_scores(): expected more than {largest} features, got {real.shape[0]}, {fake.shape[0]}"
        )
    real, fake = real.double(), fake.double()
    cross = torch.cdist(real, fake, compute_mode="donot_use_mm_for_euclid_dist")
    precision = (cross <= neighbor_radius(real, k)[:, None]).any(0)
    recall = (cross <= neighbor_radius(fake, k)[None, :]).any(1)
    inside = cross < neighbor_radius(real, k_density)[:, None]
    return ManifoldScores(
        float(precision.double().mean()),
        float(recall.double().mean()),
        float(inside.double().sum(0).mean() / k_density),
        float(inside.any(1).double().mean()),
    )
