"""`tetragan turntable`: videos of samples that turn around."""

from typing import Literal

import click

from tetragan.options import SamplerOptions, sampler_options, seeds_option, video_options


@click.command()
@sampler_options
@seeds_option("0")
@video_options("mp4")
@click.option("--frames", type=click.IntRange(2, 1000), default=72, show_default=True, help="Frames of one turn.")
@click.option(
    "--elevation", type=click.FloatRange(-89, 89), default=20.0, show_default=True, help="Of the camera, degrees."
)
@click.option(
    "--background",
    type=click.Choice(["light", "black", "transparent"]),
    default="light",
    show_default=True,
    help="transparent: for webp and gif.",
)
def turntable(
    sampler: SamplerOptions,
    seeds: str,
    video: str,
    fps: float,
    frames: int,
    elevation: float,
    background: Literal["light", "black", "transparent"],
) -> None:
    """Turn samples around: one video per seed, turntable0003.mp4."""
    import sys

    from rendering.video import check_video_format, write_video
    from sampling.generate import preview_shading
    from sampling.samples import EmptySurface
    from sampling.turntable import turntable_frames
    from tetragan.sampler import Sampler, seeds_of
    from torch_utils.progress import progress_bar

    check_video_format(video, transparent=background == "transparent")
    chosen = seeds_of(seeds)
    shop = Sampler(sampler, None, "turntable.json")
    shop.guard({"frames": frames, "elevation_deg": elevation, "background": background, "video": video, "fps": fps})
    shading = "albedo" if sampler.unlit else preview_shading(shop.generator.header.get("shading"))
    side = sampler.resolution or 2 * shop.generator.resolution
    shop.generator.network.to(shop.device)
    empty = []
    with progress_bar("frames", frames * len(chosen), quiet=sampler.quiet) as advance:
        for seed in chosen:
            sample = shop.generator.sample(seed, sampler.truncation, sampler.label)
            path = shop.out / f"turntable{seed:04d}.{video}"

            def drawn(sample=sample):
                for frame in turntable_frames(sample, frames, side, elevation, shading, background):
                    advance()
                    yield frame

            try:
                write_video(path, drawn(), fps)
            except EmptySurface:
                empty.append(f"seed {seed}")
                continue
            click.echo(f"{path}: {frames} frames, {side} px")
    if empty:
        click.echo(f"No surface: {', '.join(empty)}. They were skipped; try a lower --truncation.", err=True)
        sys.exit(1)
