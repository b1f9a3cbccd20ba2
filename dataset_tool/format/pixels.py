"""Decode stored views and average them down in premultiplied alpha."""

import io

import numpy as np
from PIL import Image

from torch_utils.errors import UserError

MAX_PIXELS = 8192 * 8192  # no view is larger; more would be a decompression bomb


def decode(data: bytes, source: str) -> np.ndarray:
    """RGBA [H, W, 4] uint8, straight alpha, from the bytes of a PNG or WebP; UserError naming `source` if damaged."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} px")
            return np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{source}: not a readable image ({cause}); render the shape again") from None


def divisor(stored: int, wanted: int, source: str) -> int:
    """The factor from the wanted resolution to the stored one. UserError unless it is an integer."""
    if wanted < 1 or stored % wanted:
        fits = ", ".join(str(stored // step) for step in (1, 2, 4, 8, 16) if stored % step == 0)
        raise UserError(
            f"{source}: resolution {wanted} does not divide the stored {stored}; use one of {fits}, "
            f"or render again with --resolution {wanted}"
        )
    return stored // wanted


def premultiplied(rgba: np.ndarray, factor: int = 1) -> np.ndarray:
    """Straight-alpha uint8 [H, W, 4] → premultiplied uint8 [H/f, W/f, 4], averaged over blocks of f × f pixels."""
    if factor == 1 and rgba[..., 3].min() == 255:
        return rgba
    if factor == 1:  # the same in 16 bits, in a third of the time
        color = (rgba[..., :3] * rgba[..., 3:].astype(np.uint16) + 127) // 255
        return np.concatenate([color.astype(np.uint8), rgba[..., 3:]], -1)
    alpha = rgba[..., 3:].astype(np.uint32)
    # Products of color and alpha keep 16 bits, so there is only one rounding, after the average.
    layers = np.concatenate([rgba[..., :3] * alpha, alpha * 255], -1)
    height, width = rgba.shape[0] // factor, rgba.shape[1] // factor
    layers = layers.reshape(height, factor, width, factor, 4).sum((1, 3), dtype=np.uint32)
    scale = 255 * factor * factor
    return ((layers + scale // 2) // scale).astype(np.uint8)


def straight(rgba: np.ndarray, factor: int) -> np.ndarray:
    """Straight-alpha uint8 [H, W, 4] averaged over blocks of f × f pixels in premultiplied alpha: [H/f, W/f, 4]."""
    if factor == 1:
        return rgba
    height, width = rgba.shape[0] // factor, rgba.shape[1] // factor
    alpha = rgba[..., 3:].astype(np.uint32)
    layers = np.concatenate([rgba[..., :3] * alpha, alpha], -1)
    layers = layers.reshape(height, factor, width, factor, 4).sum((1, 3), dtype=np.uint32)
    total = layers[..., 3:]
    color = (layers[..., :3] + total // 2) // np.maximum(total, 1)
    count = factor * factor
    return np.concatenate([color, (total + count // 2) // count], -1).astype(np.uint8)
