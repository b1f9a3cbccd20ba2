"""Losses against floaters and cavities."""

import math

import pytest
import torch
import trimesh
from torch import Tensor

from geometry.extraction import ExtractedSurface
from geometry.mesh import Mesh
from geometry.regularizers import adjacent_faces, floater_loss, floater_weights, normal_variation, sdf_sign_loss
from geometry.tet_grid import TetGrid, tet_grid
from geometry.topology import count_components
from tests.geometry.dense import extract

CENTERS = ((-0.25, 0.0, 0.0), (0.3, 0.0, 0.0))


@pytest.fixture(scope="module")
def grid() -> TetGrid:
    return tet_grid("bcc", 12, 1.0)


def balls(grid: TetGrid, *radii: float) -> Tensor:
    """SDF [1, V] of balls around CENTERS."""
    distances = [(grid.positions - torch.tensor(c)).norm(dim=1) - r for c, r in zip(CENTERS, radii, strict=False)]
    return torch.stack(distances).amin(0, keepdim=True)


def loss_of(surface: ExtractedSurface) -> Tensor:
    return floater_loss(surface.mesh, surface.sdf_a, surface.sdf_b)


def test_a_single_component_costs_nothing(grid: TetGrid) -> None:
    assert loss_of(extract(balls(grid, 0.2).repeat(3, 1), grid)).item() == 0


def test_a_floater_costs_its_mean_inner_depth(grid: TetGrid) -> None:
    sdf = balls(grid, 0.2, 0.12).requires_grad_()
    surface = extract(sdf, grid)
    right = surface.mesh.vertices[:, 0] > 0.05
    weights, solid = floater_weights(surface.mesh)
    assert torch.equal(weights > 0, right) and solid.all()
    assert weights.sum().item() == pytest.approx(1)
    inner = torch.minimum(surface.sdf_a, surface.sdf_b)
    assert loss_of(surface).item() == pytest.approx(-inner[right].mean().item())
    both = extract(torch.cat([sdf, balls(grid, 0.2)]), grid)
    assert loss_of(both).item() == pytest.approx(loss_of(surface).item() / 2)
    (gradient,) = torch.autograd.grad(loss_of(surface), sdf)
    touched = gradient[0] != 0
    assert touched.any() and (grid.positions[touched, 0] > 0.05).all()
    assert (gradient[0][touched] < 0).all(), "a step against the gradient raises the SDF: the floater shrinks"


def test_a_cavity_is_filled(grid: TetGrid) -> None:
    hollow = torch.maximum(balls(grid, 0.3), 0.15 - (grid.positions - torch.tensor(CENTERS[0])).norm(dim=1)[None])
    sdf = hollow.requires_grad_()
    surface = extract(sdf, grid)
    assert count_components(surface.mesh) == 2
    weights, solid = floater_weights(surface.mesh)
    assert weights.any() and not solid[weights > 0].any()
    (gradient,) = torch.autograd.grad(loss_of(surface), sdf)
    assert (gradient[0][gradient[0] != 0] > 0).all(), "the SDF falls: the cavity closes"


def test_descent_removes_floaters_and_leaves_the_body(grid: TetGrid) -> None:
    sdf = torch.cat([balls(grid, 0.2, 0.1), balls(grid, 0.2)])
    alone = extract(balls(grid, 0.2), grid).mesh
    for _ in range(40):
        sdf.requires_grad_()
        surface = extract(sdf, grid)
        (gradient,) = torch.autograd.grad(loss_of(surface), sdf)
        sdf = (sdf - 0.5 * gradient).detach()
    for mesh in (extract(sdf[:1], grid).mesh, extract(sdf[1:], grid).mesh):
        assert count_components(mesh) == 1
        torch.testing.assert_close(mesh.vertices, alone.vertices)


def test_the_sign_loss_of_no_edges_is_zero() -> None:
    assert sdf_sign_loss(torch.empty(0), torch.empty(0)).item() == 0


def cube(side: float = 1.0) -> Mesh:
    """A cube of 12 faces, wound outward."""
    box = trimesh.creation.box((side, side, side))
    return Mesh.single(torch.from_numpy(box.vertices).double(), torch.from_numpy(box.faces))


def test_faces_pair_across_every_edge_of_a_closed_mesh() -> None:
    mesh = Mesh.pack([cube(), cube(0.5)])
    first, second, shared = adjacent_faces(mesh)
    assert shared.sum() == 2 * 18
    pairs = {frozenset((a, b)) for a, b, s in zip(first.tolist(), second.tolist(), shared.tolist(), strict=True) if s}
    faces = mesh.faces.tolist()
    expected = {frozenset((i, j)) for i in range(24) for j in range(i) if len(set(faces[i]) & set(faces[j])) == 2}
    assert pairs == expected


def test_the_variation_of_a_cube_is_that_of_its_twelve_edges() -> None:
    # 12 edges at a right angle and 6 diagonals, all of faces of equal area.
    right = math.sqrt(2 + 0.1**2) - 0.1
    assert normal_variation(cube()).item() == pytest.approx(12 * right / 18)
    empty = Mesh.single(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert normal_variation(empty).item() == 0


def test_a_step_against_the_gradient_flattens_ripples(grid: TetGrid) -> None:
    distance = (grid.positions - torch.tensor(CENTERS[0])).norm(dim=1) - 0.2
    torch.manual_seed(0)
    sdf = (distance + 0.01 * torch.randn(len(distance)))[None].requires_grad_()
    before = normal_variation(extract(sdf, grid).mesh)
    smooth = normal_variation(extract(distance[None], grid).mesh)
    (gradient,) = torch.autograd.grad(before, sdf)
    assert torch.isfinite(gradient).all()
    step = 0.003 * gradient / gradient.abs().max()
    after = normal_variation(extract(sdf.detach() - step, grid).mesh)
    assert smooth < after < before
