"""`tetragan generate`: an image grid of samples, and their meshes."""

from pathlib import Path

import click

from tetragan.options import (
    device_option,
    network_option,
    out_option,
    quiet_option,
    resolution_option,
    seeds_option,
    truncation_option,
    unlit_option,
)
from torch_utils.text import counted


@click.command()
@network_option
@seeds_option("0-15")
@truncation_option
@out_option("Folder for samples.png and the meshes.", folder=True)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["glb", "obj", "usdz", "none"]),
    default="glb",
    show_default=True,
    help="File format of the meshes; none: only the images.",
)
@click.option(
    "--texture-size", type=click.IntRange(64, 8192), default=1024, show_default=True, help="Side of a texture, px."
)
@resolution_option
@unlit_option
@device_option()
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "auto"]),
    default="fp32",
    show_default=True,
    help="Of the convolutions; bf16 is faster for large networks, and auto takes it where the processor has it.",
)
@quiet_option
def generate(
    network: str,
    seeds: str,
    truncation: float,
    out: Path,
    file_format: str,
    texture_size: int,
    resolution: int | None,
    unlit: bool,
    device: str,
    precision: str,
    quiet: bool,
) -> None:
    """Sample textured meshes: samples.png and one mesh per seed."""
    from rendering.images import image_grid, save_png
    from sampling.latents import parse_seeds
    from sampling.trained_generator import load
    from torch_utils.progress import progress_bar

    seed_list = parse_seeds(seeds)
    samples = load(network, device, precision).sample(seed_list, truncation)
    images = samples.render(resolution=resolution, unlit=unlit)
    save_png(out / "samples.png", image_grid(images))
    click.echo(
        f"{out / 'samples.png'}: {counted(len(samples), 'sample')}, truncation {truncation:g}, {images.shape[1]} px"
    )
    if file_format == "none":
        return
    with progress_bar("meshes", len(samples), quiet=quiet) as advance:
        files = samples.export(out, file_format, texture_size, progress=advance)
    click.echo(f"{out}: {counted(len(files), 'textured mesh', 'textured meshes')} ({file_format})")
    written = {file.stem for file in files}
    empty = [str(seed) for seed in seed_list if f"seed{seed:04d}" not in written]
    if empty:
        click.echo(f"No surface for seeds {', '.join(empty)}: no mesh was written for them.", err=True)
