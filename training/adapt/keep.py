"""What an adaptation keeps of the twin's images: their detail, and how real they look to the discriminators."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.schema import Config
from networks.discriminator import ImageDiscriminator, discriminator_input
from networks.pretrained import discriminators_file, load_discriminator_networks, network_file
from torch_utils.errors import UserError
from training.adapt.settings import AdaptSettings
from training.adapt.shift import Answer, Objective, Pair, ShiftScene, downsampled, structure_loss
from training.run.state_file import any_state, latest_state

# Weight of `structure_loss` for a keep_weight of 1.
STRUCTURE = 10.0
# (step, resolution, supersample, background) → the scene of a step, and its images by both generators.
Draw = Callable[[int, int, int, float], tuple[ShiftScene, Pair]]


@dataclass(frozen=True)
class KeptDiscriminators:
    """The discriminators that a network was trained against, frozen, by name, and the configuration of that run."""

    networks: dict[str, ImageDiscriminator]
    config: Config


def load_kept(network: str, device: torch.device) -> KeptDiscriminators:
    """The discriminators next to a network's file, or those of the last training state in its folder.

    UserError where there are none, and for a network whose discriminators have seen lit surfaces.
    """
    file = network_file(network)
    source = file
    if not discriminators_file(file).is_file():
        if not any_state(file.parent):
            raise UserError(
                f"--keep discriminators: {file} has none, neither as {discriminators_file(file)} nor in a state of its "
                "run; leave it out, or `tetragan export` a training state"
            )
        source = latest_state(file.parent)
    config, networks = load_discriminator_networks(source, device)
    if config.texture.channels == "pbr":
        raise UserError(f"--keep discriminators: those of {file} know lit surfaces, but adapt draws base colors")
    return KeptDiscriminators(networks, config)


def realism_loss(kept: KeptDiscriminators, scene: ShiftScene, pair: Pair) -> Tensor:
    """How much less real the images are than the twin's: Σ mean max(0, D(twin) − D(image)) over the discriminators.

    A scalar. It is 0, with a gradient of 0, where the generator is its twin, and where images look more real.
    pair: images [B, 3, R, R] of the scene at the resolution of the training, over black.
    """
    terms = []
    for name, network in kept.networks.items():
        with torch.no_grad():
            before = network(discriminator_input(name, pair.twin_images, pair.twin_mask), scene.cameras, scene.labels)
        after = network(discriminator_input(name, pair.images, pair.mask), scene.cameras, scene.labels)
        terms.append(torch.relu(before - after).mean())
    return torch.stack(terms).sum()


def keep_realism(objective: Objective, settings: AdaptSettings, draw: Draw, device: torch.device) -> Objective:
    """An objective with `realism_loss`, if the settings name it. The scenes are the same, drawn as in the training."""
    if "discriminators" not in settings.keep:
        return objective
    kept = load_kept(settings.network, device)
    side, supersample = kept.config.data.resolution, kept.config.rendering.supersample

    def both(pair: Pair, step: int) -> Answer:
        answer = objective(pair, step)
        loss = settings.keep_weight * realism_loss(kept, *draw(step, side, supersample, 0.0))
        return Answer(answer.loss + loss, answer.finite)

    return both


def keep_structure(objective: Objective, settings: AdaptSettings, finer: int) -> Objective:
    """An objective with `structure_loss`, if the settings name it, of pairs `finer` times as large as it takes."""
    if "structure" not in settings.keep:
        return objective

    def both(pair: Pair, step: int) -> Answer:
        answer = objective(downsampled(pair, finer), step)
        return Answer(answer.loss + STRUCTURE * settings.keep_weight * structure_loss(pair), answer.finite)

    return both
