"""Speed of rendering a dataset, next to Blender's Cycles.

python -m benchmarks.render                            # takes a few minutes; skips Blender if it is not installed
python -m benchmarks.render --only speed --only sizes
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.rows_raster import bumpy_sphere
from dataset_tool.render.blender import blender_views, find_blender
from dataset_tool.render.render_dataset import render_dataset
from dataset_tool.render.render_shape import RenderSettings
from dataset_tool.sources.find_shapes import find_shapes
from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from rendering.camera_distribution import load_camera_distribution
from rendering.lighting import Shading
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from torch_utils.errors import UserError

VIEWS = 24
SAMPLES = 16
FACES = 20000
MANY = 5000


def write_textured(path: Path, faces: int, texture_side: int = 1024) -> None:
    """Write a bumpy sphere of `faces` triangles with a texture of colored noise, as GLB."""
    vertices, triangles = bumpy_sphere(faces)
    direction = torch.nn.functional.normalize(vertices, dim=1)
    uvs = torch.stack([torch.atan2(direction[:, 2], direction[:, 0]) / (2 * torch.pi) + 0.5, direction[:, 1].acos()], 1)
    coarse = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(faces))
    image = torch.nn.functional.interpolate(coarse, (texture_side, texture_side), mode="bicubic").clamp(0, 1)[0]
    uvs[:, 1] /= torch.pi
    textures = {"base_color": image.permute(1, 2, 0).contiguous()}
    write_glb(path, Mesh.single(vertices, triangles, uvs=uvs, textures=textures))


def settings(resolution: int, views: int = VIEWS) -> RenderSettings:
    """Render settings of the timed datasets: chair cameras, default light."""
    return RenderSettings(
        resolution=resolution, views=views, camera_distribution=load_camera_distribution("chair"), scale=0.7
    )


def shapes_a_minute(folder: Path, resolution: int, shapes: int, workers: int) -> float:
    """Shapes a minute from mesh files to view files, without the first shape of each worker."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    for index in range(shapes + workers):
        if not (source / f"{index}.glb").exists():
            write_textured(source / f"{index}.glb", FACES)
    finished: list[float] = []
    render_dataset(
        find_shapes(source)[: shapes + workers],
        folder / f"views-{resolution}",
        settings(resolution),
        category="sphere",
        workers=workers,
        on_shape=lambda _: finished.append(time.perf_counter()),
    )
    return 60 * shapes / (finished[-1] - finished[workers - 1])


def against_blender(folder: Path, resolution: int, views: int) -> Iterator[str]:
    """Lines with the seconds a view of both renderers, one thread each, in one run."""
    write_textured(folder / "one.glb", FACES)
    mesh = read_mesh(folder / "one.glb")
    cameras = load_camera_distribution("chair").sample(0, range(VIEWS))
    seconds = {}
    shadings: tuple[Shading, ...] = ("soft", "albedo")
    for shading in shadings:
        start = time.perf_counter()
        render_views(build_scene(mesh), cameras, resolution, Look(shading))
        seconds[shading] = (time.perf_counter() - start) / VIEWS
        yield f"{resolution}², {shading}: built-in {seconds[shading]:.3f} s a view ({VIEWS} views)"
    looks: list[tuple[Shading, bool, str]] = [
        ("soft", True, "GET3D's light and denoiser"),
        ("soft", False, "GET3D's light, not denoised"),
        ("albedo", False, "emitted base colors, no light"),
    ]
    for shading, denoise, what in looks:
        look = Look(shading, occlusion=True)
        cycles = blender_views(mesh, cameras[:views], resolution, look, samples=SAMPLES, denoise=denoise)
        theirs = float(np.median(cycles.seconds[1:] if views > 1 else cycles.seconds))
        yield (
            f"{resolution}², {shading}: Cycles {cycles.version}, {SAMPLES} samples, {what}: {theirs:.2f} s a view "
            f"({views} views): {theirs / seconds[shading]:.1f} ×"
        )


