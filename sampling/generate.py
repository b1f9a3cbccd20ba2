"""Samples of a trained generator: images and meshes by seed."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.write import write_mesh
from networks.generator import Generator
from rendering.camera import Cameras
from rendering.images import LIGHT_BACKGROUND, preview_images
from rendering.lighting import Shading, Vector
from sampling.latents import latents
from sampling.texture_baking import bake

# Samples computed together; enough to fill two cores, small enough for little memory.
CHUNK = 8


def preview_shading(shading: str | None) -> Shading:
    """How to show a network's colors, from the "shading" of its file's header: views that held light are not lit again.

    Networks of before the header said so were trained on base colors.
    """
    return "soft" if shading in (None, "albedo") else "albedo"


@torch.no_grad()
def render_styles(
    generator: Generator,
    w_geo: Tensor,
    w_tex: Tensor,
    cameras: Cameras,
    resolution: int | None = None,
    *,
    shading: Shading = "soft",
    background: Vector = LIGHT_BACKGROUND,
) -> np.ndarray:
    """Images of styles (w_geo, w_tex) [B, ...] by all N cameras: [B, N, R, R, 3] uint8.

    shading: "albedo" for a network whose colors hold light already. background: sRGB in [0, 1].
    """
    config = generator.config
    images = []
    for geo, tex in zip(w_geo.split(CHUNK), w_tex.split(CHUNK), strict=True):
        geometry_planes, texture_planes = generator.planes(geo, tex)
        images.append(
            preview_images(
                generator.surface(geometry_planes, geo).mesh,
                partial(generator.texture, texture_planes, tex),
                Cameras.cat([cameras] * len(geo)).to(w_geo.device),
                resolution or config.data.resolution,
                shading=shading,
                background=background,
                supersample=config.rendering.supersample,
                backend=config.rendering.backend,
            )
        )
    stacked = np.concatenate(images)
    return stacked.reshape(-1, len(cameras), *stacked.shape[1:])


@torch.no_grad()
def styles(
    generator: Generator, seeds: Sequence[int], truncation: float, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Styles (w_geo, w_tex) of seeds at truncation ψ (1 = the learned distribution, 0 = its mean).

    A conditional network shows its classes in turn: seed modulo the number of classes.
    """
    z_geo, z_tex = latents(seeds, generator.config.mapping.z_dim, device)
    classes = generator.config.classes
    labels = torch.tensor([seed % classes for seed in seeds], device=device) if classes else None
    return generator.map(z_geo, z_tex, truncation=truncation, labels=labels)


@torch.no_grad()
def textured_mesh(generator: Generator, w_geo: Tensor, w_tex: Tensor, texture_size_px: int = 1024) -> Mesh | None:
    """Mesh with UV atlas, base color and normals from styles of batch 1; None where the sample has no surface."""
    geometry_planes, texture_planes = generator.planes(w_geo, w_tex)
    surface = generator.surface(geometry_planes, w_geo)
    if bool(surface.empty[0]):
        return None

    def color_field(points: Tensor) -> Tensor:
        return generator.texture(texture_planes, w_tex, points, torch.tensor([0, len(points)]))

    return bake(surface.mesh, color_field, texture_size_px)


def export_meshes(
    generator: Generator,
    seeds: Sequence[int],
    truncation: float,
    out: Path,
    *,
    file_format: str = "glb",
    texture_size_px: int = 1024,
    unlit: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[Path], list[int]]:
    """Write one textured mesh a seed: (files, seeds whose surface was empty).

    unlit: the colors hold light already (a network trained on shaded views), so viewers must not light them again.
    """
    files, empty = [], []
    w_geo, w_tex = styles(generator, seeds, truncation, generator.device)
    for i, seed in enumerate(seeds):
        mesh = textured_mesh(generator, w_geo[i : i + 1], w_tex[i : i + 1], texture_size_px)
        if mesh is None:
            empty.append(seed)
        else:
            path = out / f"seed{seed:04d}.{file_format}"
            write_mesh(path, mesh, unlit=unlit)
            files.append(path)
        progress()
    return files, empty
