"""What a step works on: real views, cameras, class labels and latents.

Every minibatch follows from (seed, global sample index) alone. So it is the same for any number of ranks and after a
resume, and nothing here has state: the images seen so far (`nimg`) say where a run is.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from configs.schema import Config
from dataset_tool.dataset import ViewDataset, open_dataset
from dataset_tool.format.dataset_json import Header
from dataset_tool.format.splits import few_shapes_advice, split_counts
from dataset_tool.image_bank import ImageBank
from dataset_tool.render.lights import RANDOM, ROOM, draw_environments
from dataset_tool.view_cache import Bar
from networks.discriminator import discriminator_input
from networks.layers import parameter_dtype
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from rendering.environment_light import EnvironmentLight
from torch_utils import seeding
from torch_utils.devices import upload
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.class_balance import balanced_views

# The category of a config or a dataset that names none.
UNNAMED = "object"

# -- the data of a run -------------------------------------------------------------------------------------------------


class RealViews(Protocol):
    """A source of real views: `dataset_tool`'s ImageBank, or synthetic ones for a benchmark."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
        """Views [B, 4, R, R] (RGB in [−1, 1] over black, mask in [0, 1]) and their cameras."""

    def prefetch(self, indices: Sequence[int]) -> None:
        """Announce the indices of the next batch, so that it can be decoded in the background."""

    def class_labels(self, indices: Sequence[int]) -> Tensor:
        """Class of each view's shape [B] int64."""


@dataclass(frozen=True)
class Data:
    """The data of a run: real views, the distribution of their cameras, and what identifies the dataset.

    shading: "albedo" if the generator's colors are base colors; any other value means that lighting is baked in.
    light: of the views, for generators that are drawn under it: "studio", "random" or a file; "" for none.
    epoch: indices of the views of one epoch, repetitions allowed. Default: every view once. notes: lines for the start
    of the log: how many shapes train, validate and test, advice where they are few, and where decoded views lie.
    held_out: points on validation shapes [R, P, 3], world units, for scores during the run; None if there are none.
    category: of the shapes; "object" if unknown.
    """

    bank: RealViews
    camera_distribution: CameraDistribution
    name: str
    hash: str
    shading: str = "albedo"
    epoch: Sequence[int] = ()
    notes: Sequence[str] = ()
    held_out: Tensor | None = None
    light: str = ""
    category: str = UNNAMED

    def __post_init__(self) -> None:
        if not self.epoch:
            object.__setattr__(self, "epoch", range(len(self.bank)))


def open_data(
    path: Path,
    config: Config,
    *,
    cache: Path | None = None,
    ranks: Ranks | None = None,
    bar: Bar | None = None,
) -> Data:
    """Open a dataset's training views at the configured resolution. UserError if they do not match the config.

    cache, ranks, bar: of `ImageBank`; without a cache, views are decoded when they are used.
    """
    dataset = open_dataset(path)
    classes = len(dataset.classes)
    if config.classes and config.classes != classes:
        raise UserError(f"{path}: has {classes} classes, but classes = {config.classes}; add --set classes={classes}")
    bank = ImageBank(dataset, "train", config.data.resolution, cache=cache, ranks=ranks, bar=bar)
    shading = str(dataset.header.renderer.get("shading", "unknown"))
    if (shading == "normals") != (config.training.stage == "geometry"):
        raise UserError(_wrong_views(path, shading, config.training.stage))
    light = ""
    if config.texture.channels == "pbr":
        light, shading = light_of(dataset, str(path)), "albedo"
    epoch = balanced_views(bank, config.data.balance).tolist() if config.data.balance else ()
    name = Path(path).resolve().name
    notes = [f"{name}: {split_counts(dataset.splits)}."]
    if config.augment.mode == "none":
        notes += few_shapes_advice(dataset.splits)
    notes += [bank.remark] if bank.remark else []
    notes += _samples_advice(dataset.header, config)
    category = dataset.header.category
    if UNNAMED not in (category, config.category) and category != config.category:
        notes.append(
            f"The shapes are of the category {category}, but the network will be called one of {config.category}; "
            f"to change that, add --set category={shlex.quote(category)}."
        )
    held_out = held_out_points(dataset, config.training.validation_shapes if config.training.stage != "texture" else 0)
    return Data(
        bank,
        dataset.camera_distribution,
        name,
        dataset.hash(),
        shading=shading,
        epoch=epoch,
        notes=notes,
        held_out=held_out,
        light=light,
        category=category,
    )


