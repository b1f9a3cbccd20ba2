import pytest
import torch
import torch.nn.functional as F

from geometry.cube_grid import cube_grid
from geometry.extraction import build_surface, find_surface
from geometry.fallback_surface import add_fallback_surface, close_boundary, connect_inside, empty_samples
from geometry.regularizers import fallback_surface_loss, sdf_sign_loss
from geometry.tet_grid import tet_grid
from geometry.topology import count_components
from tests.geometry.dense import extract
from tests.geometry.fields import sphere

GRID = tet_grid("bcc", 5)


def batch() -> torch.Tensor:
    """All outside, all inside, a sphere, all zero (outside)."""
    size = GRID.num_vertices
    return torch.stack([torch.ones(size), -torch.ones(size), sphere(GRID.positions), torch.zeros(size)])


def test_empty_samples() -> None:
    assert empty_samples(batch()).tolist() == [True, True, False, True]


def test_the_fallback_changes_only_empty_samples_and_few_vertices() -> None:
    before = batch()
    after, empty = add_fallback_surface(before, GRID)
    assert empty.tolist() == [True, True, False, True]
    assert torch.equal(after[2], before[2])
    push = 0.5 * GRID.cell
    for b in (0, 3):
        assert after[b, GRID.center] == -push
        assert int((after[b] != before[b]).sum()) == 1
    assert (after[1][GRID.boundary] == push).all()
    assert torch.equal(after[1][~GRID.boundary], before[1][~GRID.boundary])
    assert not empty_samples(after).any()


def test_the_fallback_detaches_only_empty_samples() -> None:
    sdf = batch().requires_grad_()
    add_fallback_surface(sdf, GRID)[0].sum().backward()
    assert sdf.grad is not None
    assert sdf.grad.any(1).tolist() == [False, False, True, False]
    assert (sdf.grad[2] == 1).all()


def test_the_fallback_does_not_depend_on_the_batch() -> None:
    together, _ = add_fallback_surface(batch(), GRID)
    for b in range(4):
        assert torch.equal(together[b], add_fallback_surface(batch()[b : b + 1], GRID)[0][0])


def test_closing_the_boundary_raises_boundary_vertices_alone() -> None:
    closed = close_boundary(-torch.ones(1, GRID.num_vertices), GRID)[0]
    assert torch.allclose(closed[GRID.boundary], torch.tensor(0.05 * GRID.cell))
    assert (closed[~GRID.boundary] == -1).all()
    assert torch.equal(close_boundary(batch()[2:3], GRID), batch()[2:3])


def test_sign_loss_is_the_cross_entropy_with_the_other_sign() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    b = torch.where(a < 0, b.abs(), -b.abs())
    expected = 0.0
    for x, y in ((a, b), (b, a)):
        p = torch.sigmoid(x)
        expected += -torch.where(y >= 0, p.log(), (1 - p).log()).mean()
    assert torch.allclose(sdf_sign_loss(a, b), expected)
    assert torch.allclose(sdf_sign_loss(b, a), expected)


def test_sign_loss_draws_both_ends_to_the_other_side() -> None:
    a, b = torch.tensor([-0.1]).requires_grad_(), torch.tensor([0.2]).requires_grad_()
    sdf_sign_loss(a, b).backward()
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad < 0 < b.grad


def test_sign_loss_of_nothing_is_zero_and_differentiable() -> None:
    nothing = torch.zeros(0, requires_grad=True)
    loss = sdf_sign_loss(nothing, nothing)
    loss.backward()
    assert loss == 0
    assert F.mse_loss(loss, torch.tensor(0.0)) == 0


def cracked_bar_and_floater(grid) -> torch.Tensor:
    """A bar along x with a gap at x = 0.05, and a floater far above it: [1, V], world units."""
    x, y, z = grid.positions.unbind(-1)
    bar = torch.maximum(torch.hypot(y, z) - 0.08, x.abs() - 0.35)
    gap = 0.03 - (x - 0.05).abs()
    floater = (grid.positions - torch.tensor([0.0, 0.35, 0.0])).norm(dim=-1) - 0.04
    return torch.minimum(torch.maximum(bar, gap), floater)[None]


def test_connecting_bridges_the_gap_and_removes_the_floater() -> None:
    grid = tet_grid("bcc", 24)
    sdf = cracked_bar_and_floater(grid)
    assert count_components(extract(sdf, grid).mesh) == 3
    connected = connect_inside(sdf, grid)
    assert count_components(extract(connected, grid).mesh) == 1
    changed = (connected != sdf)[0]
    gone, bridge = changed & (sdf[0] < 0), changed & (sdf[0] >= 0)
    assert (grid.positions[gone][:, 1] > 0.25).all()
    assert gone.any()
    assert ((grid.positions[bridge] - torch.tensor([0.05, 0.0, 0.0])).abs() < 0.1).all()
    assert 1 <= int(bridge.sum()) <= 6
    assert (connected[0, bridge] == -0.5 * grid.cell).all()


def test_the_fallback_loss_leads_the_network_to_the_connected_surface() -> None:
    grid = tet_grid("bcc", 24)
    sdf = cracked_bar_and_floater(grid)
    found = find_surface(sdf, grid, connected=True)
    network = sdf.reshape(-1)[found.active].requires_grad_()
    surface = build_surface(found, grid, network)
    assert count_components(surface.mesh) == 1
    assert found.replaced.any()
    loss = fallback_surface_loss(network, found.values, found.replaced)
    (gradient,) = torch.autograd.grad(loss, network)
    # A step against the gradient lowers the SDF along the bridge and changes nothing elsewhere.
    assert (gradient[found.replaced] > 0).all()
    assert (gradient[~found.replaced] == 0).all()


def test_connecting_leaves_the_boundary_outside() -> None:
    grid = tet_grid("bcc", 8)
    closed = close_boundary(torch.randn(3, grid.num_vertices, generator=torch.Generator().manual_seed(0)), grid)
    assert torch.equal(connect_inside(closed, grid)[:, grid.boundary], closed[:, grid.boundary])


@pytest.mark.parametrize("grid", [tet_grid("bcc", 6), cube_grid(6)], ids=["tets", "cubes"])
def test_noise_on_either_grid_becomes_one_component(grid):
    sdf = torch.randn(2, grid.num_vertices, generator=torch.Generator().manual_seed(0)) + 0.8
    sdf = close_boundary(sdf, grid)
    connected = connect_inside(sdf, grid)
    assert not torch.equal(connected, sdf)
    assert torch.equal(connect_inside(connected, grid), connected)
