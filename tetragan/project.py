"""`tetragan project`: the samples that look like given images or meshes."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tetragan.options import PATH, SamplerOptions, mesh_options, sampler_options

if TYPE_CHECKING:
    import numpy as np

    from rendering.camera_distribution import CameraDistribution
    from sampling.mesh_export import MeshSettings
    from sampling.projection import Projected
    from sampling.projection_target import ProjectionTarget
    from sampling.samples import Sample
    from sampling.trained_generator import TrainedGenerator
    from tetragan.sampler import Sampler

COLUMNS = ("given", "projected", "lit", "from behind")


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@functools.partial(sampler_options, random=False)
@click.option("--azimuth", type=float, help="Azimuth of the camera of all images, degrees; 0 sees the front.")
@click.option("--elevation", type=click.FloatRange(-90, 90), help="Elevation of the camera of all images, degrees.")
@click.option(
    "--camera", help="Camera distribution of the training views: a name or a YAML file.  [default: the category's]"
)
@click.option(
    "--starts",
    type=click.IntRange(8, 4096),
    default=160,
    show_default=True,
    help="Random samples that the search starts from.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Steps of the last stage of the search.",
)
@mesh_options("glb")
def project(
    inputs: tuple[Path, ...],
    options: SamplerOptions,
    meshes: "Callable[[], MeshSettings | None]",
    azimuth: float | None,
    elevation: float | None,
    camera: str | None,
    starts: int,
    steps: int,
) -> None:
    """Find the samples that look like INPUTS: styles, a mesh of each, and projections.png.

    An input is an image with alpha, a folder with transforms.json and images of one object, or a mesh. The camera of an
    image is searched for, unless --azimuth and --elevation give it. NAME.safetensors holds the styles, for `--latents`
    of generate, interpolate and turntable.
    """
    from tetragan.sampler import Sampler, end
    from torch_utils.files import file_hash

    if (azimuth is None) != (elevation is None):
        raise click.UsageError("--azimuth and --elevation belong together")
    sampler = Sampler(options, meshes, "projections.json")
    generator, distribution = sampler.generator, _distribution(sampler.generator, camera)
    angles = None if azimuth is None else (azimuth, elevation or 0.0)
    paths, targets, refused = _read(inputs, generator, distribution, angles)
    hashes = {each.name: file_hash(path) for path, each in zip(paths, targets, strict=True) if path.is_file()}
    facts = {"inputs": hashes, "azimuth_deg": azimuth, "elevation_deg": elevation, "starts": starts, "steps": steps}
    sampler.guard(facts)
    found = _project_all(sampler, targets, distribution, starts, steps)
    samples = [generator.from_styles(each.w_geo.cpu(), each.w_tex.cpu())[0] for each in found]
    names = [target.name for target in targets]
    outcome = sampler.run(samples, names, facts, draw_all=True)
    _save_grid(sampler, targets, found, samples, outcome.grid(names))
    for line in refused:
        click.echo(f"Error: {line}", err=True)
    end(outcome)
    if refused:
        sys.exit(1)


def _distribution(generator: "TrainedGenerator", camera: str | None) -> "CameraDistribution":
    from rendering.camera_distribution import CAMERA_DISTRIBUTIONS, load_camera_distribution

    if camera is not None:
        return load_camera_distribution(camera)
    if generator.category not in CAMERA_DISTRIBUTIONS:
        raise click.UsageError(f"the cameras of the category {generator.category!r} are not known; give --camera")
    return CAMERA_DISTRIBUTIONS[generator.category]


def _read(
    inputs: tuple[Path, ...],
    generator: "TrainedGenerator",
    distribution: "CameraDistribution",
    angles: tuple[float, float] | None,
) -> "tuple[list[Path], list[ProjectionTarget], list[str]]":
    """The paths and targets that can be read, and what is wrong with the others. UserError if there is none.

    angles: azimuth and elevation in degrees of every image that brings no camera; None searches for it.
    """
    from dataclasses import replace

    from sampling.projection_target import read_projection_target
    from sampling.start_search import camera_of_angles
    from torch_utils.errors import UserError

    shading: Any = generator.header.get("shading") or "albedo"
    if shading == "normals":  # the network's images show the colors of its texture field all the same
        shading = "albedo"
    paths: list[Path] = []
    targets: list[ProjectionTarget] = []
    refused = []
    for path in inputs:
        try:
            target = read_projection_target(path, generator.resolution, distribution, shading)
        except UserError as error:
            refused.append(str(error))
            continue
        if any(target.name == other.name for other in targets):
            raise click.UsageError(f"{path}: another input is called {target.name!r}, too; rename one of them")
        if target.cameras is None and angles is not None:
            target = replace(target, cameras=camera_of_angles(distribution, *angles))
        paths.append(path)
        targets.append(target)
    if not targets:
        raise UserError(refused[0])
    return paths, targets, refused


def _project_all(
    sampler: "Sampler",
    targets: "Sequence[ProjectionTarget]",
    distribution: "CameraDistribution",
    starts: int,
    steps: int,
) -> "list[Projected]":
    """Project one target after another; NAME.safetensors is written as soon as it is found."""
    from sampling.projection import MAX_STARTS, StyleSpace, stages_of
    from sampling.start_search import make_bank
    from sampling.style_file import save_styles
    from torch_utils.progress import progress_bar

    generator, quiet = sampler.generator, sampler.options.quiet
    generator.network.to(sampler.device)
    with progress_bar("starts", starts, quiet=quiet) as advance:
        bank = make_bank(generator.network, generator.slots, starts, advance)
    space = StyleSpace(generator.network)
    total = sum(stage.steps for stage in stages_of(MAX_STARTS, steps))
    found = []
    for target in targets:
        with progress_bar(target.name, total, quiet=quiet) as advance:
            result = _project(sampler, space, bank, target, distribution, steps, advance)
        found.append(result)
        path = sampler.out / f"{target.name}.safetensors"
        save_styles(path, [target.name], result.w_geo, result.w_tex, generator.identity(), [_figures(target, result)])
        click.echo(f"{path}: {_sentence(target, result)}")
    generator.network.to("cpu")
    return found


def _project(sampler: "Sampler", space, bank, target: "ProjectionTarget", distribution, steps: int, advance):
    from sampling.projection import project_styles, stages_of
    from sampling.start_search import starts_anywhere, starts_for_cameras

    images = target.images.to(sampler.device)
    if target.cameras is None:
        starts = starts_anywhere(bank, images, distribution)
    else:
        starts = starts_for_cameras(bank, images, target.cameras)
    stages = stages_of(len(starts.w_geo), steps)
    return project_styles(sampler.generator.network, space, images, starts, target.cameras, stages, advance)


def _figures(target: "ProjectionTarget", result: "Projected") -> dict[str, Any]:
    angles = {
        "azimuth_deg": float(result.cameras.azimuth_rad()[0].rad2deg()) % 360,
        "elevation_deg": float(result.cameras.elevation_rad()[0].rad2deg()),
    }
    given = target.cameras is not None
    return {"iou": result.iou, "psnr_db": result.psnr_db, "camera": "given" if given else "found", **angles}


def _sentence(target: "ProjectionTarget", result: "Projected") -> str:
    figures = _figures(target, result)
    text = f"IoU {figures['iou']:.3f}, {figures['psnr_db']:.1f} dB"
    if target.cameras is None:
        text += f", seen from azimuth {figures['azimuth_deg']:.0f}°, elevation {figures['elevation_deg']:.0f}°"
    return text


def _shown(image: Any, side: int) -> "np.ndarray":
    """A premultiplied image [4, R, R] over the light background: uint8 [side, side, 3]."""
    from rendering.images import over_background, to_uint8
    from sampling.projection_target import resampled_square

    larger = resampled_square(image[None].cpu(), side)
    return to_uint8(over_background(larger[:, :3], larger[:, 3:]) * 2 - 1)[0]


def _save_grid(
    sampler: "Sampler",
    targets: "Sequence[ProjectionTarget]",
    found: "Sequence[Projected]",
    samples: "Sequence[Sample]",
    lit: "np.ndarray",
) -> None:
    """projections.png, a row for each target. lit: the samples' images [N, R, R, 3] uint8."""
    import numpy as np

    from rendering.images import save_png
    from rendering.labeled_grid import labeled_grid

    side, unlit = sampler.options.resolution or 2 * sampler.generator.resolution, sampler.options.unlit
    columns = [
        np.stack([_shown(each.images[0], side) for each in targets]),
        np.stack([_shown(each.images[0], side) for each in found]),
        lit,
        np.concatenate([each.render(215.0, resolution=side, unlit=unlit)[None] for each in samples]),
    ]
    rows = np.stack(columns, 1).reshape(-1, *lit.shape[1:])
    path = sampler.out / "projections.png"
    save_png(path, labeled_grid(rows, [target.name for target in targets], COLUMNS))
    click.echo(f"{path}: {', '.join(COLUMNS)}")
