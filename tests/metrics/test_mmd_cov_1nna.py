"""MMD, COV and 1-NNA against brute force on non-square, asymmetric cases."""

import itertools

import pytest
import torch
from torch import Tensor

from metrics.cache import ChunkStore
from metrics.confidence import bootstrap_mean, subsample
from metrics.shapes import distances
from metrics.shapes.distances import ShapeSet, between, within
from metrics.shapes.memorization import memorization
from metrics.shapes.mmd_cov_1nna import (
    DistanceMatrix,
    coverage,
    minimum_matching_distance,
    one_nearest_neighbor,
    permutation_p_value,
    pool_labels,
    pooled_nearest,
)
from torch_utils.ops.chamfer import chamfer_matrix

# 3 references (rows), 5 generated shapes (columns). Swapping the sides changes every number below.
D = DistanceMatrix(
    torch.tensor(
        [
            [1.0, 9.0, 4.0, 7.0, 8.0],
            [6.0, 2.0, 5.0, 3.0, 9.0],
            [7.0, 8.0, 6.0, 9.0, 9.5],
        ]
    )
)


def point_clouds(count: int, points: int = 40, seed: int = 0) -> Tensor:
    return torch.rand(count, points, 3, generator=torch.Generator().manual_seed(seed))


def test_mmd_is_a_mean_over_references() -> None:
    assert minimum_matching_distance(D) == pytest.approx((1 + 2 + 6) / 3)
    assert D.nearest_generated()[1].tolist() == [0, 1, 2]


def test_coverage_counts_references_by_nearest_of_each_generated() -> None:
    # Nearest references of the five: 0, 1, 0, 1, 0. Reference 2 is covered by none.
    assert D.nearest_reference()[1].tolist() == [0, 1, 0, 1, 0]
    assert coverage(D) == pytest.approx(2 / 3)
    assert coverage(DistanceMatrix(D.values.T)) != pytest.approx(2 / 3)


def test_an_empty_generated_shape_covers_nothing_and_is_never_the_nearest() -> None:
    values = torch.cat([D.values, torch.full((3, 1), torch.inf)], 1)
    values[:, 1] = torch.inf
    matrix = DistanceMatrix(values)
    assert matrix.nearest_generated()[1].tolist() == [0, 3, 2]
    assert coverage(DistanceMatrix(torch.full((3, 2), torch.inf))) == 0


def test_a_matrix_refuses_nan_and_other_ranks() -> None:
    with pytest.raises(ValueError, match="expected distances, got NaN"):
        DistanceMatrix(torch.tensor([[torch.nan]]))
    with pytest.raises(ValueError, match=r"expected values \[R, G\]"):
        DistanceMatrix(torch.zeros(3))


def brute_force_nna(references: Tensor, generated: Tensor) -> tuple[float, float, float]:
    points = [(x, False) for x in references.tolist()] + [(x, True) for x in generated.tolist()]
    right = {False: 0, True: 0}
    for i, (x, label) in enumerate(points):
        nearest = min((j for j in range(len(points)) if j != i), key=lambda j: abs(points[j][0] - x))
        right[label] += points[nearest][1] == label
    n, m = len(references), len(generated)
    return (right[False] + right[True]) / (n + m), right[False] / n, right[True] / m


def test_one_nearest_neighbor_against_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    references = torch.rand(7, generator=generator, dtype=torch.float64)
    generated = torch.rand(12, generator=generator, dtype=torch.float64) * 0.6
    cross = DistanceMatrix((references[:, None] - generated).abs())
    inside = [(x[:, None] - x).abs() for x in (references, generated)]
    nearest = pooled_nearest(cross, *inside)
    found = one_nearest_neighbor(nearest, pool_labels(7, 12))
    assert (found.overall, found.references, found.generated) == pytest.approx(brute_force_nna(references, generated))


def test_pooled_nearest_refuses_swapped_sides() -> None:
    with pytest.raises(ValueError, match=r"expected within_references \[3, 3\], got \[5, 5\]"):
        pooled_nearest(D, torch.zeros(5, 5), torch.zeros(3, 3))


def test_an_empty_shape_is_not_its_own_neighbor() -> None:
    cross = DistanceMatrix(torch.tensor([[1.0, torch.inf], [2.0, torch.inf]]))
    nearest = pooled_nearest(cross, torch.tensor([[0.0, 5.0], [5.0, 0.0]]), torch.full((2, 2), torch.inf))
    assert nearest[:3].tolist() == [2, 2, 0]
    assert nearest[3] != 3


