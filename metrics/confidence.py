"""Confidence intervals. Shapes are resampled, never images.

Means over shapes are bootstrapped. COV and 1-NNA count distinct nearest neighbors, which the duplicates of a bootstrap
would change, so these two are subsampled without replacement and the spread is rescaled.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metrics.report.report_schema import Interval


def bootstrap_mean(values: Tensor, *, draws: int = 1000, seed: int = 0) -> Interval | None:
    """Percentile bootstrap of the mean of `values` [N] (one per shape); None for fewer than two or infinite ones."""
    if values.numel() < 2 or not bool(torch.isfinite(values).all()):
        return None
    generator = torch.Generator().manual_seed(seed)
    count = values.numel()
    index = torch.randint(count, (draws, count), generator=generator)
    means = values.double()[index].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(low=low, high=high, method=f"bootstrap over {count} shapes, {draws} draws, 95 %")


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
    return Interval(low=value - 1.96 * std, high=value + 1.96 * std, method=method)


def scaled(interval: Interval | None, factor: float) -> Interval | None:
    """The interval in a unit that is `factor` times as fine; None of None."""
    if interval is None:
        return None
    return Interval(low=interval.low * factor, high=interval.high * factor, method=interval.method)


def clipped(interval: Interval | None, low: float, high: float) -> Interval | None:
    """The interval cut to the metric's range; None of None."""
    if interval is None:
        return None
    return interval.model_copy(update={"low": max(low, interval.low), "high": min(high, interval.high)})
