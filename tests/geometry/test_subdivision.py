import math

import pytest
import torch
from torch import Tensor

from geometry.extraction import ExtractedSurface, build_surface, find_surface
from geometry.subdivided_extraction import find_midpoints, find_subdivided_surface, midpoint_vertices
from geometry.subdivision import SubdividedGrid, subdivided, subdivided_on
from geometry.tet_grid import TetGrid, tet_grid
from geometry.topology import count_components, count_degenerate_faces
from tests.geometry.dense import extract
from tests.geometry.fields import noise, sphere, torus
from tests.geometry.measures import euler_number, is_watertight, signed_volume, singular_vertices
from tests.geometry.tets import tet_volumes
from torch_utils.ops.subdivided_tets import subdivide_tables


def extract_subdivided(
    sdf: Tensor, grid: SubdividedGrid, deformation: Tensor | None = None, *, connected: bool = False
) -> ExtractedSurface:
    """Meshes of an SDF [B, V + E] and a deformation [B, V + E, 3], differentiable in both."""
    vertices, edges = grid.coarse.num_vertices, grid.coarse.edges.shape[0]
    coarse = find_midpoints(sdf[:, :vertices], grid, connected=connected)
    rows = coarse.near.ids // edges * grid.num_vertices + midpoint_vertices(coarse, grid)
    found = find_subdivided_surface(coarse, sdf.reshape(-1)[rows], grid)
    moved = None if deformation is None else deformation.reshape(-1, 3)[found.active]
    return build_surface(found, grid, sdf.reshape(-1)[found.active], moved)


def subdivided_grid(layout: str, cells: int) -> SubdividedGrid:
    return subdivided_on(layout, cells, 1.0, torch.device("cpu"))


def explicit_grid(grid: SubdividedGrid) -> TetGrid:
    """The whole subdivided grid as a tet grid."""
    tets, edges, tet_edges = subdivide_tables(grid.tables)
    boundary = ~grid.free.all(1)
    return TetGrid(grid.positions, tets, edges, tet_edges, boundary, grid.free, grid.coarse.center, grid.cell)


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
def test_splitting_keeps_volume_shapes_and_connectivity(layout: str) -> None:
    coarse = tet_grid(layout, 4)
    fine = explicit_grid(subdivided(coarse))
    volumes = tet_volumes(fine.positions.double(), fine.tets)
    assert torch.allclose(volumes, torch.tensor(1 / len(coarse.tets) / 8).double().expand_as(volumes), rtol=1e-4)
    ends = fine.edges[fine.tet_edges.long()].sort(-1).values
    assert torch.equal(
        ends, fine.tets[:, torch.tensor([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])].sort(-1).values
    )
    assert len(fine.edges.unique(dim=0)) == len(fine.edges)
    within = fine.positions.abs().amax(1) < 0.5 - 1.01 * coarse.cell  # pyramids on the boundary have other shapes
    interior = fine.edges[within[fine.edges].all(1)]
    inner = (fine.positions[interior[:, 0]] - fine.positions[interior[:, 1]]).norm(dim=1) / fine.cell
    shapes = {"bcc": [0.75**0.5, 1.0], "kuhn": [1.0, 2**0.5, 3**0.5]}[layout]
    assert all(min(abs(length - shape) for shape in shapes) < 1e-4 for length in inner.unique().tolist())


def test_deformation_of_a_fifth_flips_no_tetrahedron_away_from_the_boundary() -> None:
    coarse = tet_grid("bcc", 4)
    fine = explicit_grid(subdivided(coarse))
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 2, (50, *fine.positions.shape), generator=generator) * 2.0 - 1
    moved = fine.positions + 0.2 * fine.cell * corners * fine.free
    within = fine.positions[fine.tets.long()].abs().amax((1, 2)) < 0.5 - 0.51 * coarse.cell
    assert (tet_volumes(moved.double(), fine.tets[within]) > 0).all()


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
def test_an_interpolated_sdf_gives_the_same_surface(layout: str) -> None:
    grid = subdivided_grid(layout, 8)
    sdf = sphere(grid.coarse.positions)
    fine = torch.cat([sdf, sdf[grid.coarse.edges].mean(1)])
    before, after = extract(sdf[None], grid.coarse).mesh, extract_subdivided(fine[None], grid).mesh
    assert is_watertight(after)
    assert euler_number(after) == 2
    assert after.faces.shape[0] > 3 * before.faces.shape[0]
    assert abs(signed_volume(after) / signed_volume(before) - 1) < 1e-4


