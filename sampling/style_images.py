"""Images of styles, as people look at them."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from networks.generator import Generator
from rendering.camera import Cameras
from rendering.images import LIGHT_BACKGROUND, preview_images
from rendering.lighting import Shading, Vector

# Samples rendered at once: enough to use all cores, few enough to need little memory.
CHUNK = 8


def preview_shading(shading: str | None) -> Shading:
    """How to show a network's colors, from the "shading" in its file's header: shaded colors are not lit again.

    A header without the entry is of a network that was trained on base colors.
    """
    return "soft" if shading in (None, "albedo", "normals") else "albedo"


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
                partial(generator.materials, texture_planes, tex),
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
