"""CPU time of a training step of each variant of the networks and objectives: `python -m benchmarks.variants`.

Geometry networks × extractors, discriminator blocks and objectives, at a preset's size, on random discs.
"""

import statistics
import time
from collections.abc import Callable

import click
import torch

from configs.loader import load_config
from configs.schema import Config
from rendering.camera_distribution import CameraDistribution
from torch_utils.distributed import Ranks
from torch_utils.process import prepare_process
from training.benchmark import RandomViews
from training.data import Data, MinibatchSource
from training.run.step_statistics import Statistics
from training.stages import step_of
from training.train_state import build_train_state

# A small preset is meant for tri-planes; the volumes get its width.
_VOLUME = ("geometry.network=volume", "geometry.volume_channel_base=512", "geometry.volume_channel_max=32")
_SUBDIVIDED, _CUBES = ("geometry.subdivide=1",), ("geometry.extraction=flexicubes",)
VARIANTS: dict[str, tuple[str, ...]] = {
    "the preset": (),
    "tri-planes, subdivided": _SUBDIVIDED,
    "tri-planes, FlexiCubes": _CUBES,
    "volume, tetrahedra": _VOLUME,
    "volume, subdivided": (*_VOLUME, *_SUBDIVIDED),
    "volume, FlexiCubes": (*_VOLUME, *_CUBES),
    "residual discriminators": ("discriminator.block=residual",),
    "bottleneck discriminators": ("discriminator.block=bottleneck",),
    "a single discriminator": ("discriminator.single=true", "discriminator.mask_downsample=1"),
    "hinge loss": ("loss.objective=hinge",),
    "relativistic loss, R1 and R2": ("loss.objective=relativistic",),
}


def variant_step(config: Config) -> Callable[[int], None]:
    """A function that trains on the minibatch of a given iteration; penalties fall on iteration 0."""
    ranks, cameras = Ranks(), CameraDistribution()
    views = Data(RandomViews(config.data.resolution, cameras), cameras, "random discs", "")
    train_state, source = build_train_state(config, ranks), MinibatchSource(config, views, ranks)
    update = step_of(config, train_state, cameras, ranks, Statistics())

    def step(iteration: int) -> None:
        update(source.draw(iteration * config.training.batch, iteration))

    return step


def milliseconds(step: Callable[[int], None], config: Config, rounds: int) -> tuple[float, float]:
    """CPU time an image, without penalties and on average over steps: medians of `rounds` steps of each kind."""
    step(0)
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for iteration in (1, 0):
            start = time.process_time()
            step(iteration)
            times[iteration].append(1000 * (time.process_time() - start) / config.training.batch)
    penalized, plain = (statistics.median(column) for column in times)
    return plain, plain + (penalized - plain) / config.loss.r1_interval


@click.command()
@click.option("--config", "preset", default="chair", show_default=True)
@click.option("--set", "changes", multiple=True, help="Setting of all variants: path.to.field=value.")
@click.option("--rounds", type=int, default=5, show_default=True, help="Steps of each kind.")
@click.option("--only", default="", help="Only variants whose name contains this text, beside the preset.")
def main(preset: str, changes: tuple[str, ...], rounds: int, only: str) -> None:
    """Print the table."""
    prepare_process(1, torch.device("cpu"))
    click.echo("| variant | without penalties, ms an image | on average | against the preset |")
    click.echo("|---|---|---|---|")
    base = None
    for name, settings in VARIANTS.items():
        if settings and only not in name:
            continue
        torch.manual_seed(0)
        config = load_config(preset, [*changes, *settings])
        plain, average = milliseconds(variant_step(config), config, rounds)
        base = base or average
        click.echo(f"| {name} | {plain:.1f} | {average:.1f} | {average / base:.2f} |")


if __name__ == "__main__":
    main()
