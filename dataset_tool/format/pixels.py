"""Decode stored views and average them down in premultiplied alpha."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from mesh_io.image_values import LABELS, image_values, mask_values
from torch_utils.errors import UserError, decoding

FREE_BYTES = 200_000_000  # what an image may take besides ten times its file; more would be a decompression bomb
BYTES_PER_PIXEL = 12  # while a view is decoded, and a mask of several channels or more bits
SMALL_BYTES_PER_PIXEL = 6  # while a mask of one channel of at most 8 bits is


def decode(data: bytes, source: str, foreign: bool = False) -> np.ndarray:
    """RGBA [H, W, 4] uint8, straight alpha, from the bytes of an image file; UserError naming `source` if damaged.

    foreign: made by another program, so an alpha channel of small values is read as `mask_values` reads masks.
    """
    with _opened(data, source, BYTES_PER_PIXEL) as image:
        pixels, _ = image_values(image)
    if pixels.shape[2] == 3:
        return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], -1)
    if foreign and 0 < pixels[..., 3].max() <= LABELS:
        alpha, _ = mask_values(Image.fromarray(pixels[..., 3]))
        return np.concatenate([pixels[..., :3], alpha[..., None]], -1)
    return pixels


def decode_mask(data: bytes, source: str) -> tuple[np.ndarray, str]:
    """Coverage [H, W] uint8 of a mask file and how its values were read (see `mask_values`); UserError if damaged."""
    with _opened(data, source, SMALL_BYTES_PER_PIXEL) as image:
        return mask_values(image)


def _identified(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:  # its text names an object in memory
        raise ValueError("the format is unknown, or the file damaged") from None


@contextmanager
def _opened(data: bytes, source: str, small: int) -> Iterator[Image.Image]:
    """An image that is small enough to decode. small: bytes a pixel with one channel of at most 8 bits."""
    try:
        with decoding():
            image = _identified(data)
        with image:
            each = small if image.mode in ("1", "L") else BYTES_PER_PIXEL
            if image.width * image.height * each > 10 * len(data) + FREE_BYTES:
                raise ValueError(f"{image.width}x{image.height} px in {len(data)} bytes")
            with decoding():
                image.load()
            yield image
    except (OSError, ValueError) as error:
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


def unpremultiplied(rgba: np.ndarray) -> np.ndarray:
    """Straight-alpha uint8 [H, W, 4] of an image whose colors were multiplied by its alpha."""
    alpha = rgba[..., 3:].astype(np.uint32)
    color = (rgba[..., :3].astype(np.uint32) * 255 + alpha // 2) // np.maximum(alpha, 1)
    return np.concatenate([np.minimum(color, 255), alpha], -1).astype(np.uint8)


def looks_premultiplied(rgba: np.ndarray) -> bool:
    """Whether the colors seem to be multiplied by alpha already: no color exceeds its alpha, and edges are darker.

    It takes at least 16 translucent pixels, and opaque ones that are not black.
    """
    alpha, brightest = rgba[..., 3].astype(int), rgba[..., :3].max(-1).astype(int)
    edge, solid = (alpha > 0) & (alpha < 255), alpha == 255
    if edge.sum() < 16 or not solid.any() or (brightest[edge] > alpha[edge] + 1).any():
        return False
    inside = float(brightest[solid].mean())
    multiplied = inside * float(alpha[edge].mean()) / 255
    found = float(brightest[edge].mean())
    return inside > 40 and abs(found - multiplied) < abs(found - inside)


def looks_inverted(alpha: np.ndarray) -> bool:
    """Whether a coverage [H, W] seems to be that of the background: full along the border, less in the middle."""
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]) / 255
    height, width = alpha.shape
    middle = alpha[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None] / 255
    return bool(border.mean() > 0.9 and middle.mean() < 0.6)
