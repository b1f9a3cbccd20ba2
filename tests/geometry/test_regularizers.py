"""Losses against floaters and cavities."""

import pytest
import torch
from torch import Tensor

from geometry.extraction import ExtractedSurface
from geometry.regularizers import floater_loss, floater_weights, sdf_sign_loss
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
