"""The color discriminator: which pixels it sees, what it cannot see, and its gradients."""

import torch
from torch import Tensor

from networks.color_discriminator import (
    ColorDiscriminator,
    color_tokens,
    foreground_pixels,
    group_spread,
    neighbor_offsets,
)


def disc(batch: int, side: int = 24, radius: float = 8.0, center: float = 11.5) -> Tensor:
    """Masks [B, 1, side, side] of a disc."""
    axis = torch.arange(side) - center
    inside = (axis[:, None].square() + axis.square()).sqrt() < radius
    return inside.float().expand(batch, 1, side, side).contiguous()


def noise(batch: int, side: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_every_foreground_pixel_has_its_turn_and_no_other() -> None:
    mask = disc(1)
    count = int(mask.sum())
    shifts = torch.arange(200) / 200
    drawn = torch.cat([foreground_pixels(mask, 16, shift[None])[0] for shift in shifts])
    assert set(drawn.tolist()) == set(mask.flatten().nonzero()[:, 0].tolist())
    assert len(foreground_pixels(mask, count, torch.zeros(1))[0].unique()) == count
    # As evenly as can be: 16 of them leave equal gaps in the order.
    order = mask.flatten().cumsum(0)[foreground_pixels(mask, 16, torch.zeros(1))[0]]
    assert set(order.diff().tolist()) <= {float(count // 16), float(count // 16 + 1)}


def test_an_image_without_foreground_is_spread_over_all_pixels() -> None:
    pixels = foreground_pixels(torch.zeros(2, 1, 8, 8), 64, torch.zeros(2))
    assert (pixels == torch.arange(64)).all()


def test_tokens_against_a_loop() -> None:
    rgb, mask, offsets = noise(2, 9, seed=1), disc(2, 9, 3.2, 4.0), neighbor_offsets()
    pixels = foreground_pixels(mask, 7, torch.tensor([0.3, 0.8]))
    tokens = color_tokens(rgb, mask, pixels, offsets)
    for b in range(2):
        for k in range(7):
            y, x = divmod(int(pixels[b, k]), 9)
            color = (rgb[b, :, y, x] + 1) / 2
            expected = [(color - 0.4) * 3]
            for dy, dx in offsets.tolist():
                inside = 0 <= y + dy < 9 and 0 <= x + dx < 9 and mask[b, 0, y + dy, x + dx] > 0.98
                other = (rgb[b, :, y + dy, x + dx] + 1) / 2 if inside else color
                expected.append((other - color) * 6)
            torch.testing.assert_close(tokens[b, k], torch.cat(expected))


def test_the_outline_and_the_background_do_not_matter() -> None:
    """The same colors at another place, on another background, give the same logits."""
    torch.manual_seed(0)
    network = ColorDiscriminator(pixels=32)
    rgb, mask, shift = noise(4), disc(4), torch.full((4,), 0.4)
    logits = network(rgb, mask, shift)
    moved, moved_mask = rgb.roll((3, -2), (2, 3)), mask.roll((3, -2), (2, 3))
    torch.testing.assert_close(network(moved, moved_mask, shift), logits)
    on_white = torch.where(mask > 0, rgb, torch.ones(()))
    assert torch.equal(network(on_white, mask, shift), logits)
    assert not torch.allclose(network(rgb.flip(1), mask, shift), logits)


def test_gradients_reach_colors_and_every_weight_twice() -> None:
    torch.manual_seed(0)
    network = ColorDiscriminator(pixels=32)
    rgb, mask = noise(4).requires_grad_(), disc(4).requires_grad_()
    logits = network(rgb, mask, torch.full((4,), 0.5))
    (gradient,) = torch.autograd.grad(logits.sum(), rgb, create_graph=True)
    assert gradient.abs().sum() > 0 and gradient[:, :, mask[0, 0] == 0].abs().sum() == 0
    gradient.square().sum().backward()
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert mask.grad is None


def test_group_spread_sees_repetition_and_takes_groups_apart() -> None:
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    spread = group_spread(features, 4)
    expected = features[:4].var(0, correction=0).add(1e-6).sqrt().mean()
    torch.testing.assert_close(spread[:4, 0], expected.expand(4))
    torch.testing.assert_close(spread[4:], group_spread(features[4:], 4))
    assert group_spread(features[:1].expand(4, 5), 4).max() < 1e-2 < spread.min()