def first_of_many(folder: Path, workers: int) -> float:
    """Seconds until the first shape of a folder of 5,000 is finished."""
    source = folder / "many"
    source.mkdir()
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    for index in range(MANY):
        (source / f"{index}.obj").write_text(text)

    class Enough(Exception):
        pass

    def stop(_: object) -> None:
        raise Enough

    start = time.perf_counter()
    with contextlib.suppress(Enough):
        render_dataset(
            find_shapes(source), folder / "first", settings(64, 4), category="t", workers=workers, on_shape=stop
        )
    return time.perf_counter() - start


def resident_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory_by_shapes(folder: Path, shapes: int) -> tuple[float, float]:
    """Resident MB of this process after the first third of the shapes and after all of them."""
    (folder / "source").mkdir(exist_ok=True)
    for index in range(4):
        write_textured(folder / "source" / f"{index}.glb", FACES)
    source = find_shapes(folder / "source")
    seen: list[float] = []
    sources = [replace(source[i % len(source)], id=f"m{i}") for i in range(shapes)]
    render_dataset(
        sources, folder / "memory", settings(128, 8), category="t", on_shape=lambda _: seen.append(resident_mb())
    )
    return seen[shapes // 3 - 1], seen[-1]


def large_mesh(folder: Path) -> str:
    """A line with the time to read and render a mesh of 600k faces."""
    write_textured(folder / "large.glb", 600_000)
    start = time.perf_counter()
    mesh = read_mesh(folder / "large.glb")
    render_views(build_scene(mesh), load_camera_distribution("chair").sample(0, range(VIEWS)), 512)
    return f"{mesh.num_faces} faces, {VIEWS} views at 512²: {time.perf_counter() - start:.1f} s in one process"


def speed(folder: Path, shapes: int, workers: int) -> Iterator[str]:
    """Lines: shapes a minute at two resolutions."""
    for resolution, count in ((512, shapes), (1024, max(workers, shapes // 2))):
        rate = shapes_a_minute(folder, resolution, count, workers)
        what = f"{VIEWS} views at {resolution}², {FACES} triangles, 1024² texture"
        yield f"built-in, {what}: {rate:.1f} shapes a minute ({count} shapes, {workers} processes)"


def sizes(folder: Path, shapes: int, workers: int) -> Iterator[str]:
    """Lines: many shapes, memory over time, and one large mesh."""
    yield f"a folder of {MANY} shapes: the first is finished after {first_of_many(folder, workers):.1f} s"
    early, late = memory_by_shapes(folder, 3 * shapes)
    yield f"memory of a process: {early:.0f} MB after {shapes} shapes, {late:.0f} MB after {3 * shapes}"
    yield large_mesh(folder)


def blender(folder: Path, views: int) -> Iterator[str]:
    """Lines: seconds a view beside Cycles, or why there is no Blender."""
    try:
        find_blender()
    except UserError as error:
        yield f"Blender skipped: {error}"
        return
    for resolution in (256, 512):
        yield from against_blender(folder, resolution, views)


@click.command()
@click.option("--shapes", default=8, show_default=True, help="Shapes to time at 512²; half as many at 1024².")
@click.option("--blender-views", default=3, show_default=True, help="Views by Cycles; the first is not counted.")
@click.option("--only", type=click.Choice(["speed", "sizes", "blender"]), multiple=True, help="[default: all]")
def main(shapes: int, blender_views: int, only: tuple[str, ...]) -> None:
    """Time the rendering of datasets."""
    workers = os.cpu_count() or 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {
            "speed": speed(folder, shapes, workers),
            "sizes": sizes(folder, shapes, workers),
            "blender": blender(folder, blender_views),
        }
        for part in only or parts:
            for line in parts[part]:
                print(line, flush=True)


if __name__ == "__main__":
    main()
