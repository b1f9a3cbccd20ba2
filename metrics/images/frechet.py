"""Fréchet distance of two sets of features, in float64 and stable on rank-deficient sets.

d² = |μ₁ − μ₂|² + tr S₁ + tr S₂ − 2 tr (S₁ S₂)^½ (Dowson and Landau 1982; Heusel et al. 2017 as FID). The last trace
comes from symmetric eigenvalues or from singular values of the features, so it is never complex and never NaN. With
too few samples `scipy.linalg.sqrtm` of the product, the usual way, can be both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] (divided by N), and the count N."""

    mean: Tensor
    covariance: Tensor
    count: int


def fit(features: Tensor) -> Gaussian:
    """Mean and covariance (over N) of features [N, D], N ≥ 1, in float64."""
    if features.ndim != 2 or features.shape[0] == 0:
        raise ValueError(f"fit(): expected features [N, D] with N >= 1, got {list(features.shape)}")
    rows = features.double()
    mean = rows.mean(0)
    centered = rows - mean
    return Gaussian(mean, centered.T @ centered / rows.shape[0], rows.shape[0])


def _check(a: Gaussian, b: Gaussian) -> None:
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"frechet_distance(): expected features of one size, got {a.mean.numel()} and {b.mean.numel()}"
        )


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Fréchet distance (what FID prints) of two Gaussians of one dimension; lower is better, ≥ 0.

    tr (S₁ S₂)^½ = Σ √λ of the symmetric √S₁ S₂ √S₁. Eigenvalues below zero are rounding and count as zero.
    """
    _check(a, b)
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    return _combine(a.mean, b.mean, a.covariance.trace(), b.covariance.trace(), cross)


def frechet_distance_of_features(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance of features [N, D] and [M, D]; cheaper and more exact if N or M is below D.

    With centered features A, B (scaled by 1/√N, 1/√M), S₁ = AᵀA and S₂ = BᵀB, so tr (S₁ S₂)^½ is the sum of the
    singular values of A Bᵀ [N, M].
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"frechet_distance(): expected features of one size, got {list(a.shape)} and {list(b.shape)}")
    if min(a.shape[0], b.shape[0]) >= a.shape[1]:
        return frechet_distance(fit(a), fit(b))
    a, b = a.double(), b.double()
    mean_a, mean_b = a.mean(0), b.mean(0)
    a = (a - mean_a) / a.shape[0] ** 0.5
    b = (b - mean_b) / b.shape[0] ** 0.5
    cross = torch.linalg.svdvals(a @ b.T).sum()
    return _combine(mean_a, mean_b, a.square().sum(), b.square().sum(), cross)


def _combine(mean_a: Tensor, mean_b: Tensor, trace_a: Tensor, trace_b: Tensor, cross: Tensor) -> float:
    return max(0.0, float((mean_a - mean_b).square().sum() + trace_a + trace_b - 2 * cross))


def frechet_infinity(a: Tensor, b: Tensor, *, points: int = 15, smallest: float = 0.1, seed: int = 0) -> float:
    """FID∞, the distance extrapolated to infinitely many samples by a linear fit of subsets' distances against 1 / n.

    a: reference features [N, D], all of which are used. b: generated features [M, D]; the subsets have smallest·M … M
    samples, equally spaced in 1/n. Source: Chong and Forsyth 2020. May be slightly below zero for equal sets.
    """
    generator = torch.Generator().manual_seed(seed)
    inverse = torch.linspace(1 / b.shape[0], 1 / max(2, round(smallest * b.shape[0])), points, dtype=torch.float64)
    sizes = (1 / inverse).round().long()
    reference = fit(a) if min(a.shape[0], sizes.min().item()) >= a.shape[1] else None
    distances = []
    for size in sizes.tolist():
        part = b[torch.randperm(b.shape[0], generator=generator)[:size]]
        if reference is not None:
            distances.append(frechet_distance(reference, fit(part)))
        else:
            distances.append(frechet_distance_of_features(a, part))
    design = torch.stack([1 / sizes.double(), torch.ones(points, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(design, torch.tensor(distances, dtype=torch.float64)[:, None]).solution
    return float(solution[1])
