"""Each kind of failure is caught by the score that should catch it, on sets with a known answer."""

import math

import pytest
import torch
from torch import Tensor

from metrics.shapes.memorization import memorization
from metrics.shapes.mmd_cov_1nna import (
    DistanceMatrix,
    coverage,
    minimum_matching_distance,
    one_nearest_neighbor,
    pool_labels,
    pooled_nearest,
)
from torch_utils.ops.chamfer import chamfer_matrix

COUNT, POINTS = 80, 96


def boxes(count: int, seed: int) -> Tensor:
    """Point clouds on boxes of random sides: a family with three parameters."""
    generator = torch.Generator().manual_seed(seed)
    sides = 0.2 + 0.8 * torch.rand(count, 1, 3, generator=generator)
    points = torch.rand(count, POINTS, 3, generator=generator) - 0.5
    face = torch.randint(3, (count, POINTS, 1), generator=generator)
    on_face = points.scatter(2, face, points.gather(2, face).sign() * 0.5)
    return on_face * sides


def scores(generated: Tensor, references: Tensor) -> tuple[float, float, float]:
    """MMD, COV, 1-NNA."""
    cross = DistanceMatrix(chamfer_matrix(references, generated))
    nearest = pooled_nearest(
        cross,
        chamfer_matrix(references, references),
        chamfer_matrix(generated, generated),
    )
    accuracy = one_nearest_neighbor(nearest, pool_labels(len(references), len(generated)))
    return minimum_matching_distance(cross), coverage(cross), accuracy.overall


@pytest.fixture(scope="module")
def references() -> Tensor:
    return boxes(COUNT, 0)


@pytest.fixture(scope="module")
def ideal(references: Tensor) -> tuple[float, float, float]:
    return scores(boxes(COUNT, 1), references)


def test_half_against_half_is_near_the_theory(ideal: tuple[float, float, float]) -> None:
    # If each generated shape chose a reference at random, 1 − 1/e of them would be covered; neighborhoods of unequal
    # size lower that. 1-NNA is a mean of 2·COUNT coin tosses.
    _, cov, accuracy = ideal
    assert 0.45 < cov < 1 - 1 / math.e + 0.05
    assert abs(accuracy - 0.5) < 3 * 0.5 / math.sqrt(2 * COUNT) + 0.02


def test_collapse_is_caught_by_coverage_and_one_nna(references: Tensor, ideal: tuple[float, float, float]) -> None:
    collapsed = boxes(1, 2).expand(COUNT, -1, -1) + 0.002 * torch.randn(
        COUNT, POINTS, 3, generator=torch.Generator().manual_seed(0)
    )
    mmd, cov, accuracy = scores(collapsed, references)
    assert cov < 0.1 and cov < ideal[1] / 4
    assert accuracy > 0.95
    assert mmd > 2 * ideal[0]


def test_noise_is_caught_by_mmd_and_one_nna(references: Tensor, ideal: tuple[float, float, float]) -> None:
    noisy = boxes(COUNT, 1) + 0.15 * torch.randn(COUNT, POINTS, 3, generator=torch.Generator().manual_seed(0))
    mmd, _, accuracy = scores(noisy, references)
    assert mmd > 1.5 * ideal[0]
    assert accuracy > ideal[2] + 0.3


def test_memorization_is_caught_by_authenticity_alone(ideal: tuple[float, float, float]) -> None:
    training, references = boxes(COUNT, 1), boxes(COUNT, 0)
    jitter = 0.001 * torch.randn(COUNT, POINTS, 3, generator=torch.Generator().manual_seed(0))
    copies, fresh = training + jitter, boxes(COUNT, 3)
    # Copies of the training set score like a perfect generator …
    mmd, cov, accuracy = scores(copies, references)
    assert mmd < 1.1 * ideal[0] and cov > 0.9 * ideal[1] and abs(accuracy - 0.5) < 0.15
    # … but their distance to the training set reveals them.
    inside = chamfer_matrix(training, training)
    assert memorization(DistanceMatrix(chamfer_matrix(training, copies)), inside).authentic_share < 0.05
    assert memorization(DistanceMatrix(chamfer_matrix(training, fresh)), inside).authentic_share > 0.4


def test_repeating_the_best_training_shape_covers_one_reference(references: Tensor) -> None:
    cross = DistanceMatrix(chamfer_matrix(references, boxes(COUNT, 1)))
    best = int(cross.values.mean(0).argmin())
    alone = DistanceMatrix(cross.values[:, best : best + 1])
    assert coverage(alone) == pytest.approx(1 / COUNT)
    assert minimum_matching_distance(alone) == pytest.approx(float(cross.values.mean(0).min()))
