"""MMD, COV and 1-NNA as metrics of the report, with intervals and units."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metrics.confidence import bootstrap_mean, clipped, scaled, subsample
from metrics.protocols import Distance
from metrics.report.report_schema import Metric
from metrics.shapes.mmd_cov_1nna import (
    DistanceMatrix,
    OneNearestNeighbor,
    coverage,
    minimum_matching_distance,
    one_nearest_neighbor,
    permutation_p_value,
    pool_labels,
    pooled_nearest,
)


@dataclass(frozen=True)
class Scale:
    """How a kind of distance is printed. factor: from the value to the unit. variant: the exact definition."""

    factor: float
    unit: str
    name: str
    variant: str


SCALES: dict[Distance, Scale] = {
    "cd": Scale(1000.0, "×10⁻³", "CD", "squared, sum of the two means"),
    "emd": Scale(100.0, "×10⁻²", "EMD", "exact assignment, mean Euclidean distance"),
    "emd_approx": Scale(100.0, "×10⁻²", "EMD≈", "approxmatch, mean Euclidean distance"),
    "lfd": Scale(1.0, "", "LFD", "35 region + 10 contour coefficients, 10 × 10 light fields"),
}


@dataclass(frozen=True)
class Matrices:
    """Distances of one kind: references × generated shapes, and inside each of the two sets."""

    between: DistanceMatrix
    references: Tensor
    generated: Tensor


def set_values(kind: Distance, matrices: Matrices) -> dict[str, float]:
    """MMD, COV and 1-NNA in printed units by metric name, for a baseline."""
    values = point_values(kind, matrices.between)
    accuracy = _accuracy(matrices)
    values[f"one_nna_{kind}"] = 100 * accuracy.overall
    values[f"one_nna_{kind}_references"] = 100 * accuracy.references
    values[f"one_nna_{kind}_generated"] = 100 * accuracy.generated
    return values


def point_values(kind: Distance, between: DistanceMatrix) -> dict[str, float]:
    """MMD and COV in printed units by metric name."""
    return {
        f"mmd_{kind}": SCALES[kind].factor * minimum_matching_distance(between),
        f"cov_{kind}": 100 * coverage(between),
    }


def set_metrics(kind: Distance, matrices: Matrices, seconds: float) -> list[Metric]:
    """MMD, COV, 1-NNA with both halves and its p-value. seconds: the time of the distances, charged to the first."""
    scale, between = SCALES[kind], matrices.between
    references, generated = between.num_references, between.num_generated
    if not bool(torch.isfinite(between.values).any()):
        reason = "no generated shape has a usable surface"
        names = (("mmd", "MMD"), ("cov", "COV"), ("one_nna", "1-NNA"))
        return [Metric(name=f"{n}_{kind}", title=f"{t}-{scale.name}", status="failed", reason=reason) for n, t in names]
    start = time.perf_counter()
    mmd_each, _ = between.nearest_generated()
    metrics = [
        Metric(
            name=f"mmd_{kind}",
            title=f"MMD-{scale.name}",
            value=scale.factor * minimum_matching_distance(between),
            unit=scale.unit,
            interval=scaled(bootstrap_mean(mmd_each), scale.factor),
            n=references,
            reason=scale.variant,
            seconds=seconds,
        )
    ]
    cov = 100 * coverage(between)
    spread = subsample(lambda r, g: 100 * coverage(between.select(r, g)), references, generated, value=cov)
    metrics.append(
        Metric(
            name=f"cov_{kind}",
            title=f"COV-{scale.name}",
            value=cov,
            unit="%",
            direction="higher",
            interval=clipped(spread, 0, 100),
            n=references,
            seconds=time.perf_counter() - start,
        )
    )
    return metrics + _nna_metrics(kind, matrices)


def _nearest(matrices: Matrices, references: Tensor | None = None, generated: Tensor | None = None) -> Tensor:
    """`pooled_nearest` [R + G] of all shapes, or of the given rows of both sets."""
    inside_r, inside_g = matrices.references, matrices.generated
    if references is not None:
        inside_r = inside_r[references][:, references]
    if generated is not None:
        inside_g = inside_g[generated][:, generated]
    return pooled_nearest(matrices.between.select(references, generated), inside_r, inside_g)


def _accuracy(
    matrices: Matrices, references: Tensor | None = None, generated: Tensor | None = None
) -> OneNearestNeighbor:
    """The accuracy among all shapes, or among the given rows of both sets."""
    nearest = _nearest(matrices, references, generated)
    count = matrices.between.num_references if references is None else references.numel()
    return one_nearest_neighbor(nearest, pool_labels(count, nearest.numel() - count))


def _nna_metrics(kind: Distance, matrices: Matrices) -> list[Metric]:
    """1-NNA overall and of each set. The target is what random labels give, which is 50 % for sets of one size."""
    start = time.perf_counter()
    name = SCALES[kind].name
    references, generated = matrices.between.num_references, matrices.between.num_generated
    if min(references, generated) < 2:
        reason = "needs at least two shapes on each side"
        return [Metric(name=f"one_nna_{kind}", title=f"1-NNA-{name}", status="skipped", reason=reason)]
    accuracy = _accuracy(matrices)
    nearest = _nearest(matrices)
    p_value = permutation_p_value(nearest, pool_labels(references, generated))

    def overall(r: Tensor, g: Tensor) -> float:
        return 100 * _accuracy(matrices, r, g).overall

    spread = subsample(overall, references, generated, value=100 * accuracy.overall, draws=50)
    # The expected accuracy of random labels; one half for sets of equal size.
    pool = references + generated
    of_references, of_generated = (100 * (count - 1) / (pool - 1) for count in (references, generated))
    overall_target = (references * of_references + generated * of_generated) / pool
    equal = references == generated
    common: dict[str, Any] = {"unit": "%", "direction": "target", "n": pool}
    return [
        Metric(
            name=f"one_nna_{kind}",
            title=f"1-NNA-{name}",
            value=100 * accuracy.overall,
            target=50.0 if equal else overall_target,
            interval=clipped(spread, 0, 100),
            reason=f"permutation p-value {p_value:.3g}",
            seconds=time.perf_counter() - start,
            **common,
        ),
        *(
            Metric(
                name=f"one_nna_{kind}_{part}",
                title=f"1-NNA-{name}, {part}",
                value=100 * value,
                target=50.0 if equal else target,
                **common,
            )
            for part, value, target in (
                ("references", accuracy.references, of_references),
                ("generated", accuracy.generated, of_generated),
            )
        ),
    ]
