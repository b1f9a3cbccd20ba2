"""Confidence intervals. Shapes are resampled, never images.

Means over shapes are bootstrapped. COV and 1-NNA count distinct nearest neighbors, which the duplicates of a bootstrap
would change, so these two are subsampled without replacement and the spread is rescaled.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """A 95 % interval [low, high] in the metric's unit, and the method that gave it."""

    low: float
    high: float
    method: str


def bootstrap_mean(values: Tensor, *, draws: int = 1000, seed: int = 0) -> Interval | None:
    """Percentile bootstrap of the mean of `values` [N] (one per shape); None for fewer than two or infinite ones."""
    if values.numel() < 2 or not bool(torch.isfinite(values).all()):
        return None
    generator = torch.Generator().manual_seed(seed)
    count = values.numel()
    index = torch.randint(count, (draws, count), generator=generator)
    means = values.double()[index].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(low, high, f"bootstrap over {count} shapes, {draws} draws, 95 %")


def subsample(
    statistic: Callable[[Tensor, Tensor], float],
    num_references: int,
    num_generated: int,
    *,
    value: float,
    fraction: float = 0.5,
    draws: int = 100,
    seed: int = 0,
) -> Interval | None:
    """Interval of a statistic of two sets from subsamples without replacement (Politis and Romano 1994).

    statistic(references [r], generated [g]): index tensors → the statistic of those shapes. value: the statistic of
    all shapes. Subsamples of a share f of the shapes have the standard deviation of the whole times √((1 − f) / f); the
    interval is value ± 1.96 standard deviations of the whole. None for fewer than four shapes on either side.
    """
    if num_references < 4 or num_generated < 4:
        return None
    generator = torch.Generator().manual_seed(seed)
    sizes = max(2, round(num_references * fraction)), max(2, round(num_generated * fraction))
    results = []
    for _ in range(draws):
        references = torch.randperm(num_references, generator=generator)[: sizes[0]]
        generated = torch.randperm(num_generated, generator=generator)[: sizes[1]]
        results.append(statistic(references, generated))
    share = sizes[0] / num_references
    std = float(torch.tensor(results, dtype=torch.float64).std()) * math.sqrt(share / (1 - share))
    method = f"subsampling without replacement, {draws} draws of {share:.0%}, 95 %"
    return Interval(value - 1.96 * std, value + 1.96 * std, method)
