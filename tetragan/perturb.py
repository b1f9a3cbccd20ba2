"""`tetragan perturb`: variations of one sample."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from tetragan.options import SamplerOptions, mesh_options, sampler_options, vary_option
from torch_utils.text import counted

if TYPE_CHECKING:
    from sampling.mesh_export import MeshSettings


@click.command()
@sampler_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The sample to vary.")
@click.option("--count", type=click.IntRange(1, 63), default=15, show_default=True, help="Variations.")
@click.option(
    "--radius",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    help="How far they go: 1 reaches unrelated samples.",
)
@click.option(
    "--noise-seed", type=click.IntRange(0), default=0, show_default=True, help="Other variations of the same sample."
)
@vary_option
@mesh_options("none")
def perturb(
    options: SamplerOptions,
    meshes: "Callable[[], MeshSettings | None]",
    seed: int,
    count: int,
    radius: float,
    noise_seed: int,
    vary: Literal["both", "shape", "texture"],
) -> None:
    """Vary one sample: perturbations.png with the sample first, then its variations, the nearest first."""
    from rendering.images import image_grid
    from tetragan.sampler import Sampler, end

    sampler = Sampler(options, meshes, "perturbations.json")
    center = sampler.generator.sample(seed, options.truncation, options.label)
    variations = sampler.generator.perturb(center, count, radius, seed=noise_seed, vary=vary)
    names = [f"seed{seed:04d}_variation{number:02d}" for number in range(count + 1)]
    facts = {"shape_seed": seed, "radius": radius, "noise_seed": noise_seed, "vary": vary}
    outcome = sampler.run([center, *variations], names, facts, what="variations")
    image = image_grid(outcome.grid(names))
    sampler.save_image(
        "perturbations.png", image, f"seed {seed} and {counted(count, 'variation')} within radius {radius:g}"
    )
    end(outcome)
