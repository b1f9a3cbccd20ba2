import math
from itertools import pairwise

import pytest
import torch

from geometry.extraction import build_surface, find_surface
from geometry.regularizers import fallback_surface_loss
from geometry.tet_grid import TetGrid, tet_grid
from geometry.topology import count_components, count_degenerate_faces, edge_counts
from tests.compare import assert_close, assert_gradient_close
from tests.geometry.dense import extract
from tests.geometry.fields import noise, sphere, torus
from tests.geometry.measures import euler_number, is_watertight, signed_volume, singular_vertices
from torch_utils.ops.loading import use_mode


def deformation(grid: TetGrid, batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, grid.num_vertices, 3, generator=generator) * 2 - 1) * 0.2 * grid.cell


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
def test_sphere_is_closed_outward_and_converges_quadratically(layout: str) -> None:
    radius, errors = 0.35, []
    for cells in (8, 16, 32):
        grid = tet_grid(layout, cells)
        mesh = extract(sphere(grid.positions, radius)[None], grid).mesh
        assert is_watertight(mesh)
        assert euler_number(mesh) == 2
        assert count_components(mesh) == 1
        assert singular_vertices(mesh) == 0
        errors.append(1 - signed_volume(mesh) / (4 / 3 * math.pi * radius**3))
    assert 0 < errors[2] < 0.01
    for coarse, fine in pairwise(errors):
        assert 1.7 < math.log2(coarse / fine) < 2.3


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
def test_torus_has_euler_number_zero(layout: str) -> None:
    grid = tet_grid(layout, 20)
    mesh = extract(torus(grid.positions)[None], grid).mesh
    assert is_watertight(mesh)
    assert euler_number(mesh) == 0
    assert count_components(mesh) == 1
    assert abs(signed_volume(mesh) / (2 * math.pi**2 * 0.28 * 0.01) - 1) < 0.05


@pytest.mark.parametrize("layout", ["bcc", "kuhn"])
def test_any_signs_give_a_closed_manifold_inside_the_box(layout: str) -> None:
    grid = tet_grid(layout, 7)
    mesh = extract(noise(grid.positions)[None], grid, deformation(grid, 1)).mesh
    assert is_watertight(mesh)
    assert singular_vertices(mesh) == 0
    assert count_degenerate_faces(mesh) == 0


def test_without_closing_the_boundary_meshes_are_open_only_at_the_box() -> None:
    grid = tet_grid("bcc", 7)
    mesh = extract(noise(grid.positions)[None], grid, deformation(grid, 1), closed=False).mesh
    counts = edge_counts(mesh)
    assert counts.non_manifold == counts.flipped == 0
    assert counts.boundary > 0
    faces = mesh.faces.long()
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    edges, uses = ends.unique(dim=0, return_counts=True)
    open_vertices = mesh.vertices[edges[uses == 1].reshape(-1)]
    assert (open_vertices.abs().amax(1) > 0.5 - 1e-6).all()


def test_zeros_and_surfaces_through_vertices_leave_no_degenerate_faces() -> None:
    grid = tet_grid("bcc", 8)
    sdf = torch.stack([grid.positions.abs().amax(1) - 0.25, grid.positions.abs().sum(1) - 0.25])
    mesh = extract(sdf, grid).mesh
    for b in range(2):
        assert is_watertight(mesh[b])
        assert count_degenerate_faces(mesh[b]) == 0
    assert abs(signed_volume(mesh[0]) - 0.125) < 2e-3


@pytest.mark.parametrize("mode", ["require", "reference"])
def test_sparse_and_dense_evaluation_agree_bitwise(mode: str) -> None:
    grid = tet_grid("bcc", 9)
    sdf = torch.stack([sphere(grid.positions), torus(grid.positions)])
    moved = deformation(grid, 2)
    with use_mode(mode):
        s, d = sdf.clone().requires_grad_(), moved.clone().requires_grad_()
        dense = extract(s, grid, d)
        dense.mesh.vertices.square().sum().backward()

        found = find_surface(sdf, grid)
        s_active = (sdf.reshape(-1)[found.active] * (1 + 1e-4)).requires_grad_()  # evaluated again, with other rounding
        d_active = moved.reshape(-1, 3)[found.active].requires_grad_()
        sparse = build_surface(found, grid, s_active, d_active)
        sparse.mesh.vertices.square().sum().backward()
    assert torch.equal(dense.mesh.vertices, sparse.mesh.vertices)
    assert torch.equal(dense.mesh.faces, sparse.mesh.faces)
    for ends, column in ((dense.sdf_a, 0), (dense.sdf_b, 1)):
        assert torch.equal(ends, found.values[found.topology.edge_active[:, column]])
    assert torch.equal(dense.sdf_a, sparse.sdf_a)
    assert s.grad is not None
    assert d.grad is not None
    assert_gradient_close(s_active.grad, s.grad.reshape(-1)[found.active], 1e-6)
    assert_gradient_close(d_active.grad, d.grad.reshape(-1, 3)[found.active], 1e-6)
    idle = torch.ones(sdf.numel(), dtype=torch.bool)
    idle[found.active] = False
    assert not s.grad.reshape(-1)[idle].any()