def test_permutation_p_value() -> None:
    labels = pool_labels(20, 20)
    apart = torch.tensor([i ^ 1 for i in range(40)])  # neighbors inside either set
    mixed = torch.tensor([(i + 20) % 40 for i in range(40)])  # neighbors always across
    assert permutation_p_value(apart, labels) < 0.01
    assert permutation_p_value(mixed, labels) == 1.0


def brute_force_chamfer(x: Tensor, y: Tensor) -> float:
    d = [[float(((a - b).double() ** 2).sum()) for b in y] for a in x]
    return sum(map(min, d)) / len(d) + sum(min(column) for column in zip(*d, strict=True)) / len(d[0])


def test_chamfer_matrix_against_brute_force() -> None:
    references, generated = point_clouds(3, 11), point_clouds(4, 17, seed=1)
    found = chamfer_matrix(references, generated)
    for r, g in itertools.product(range(3), range(4)):
        assert float(found[r, g]) == pytest.approx(brute_force_chamfer(references[r], generated[g]), rel=1e-5)


def test_stored_blocks_equal_one_call_and_are_reused(tmp_path) -> None:
    references, generated = ShapeSet("r", point_clouds(37)), ShapeSet("g", point_clouds(41, seed=1))
    generated.points[3] = torch.nan
    store = ChunkStore(tmp_path)
    cross = between("cd", references, generated, store).values
    inside = within("cd", references, store)
    expected = chamfer_matrix(references.points, generated.points)
    torch.testing.assert_close(cross, expected)
    torch.testing.assert_close(inside, chamfer_matrix(references.points, references.points))
    assert torch.isinf(cross[:, 3]).all()
    assert store.computed == 4
    again = ChunkStore(tmp_path)
    assert torch.equal(between("cd", references, generated, again).values, cross)
    assert (again.computed, again.reused) == (0, 2)


def test_a_torn_block_is_computed_again(tmp_path) -> None:
    store = ChunkStore(tmp_path)
    side = ShapeSet("r", point_clouds(5))
    expected = within("cd", side, store)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    again = ChunkStore(tmp_path)
    assert torch.equal(within("cd", side, again), expected)
    assert again.computed == 1


def test_a_changed_key_is_not_mistaken_for_the_old_one(tmp_path) -> None:
    store = ChunkStore(tmp_path)
    first = within("cd", ShapeSet("one", point_clouds(4)), store)
    assert not torch.equal(within("cd", ShapeSet("two", point_clouds(4, seed=5)), store), first)


def test_emd_rows_do_not_change_the_result(tmp_path) -> None:
    side = ShapeSet("r", point_clouds(5, 12))
    inside = within("emd", side, ChunkStore(tmp_path), emd_points=12)
    cross = between("emd", side, ShapeSet("g", side.points), ChunkStore(tmp_path), emd_points=12).values
    torch.testing.assert_close(inside, cross)


def test_memorization() -> None:
    training = torch.tensor([0.0, 1.0, 5.0, 9.0])
    generated = torch.tensor([0.1, 3.0, 9.0])
    cross = DistanceMatrix((training[:, None] - generated).abs())
    found = memorization(cross, (training[:, None] - training).abs())
    assert found.index.tolist() == [0, 1, 3]
    # 0.1 is a copy: it is nearer to 0 than 1 is. 3 is farther from 1 than 0 is. 9 is a training shape itself.
    assert found.authentic.tolist() == [False, True, False]
    assert found.authentic_share == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="with at least 2"):
        memorization(DistanceMatrix(torch.zeros(1, 3)), torch.zeros(1, 1))


def test_bootstrap_holds_the_mean_and_narrows() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 3
    wide, narrow = bootstrap_mean(values[:40]), bootstrap_mean(values)
    assert wide is not None and narrow is not None
    assert narrow.low < float(values.mean()) < narrow.high
    assert narrow.high - narrow.low == pytest.approx(4 * 1.96 / 400**0.5 / 2, rel=0.25)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert bootstrap_mean(values[:1]) is None


def test_subsampling_finds_the_spread_of_a_mean() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    interval = subsample(
        lambda r, g: float(values[r].mean()), 200, 200, value=float(values.mean()), draws=400, fraction=0.5
    )
    assert interval is not None
    expected = 2 * 1.96 * float(values.std()) / 200**0.5
    assert interval.high - interval.low == pytest.approx(expected, rel=0.15)
    assert subsample(lambda r, g: 0.0, 3, 200, value=0.0) is None


def test_distances_run_on_cuda_only_where_its_kernels_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda", 0)
    for built, expected in ((True, cuda), (False, torch.device("cpu"))):
        monkeypatch.setattr(distances, "available", lambda device_type, built=built: built and device_type == "cuda")
        assert distances.distance_device(cuda) == expected
        assert distances.distance_device(torch.device("cpu")) == torch.device("cpu")
