"""`tetragan interpolate`: the paths between samples, as a strip, a video or meshes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from tetragan.options import (
    SamplerOptions,
    latents_option,
    mesh_options,
    sampler_options,
    seeds_option,
    vary_option,
    video_options,
)
from torch_utils.text import counted

if TYPE_CHECKING:
    from sampling.mesh_export import MeshSettings
    from sampling.samples import Sample

# Images of a strip: a path of more steps is shown by some of them.
STRIP = 12


@click.command()
@sampler_options
@seeds_option("0-3")
@latents_option
@click.option("--steps", type=click.IntRange(2, 240), default=8, show_default=True, help="Samples from seed to seed.")
@click.option(
    "--path",
    type=click.Choice(["slerp", "linear", "w"]),
    default="slerp",
    show_default=True,
    help="slerp: a great circle through the latents. linear: a straight line. w: a straight line through the styles.",
)
@vary_option
@click.option("--loop", is_flag=True, help="Return to the first seed, for a video without a jump.")
@video_options(None)
@mesh_options("none")
def interpolate(
    options: SamplerOptions,
    meshes: "Callable[[], MeshSettings | None]",
    seeds: str | None,
    latents_files: tuple[Path, ...],
    steps: int,
    path: Literal["slerp", "linear", "w"],
    vary: Literal["both", "shape", "texture"],
    loop: bool,
    video: str | None,
    fps: float,
) -> None:
    """Interpolate from each seed to the next: interpolation.png, one row per pair of seeds.

    Samples of --latents are joined by straight lines through the styles.

    --video also writes interpolation.mp4, .webp or .gif; --format also a mesh per step.
    """
    from rendering.images import image_grid
    from rendering.video import check_video_format, write_video
    from tetragan.sampler import Sampler, end, seeds_of

    if latents_files and seeds is not None:
        raise click.UsageError("--latents: takes the place of --seeds")
    seed_list = seeds_of(seeds or "0-3")
    if len(seed_list) < 2:
        raise click.UsageError(f"--seeds {seeds}: expected at least two seeds, e.g. --seeds 0-3")
    if video is not None:
        check_video_format(video)
    sampler = Sampler(options, meshes, "interpolation.json")
    generator = sampler.generator
    facts = {"seeds": seed_list, "steps": steps, "path": path, "vary": vary, "loop": loop}
    # A conditional network stays in the class of the first seed: there is no path from one class to another.
    label = seed_list[0] % generator.classes if generator.classes and options.label is None else options.label
    stops: Sequence[Sample] = generator.sample(seed_list, options.truncation, label)
    if latents_files:
        _, stops, own = sampler.loaded(latents_files)
        path = "w"
        facts |= {**own, "seeds": None, "path": path}
        if len(stops) < 2:
            raise click.UsageError("--latents: expected at least two samples")
    samples = generator.interpolate_all(stops, steps, path=path, vary=vary, loop=loop)
    names = [f"step{row:04d}" for row in range(len(samples))]
    outcome = sampler.run(samples, names, facts, what="steps", draw_all=True)
    row = steps - 1 if loop else steps
    kept = sorted({round(column * (row - 1) / (min(row, STRIP) - 1)) for column in range(min(row, STRIP))} or {0})
    shown = [names[start + column] for start in range(0, len(names), row) for column in kept]
    image = image_grid(outcome.grid(shown), columns=len(kept))
    sampler.save_image("interpolation.png", image, f"{counted(len(names) // row, 'path')} of {row} steps")
    if video is not None:
        file = sampler.out / f"interpolation.{video}"
        write_video(file, (outcome.image(name) for name in names), fps)
        click.echo(f"{file}: {len(names)} frames")
    end(outcome)
