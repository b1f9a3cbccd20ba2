"""`tetragan interpolate`: images on the paths between samples."""

from pathlib import Path

import click

from tetragan.options import (
    device_option,
    network_option,
    out_option,
    resolution_option,
    seeds_option,
    truncation_option,
    unlit_option,
)
from torch_utils.text import counted


@click.command()
@network_option
@seeds_option("0-3")
@truncation_option
@out_option("Folder for interpolation.png.", folder=True)
@click.option("--steps", type=click.IntRange(2, 240), default=8, show_default=True, help="Images from seed to seed.")
@resolution_option
@unlit_option
@device_option()
def interpolate(
    network: str,
    seeds: str,
    truncation: float,
    out: Path,
    steps: int,
    resolution: int | None,
    unlit: bool,
    device: str,
) -> None:
    """Interpolate from each seed to the next: interpolation.png, one row per pair of seeds."""
    from rendering.images import image_grid, save_png
    from sampling.latents import parse_seeds
    from sampling.trained_generator import load

    seed_list = parse_seeds(seeds)
    if len(seed_list) < 2:
        raise click.UsageError(f"--seeds {seeds}: expected at least two seeds, e.g. --seeds 0-3")
    generator = load(network, device)
    # A conditional network stays in the class of the first seed: there is no path from one class to another.
    label = seed_list[0] % generator.classes if generator.classes else None
    samples = generator.interpolate_all(generator.sample(seed_list, truncation, label), steps)
    save_png(out / "interpolation.png", image_grid(samples.render(resolution=resolution, unlit=unlit), columns=steps))
    pairs = len(seed_list) - 1
    click.echo(f"{out / 'interpolation.png'}: {counted(pairs, 'path')} of {steps} steps, truncation {truncation:g}")
