"""Image grids with a name for every row and column."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rendering.images import LIGHT_BACKGROUND, image_grid

INK = (40, 40, 40)
SMALLEST_TEXT_PX = 11


def labeled_grid(
    images: NDArray[np.uint8], rows: Sequence[str], columns: Sequence[str], title: str = ""
) -> NDArray[np.uint8]:
    """Images [rows · columns, H, W, 3], row by row, with the names on the left and above; [H', W', 3].

    Text has an eighth of an image's height, but at least 11 px. title: above all.
    """
    if len(images) != len(rows) * len(columns):
        raise ValueError(f"labeled_grid(): expected {len(rows)} · {len(columns)} images, got {len(images)}")
    tiled = image_grid(images, columns=len(columns))
    height, width = images.shape[1:3]
    font = ImageFont.load_default(max(height // 8, SMALLEST_TEXT_PX))
    line = max(height // 8, SMALLEST_TEXT_PX) * 2
    left = round(max((font.getlength(name) for name in rows), default=0)) + line
    top = line * (1 + bool(title))
    right = max(left + tiled.shape[1], round(font.getlength(title)) + line)
    background = tuple(round(255 * value) for value in LIGHT_BACKGROUND)
    page = Image.new("RGB", (right, top + tiled.shape[0]), background)
    page.paste(Image.fromarray(tiled), (left, top))
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((line // 2, line // 2), title, INK, font, anchor="lm")
    for column, name in enumerate(columns):
        draw.text((left + (column + 0.5) * width, top - line // 2), name, INK, font, anchor="mm")
    for row, name in enumerate(rows):
        draw.text((left - line // 2, top + (row + 0.5) * height), name, INK, font, anchor="rm")
    return np.asarray(page)
