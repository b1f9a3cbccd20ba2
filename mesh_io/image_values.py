"""Images and masks of other programs as 8 bits. Their range of values is looked at, not assumed."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
LABELS = 31  # a mask without higher values holds labels, not coverage


def image_values(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """The pixels [H, W, 3], or [H, W, 4] if there is transparency, and how their range was read ("" = as usual).

    Palettes are resolved. 16-bit values are divided by 257 and rounded; floats may lie in [0, 1] or in [0, 255].
    ValueError for floats in another range: they are not colors until they are tone-mapped.
    """
    if image.mode.startswith("I") or image.mode == "F":
        gray, note = _gray_values(image)
        return np.repeat(gray[..., None], 3, axis=2), note
    transparent = image.mode in WITH_ALPHA or "transparency" in image.info
    mode = "RGBA" if transparent else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode)), ""


def _gray_values(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """In blocks of rows, so that no large image is copied as floats."""
    values = np.asarray(image)
    blocks = np.array_split(values, max(1, min(len(values), values.size >> 20)))
    finite = all(bool(np.isfinite(block).all()) for block in blocks)
    note = "" if finite else "NaN values count as 0"
    low = min(float(_known(block).min()) for block in blocks)
    high = max(float(_known(block).max()) for block in blocks)
    factor = 1.0
    if image.mode != "F":
        if high <= 255:
            note = "" if high == 0 else "16-bit values up to 255 are taken as 8-bit values"
        else:
            factor = 1 / 257
    elif low < -1e-3:
        raise ValueError(f"float values down to {low:.3g}; expected 0 to 1")
    elif high <= 1.001:
        factor, note = 255.0, note or "float values of 0 to 1 are taken as 0 to 255"
    elif high > 255.5 or (high < 16 and any((_known(block) != np.floor(_known(block))).any() for block in blocks)):
        raise ValueError(f"float values up to {high:.3g}; expected 0 to 1, tone-mapped")
    scaled = [np.rint(np.clip(_known(block) * factor, 0, 255)).astype(np.uint8) for block in blocks]
    return np.concatenate(scaled), note


def _known(block: NDArray) -> NDArray[np.float64]:
    """Values as floats, those that are not finite as 0."""
    values = block.astype(np.float64)
    values[~np.isfinite(values)] = 0
    return values


def mask_values(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """The coverage [H, W] that a mask means, and how its values were read ("" = as they are: 0 to 255).

    A mask in an alpha channel is taken from there. Of a colored palette or image, everything but black is inside. The
    values 0 and one other are outside and inside; small integers are labels, of which all but 0 are inside.
    """
    if image.mode in ("1", "L"):
        return _levels(np.asarray(image.convert("L")))
    if image.mode == "F":
        return _levels(_gray_values(image)[0])
    if image.mode.startswith("I"):
        return _levels(np.asarray(image))
    pixels, _ = image_values(image)
    color = pixels[..., :3]
    if pixels.shape[2] == 4 and pixels[..., 3].min() < pixels[..., 3].max():
        coverage, note = _levels(pixels[..., 3])
        if color.min() == color.max():
            return coverage, note or "the mask is taken from the alpha channel"
        return np.minimum(coverage, _levels(color.max(2))[0]), "the mask is taken from colors and alpha together"
    if (color == color[..., :1]).all():
        return _levels(color[..., 0])
    return _inside(color.max(2) > 0), "the mask has colors: everything but black is inside"


def _levels(values: NDArray) -> tuple[NDArray[np.uint8], str]:
    """Coverage of integer values [H, W] of 8 or more bits."""
    high = int(values.max())
    if high == 255 and values.dtype == np.uint8:
        return values, ""
    if high in (0, 255):
        return np.clip(values, 0, 255).astype(np.uint8), ""
    if ((values <= 0) | (values == high)).all():
        return _inside(values > 0), f"mask values 0 and {high} are taken as 0 and 255"
    if high <= LABELS:
        return _inside(values > 0), f"mask values 0 to {high} are taken as labels: all but 0 are inside"
    if high > 255:
        blocks = np.array_split(values, max(1, min(len(values), values.size >> 20)))
        return np.concatenate([_eight_bits(block) for block in blocks]), ""
    return values.astype(np.uint8), ""


def _inside(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(mask, np.uint8(255), np.uint8(0))


def _eight_bits(values: NDArray) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 65535) / 257.0).astype(np.uint8)
