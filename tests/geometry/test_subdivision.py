import math

import pytest
import torch

from geometry.subdivision import subdivide
from geometry.tet_grid import tet_grid, tet_volumes
from tests.geometry.dense import extract
from tests.geometry.fields import sphere
from tests.geometry.measures import euler_number, is_watertight, signed_volume


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
def test_splitting_keeps_volume_and_shapes(layout: str) -> None:
    grid = tet_grid(layout, 4)
    fine = subdivide(grid, torch.where(torch.arange(grid.num_vertices) == grid.center, -1.0, 1.0)).grid
    volumes = tet_volumes(fine.positions.double(), fine.tets)
    coarse = tet_volumes(grid.positions.double(), grid.tets)[0]
    assert torch.allclose(volumes, (coarse / 8).expand_as(volumes), rtol=1e-4)
    lengths = (fine.positions[fine.edges[:, 0]] - fine.positions[fine.edges[:, 1]]).norm(dim=1) / fine.cell
    shapes = {"bcc": [0.75**0.5, 1.0], "kuhn": [1.0, 2**0.5, 3**0.5]}[layout]
    interior = fine.edges[~fine.boundary[fine.edges].any(1)]
    inner = (fine.positions[interior[:, 0]] - fine.positions[interior[:, 1]]).norm(dim=1) / fine.cell
    assert all(min(abs(length - shape) for shape in shapes) < 1e-4 for length in inner.unique().tolist())
    assert lengths.max() < 2


def test_an_averaged_sdf_gives_the_same_surface() -> None:
    grid = tet_grid("bcc", 8)
    sdf = sphere(grid.positions)
    fine = subdivide(grid, sdf)
    before, after = extract(sdf[None], grid).mesh, extract(fine.interpolate(sdf)[None], fine.grid).mesh
    assert is_watertight(after)
    assert euler_number(after) == 2
    assert after.faces.shape[0] > 3 * before.faces.shape[0]
    assert abs(signed_volume(after) / signed_volume(before) - 1) < 1e-4


def test_the_true_sdf_on_the_finer_grids_converges() -> None:
    grid = tet_grid("bcc", 8)
    errors = []
    for _ in range(3):
        sdf = sphere(grid.positions)
        errors.append(1 - signed_volume(extract(sdf[None], grid).mesh) / (4 / 3 * math.pi * 0.35**3))
        grid = subdivide(grid, sdf).grid
    assert 1.7 < math.log2(errors[0] / errors[1]) < 2.3
    assert 1.7 < math.log2(errors[1] / errors[2]) < 2.3


def test_parents_positions_and_the_box() -> None:
    grid = tet_grid("bcc", 3)
    moved = grid.positions + 0.1 * grid.cell * torch.where(grid.free, 1.0, 0.0)
    fine = subdivide(grid, grid.positions[:, 0] - 0.1, moved)
    assert torch.allclose(fine.grid.positions, moved[fine.parents].mean(1), atol=1e-6)
    assert torch.allclose(fine.interpolate(moved.T), fine.grid.positions.T, atol=1e-6)
    on_box = fine.grid.positions.abs() > 0.5 - 1e-6
    assert torch.equal(fine.grid.free, ~on_box)
    assert torch.equal(fine.grid.boundary, on_box.any(1))
    assert fine.grid.cell == grid.cell / 2


def test_no_surface_gives_an_empty_grid_and_a_wrong_size_is_refused() -> None:
    grid = tet_grid("kuhn", 2)
    assert len(subdivide(grid, torch.ones(grid.num_vertices)).grid.tets) == 0
    with pytest.raises(ValueError, match=r"subdivide\(\): expected sdf \[27\], got shape \[1, 27\]"):
        subdivide(grid, torch.ones(1, grid.num_vertices))
