"""The discriminator of outlines: what it sees, what it cannot see, and its part in a step."""

import pytest
import torch

from networks.discriminator import build_discriminator, discriminator_names
from networks.outline_discriminator import OutlineDiscriminator
from tests.training import tiny
from training.losses import squared_gradient_norms


def network(seed: int = 0) -> OutlineDiscriminator:
    torch.manual_seed(seed)
    return OutlineDiscriminator("fp64").double()


def disc(row: int, column: int, radius: float = 20.0, side: int = 128) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((y - float(row)).hypot(x - float(column)) < radius).double()[None, None]


def test_it_cannot_see_where_an_outline_lies():
    a, b = network()(disc(40, 44)), network()(disc(84, 60))
    assert torch.allclose(a, b, atol=1e-9) and not torch.allclose(a, network()(disc(40, 44, radius=14)), atol=1e-4)


def test_a_window_of_18_pixels_is_all_that_a_feature_sees():
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    network().windows(mask)[0, :, 8, 8].sum().backward()
    rows = mask.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 18


def test_it_tells_rough_outlines_from_smooth_ones():
    torch.manual_seed(0)
    discriminator = OutlineDiscriminator()
    adam = torch.optim.Adam(discriminator.parameters(), 0.002, (0.0, 0.99))

    def outlines(rough: bool, count: int = 16) -> torch.Tensor:
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        center = 20 + 24 * torch.rand(count, 2, 1, 1)
        angle = torch.atan2(y - center[:, 0], x - center[:, 1])
        bumps = torch.cos(12 * angle + 6 * torch.rand(count, 1, 1)) * (1.5 if rough else 0.0)
        radius = (y - center[:, 0]).hypot(x - center[:, 1])
        return torch.sigmoid(2 * (12 + bumps + 4 * torch.rand(count, 1, 1) - radius))[:, None]

    for _ in range(60):
        loss = torch.nn.functional.softplus(-discriminator(outlines(False)))
        loss = loss + torch.nn.functional.softplus(discriminator(outlines(True)))
        adam.zero_grad()
        loss.mean().backward()
        adam.step()
    with torch.no_grad():
        right = (discriminator(outlines(False, 64)) > discriminator(outlines(True, 64))).double().mean()
    assert right > 0.95


def test_gradients_reach_the_mask_twice():
    """R1's gradient by finite differences. Two masks of a group: the spread over the group has a second derivative."""
    torch.manual_seed(0)
    masks = torch.rand(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    discriminator, direction = network(), torch.randn(2, 1, 16, 16, dtype=torch.float64)

    def squared(at: torch.Tensor) -> torch.Tensor:
        return squared_gradient_norms([discriminator(at)], [at])[0].sum()

    (gradient,) = torch.autograd.grad(squared(masks), masks)
    step = 1e-5 * direction
    ends = [squared((masks.detach() + sign * step).requires_grad_()).item() for sign in (1, -1)]
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


@pytest.mark.parametrize(("single", "names"), [(False, ("rgb", "mask", "outline")), (True, ("rgba", "outline"))])
def test_it_learns_beside_the_others_and_the_generator_learns_from_it(single, names):
    sections = {"loss": {"outline_weight": 0.5, "smoothness_weight": 0.1}, "discriminator": {"single": single}}
    settings = tiny.config(**sections)
    assert discriminator_names(settings) == names and discriminator_names(tiny.config())[-1] != "outline"
    before = build_discriminator(settings, "outline")
    train_state, means = tiny.run_steps(settings, 4)
    after = train_state.discriminators["outline"]
    assert any((p != q).any() for p, q in zip(before.parameters(), after.parameters(), strict=True))
    for name in ("loss/generator_outline", "loss/discriminator_outline", "r1/outline", "loss/smoothness"):
        assert means[name] > 0, name