def _samples_advice(header: Header, config: Config) -> list[str]:
    """A line where edges of the views are smoother or rougher than those that the generator draws.

    Known of the built-in renderer's views alone: samples along a pixel's side, after averaging down.
    """
    drawn = config.rendering.supersample
    stored = header.renderer.get("supersample") if header.renderer.get("name") == "built-in" else None
    if not isinstance(stored, int) or stored * header.resolution == drawn * config.data.resolution:
        return []
    shown = stored * header.resolution // config.data.resolution
    advice = f"add --set rendering.supersample={shown}" if shown in (1, 2, 4) else "render with another --supersample"
    return [
        f"A pixel of the views has {shown} × {shown} samples and one of the generator {drawn} × {drawn}, which "
        f"discriminators can tell by the edges; {advice}."
    ]


def _wrong_views(path: Path, shading: str, stage: str) -> str:
    """What to do if a stage learns from normals and the views show colors, or the other way round."""
    if shading == "normals":
        return f"{path}: its views show normals, not colors; add --set training.stage=geometry"
    return (
        f"{path}: training.stage={stage} learns from views of normals; "
        "render the shapes again with: tetragan dataset render SOURCE --out DATASET --shading normals"
    )


def named_after(data: Data, config: Config) -> Config:
    """The config with the category of the data, if it names none itself."""
    return config.model_copy(update={"category": data.category}) if config.category == UNNAMED else config


def light_of(dataset: ViewDataset, source: str) -> str:
    """The light that a dataset was rendered under. UserError if it cannot be drawn again."""
    renderer = dataset.header.renderer
    light = str(renderer.get("light", ""))
    if renderer.get("shading") != "pbr" or light not in (ROOM, RANDOM):
        raise UserError(
            f"{source}: texture.channels=pbr needs views under a known light; render them with "
            "--shading pbr --light random (or studio)"
        )
    return light


def held_out_points(dataset: ViewDataset, count: int) -> Tensor | None:
    """Points [R, P, 3] on the first `count` validation shapes that have any; None for fewer than two."""
    shapes = [shape_id for shape_id in dataset.splits["val"][:count] if dataset.has_points(shape_id)]
    if len(shapes) < 2:
        return None
    points = [torch.from_numpy(dataset.points(shape_id)) for shape_id in shapes]
    least = min(len(each) for each in points)
    return torch.stack([each[:least] for each in points])


def check_batch(config: Config, ranks: Ranks) -> None:
    """UserError unless the minibatch can be cut into equal slices and micro-batches that keep stddev groups whole."""
    block = config.discriminator.stddev_group * config.data.views_per_shape
    if ranks.world > 1 and config.training.batch % (ranks.world * block):
        raise UserError(
            f"training.batch: expected a multiple of {ranks.world * block} (ranks × stddev_group × views_per_shape), "
            f"got {config.training.batch}; try --set training.batch={ranks.world * block}"
        )
    share, micro = config.training.batch // ranks.world, config.training.micro_batch
    if micro and (share % micro or micro % block):
        fitting = [size for size in range(block, share + 1, block) if share % size == 0]
        advice = ", ".join(map(str, fitting)) or "none: it must be a multiple of stddev_group × views_per_shape"
        raise UserError(
            f"training.micro_batch: expected a divisor of the {share} images of a rank that keeps stddev groups whole "
            f"({advice}), got {micro}"
        )


# -- minibatches -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ViewBatch:
    """What the discriminators see of B images: rgb [B, 3, R, R] in [−1, 1], mask [B, 1, R, R] in [0, 1], conditions.

    labels [B] int64, None if the networks have no classes.
    """

    rgb: Tensor
    mask: Tensor
    cameras: Cameras
    labels: Tensor | None

    def image(self, head: str) -> Tensor:
        """The input of the discriminator `head`."""
        return discriminator_input(head, self.rgb, self.mask)

    def part(self, images: slice) -> "ViewBatch":
        """Some of the images."""
        labels = None if self.labels is None else self.labels[images]
        return ViewBatch(self.rgb[images], self.mask[images], self.cameras[images], labels)


@dataclass(frozen=True)
class Latents:
    """Latents of B shapes, a second pair for style mixing, and the numbers that decide the mixing.

    geometry, texture, mixing_geometry, mixing_texture [B, z_dim]. mixing [B, 4] uniform in [0, 1): whether to mix and
    from which slot, for geometry and for texture.
    """

    geometry: Tensor
    texture: Tensor
    mixing_geometry: Tensor
    mixing_texture: Tensor
    mixing: Tensor

    def to(self, device: torch.device) -> "Latents":
        """A copy on `device`."""
        return Latents(**{member.name: upload(getattr(self, member.name), device) for member in fields(self)})

    def part(self, shapes: slice) -> "Latents":
        """The latents of some shapes."""
        return Latents(**{member.name: getattr(self, member.name)[shapes] for member in fields(self)})


