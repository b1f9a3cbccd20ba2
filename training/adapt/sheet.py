"""The sheet of an adaptation: the same samples before and after, lit, on a light ground."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from networks.generator import Generator
from rendering.camera import GRID_AZIMUTH_DEG, GRID_ELEVATION_DEG, orbit_cameras
from rendering.images import LIGHT_BACKGROUND, image_grid
from rendering.lighting import Shading
from sampling.latents import latents
from sampling.style_images import render_styles
from sampling.styles import label_tensor

SAMPLES = 8
TILE_PX = 128
TRUNCATION = 0.7
_TITLE_PX = 22
_INK = "#222222"


@torch.no_grad()
def sheet_images(
    generator: Generator,
    shading: Shading,
    side: int = TILE_PX,
    count: int = SAMPLES,
    text: Tensor | None = None,
) -> np.ndarray:
    """Samples of seeds 0, 1, …, as `tetragan generate` draws them: [count, side, side, 3] uint8.

    text [text_dim]: of a network with text.
    """
    z_geo, z_tex = latents(range(count), generator.config.mapping.z_dim, generator.device)
    labels = label_tensor(generator.config.classes, range(count), generator.device)
    of_all = None if text is None else text[None]
    w_geo, w_tex = generator.map(z_geo, z_tex, truncation=TRUNCATION, labels=labels, text=of_all)
    cameras = orbit_cameras([GRID_AZIMUTH_DEG], GRID_ELEVATION_DEG)
    return render_styles(generator, w_geo, w_tex, cameras, side, shading=shading)[:, 0]


def labeled_rows(rows: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Rows of images [N, S, S, 3] uint8 under their titles, one after another: [H, W, 3] uint8."""
    ground = tuple(round(255 * value) for value in LIGHT_BACKGROUND)
    parts = []
    for title, images in rows:
        grid = image_grid(images, len(images))
        band = Image.new("RGB", (grid.shape[1], _TITLE_PX), ground)
        draw = ImageDraw.Draw(band)
        draw.text((6, _TITLE_PX / 2), title, _INK, ImageFont.load_default(13), anchor="lm")
        parts += [np.asarray(band), grid]
    return np.concatenate(parts)