def test_the_true_sdf_at_the_midpoints_quarters_the_error() -> None:
    errors = []
    for cells in (8, 16):
        grid = subdivided_grid("bcc", cells)
        sdf = sphere(grid.positions)[None]
        for mesh in (extract(sdf[:, : grid.coarse.num_vertices], grid.coarse).mesh, extract_subdivided(sdf, grid).mesh):
            errors.append(1 - signed_volume(mesh) / (4 / 3 * math.pi * 0.35**3))
    assert all(1.7 < math.log2(coarse / fine) < 2.3 for coarse, fine in (errors[:2], errors[2:]))
    assert abs(errors[1] / errors[2] - 1) < 0.05  # as good as twice the cells


def test_equals_marching_tetrahedra_on_the_whole_subdivided_grid() -> None:
    grid = subdivided_grid("bcc", 6)
    sdf = torch.stack([sphere(grid.positions), torus(grid.positions)])
    near, whole = extract_subdivided(sdf, grid).mesh, extract(sdf, explicit_grid(grid)).mesh
    assert torch.equal(near.vertices, whole.vertices)
    assert torch.equal(near.faces, whole.faces)


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
@pytest.mark.parametrize("seed", range(3))
def test_any_signs_at_vertices_and_midpoints_give_a_closed_manifold(layout: str, seed: int) -> None:
    """Also where midpoints have other signs than both ends: no crack towards the part that is not subdivided."""
    grid = subdivided_grid(layout, 5)
    sparse = noise(grid.positions, seed) + torch.where(
        torch.arange(grid.num_vertices) < grid.coarse.num_vertices, 1.5, 0.0
    )
    moved = (noise(grid.positions[:, :, None].expand(-1, -1, 1), seed + 9)).sigmoid().mul(2).sub(1).squeeze(-1)
    for sdf in (noise(grid.positions, seed), sparse, -sparse):
        mesh = extract_subdivided(sdf[None], grid, moved[None] * 0.2 * grid.cell).mesh
        assert is_watertight(mesh)
        assert singular_vertices(mesh) == 0
        assert count_degenerate_faces(mesh) == 0


def test_one_component_stays_one() -> None:
    grid = subdivided_grid("bcc", 8)
    x = grid.positions
    balls = torch.minimum(
        (x - torch.tensor([0.16, 0, 0])).norm(dim=1) - 0.13, (x + torch.tensor([0.16, 0, 0])).norm(dim=1) - 0.13
    )
    sdf = balls + 0.15 * noise(x) * (torch.arange(len(x)) >= grid.coarse.num_vertices)
    assert count_components(extract_subdivided(sdf[None], grid).mesh) > 1
    assert count_components(extract_subdivided(sdf[None], grid, connected=True).mesh) == 1


def test_batch_of_eight_equals_eight_batches_of_one_bitwise() -> None:
    grid = subdivided_grid("bcc", 6)
    sdf = torch.stack([sphere(grid.positions, 0.1 + 0.04 * b) for b in range(7)] + [torch.ones(grid.num_vertices)])
    batch = extract_subdivided(sdf, grid)
    for b in range(8):
        one = extract_subdivided(sdf[b : b + 1], grid)
        assert torch.equal(batch.mesh[b].vertices, one.mesh.vertices)
        assert torch.equal(batch.mesh[b].faces, one.mesh.faces)
        assert batch.empty[b] == one.empty[0]
        assert is_watertight(one.mesh)


def test_gradient_of_the_volume_is_the_area_and_reaches_midpoints() -> None:
    grid = subdivided_grid("bcc", 10)
    sdf = sphere(grid.positions.double(), 0.3)[None].requires_grad_()
    mesh = extract_subdivided(sdf, grid).mesh
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    ((a * torch.linalg.cross(b, c)).sum() / 6).backward()
    assert sdf.grad is not None
    assert abs(sdf.grad.sum().item() / (-4 * math.pi * 0.09) - 1) < 0.02
    assert sdf.grad[0, : grid.coarse.num_vertices].any()
    assert sdf.grad[0, grid.coarse.num_vertices :].any()


def test_a_midpoint_that_is_not_a_number_takes_the_mean() -> None:
    grid = subdivided_grid("bcc", 6)
    sdf = sphere(grid.positions)[None]
    broken = sdf.clone()
    broken[:, grid.coarse.num_vertices :] = float("nan")
    mean = torch.cat(
        [sdf[0, : grid.coarse.num_vertices], sdf[0, : grid.coarse.num_vertices][grid.coarse.edges].mean(1)]
    )
    assert torch.equal(
        extract_subdivided(broken, grid).mesh.vertices, extract_subdivided(mean[None], grid).mesh.vertices
    )


def test_midpoints_are_a_small_part_of_the_grid() -> None:
    grid = subdivided_grid("bcc", 20)
    coarse = find_midpoints(sphere(grid.coarse.positions)[None], grid)
    assert len(coarse.near.ids) < 0.25 * grid.coarse.edges.shape[0]
    found = find_surface(sphere(grid.coarse.positions)[None], grid.coarse)
    ends = grid.coarse.edges[coarse.near.ids]
    assert torch.isin(ends, found.active.int()).any(1).all()