def test_kernel_and_reference_extract_the_same() -> None:
    grid = tet_grid("bcc", 9)
    sdf = torch.stack([sphere(grid.positions), noise(grid.positions)])
    with use_mode("require"):
        kernel = extract(sdf, grid, deformation(grid, 2)).mesh
    with use_mode("reference"):
        reference = extract(sdf, grid, deformation(grid, 2)).mesh
    assert torch.equal(kernel.faces, reference.faces)
    assert_close(kernel.vertices, reference.vertices, 1e-6)


def test_batch_of_eight_equals_eight_batches_of_one_bitwise() -> None:
    grid = tet_grid("bcc", 8)
    sdf = torch.stack([sphere(grid.positions, 0.1 + 0.04 * b) for b in range(7)] + [torch.ones(grid.num_vertices)])
    moved = deformation(grid, 8)
    batch = extract(sdf, grid, moved)
    for b in range(8):
        one = extract(sdf[b : b + 1], grid, moved[b : b + 1])
        assert torch.equal(batch.mesh[b].vertices, one.mesh.vertices)
        assert torch.equal(batch.mesh[b].faces, one.mesh.faces)
        assert batch.empty[b] == one.empty[0]


def test_gradient_of_the_volume_is_the_area() -> None:
    # Raising the SDF everywhere by ε moves the surface inward by ε: dV/dε = −area.
    grid = tet_grid("bcc", 20)
    sdf = sphere(grid.positions.double(), 0.3)[None].requires_grad_()
    mesh = extract(sdf, grid).mesh
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    volume = (a * torch.linalg.cross(b, c)).sum() / 6
    volume.backward()
    assert sdf.grad is not None
    assert abs(sdf.grad.sum().item() / (-4 * math.pi * 0.09) - 1) < 0.02


def test_gradcheck_of_extracted_vertices() -> None:
    grid = tet_grid("bcc", 2)
    sdf = sphere(grid.positions.double(), 0.3)[None] + 0.02 * noise(grid.positions).double()
    moved = deformation(grid, 1).double()
    leaves = (sdf.requires_grad_(), moved.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, d: extract(s, grid, d).mesh.vertices, leaves, eps=1e-7, atol=1e-5)


def test_replaced_vertices_pass_no_gradient() -> None:
    grid = tet_grid("bcc", 6)
    sdf = torch.stack([torch.ones(grid.num_vertices), -torch.ones(grid.num_vertices), sphere(grid.positions, 0.6)])
    s = sdf.clone().requires_grad_()
    d = deformation(grid, 3).requires_grad_()
    surface = extract(s, grid, d)
    assert surface.empty.tolist() == [True, True, False]
    surface.mesh.vertices.square().sum().backward()
    assert s.grad is not None
    assert d.grad is not None
    assert not s.grad[:2].any()
    assert not d.grad[:2].any()
    assert not s.grad[2][grid.boundary & (sdf[2] < 0)].any()
    assert s.grad[2].any()
    for b in range(3):
        assert is_watertight(surface.mesh[b])


def test_the_fallback_loss_pulls_only_replaced_vertices() -> None:
    grid = tet_grid("bcc", 6)
    sdf = torch.stack([torch.full((grid.num_vertices,), 0.7), sphere(grid.positions)])
    found = find_surface(sdf, grid)
    active = (sdf.reshape(-1)[found.active] + 0.01).requires_grad_()
    loss = fallback_surface_loss(active, found.values, found.replaced)
    loss.backward()
    assert abs(loss.item() - (0.71 + 0.5 * grid.cell)) < 1e-6
    assert active.grad is not None
    assert found.active[active.grad != 0].tolist() == [grid.center]
    without = find_surface(sdf[1:], grid)
    assert fallback_surface_loss(sdf[1][without.active], without.values, without.replaced) == 0


def test_empty_batch_and_no_fallback() -> None:
    grid = tet_grid("bcc", 4)
    mesh = extract(torch.zeros(0, grid.num_vertices), grid).mesh
    assert len(mesh) == 0
    surface = extract(torch.ones(2, grid.num_vertices), grid, fallback=False)
    assert surface.mesh.faces.shape == (0, 3)
    assert surface.empty.tolist() == [True, True]
