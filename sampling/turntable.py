"""Turning samples around: frames of one sample by cameras on a circle."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rendering.camera import orbit_cameras
from rendering.color import straight_alpha
from rendering.images import BLACK_BACKGROUND, LIGHT_BACKGROUND, preview_images, shaded_views
from rendering.lighting import Shading
from sampling.samples import Sample

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
    network = sample.generator.network
    mesh, colors = sample.surface()
    drawing = network.config.rendering
    for start in range(0, frames, CHUNK):
        angles = [360 * frame / frames for frame in range(start, min(start + CHUNK, frames))]
        cameras = orbit_cameras(angles, elevation_deg).to(network.device)
        if background == "transparent":
            rgb, mask = shaded_views(
                mesh,
                colors,
                cameras,
                resolution,
                shading=shading,
                supersample=drawing.supersample,
                backend=drawing.backend,
            )
            yield from straight_alpha(rgb, mask).cpu().numpy()
        else:
            color = LIGHT_BACKGROUND if background == "light" else BLACK_BACKGROUND
            yield from preview_images(
                mesh,
                colors,
                cameras,
                resolution,
                shading=shading,
                background=color,
                supersample=drawing.supersample,
                backend=drawing.backend,
            )
