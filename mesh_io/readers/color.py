"""sRGB and linear values of colors in files.

`SourceMesh` holds sRGB values everywhere; glTF and USD factors and vertex colors arrive linear and are converted once,
on reading. (Shading has its own pair on tensors in `rendering/lighting.py`; this one is numpy, for files.)
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def linear_to_srgb(linear: ArrayLike) -> NDArray[np.float64]:
    """sRGB values of linear ones, any shape, clipped to [0, 1] (IEC 61966-2-1)."""
    value = np.clip(np.asarray(linear, dtype=np.float64), 0, 1)
    curve = np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 1e-9) ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(curve, 12), dtype=np.float64)  # so that white stays exactly 1


def srgb_to_linear(srgb: ArrayLike) -> NDArray[np.float64]:
    """Linear values of sRGB ones, any shape, clipped to [0, 1]: the inverse of `linear_to_srgb`."""
    value = np.clip(np.asarray(srgb, dtype=np.float64), 0, 1)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_rgba_to_srgb(rgba: ArrayLike) -> NDArray[np.float64]:
    """[..., 4] linear color with alpha to sRGB values; alpha is coverage and stays as it is, clipped to [0, 1]."""
    value = np.asarray(rgba, dtype=np.float64)
    return np.concatenate([linear_to_srgb(value[..., :3]), np.clip(value[..., 3:4], 0, 1)], axis=-1)
