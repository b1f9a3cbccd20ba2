"""CLIP losses against what they must give for known embeddings."""

import pytest
import torch

from guidance.clip_directional import (
    FLOOR,
    chosen_layers,
    directional_loss,
    global_loss,
    layer_changes,
    screened_latents,
    summed_loss,
    text_direction,
)

E = torch.eye(4)


def test_direction_of_two_texts():
    source, target = torch.stack([E[0], E[0]]), torch.stack([E[1], E[2]])
    found = text_direction(source, target)
    torch.testing.assert_close(found, torch.tensor([-2.0, 1, 1, 0]) / 6**0.5)
    torch.testing.assert_close(text_direction(target, source), -found)
    with pytest.raises(ValueError, match="the same"):
        text_direction(source, source)


def test_directional_loss_is_one_minus_the_cosine_of_the_edit():
    source = E[0].expand(4, 4)
    edits = torch.stack([E[1], -E[1], E[2], E[1] + E[2]])
    found = directional_loss(source + edits, source, E[1], floor=0.0)
    torch.testing.assert_close(found, torch.tensor([0.0, 2.0, 1.0, 1 - 0.5**0.5]))
    # An edit that is long against the floor: only its direction counts.
    long = directional_loss(source + 100 * edits, source, E[1])
    torch.testing.assert_close(long, found, atol=1e-6, rtol=0)
    # A short one is not yet right, in whatever direction.
    short = directional_loss(source + FLOOR * E[1], source, E[1])
    torch.testing.assert_close(short, torch.full((4,), 1 - 0.5**0.5))


def test_the_loss_starts_with_a_gradient_along_the_text():
    """Twins that agree: a plain cosine has no direction there, and a gradient of any length."""
    source = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    images = source.clone().requires_grad_()
    loss = directional_loss(images, source, E[2])
    torch.testing.assert_close(loss, torch.ones(3))
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    torch.testing.assert_close(gradient, -E[2].expand(3, 4) / FLOOR)


def test_descending_the_directional_loss_follows_the_text():
    source = E[0].expand(2, 4)
    images = (source + 0.3 * E[3]).requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(directional_loss(images, source, E[1]).sum(), images)
        images = (images - 0.05 * gradient).detach().requires_grad_()
    edit = torch.nn.functional.normalize(images - source, dim=1).detach()
    assert (edit @ E[1]).min() > 0.98


def test_global_loss():
    images = torch.stack([E[0], -E[0], E[1], E[0] + E[1]])
    torch.testing.assert_close(global_loss(images, E[0]), torch.tensor([0.0, 2.0, 1.0, 1 - 0.5**0.5]))


def test_two_clips_count_equally_unless_weighted():
    first, second = torch.tensor([1.0, 3.0]), torch.tensor([5.0])
    assert summed_loss([first, second]) == 7
    assert summed_loss([first, second], [0.5, 2.0]) == 11
    for wrong in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match="weight for each"):
            summed_loss([first, second], wrong)


def test_layers_are_ranked_by_how_far_they_move():
    """A loss linear in the codes moves layer l by rate · |its slope| a step, and a quadratic one by a known sum."""
    slopes = torch.tensor([0.5, -4.0, 0.0, 2.0])
    codes = torch.randn(8, 4, 6, generator=torch.Generator().manual_seed(0))

    def linear(moved):
        return (slopes[None, :, None] * moved).sum()

    torch.testing.assert_close(layer_changes(linear, codes, rate=0.01), 0.01 * slopes.abs(), atol=1e-6, rtol=0)
    torch.testing.assert_close(layer_changes(linear, codes, steps=3, rate=0.01), 0.03 * slopes.abs(), atol=1e-6, rtol=0)
    quadratic = layer_changes(lambda w: 0.5 * w.square().sum(), codes, steps=2, rate=0.1)
    torch.testing.assert_close(quadratic, 0.19 * codes.abs().mean(dim=(0, 2)))
    assert chosen_layers(slopes.abs(), 2) == [1, 3]
    assert chosen_layers(slopes.abs(), 4) == [0, 1, 2, 3]
    for count in (0, 5):
        with pytest.raises(ValueError, match="from 1 to 4"):
            chosen_layers(slopes, count)


def test_latents_are_screened_by_the_mean_of_their_views():
    # Fit to E[0]: 1 and −1 (mean 0), 0.8 twice, 0 twice, 0.6 twice; lengths do not count.
    views = torch.stack(
        [
            torch.stack([E[0], -E[0]]),
            torch.stack([0.8 * E[0] + 0.6 * E[1]] * 2),
            torch.stack([E[1], E[2]]),
            5 * torch.stack([0.6 * E[0] + 0.8 * E[1]] * 2),
        ]
    )
    assert screened_latents(views, E[0], 2).tolist() == [1, 3]
    with pytest.raises(ValueError, match="1 to 4"):
        screened_latents(views, E[0], 5)
