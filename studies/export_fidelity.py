"""What simplification costs: exported meshes against the full surfaces, under the same light.

    python -m studies.export_fidelity --network chair-128 --seeds 0-15 --faces 8000 --out out/fidelity

For every sample and four views: IoU of the silhouettes, and PSNR of the lit surface where both cover a pixel, with the
vertex normals of the exported mesh and with its normal map. `worst.png` shows the worst sample: full, exported with its
normal map, and their difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from rendering.camera import orbit_cameras
from rendering.color import linear_to_srgb, psnr_db, srgb_to_linear
from rendering.deferred import composite, rasterize_mesh, visible_attributes, visible_points
from rendering.images import image_grid, save_png
from rendering.lighting import irradiance
from sampling.latents import parse_seeds
from sampling.mesh_export import texture_colors
from sampling.texture_baking import bake
from sampling.trained_generator import load
from torch_utils.ops.texture import texture

AZIMUTHS_DEG = (20.0, 110.0, 200.0, 290.0)
SIDE_PX, SUPERSAMPLE = 512, 2

# Colors and unit normals of surface points, from attributes at them.
Surface = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Fidelity:
    """Least IoU and PSNR, dB, of the views of one sample."""

    seed: int
    iou: float
    lit_db: float
    normal_mapped_db: float
    images: np.ndarray


def draw(mesh: Mesh, attributes: Tensor, look: Surface) -> tuple[Tensor, Tensor]:
    """Lit views: sRGB [N, 3, H, W] over black, coverage [N, 1, H, W]."""
    cameras = orbit_cameras(AZIMUTHS_DEG)
    raster = rasterize_mesh(mesh, cameras, SIDE_PX, supersample=SUPERSAMPLE)
    colors, normals = look(visible_points(raster, gradient=False), visible_attributes(raster, attributes))
    return composite(raster, linear_to_srgb(srgb_to_linear(colors) * irradiance(normals)))


def lookup(image: Tensor, uvs: Tensor) -> Tensor:
    """Bilinear values [P, C] of an image at UVs [P, 2]."""
    return texture(image[None].contiguous(), uvs[None, None].contiguous(), boundary="clamp")[0, 0]


def exported_surface(mesh: Mesh, mapped: bool) -> tuple[Tensor, Surface]:
    """Vertex attributes of a baked mesh, and how they become colors and normals."""
    assert mesh.normals is not None and mesh.tangents is not None and mesh.uvs is not None

    def look(_: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        n, t, w, uvs = seen.split([3, 3, 1, 2], 1)
        colors = lookup(mesh.textures["base_color"], uvs)
        if mapped:
            x, y, z = (lookup(mesh.textures["normal"], uvs) * 2 - 1).unsqueeze(-1).unbind(1)
            n = x * t + y * w.sign() * torch.linalg.cross(n, t) + z * n
        return colors, functional.normalize(n, dim=1)

    return torch.cat([mesh.normals, mesh.tangents, mesh.uvs], 1), look


@torch.no_grad()
def measure_fidelity(generator, seed: int, faces: int, texture_px: int) -> Fidelity:
    """Compare one sample."""
    sample, network = generator.sample(seed), generator.network
    geometry_planes, texture_planes = network.planes(sample.w_geo, sample.w_tex)
    full = network.surface(geometry_planes, sample.w_geo).mesh
    colors = texture_colors(partial(network.texture, texture_planes, sample.w_tex))
    baked = bake(full, colors, texture_px, faces=faces, normal_map=True).mesh
    wanted, coverage = draw(full, vertex_normals(full), lambda p, n: (colors(p), functional.normalize(n, dim=1)))
    views = {mapped: draw(baked, *exported_surface(baked, mapped)) for mapped in (False, True)}
    both = (coverage > 0.999) & (views[True][1] > 0.999)
    ours, theirs = coverage > 0.5, views[True][1] > 0.5
    iou = ((ours & theirs).sum((1, 2, 3)) / (ours | theirs).sum((1, 2, 3))).min()

    def decibels(image: Tensor) -> float:
        return psnr_db((((image - wanted) ** 2 * both).sum((1, 2, 3)) / both.sum((1, 2, 3)) / 3).max())

    difference = (views[True][0] - wanted).abs() * 4
    shown = torch.cat([wanted, views[True][0], views[False][0], difference]).clamp(0, 1)
    images = (shown * 255).byte().permute(0, 2, 3, 1).numpy()
    return Fidelity(seed, float(iou), decibels(views[False][0]), decibels(views[True][0]), images)


@click.command()
@click.option("--network", default="chair-128", show_default=True)
@click.option("--seeds", default="0-15", show_default=True)
@click.option("--faces", type=int, default=8000, show_default=True)
@click.option("--texture-size", type=int, default=1024, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(network: str, seeds: str, faces: int, texture_size: int, out: Path) -> None:
    """Print one row a sample and the worst of all; write worst.png."""
    generator = load(network)
    results = [measure_fidelity(generator, seed, faces, texture_size) for seed in parse_seeds(seeds)]
    print("| seed | IoU | lit, dB | with normal map, dB |\n|---|---|---|---|")
    for r in results:
        print(f"| {r.seed} | {r.iou:.4f} | {r.lit_db:.1f} | {r.normal_mapped_db:.1f} |")
    columns = ([getattr(r, name) for r in results] for name in ("iou", "lit_db", "normal_mapped_db"))
    iou, lit, mapped = (min(column) for column in columns)
    print(f"| least | {iou:.4f} | {lit:.1f} | {mapped:.1f} |")
    worst = min(results, key=lambda r: r.normal_mapped_db)
    save_png(out / "worst.png", image_grid(worst.images, columns=len(AZIMUTHS_DEG)))


if __name__ == "__main__":
    main()
