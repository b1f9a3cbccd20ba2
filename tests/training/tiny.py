"""A run small enough for tests: 16² images of colored discs, a grid of 6 cells, few weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.loader import build_config, dump_config
from configs.schema import Config
from dataset_tool.format.dataset_json import Header
from dataset_tool.format.writer import ShapeRecord, content_hash, write_header, write_shape
from networks.generator import Generator
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from studies.soak.inputs import SETTINGS as SMALL
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from training.benchmark import RandomViews
from training.data import Data, MinibatchSource
from training.gan_step import training_step
from training.run.step_statistics import Statistics
from training.train_state import build_train_state

TRAINING = {**SMALL["training"], "total_kimg": 0.08, "log_kimg": 0.016, "state_kimg": 0.032, "snapshot_kimg": 0.064}
SETTINGS = {**SMALL, "training": TRAINING}
# Sizes of the volume network as small as the others.
VOLUME = {"volume_resolution": 8, "volume_channel_base": 64, "volume_channel_max": 8}


def config(**sections: dict) -> Config:
    """The tiny configuration with some sections' settings changed."""
    values = {name: dict(section) for name, section in SETTINGS.items()}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return build_config(values, "tiny")


def data(settings: Config, noise: float = 0.0) -> Data:
    """Discs in memory. noise: standard deviation of what is added to their colors, so that no two pixels are alike."""
    camera_distribution = CAMERA_DISTRIBUTIONS["chair"]
    views = RandomViews(settings.data.resolution, camera_distribution, count=20)
    mask = views.images[:, 3:]
    views.images[:, :3] += noise * mask * torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    return Data(views, camera_distribution, "discs", "hash")


def run_steps(settings: Config, count: int, ranks: Ranks | None = None, noise: float = 0.0):
    """Train for `count` minibatches from the start: (train_state, the statistics' means). noise: of `data`."""
    ranks = ranks or Ranks()
    train_state = build_train_state(settings, ranks)
    source, statistics = MinibatchSource(settings, data(settings, noise), ranks), Statistics()
    for iteration in range(count):
        batch = source.draw(iteration * settings.training.batch, iteration)
        training_step(train_state, batch, settings, ranks, statistics)
    return train_state, {name: mean for name, (mean, _) in statistics.read(ranks).items()}


def write_dataset(root: Path, resolution: int = 16, shapes: int = 6, views: int = 4, classes: int = 0) -> Path:
    """A dataset on disk: discs of different sizes and colors."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, resolution)
    camera_distribution, ids = CAMERA_DISTRIBUTIONS["chair"], [f"shape{i}" for i in range(shapes)]
    for i, shape_id in enumerate(ids):
        disc = axis[:, None] ** 2 + axis**2 < rng.uniform(0.2, 0.6)
        image = np.zeros((views, resolution, resolution, 4), np.uint8)
        image[:, disc, :3] = rng.integers(50, 255, 3)
        image[:, disc, 3] = 255
        points = rng.standard_normal((2048, 3)).astype(np.float32) * 0.2
        write_shape(
            root,
            ShapeRecord(
                shape_id, image, camera_distribution.sample(i, range(views)), points, None, {"caption": "disc"}
            ),
        )
    header = Header(
        category="disc",
        camera_distribution=camera_distribution,
        resolution=resolution,
        views=views,
        classes=tuple(f"class{i}" for i in range(classes)),
        labels={shape_id: i % classes for i, shape_id in enumerate(ids)} if classes else {},
        splits={"train": tuple(ids)},
        content=content_hash(root, ids),
    )
    write_header(root, header)
    return root


def rough_generator(seed: int = 1, cells: int = 8, classes: int = 0) -> Generator:
    """A generator of random weights with rough shapes and a strong texture."""
    torch.manual_seed(seed)
    settings = config(geometry={"cells": cells, "sdf_scale": 0.3}, texture={"plane_scale": 8.0})
    return Generator(settings.model_copy(update={"classes": classes}))


def write_network(path: Path, seed: int = 1, cells: int = 8, classes: int = 0, **options: Any) -> Path:
    """`rough_generator` as a file. options: of `save_network`."""
    generator = rough_generator(seed, cells, classes)
    save_network(path, generator, generator.config.model_dump(mode="json"), 8000, **options)
    return path


def write_config(path: Path, **sections: dict) -> Path:
    """The tiny configuration as a file for --config."""
    path.write_text(dump_config(config(**sections)))
    return path


def tensors_of(train_state) -> dict[str, torch.Tensor]:
    """Every weight of a train state."""
    modules = {"generator": train_state.generator, "average": train_state.average, **train_state.discriminators}
    return {f"{part}/{name}": value for part, module in modules.items() for name, value in module.state_dict().items()}
