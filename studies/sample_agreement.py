"""How well exported samples look in other programs as in our own renderer.

    npm pack @google/model-viewer && tar xzf google-model-viewer-*.tgz
    python -m studies.sample_agreement --network chair-128 --seeds 0-15 --out out/agreement --blender \\
        --model-viewer package/dist/model-viewer.min.js

Our image is drawn straight from the latents: the full surface, with the network's color at each pixel. The others show
the exported GLB, with 8,000 faces and a texture of 1024². model-viewer, in headless Chromium, lights both by the room
of previews with the tone curve of glTF viewers; Blender reads the file with its own importer and shows base colors
(make blender). Silhouette IoU and PSNR as in `studies.renderer_agreement`; exit status 1 below its thresholds.
`model-viewer.png` and `blender.png` have for each sample our image, the other's, and their difference times four.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from torch.nn import functional

from geometry.normals import vertex_normals
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import srgb_to_linear, straight_alpha
from rendering.deferred import composite, rasterize_mesh, towards_cameras, visible_attributes, visible_points
from rendering.environment_file import write_environment
from rendering.environment_light import environment_light
from rendering.images import save_png
from rendering.procedural_light import preview_light
from rendering.tone_mapping import display_colors
from sampling.latents import parse_seeds
from sampling.samples import Sample
from sampling.trained_generator import load
from studies.plain_errors import PlainErrors
from studies.renderer_agreement import MIN_IOU, MIN_PSNR, foreground_psnr, imported_views, silhouette_iou
from studies.viewer_agreement import DISTANCE, FOV_DEG, viewer_images
from torch_utils.errors import UserError

AZIMUTH_DEG, ELEVATION_DEG = 35.0, 20.0
SUPERSAMPLE = 4
BLENDER_SAMPLES = 16


@torch.no_grad()
def our_images(sample: Sample, cameras: Cameras, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight-alpha views [N, R, R, 4] uint8 of a sample's latents: lit by the room of previews, and base colors."""
    network = sample.generator.network
    geometry_planes, texture_planes = network.planes(sample.w_geo, sample.w_tex)
    mesh = network.surface(geometry_planes, sample.w_geo).mesh.detach()
    raster = rasterize_mesh(mesh, cameras, side, supersample=SUPERSAMPLE)
    points = visible_points(raster, gradient=False)
    colors = network.materials(texture_planes, sample.w_tex, points, raster.point_offsets)[:, :3].clamp(0, 1)
    normals = functional.normalize(visible_attributes(raster, vertex_normals(mesh)), dim=1)
    towards = functional.normalize(towards_cameras(raster, cameras, points), dim=1)
    matte = torch.tensor([[0.0, 1.0]]).expand(len(points), 2)  # what the files say of metallic and roughness
    surface = ShadingPoints(points, normals, towards, srgb_to_linear(colors), matte[:, :1], matte[:, 1:])
    lit = display_colors(environment_light(preview_light()).reflected(surface), "neutral")
    lit_views, plain_views = (straight_alpha(*composite(raster, shown)).numpy() for shown in (lit, colors))
    return lit_views, plain_views


def compared(
    name: str, names: Sequence[str], ours: Sequence[np.ndarray], others: Iterator[np.ndarray], out: Path
) -> bool:
    """Print each sample's figures, write the image of all, and say whether all reach the thresholds."""
    rows, ious, psnrs = [], [], []
    for label, own, other in zip(names, ours, others, strict=True):
        ious.append(silhouette_iou(own, other))
        psnrs.append(foreground_psnr(own, other))
        print(f"| {name} | {label} | {ious[-1]:.4f} | {psnrs[-1]:.1f} |", flush=True)
        over = [v[0, ..., :3] * (v[0, ..., 3:] / 255) + 255.0 - v[0, ..., 3:] for v in (own, other)]
        rows.append(np.concatenate([*over, 255 - (4 * np.abs(over[0] - over[1])).clip(0, 255)], 1))
    columns = [np.concatenate(rows[start::2]) for start in range(min(2, len(rows)))]
    height = min(map(len, columns))
    save_png(out / f"{name}.png", np.concatenate([column[:height] for column in columns], 1).round().astype(np.uint8))
    print(f"| {name} | least | {min(ious):.4f} | {min(psnrs):.1f} |", flush=True)
    return min(ious) >= MIN_IOU and min(psnrs) >= MIN_PSNR


@click.command(cls=PlainErrors)
@click.option("--network", default="chair-128", show_default=True)
@click.option("--seeds", default="0-15", show_default=True)
@click.option("--side", default=512, show_default=True, help="Of the images, px.")
@click.option("--model-viewer", "script", type=click.Path(path_type=Path, exists=True), help="model-viewer.min.js")
@click.option("--blender", is_flag=True, help="Compare with Blender (make blender).")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(network: str, seeds: str, side: int, script: Path | None, blender: bool, out: Path) -> None:
    """Print IoU and PSNR of each sample in each renderer."""
    torch.set_num_threads(1)
    chromium = os.environ.get("TETRAGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if script is not None and chromium is None:
        raise UserError("no Chromium: apt-get install chromium, or name one in TETRAGAN_CHROMIUM")
    generator = load(network)
    samples = generator.sample(parse_seeds(seeds))
    files = samples.export(out, pivot="source")
    angles = torch.tensor([[AZIMUTH_DEG], [ELEVATION_DEG], [FOV_DEG]]).deg2rad()
    cameras = Cameras.orbit(angles[0], angles[1], DISTANCE, float(angles[2]))
    lit, bare = zip(*(our_images(sample, cameras, side) for sample in samples), strict=True)
    names, good = [path.stem for path in files], True
    print("| renderer | sample | silhouette IoU | PSNR, dB |\n|---|---|---|---|")
    if script is not None:
        write_environment(out / "room.hdr", preview_light())
        light = (out / "room.hdr").read_bytes()
        models = [path.read_bytes() for path in files]
        others = viewer_images(
            script.read_text("utf-8"), models, light, side, str(chromium), AZIMUTH_DEG, 90 - ELEVATION_DEG
        )
        good &= compared("model-viewer", names, bare if generator.shaded else lit, (one[None] for one in others), out)
    if blender:
        identity = np.eye(4)
        others = (imported_views(path, identity, cameras, side, BLENDER_SAMPLES) for path in files)
        good &= compared("blender", names, bare, others, out)
    if not good:
        raise click.ClickException(f"below IoU {MIN_IOU} or {MIN_PSNR} dB")


if __name__ == "__main__":
    main()
