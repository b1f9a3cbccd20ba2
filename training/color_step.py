"""The color discriminator's part of a step, the same in the joint and the texture stage."""

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.schema import Config
from networks.color_discriminator import ColorDiscriminator
from torch_utils import seeding
from torch_utils.devices import upload
from torch_utils.timing import phase
from training.data import ViewBatch
from training.losses import discriminator_loss, generator_loss, r1_loss, squared_gradient_norms
from training.optimizer import GuardedAdam
from training.run.step_statistics import Statistics
from training.train_state import TrainState


def pixel_shifts(seed: int, indices: Sequence[int], device: torch.device) -> Tensor:
    """Which pixels the color discriminator sees of real and generated images [B, 2], uniform in [0, 1)."""
    return upload(seeding.uniform(seed, indices, "color pixels", 2), device)


def color_discriminator_step(
    train_state: TrainState,
    parts: Sequence[tuple[ViewBatch, ViewBatch, Tensor]],
    iteration: int,
    config: Config,
    statistics: Statistics,
) -> Tensor:
    """Train the color discriminator on reals and (detached) fakes, with lazy R1. Returns the gradients' norms.

    parts: of the minibatch, one at a time, whose gradients add up: reals, fakes, and their `pixel_shifts` [B, 2].
    """
    discriminator, adam = color_parts(train_state)
    for reals, fakes, shifts in parts:
        with phase("D forward"):
            real = discriminator(reals.rgb, reals.mask, shifts[:, 0])
            fake = discriminator(fakes.rgb.detach(), fakes.mask, shifts[:, 1])
        loss = discriminator_loss(real, fake)
        statistics.add("loss/discriminator_color", loss)
        statistics.add("logits/real_color", real)
        statistics.add("logits/fake_color", fake)
        with phase("D backward"):
            (loss / len(parts)).backward()
    norms = adam.step()
    if iteration % config.loss.color_r1_interval == 0:
        with phase("R1"):
            for reals, _, shifts in parts:
                images = reals.rgb.detach().requires_grad_()
                squared = squared_gradient_norms([discriminator(images, reals.mask, shifts[:, 0])], [images])[0]
                statistics.add("r1/color", squared)
                penalty = r1_loss(squared, config.loss.gamma_color, config.loss.color_r1_interval)
                (penalty / len(parts)).backward()
            norms = norms + adam.step()
    statistics.add("gradient/color_discriminator", norms.norm())
    return norms


def color_generator_loss(train_state: TrainState, fakes: ViewBatch, shifts: Tensor, statistics: Statistics) -> Tensor:
    """The generator's loss against the color discriminator, a scalar; `frozen` is up to the caller."""
    discriminator, _ = color_parts(train_state)
    with phase("D forward on fakes"):
        loss = generator_loss(discriminator(fakes.rgb, fakes.mask, shifts[:, 1]))
    statistics.add("loss/generator_color", loss)
    return loss


def color_parts(train_state: TrainState) -> tuple[ColorDiscriminator, GuardedAdam]:
    """The color discriminator and its optimizer."""
    discriminator, adam = train_state.color_discriminator, train_state.color_adam
    assert discriminator is not None and adam is not None, "loss.color_weight is above 0"
    return discriminator, adam
