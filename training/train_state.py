"""What training changes: the networks, their optimizers, the running average and the augmentation."""

import copy
from dataclasses import dataclass

import torch

from configs.schema import Config
from networks.discriminator import DISCRIMINATOR_CHANNELS, Discriminator
from networks.generator import Generator
from torch_utils.distributed import Ranks
from training.augment import Adaptation
from training.optimizer import AdamSettings, GuardedAdam
from training.run.state_file import Stateful


@dataclass
class TrainState:
    """Everything that a training step changes.

    average: the running average of the generator, which is what networks are saved from. discriminators: by head.
    """

    generator: Generator
    average: Generator
    discriminators: dict[str, Discriminator]
    generator_adam: GuardedAdam
    discriminator_adam: GuardedAdam
    adaptation: Adaptation

    @property
    def optimizers(self) -> tuple[GuardedAdam, ...]:
        """The optimizers of both sides."""
        return self.generator_adam, self.discriminator_adam


def build_train_state(config: Config, ranks: Ranks) -> TrainState:
    """Newly initialized networks, the same on every rank, and their optimizers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        generator = Generator(config)
        discriminators = {name: Discriminator(config, channels) for name, channels in DISCRIMINATOR_CHANNELS.items()}
    generator.to(ranks.device).train()
    for discriminator in discriminators.values():
        discriminator.to(ranks.device).train()
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    training = config.training
    generator_settings = AdamSettings(training.lr_generator, training.beta1, training.beta2)
    discriminator_settings = AdamSettings(training.lr_discriminator, training.beta1, training.beta2)
    discriminator_parameters = {
        f"{head}/{name}": parameter
        for head, discriminator in discriminators.items()
        for name, parameter in discriminator.named_parameters()
    }
    return TrainState(
        generator,
        average,
        discriminators,
        GuardedAdam("generator", dict(generator.named_parameters()), generator_settings, ranks),
        GuardedAdam(
            "discriminators",
            discriminator_parameters,
            discriminator_settings.lazily_regularized(config.loss.r1_interval),
            ranks,
        ),
        Adaptation(config.augment).to(ranks.device),
    )


def state_parts(train_state: TrainState) -> dict[str, Stateful]:
    """The members of a train state under their names in a state file."""
    return {
        "generator": train_state.generator,
        "average": train_state.average,
        "discriminator_rgb": train_state.discriminators["rgb"],
        "discriminator_mask": train_state.discriminators["mask"],
        "generator_adam": train_state.generator_adam,
        "discriminator_adam": train_state.discriminator_adam,
        "augment": train_state.adaptation,
    }


def parameter_counts(train_state: TrainState) -> dict[str, int]:
    """Number of parameters of each network."""
    modules = {"generator": train_state.generator, **train_state.discriminators}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
