"""How well the built-in renderer and Blender agree on silhouettes and base colors of given models.

    python -m studies.renderer_agreement chair.glb car.glb --image pairs.png
    python -m studies.renderer_agreement chair.glb --importer blender     # Blender also reads the file itself

Silhouette IoU: the sum of the smaller coverage over the sum of the larger one, pixel by pixel. PSNR: of sRGB colors
over black, in the pixels that either renderer covers. Exit status 1 if a model is below either threshold.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from dataset_tool.format.pixels import decode, premultiplied, straight
from dataset_tool.render.blender import blender_views, find_blender, run_script
from dataset_tool.sources.find_shapes import find_shapes
from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from rendering.camera import Cameras
from rendering.camera_distribution import load_camera_distribution
from rendering.color import psnr_db
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from studies.blender_import import job_of
from torch_utils.errors import UserError

MIN_IOU, MIN_PSNR = 0.98, 28.0
SCRIPT = Path(__file__).with_name("blender_import.py")


def silhouette_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of the coverage of views [N, R, R, 4] uint8."""
    a, b = first[..., 3].astype(float), second[..., 3].astype(float)
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def foreground_psnr(first: np.ndarray, second: np.ndarray) -> float:
    """dB, of straight-alpha views [N, R, R, 4] uint8 over black, where either covers a pixel."""
    union = (first[..., 3] > 0) | (second[..., 3] > 0)
    a, b = (np.stack([premultiplied(view) for view in views])[union, :3] / 255 for views in (first, second))
    return psnr_db(np.square(a - b).mean())


def imported_views(path: Path, source_to_world: np.ndarray, cameras: Cameras, resolution: int, samples: int):
    """Views [N, R, R, 4] uint8 that Blender renders with its own importer instead of our reader."""
    supersample = 2
    with tempfile.TemporaryDirectory(prefix="tetragan-import-") as name:
        folder = Path(name)
        job_of(folder, path, source_to_world, cameras, resolution * supersample, max(1, samples // supersample**2))
        run_script(find_blender(), SCRIPT, folder, str(path))
        images = [(folder / f"{view:03d}.png").read_bytes() for view in range(len(cameras))]
        return np.stack([straight(decode(data, str(path)), supersample) for data in images])


def both_renders(path: Path, views: int, resolution: int, samples: int, importer: str) -> tuple[np.ndarray, np.ndarray]:
    """The views [N, R, R, 4] uint8 of a mesh file by the built-in renderer and by Blender."""
    source = find_shapes(path)[0]
    mesh, source_to_world = normalize(read_mesh(path), source.up, source.front, 0.7)
    cameras = load_camera_distribution("chair").sample(0, range(views))
    ours = render_views(build_scene(mesh), cameras, resolution, supersample=2).images
    if importer == "blender":
        return ours, imported_views(path, source_to_world, cameras, resolution, samples)
    return ours, blender_views(mesh, cameras, resolution, Look(), supersample=2, samples=samples).images


def pairs_image(rows: Sequence[tuple[np.ndarray, np.ndarray]], side: int) -> Image.Image:
    """One row a model, on white: for each view the built-in render, Blender's, and their difference."""
    lines = []
    for ours, theirs in rows:
        line: list[np.ndarray] = []
        for pair in zip(ours, theirs, strict=True):
            shown = [straight(view, max(1, len(view) // side)).astype(float) for view in pair]
            over = [v[..., :3] * v[..., 3:] / 255 + 255 - v[..., 3:] for v in shown]
            line += [*over, 255 - np.abs(over[0] - over[1])]
        lines.append(np.concatenate(line, 1))
    return Image.fromarray(np.concatenate(lines).round().astype(np.uint8))


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--views", default=2, show_default=True)
@click.option("--resolution", default=512, show_default=True)
@click.option("--samples", default=16, show_default=True, help="Samples of Cycles for each output pixel.")
@click.option("--importer", type=click.Choice(["ours", "blender"]), default="ours", show_default=True)
@click.option("--image", type=click.Path(path_type=Path), help="PNG of all pairs to write.")
@click.option("--threads", default=1, show_default=True)
def main(models: tuple[Path, ...], image: Path | None, threads: int, **options: Any) -> None:
    """Compare the built-in renderer with Cycles on some models."""
    torch.set_num_threads(threads)
    low, rows = [], []
    for path in models:
        try:
            ours, theirs = both_renders(path, **options)
        except UserError as error:
            print(error, flush=True)
            low.append(path.name)
            continue
        iou, psnr = silhouette_iou(ours, theirs), foreground_psnr(ours, theirs)
        rows.append((ours, theirs))
        print(f"{path.parent.name + '/' + path.name:50} silhouette IoU {iou:.4f}   PSNR {psnr:5.1f} dB", flush=True)
        if iou < MIN_IOU or psnr < MIN_PSNR:
            low.append(path.name)
    if image is not None and rows:
        pairs_image(rows, 128).save(image)
    if low:
        raise click.ClickException(f"below IoU {MIN_IOU} or {MIN_PSNR} dB: {', '.join(low)}")


if __name__ == "__main__":
    main()
