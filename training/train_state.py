"""What training changes: the networks, their optimizers, the running average and the augmentation."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from configs.schema import Config
from networks.color_discriminator import ColorDiscriminator
from networks.discriminator import ImageDiscriminator, build_discriminator, discriminator_names
from networks.generator import Generator
from networks.layers import parameter_dtype
from torch_utils.distributed import Ranks
from torch_utils.timing import phase
from training.augment import Adaptation
from training.ema import ema_beta, update_average
from training.optimizer import AdamSettings, GuardedAdam
from training.run.state_file import Stateful


@dataclass
class TrainState:
    """Everything that a training step changes.

    average: the running average of the generator, which is what networks are saved from. discriminators: by head; none
    in the texture stage. color_discriminator: None where `loss.color_weight` is 0.
    """

    generator: Generator
    average: Generator
    discriminators: dict[str, ImageDiscriminator]
    color_discriminator: ColorDiscriminator | None
    generator_adam: GuardedAdam
    discriminator_adam: GuardedAdam | None
    color_adam: GuardedAdam | None
    adaptation: Adaptation

    @property
    def optimizers(self) -> tuple[GuardedAdam, ...]:
        """The optimizers of both sides."""
        every = (self.generator_adam, self.discriminator_adam, self.color_adam)
        return tuple(optimizer for optimizer in every if optimizer is not None)


def build_train_state(config: Config, ranks: Ranks) -> TrainState:
    """Newly initialized networks, the same on every rank, and their optimizers."""
    training, loss = config.training, config.loss
    adversarial = training.stage != "texture"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        generator = Generator(config)
        names = discriminator_names(config) if adversarial else ()
        discriminators = {name: build_discriminator(config, name) for name in names}
        color_discriminator = ColorDiscriminator() if config.color_weight > 0 else None
    for network in (generator, color_discriminator, *discriminators.values()):
        if network is not None:
            network.to(ranks.device, parameter_dtype(training.precision)).train()
    average = copy.deepcopy(generator).eval().requires_grad_(False)

    settings = AdamSettings(training.lr_generator, training.beta1, training.beta2)
    generator_adam = GuardedAdam("generator", _learned(generator, training.stage), settings, ranks)
    settings = AdamSettings(training.lr_discriminator, training.beta1, training.beta2)
    discriminator_adam = color_adam = None
    if adversarial:
        parameters = {
            f"{head}/{name}": parameter
            for head, discriminator in discriminators.items()
            for name, parameter in discriminator.named_parameters()
        }
        intervals = {interval for _, interval in config.penalties.values() if interval > 1}
        lazy = settings.lazily_regularized(*sorted(intervals))
        discriminator_adam = GuardedAdam("discriminators", parameters, lazy, ranks)
    if color_discriminator is not None:
        lazy = settings.lazily_regularized(loss.color_r1_interval)
        color_adam = GuardedAdam("color discriminator", dict(color_discriminator.named_parameters()), lazy, ranks)
    adaptation = Adaptation(config.augment).to(ranks.device)
    return TrainState(
        generator,
        average,
        discriminators,
        color_discriminator,
        generator_adam,
        discriminator_adam,
        color_adam,
        adaptation,
    )


def _learned(generator: Generator, stage: str) -> dict[str, nn.Parameter]:
    """The generator's parameters that learn in a stage, by name."""
    if stage == "geometry":
        return generator.geometry_parameters()
    if stage == "texture":
        return generator.texture_parameters()
    return dict(generator.named_parameters())


def move_average(train_state: TrainState, nimg: int, config: Config) -> None:
    """Let the running average follow the generator by one step, nimg images after the start."""
    training = config.training
    with phase("average"):
        beta = ema_beta(nimg, training.batch, training.ema_halflife_kimg, training.ema_rampup)
        update_average(train_state.average, train_state.generator, beta)


def state_parts(train_state: TrainState) -> dict[str, Stateful]:
    """The members of a train state under their names in a state file."""
    parts: dict[str, Stateful | None] = {
        "generator": train_state.generator,
        "average": train_state.average,
        **{f"discriminator_{name}": module for name, module in train_state.discriminators.items()},
        "discriminator_color": train_state.color_discriminator,
        "generator_adam": train_state.generator_adam,
        "discriminator_adam": train_state.discriminator_adam,
        "color_adam": train_state.color_adam,
        "augment": train_state.adaptation,
    }
    return {name: part for name, part in parts.items() if part is not None}


def parameter_counts(train_state: TrainState) -> dict[str, int]:
    """Number of parameters of each network."""
    modules: dict[str, nn.Module] = {"generator": train_state.generator, **train_state.discriminators}
    if train_state.color_discriminator is not None:
        modules["color"] = train_state.color_discriminator
    return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