@dataclass(frozen=True)
class Minibatch:
    """This rank's slice of what one step works on.

    nimg: images seen before it. iteration: minibatches before it. indices: global sample index of each image.
    shape_labels: class of each generated shape. fake_cameras: one per generated image.
    environments: its light, for pbr surfaces; one each, one for all, or none.
    """

    nimg: int
    iteration: int
    indices: Sequence[int]
    reals: ViewBatch
    latents: Latents
    shape_labels: Tensor | None
    fake_cameras: Cameras
    environments: Sequence[EnvironmentLight] = ()

    def split(self, size: int) -> "list[Minibatch]":
        """Parts of `size` images, in order; `size` divides their number, and views of a shape stay together.

        The whole for 0.
        """
        images, shapes = len(self.indices), self.latents.geometry.shape[0]
        if size in (0, images):
            return [self]
        return [self._part(slice(first, first + size), images // shapes) for first in range(0, images, size)]

    def _part(self, images: slice, views: int) -> "Minibatch":
        shapes = slice(images.start // views, images.stop // views)
        return replace(
            self,
            indices=self.indices[images],
            reals=self.reals.part(images),
            latents=self.latents.part(shapes),
            shape_labels=None if self.shape_labels is None else self.shape_labels[shapes],
            fake_cameras=self.fake_cameras[images],
            environments=self.environments if len(self.environments) < 2 else self.environments[images],
        )


class MinibatchSource:
    """Draws this rank's slice of any minibatch. Has no state of its own."""

    def __init__(self, config: Config, data: Data, ranks: Ranks) -> None:
        self.config, self.data, self.ranks = config, data, ranks
        self.slice = ranks.slice(config.training.batch)

    def draw(self, nimg: int, iteration: int) -> Minibatch:
        """The minibatch that begins at global sample index `nimg`."""
        config, device = self.config, self.ranks.device
        seed, views = config.training.seed, config.data.views_per_shape
        order = self._views(nimg)
        images, cameras = self.data.bank.batch(order, device)
        images = images.to(parameter_dtype(config.training.precision))
        self.data.bank.prefetch(self._views(nimg + config.training.batch))
        labels = upload(self.data.bank.class_labels(order), device) if config.classes else None
        shapes = shape_indices(nimg, self.slice, views)
        latents = draw_latents(seed, shapes, config.mapping.z_dim).to(device)
        indices = range(nimg + self.slice.start, nimg + self.slice.stop)
        return Minibatch(
            nimg=nimg,
            iteration=iteration,
            indices=indices,
            reals=ViewBatch(images[:, :3], images[:, 3:], cameras, labels),
            latents=latents,
            # A generated shape takes the class of the real view in its place, so both have the same distribution.
            shape_labels=None if labels is None else labels[::views],
            fake_cameras=self.data.camera_distribution.sample(seed, indices).to(device),
            environments=draw_environments(self.data.light, seed, indices, device),
        )

    def _views(self, nimg: int) -> list[int]:
        """Indices of the real views in this rank's slice of the minibatch that begins at `nimg`."""
        epoch = self.data.epoch
        return [epoch[place] for place in real_order(self.config.training.seed, nimg, self.slice, len(epoch))]


def shape_indices(nimg: int, images: slice, views: int) -> range:
    """Global sample indices of the generated shapes in a minibatch.

    nimg: where the minibatch begins. images: this rank's slice of it. views: consecutive images of one shape. A shape
    has the index of its first view.
    """
    return range(nimg + images.start, nimg + images.stop, views)


def draw_latents(seed: int, indices: Sequence[int], z_dim: int) -> Latents:
    """Standard normal latents of the samples `indices`."""
    z = seeding.normal(seed, indices, "latents", 4 * z_dim)
    geometry, texture, mixing_geometry, mixing_texture = z.split(z_dim, dim=1)
    mixing = seeding.uniform(seed, indices, "mixing", 4)
    return Latents(geometry, texture, mixing_geometry, mixing_texture, mixing)


def real_order(seed: int, nimg: int, images: slice, count: int) -> list[int]:
    """Which of an epoch's `count` views the places `images` of the minibatch that begins at `nimg` show.

    Every epoch has its own order, so no view repeats before the epoch is complete.
    """
    places = range(nimg + images.start, nimg + images.stop)
    return [int(_epoch_order(seed, place // count, count)[place % count]) for place in places]


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    return seeding.sample_rng(seed, epoch, "epoch").permutation(count)


def spread_views(count: int, views: int, group: int, device: torch.device | str = "cpu") -> Tensor:
    """An order [count] of images that puts views of different shapes into each minibatch-stddev group.

    The images come shape by shape, `views` of each. Within every block of group · views images the new order is: the
    first view of each shape, the second view of each, and so on. Without it a group of fakes would show fewer shapes
    than a group of reals, and the discriminator would notice.
    """
    order = torch.arange(count, device=device)
    block = group * views
    whole = count // block * block
    if views == 1 or whole == 0:
        return order
    blocks = order[:whole].view(-1, group, views).transpose(1, 2).reshape(-1)
    return torch.cat([blocks, order[whole:]])
