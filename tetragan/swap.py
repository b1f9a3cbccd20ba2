"""`tetragan swap`: every shape with every texture."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tetragan.options import SamplerOptions, mesh_options, sampler_options
from torch_utils.text import counted

if TYPE_CHECKING:
    from sampling.mesh_export import MeshSettings


@click.command()
@sampler_options
@click.option("--shape-seeds", default="0-4", show_default=True, help="The rows of the table.")
@click.option("--texture-seeds", default="5-9", show_default=True, help="The columns of the table.")
@mesh_options("none")
def swap(
    options: SamplerOptions, meshes: "Callable[[], MeshSettings | None]", shape_seeds: str, texture_seeds: str
) -> None:
    """Show shapes × textures in one table: swap.png, and with --format a mesh for every cell.

    Every row is one shape, every column one texture: what the latents of shape and texture control apart.
    """
    from rendering.images import image_grid
    from sampling.sample_run import MAX_GRID
    from tetragan.sampler import Sampler, end, seeds_of

    shapes, textures = seeds_of(shape_seeds, "--shape-seeds"), seeds_of(texture_seeds, "--texture-seeds")
    if len(shapes) * len(textures) > MAX_GRID:
        raise click.UsageError(f"a table of {len(shapes)} × {len(textures)}: expected at most {MAX_GRID} cells")
    sampler = Sampler(options, meshes, "swap.json")
    rows = [shape for shape in shapes for _ in textures]
    samples = sampler.generator.sample_pairs(rows, textures * len(shapes), options.truncation, options.label)
    names = [f"shape{sample.seed:04d}_texture{sample.texture_seed:04d}" for sample in samples]
    outcome = sampler.run(samples, names, what="cells")
    image = image_grid(outcome.grid(names), columns=len(textures))
    sampler.save_image("swap.png", image, f"{counted(len(shapes), 'shape')} × {counted(len(textures), 'texture')}")
    end(outcome)
