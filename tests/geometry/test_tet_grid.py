import itertools
import time

import numpy as np
import pytest
import torch

from geometry.tet_grid import TET_EDGES, connect, tet_grid
from tests.geometry.tets import flipped_share, tet_volumes

# cells: vertices, tetrahedra, edges
BCC_COUNTS = {
    26: (37259, 210912, 252226),
    28: (46341, 263424, 314468),
    32: (68705, 393216, 468064),
    36: (97309, 559872, 664956),
    40: (132921, 768000, 910520),
}
LAYOUTS = [("bcc", 1), ("bcc", 2), ("bcc", 5), ("kuhn", 1), ("kuhn", 4)]


@pytest.mark.parametrize("cells", BCC_COUNTS)
def test_counts(cells: int) -> None:
    grid = tet_grid("bcc", cells)
    vertices, tets, edges = BCC_COUNTS[cells]
    assert (grid.num_vertices, len(grid.tets), len(grid.edges)) == (vertices, tets, edges)
    # Around every inner face four tetrahedra, on every face of the boundary two.
    assert tets == 12 * cells**2 * (cells - 1) + 12 * cells**2
    assert vertices == (cells + 1) ** 3 + cells**3


@pytest.mark.parametrize(("layout", "cells"), LAYOUTS)
def test_fills_the_box_with_positive_congruent_volumes(layout: str, cells: int) -> None:
    grid = tet_grid(layout, cells, 1.5)
    volumes = tet_volumes(grid.positions.double(), grid.tets)
    expected = grid.cell**3 / (12 if layout == "bcc" else 6)
    assert torch.allclose(volumes, torch.full_like(volumes, expected), rtol=1e-5)
    assert abs(volumes.sum().item() / 1.5**3 - 1) < 1e-6
    assert grid.positions.amin(0).tolist() == [-0.75] * 3
    assert grid.positions.amax(0).tolist() == [0.75] * 3
    for axis in range(3):  # mirrored vertices have exactly mirrored coordinates
        assert torch.equal(grid.positions[:, axis].unique(), -grid.positions[:, axis].unique().flip(0))


@pytest.mark.parametrize(("layout", "cells"), LAYOUTS)
def test_faces_meet_exactly_and_outer_ones_lie_on_the_box(layout: str, cells: int) -> None:
    grid = tet_grid(layout, cells)
    tets = grid.tets.numpy()
    triples = np.sort(np.concatenate([tets[:, list(c)] for c in itertools.combinations(range(4), 3)]), 1)
    faces, uses = np.unique(triples, axis=0, return_counts=True)
    assert set(uses) <= {1, 2}
    outer = faces[uses == 1]
    assert len(outer) == 12 * cells**2
    corners = grid.positions.numpy()[outer]
    same = (corners == corners[:, :1]).all(1) & (np.abs(corners[:, 0]) == 0.5)
    assert same.any(1).all()
    assert grid.boundary.numpy()[outer].all()
    assert torch.equal(grid.boundary, (grid.positions.abs() == 0.5).any(1))
    assert torch.equal(grid.free, grid.positions.abs() < 0.5)
    assert int(grid.boundary.sum()) == (cells + 1) ** 3 - max(cells - 1, 0) ** 3


@pytest.mark.parametrize(("layout", "cells"), LAYOUTS)
def test_edges_are_unique_sorted_and_match_the_table(layout: str, cells: int) -> None:
    grid = tet_grid(layout, cells)
    edges = grid.edges.long()
    assert (edges[:, 0] < edges[:, 1]).all()
    keys = edges[:, 0] * grid.num_vertices + edges[:, 1]
    assert (keys.diff() > 0).all()
    pairs = grid.tets[:, torch.tensor(TET_EDGES)].sort(-1).values
    assert torch.equal(grid.edges[grid.tet_edges], pairs)
    assert len(grid.tet_edges.unique()) == len(grid.edges)


