"""From a configuration to what a run needs: data, networks, optimizers."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from configs.schema import Config
from dataset_tool.dataset import open_dataset
from dataset_tool.image_bank import ImageBank
from networks.discriminator import Discriminator
from networks.generator import Generator
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from torch_utils.devices import upload
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.augment import Adaptation
from training.batch import draw_latents, real_order, shape_indices
from training.class_balance import balanced_views
from training.gan_step import HEADS, Minibatch, TrainState, Views
from training.optimizer import AdamSettings, GuardedAdam
from training.run.state_file import Stateful


class RealViews(Protocol):
    """A source of real views: `dataset_tool`'s ImageBank, or random ones for a benchmark."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
        """Views [B, 4, R, R] (RGB in [−1, 1] over black, mask in [0, 1]) and their cameras."""

    def prefetch(self, indices: Sequence[int]) -> None:
        """The batch that will be asked for next."""

    def class_labels(self, indices: Sequence[int]) -> Tensor:
        """Class of each view's shape [B] int64."""


@dataclass(frozen=True)
class Data:
    """The data of a run: real views, the distribution of their cameras, and what identifies the dataset.

    shading: "albedo" where the views show base colors; anything else says that light is baked into them.
    epoch: the views that an epoch shows, some perhaps several times; all of the bank once where not given.
    """

    bank: RealViews
    camera_distribution: CameraDistribution
    name: str
    hash: str
    shading: str = "albedo"
    epoch: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not self.epoch:
            object.__setattr__(self, "epoch", range(len(self.bank)))


def open_data(path: Path, config: Config, progress: Callable[[int, int], None] | None = None) -> Data:
    """Open a data set's training views at the configured resolution. UserError where they do not fit the config."""
    dataset = open_dataset(path)
    classes = len(dataset.classes)
    if config.classes and config.classes != classes:
        raise UserError(f"{path}: has {classes} classes, but classes = {config.classes}; add --set classes={classes}")
    bank = ImageBank(dataset, "train", config.data.resolution, progress=progress)
    shading = str(dataset.header.renderer.get("shading", "unknown"))
    epoch = balanced_views(bank, config.data.balance).tolist() if config.data.balance else ()
    return Data(bank, dataset.camera_distribution, Path(path).resolve().name, dataset.hash(), shading, epoch)


def check_batch(config: Config, ranks: Ranks) -> None:
    """UserError unless the global minibatch can be cut into equal slices that keep stddev groups whole."""
    block = config.discriminator.stddev_group * config.data.views_per_shape
    if ranks.world > 1 and config.training.batch % (ranks.world * block):
        raise UserError(
            f"training.batch: expected a multiple of {ranks.world * block} (ranks × stddev_group × views_per_shape), "
            f"got {config.training.batch}; try --set training.batch={ranks.world * block}"
        )


def build_train_state(config: Config, ranks: Ranks) -> TrainState:
    """Networks at their start, the same on every rank, and their optimizers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        generator = Generator(config)
        discriminators = {"rgb": Discriminator(config, 3), "mask": Discriminator(config, 1)}
    assert tuple(discriminators) == HEADS
    generator.to(ranks.device).train()
    for discriminator in discriminators.values():
        discriminator.to(ranks.device).train()
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    training = config.training
    generator_settings = AdamSettings(training.lr_generator, training.beta1, training.beta2)
    discriminator_settings = AdamSettings(training.lr_discriminator, training.beta1, training.beta2)
    judges = {
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
            "discriminators", judges, discriminator_settings.lazily_regularized(config.loss.r1_interval), ranks
        ),
        Adaptation(config.augment).to(ranks.device),
    )


def state_parts(train_state: TrainState) -> dict[str, Stateful]:
    """The members of the training state, listed once."""
    return {
        "generator": train_state.generator,
        "average": train_state.average,
        "discriminator_rgb": train_state.discriminators["rgb"],
        "discriminator_mask": train_state.discriminators["mask"],
        "generator_adam": train_state.generator_adam,
        "discriminator_adam": train_state.discriminator_adam,
        "augment": train_state.adaptation,
    }


class MinibatchSource:
    """Minibatches by number: this rank's slice of what (seed, nimg) determines. Has no state of its own."""

    def __init__(self, config: Config, data: Data, ranks: Ranks) -> None:
        self.config, self.data, self.ranks = config, data, ranks
        self.slice = ranks.slice(config.training.batch)

    def draw(self, nimg: int, number: int) -> Minibatch:
        """The minibatch that begins at global sample index `nimg`."""
        config, device = self.config, self.ranks.device
        seed, views = config.training.seed, config.data.views_per_shape
        order = self._views(nimg)
        images, cameras = self.data.bank.batch(order, device)
        self.data.bank.prefetch(self._views(nimg + config.training.batch))
        labels = upload(self.data.bank.class_labels(order), device) if config.classes else None
        shapes = shape_indices(nimg, self.slice, views)
        latents = draw_latents(seed, shapes, config.mapping.z_dim).to(device)
        indices = range(nimg + self.slice.start, nimg + self.slice.stop)
        return Minibatch(
            nimg=nimg,
            number=number,
            indices=indices,
            reals=Views(images[:, :3], images[:, 3:], cameras, labels),
            latents=latents,
            # Classes of the fakes follow those of the data: each shape takes the class of the real view at its place.
            shape_labels=None if labels is None else labels[::views],
            fake_cameras=self.data.camera_distribution.sample(seed, indices).to(device),
        )

    def _views(self, nimg: int) -> list[int]:
        """The real views of this rank's slice of the minibatch that begins at `nimg`."""
        epoch = self.data.epoch
        return [epoch[place] for place in real_order(self.config.training.seed, nimg, self.slice, len(epoch))]


def parameter_counts(train_state: TrainState) -> dict[str, int]:
    """Parameters of each network."""
    modules: Mapping[str, Any] = {"generator": train_state.generator, **train_state.discriminators}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
