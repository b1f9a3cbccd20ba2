"""Turning samples around: frames of one sample by cameras on a circle."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from networks.generator import Generator
from rendering.camera import orbit_cameras
from rendering.images import BLACK_BACKGROUND, LIGHT_BACKGROUND, preview_images, shaded_views
from rendering.lighting import Shading
from sampling.samples import EmptySurface, Sample

Background = Literal["light", "black", "transparent"]
# Frames rendered at once.
CHUNK = 6


@torch.no_grad()
def turntable_frames(
    sample: Sample,
    frames: int,
    resolution: int,
    elevation_deg: float,
    shading: Shading,
    background: Background,
) -> Iterator[NDArray[np.uint8]]:
    """Frames [R, R, 3] uint8 of one full turn, the first from the front; [R, R, 4], straight alpha, if transparent.

    EmptySurface where the sample has no surface.
    """
    network: Generator = sample.generator.network
    geometry_planes, texture_planes = network.planes(sample.w_geo, sample.w_tex)
    surface = network.surface(geometry_planes, sample.w_geo)
    if bool(surface.empty[0]):
        raise EmptySurface(f"{sample!r}: has no surface; take another seed, or a lower truncation")
    colors = partial(network.materials, texture_planes, sample.w_tex)
    supersample = network.config.rendering.supersample
    for start in range(0, frames, CHUNK):
        angles = [360 * frame / frames for frame in range(start, min(start + CHUNK, frames))]
        cameras = orbit_cameras(angles, elevation_deg).to(network.device)
        if background == "transparent":
            rgb, mask = shaded_views(
                surface.mesh, colors, cameras, resolution, shading=shading, supersample=supersample
            )
            straight = torch.cat([(rgb / mask.clamp(min=1e-6)).clamp(max=1) * (mask > 0), mask], 1)
            yield from (straight * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        else:
            color = LIGHT_BACKGROUND if background == "light" else BLACK_BACKGROUND
            yield from preview_images(
                surface.mesh,
                colors,
                cameras,
                resolution,
                shading=shading,
                background=color,
                supersample=supersample,
            )