def test_connect_of_two_tetrahedra() -> None:
    points = np.array([[0, 0, 0], [0, 0, 2], [0, 2, 0], [2, 0, 0], [2, 2, 2]])
    edges, tet_edges = connect(points, np.array([[0, 1, 2, 3], [3, 1, 2, 4]]))
    assert edges.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]]
    assert tet_edges.tolist() == [[0, 1, 2, 3, 4, 6], [4, 6, 8, 3, 5, 7]]


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
@pytest.mark.parametrize("cells", [3, 6])
def test_cubic_grids_say_where_the_vertices_lie(layout: str, cells: int) -> None:
    grid = tet_grid(layout, cells, 2.0)
    rebuilt = []
    for cubic in grid.cubic_grids:
        assert cubic.start == sum(len(part) for part in rebuilt)
        axis = cubic.first + cubic.step * torch.arange(cubic.side)
        rebuilt.append(torch.cartesian_prod(axis, axis, axis))
    assert torch.allclose(torch.cat(rebuilt), grid.positions, atol=1e-6)


@pytest.mark.parametrize(("layout", "cells"), [*LAYOUTS, ("bcc", 4), ("bcc", 7)])
def test_center_is_the_vertex_nearest_to_the_origin(layout: str, cells: int) -> None:
    grid = tet_grid(layout, cells)
    distance = grid.positions.norm(dim=1)
    assert distance[grid.center] == distance.min()
    if layout == "bcc":
        assert distance[grid.center] == 0


def test_no_deformation_below_a_quarter_of_a_cell_flips_a_tetrahedron() -> None:
    # The volume is linear in each coordinate, so its least value over a box of movements is at a corner of that box.
    grid = tet_grid("bcc", 3)
    signs = torch.tensor(list(itertools.product([-1, 1], repeat=12)), dtype=torch.float64).view(-1, 4, 3)
    local = torch.arange(4)[None]
    shapes = torch.cat([grid.positions[grid.tets].diff(dim=1), grid.free[grid.tets]], 1).flatten(1)
    _, index = (shapes * 100).round().unique(dim=0, return_inverse=True)
    representatives = torch.stack([(index == shape).nonzero()[0, 0] for shape in index.unique()])
    assert len(representatives) >= 24
    for tet in grid.tets[representatives]:
        corners = grid.positions[tet].double() + 0.249 * grid.cell * signs * grid.free[tet]
        assert (tet_volumes(corners, local) > 0).all()


def test_flipped_share_counts_turned_tetrahedra_and_ignores_fixed_axes() -> None:
    grid = tet_grid("bcc", 4)
    positions = grid.positions.repeat(3, 1, 1)
    positions[1, grid.center] += 0.75 * grid.cell
    positions[2][~grid.free] += 9
    shares = flipped_share(grid, positions)
    assert shares[0] == 0
    assert shares[2] == 0
    turned = (tet_volumes(positions[1], grid.tets) <= 0).sum()
    assert 0 < turned < 24
    assert torch.isclose(shares[1], turned / len(grid.tets))


def test_is_cached_and_fast() -> None:
    assert tet_grid("bcc", 3, 1.0) is tet_grid("bcc", 3, 1.0)
    tet_grid.cache_clear()
    started = time.perf_counter()
    tet_grid("bcc", 40)
    assert time.perf_counter() - started < 5  # about 0.5 s where nothing else runs


def test_to_the_same_device_is_free() -> None:
    grid = tet_grid("kuhn", 2)
    assert grid.to("cpu") is grid


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("fcc", 4, 1.0), "expected layout 'bcc' or 'kuhn', got 'fcc'"),
        (("bcc", 0, 1.0), "expected at least one cell, got 0"),
        (("bcc", 4, 0.0), "expected a box side above 0, got 0.0"),
    ],
)
def test_errors(arguments: tuple, text: str) -> None:
    with pytest.raises(ValueError, match=r"tet_grid\(\): expected") as caught:
        tet_grid(*arguments)
    assert text in str(caught.value)
