"""`tetragan turntable`: videos of samples that turn around."""

from pathlib import Path
from typing import Literal

import click

from tetragan.options import SamplerOptions, latents_option, sampler_options, seeds_option, video_options


@click.command()
@sampler_options
@seeds_option("0")
@latents_option
@video_options("mp4")
@click.option("--frames", type=click.IntRange(2, 1000), default=72, show_default=True, help="Frames of one turn.")
@click.option(
    "--elevation",
    type=click.FloatRange(-89, 89),
    default=20.0,
    show_default=True,
    help="Elevation of the camera, degrees.",
)
@click.option(
    "--background",
    type=click.Choice(["light", "black", "transparent"]),
    default="light",
    show_default=True,
    help="Background; mp4 cannot be transparent.",
)
def turntable(
    options: SamplerOptions,
    seeds: str | None,
    latents_files: tuple[Path, ...],
    video: str,
    fps: float,
    frames: int,
    elevation: float,
    background: Literal["light", "black", "transparent"],
) -> None:
    """Turn samples around: one video per seed, turntable0003.mp4."""
    import sys

    from rendering.video import check_video_format, write_video
    from sampling.samples import EmptySurface
    from sampling.style_images import preview_shading
    from sampling.turntable import turntable_frames
    from tetragan.sampler import Sampler, seeds_of
    from torch_utils.progress import progress_bar

    check_video_format(video, transparent=background == "transparent")
    if latents_files and seeds is not None:
        raise click.UsageError("--latents: takes the place of --seeds")
    chosen = seeds_of(seeds or "0")
    sampler = Sampler(options, None, "turntable.json")
    if latents_files:
        names, samples, facts = sampler.loaded(latents_files)
    else:
        samples = [sampler.generator.sample(seed, options.truncation, options.label) for seed in chosen]
        names, facts = [f"{seed:04d}" for seed in chosen], {}
    sampler.guard(
        {**facts, "frames": frames, "elevation_deg": elevation, "background": background, "video": video, "fps": fps}
    )
    shading = "albedo" if options.unlit else preview_shading(sampler.generator.header.get("shading"))
    side = options.resolution or 2 * sampler.generator.resolution
    sampler.generator.network.to(sampler.device)
    empty = []
    with progress_bar("frames", frames * len(samples), quiet=options.quiet) as advance:
        for name, sample in zip(names, samples, strict=True):
            path = sampler.out / f"turntable{'_' * bool(latents_files)}{name}.{video}"

            def drawn(sample=sample):
                for frame in turntable_frames(sample, frames, side, elevation, shading, background):
                    advance()
                    yield frame

            try:
                write_video(path, drawn(), fps)
            except EmptySurface:
                empty.append(name)
                continue
            click.echo(f"{path}: {frames} frames, {side} px")
    if empty:
        click.echo(f"No surface: {', '.join(empty)}. They were skipped; try a lower --truncation.", err=True)
        sys.exit(1)
