"""`connect_components` on vertices in a line or a cross, and on noise."""

import math
from itertools import product

import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geometry.tet_grid import tet_grid
from torch_utils.ops.connect_components import connect_components, connect_components_reference


def line(values: list[float], blocked: tuple[int, ...] = (), step: float = 0.0) -> list[float]:
    """`connect_components` on a line of vertices, depth 9."""
    count = len(values)
    edges = torch.stack([torch.arange(count - 1), torch.arange(1, count)], -1).int()
    closed = torch.zeros(count, dtype=torch.bool)
    closed[list(blocked)] = True
    return connect_components(torch.tensor([values], dtype=torch.float32), edges, closed, 9, step)[0].tolist()


def count_components(sdf: Tensor, edges: Tensor) -> int:
    inside = (sdf < 0).nonzero()[:, 0]
    both = edges[(sdf[edges.long()] < 0).all(1)].numpy()
    graph = coo_matrix(([1] * len(both), both.T), shape=(len(sdf), len(sdf)))
    _, labels = connected_components(graph, directed=False)
    return len(set(labels[inside.numpy()].tolist()))


def test_a_gap_is_bridged_and_nothing_else_changes() -> None:
    assert line([1, -2, -2, 0.5, -3, 4]) == [1, -2, -2, -9, -3, 4]


def test_a_floater_that_is_cheaper_to_remove_disappears() -> None:
    assert line([1, -2, -2, 0.5, 0.5, -0.25, 4]) == [1, -2, -2, 0.5, 0.5, 9, 4]


def test_the_largest_component_stays_however_shallow() -> None:
    assert line([-0.125, -0.125, 3, -2]) == [-0.125, -0.125, 3, 9]


def test_vertices_that_cost_nothing_do_not_lead_in_circles() -> None:
    # From vertex 6 by 5 (which costs 1) to 2, 3 and 4, which cost nothing and are neighbors of one another; then to 0.
    values = torch.tensor([[-2.0, 9, 0, 0, 0, 1, -4, -4]])
    edges = torch.tensor([[0, 2], [2, 3], [2, 4], [3, 4], [3, 5], [4, 5], [5, 6], [6, 7], [1, 0]]).int()
    closed = torch.zeros(8, dtype=torch.bool)
    for function in (connect_components, connect_components_reference):
        connected = function(values, edges, closed, 9, 0.0)
        assert count_components(connected[0], edges) == 1
        assert connected[0, [2, 5]].tolist() == [-9, -9]


def test_a_step_makes_long_bridges_expensive() -> None:
    values = [-2.0, -2, 0, 0, 0, -1]
    assert line(values) == [-2, -2, -9, -9, -9, -1]
    assert line(values, step=0.25) == [-2, -2, -9, -9, -9, -1]
    assert line(values, step=0.5) == [-2, -2, 0, 0, 0, 9]


def test_no_bridge_passes_through_a_blocked_vertex() -> None:
    assert line([-2, -2, 0.5, -3], blocked=(2,)) == [-2, -2, 0.5, 9]


def test_components_connect_nearest_first_and_count_together() -> None:
    # The middle component alone is not worth its bridge; together with the heavy one behind it, it is.
    assert line([-1, -1, -1, 2, -1, 2, -9]) == [-1, -1, -1, -9, -1, -9, -9]
    assert line([-1, -1, -1, 2, -1, 2, -2]) == [-1, -1, -1, 2, 9, 2, 9]


def test_a_component_connected_to_a_bridge_counts_for_it() -> None:
    # 0 1 2 – 3 – 4 – 5, and 6 next to 3: vertex 6 connects first, through 3; then 5 connects to 3 and pays for 6 too.
    values = torch.tensor([[-5, -5, -5, 1, 0.25, -3, -0.5]])
    edges = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [3, 6]]).int()
    connected = connect_components(values, edges, torch.zeros(7, dtype=torch.bool), 9)
    assert connected[0].tolist() == [-5, -5, -5, -9, -9, -3, -0.5]


def test_samples_of_at_most_one_component_are_returned_unchanged() -> None:
    for values in ([1.0, 2, 3], [-1.0, -2, -3], [math.nan, -1, -0.0, 2], [math.inf, -math.inf, 1]):
        before = torch.tensor([values], dtype=torch.float32)
        edges = torch.tensor([[0, 1], [1, 2], [2, 3]][: len(values) - 1]).int()
        after = connect_components(before, edges, torch.zeros(len(values), dtype=torch.bool), 1)
        assert torch.equal(after.view(torch.int32), before.view(torch.int32))


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3])
def test_noise_becomes_one_component_inside_the_box(layout: str, share: float) -> None:
    grid = tet_grid(layout, 7)
    sdf = torch.rand(4, grid.num_vertices, generator=torch.Generator().manual_seed(0)) - share
    sdf[:, grid.boundary] = 0.1
    connected = connect_components(sdf, grid.edges, grid.boundary, 0.5, 0.05)
    for before, after in zip(sdf, connected, strict=True):
        assert count_components(before, grid.edges) > 1
        assert count_components(after, grid.edges) == 1
        assert (after[grid.boundary] >= 0).all()
        changed = after != before
        assert torch.equal(after[changed] < 0, before[changed] >= 0)


def test_no_other_choice_of_bridges_is_cheaper_on_a_line() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(40):
        # On a line the tree of components is the line itself, so every outcome can be tried: which gaps are bridged.
        gaps, weights = torch.rand(2, 5, generator=generator).tolist()
        values = [-5.0, -5, -5]
        for gap, weight in zip(gaps, weights, strict=True):
            values += [gap, -weight]
        changed = torch.tensor(line(values)) != torch.tensor(values)
        cost = sum(abs(v) for v, moved in zip(values, changed.tolist(), strict=True) if moved)
        best = min(sum(gaps[:kept]) + sum(weights[kept:]) for kept in range(6))
        assert cost == pytest.approx(best, abs=1e-6)


def test_the_reference_agrees_on_ties() -> None:
    grid = tet_grid("bcc", 3)
    for seed, step in product(range(8), (0.0, 0.5)):
        generator = torch.Generator().manual_seed(seed)
        sdf = torch.randint(-1, 3, (2, grid.num_vertices), generator=generator).double()
        inputs = (sdf, grid.edges, grid.boundary, 0.5, step)
        assert torch.equal(connect_components(*inputs), connect_components_reference(*inputs))


def test_no_gradient_passes_and_the_device_stays() -> None:
    sdf = torch.tensor([[-1.0, 1.0]]).requires_grad_()
    connected = connect_components(sdf, torch.tensor([[0, 1]]).int(), torch.zeros(2, dtype=torch.bool), 1)
    assert connected.device == sdf.device
    assert not connected.requires_grad
