"""Linear colors of files as sRGB values.

`SourceMesh` holds sRGB values everywhere. glTF and USD store factors and vertex colors in linear light, so they are
encoded once, on reading. This is numpy in double precision; tensors are converted in `rendering/` alone.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def encode_srgb(linear: ArrayLike) -> NDArray[np.float64]:
    """sRGB values of linear ones, any shape, clipped to [0, 1] (IEC 61966-2-1)."""
    value = np.clip(np.asarray(linear, dtype=np.float64), 0, 1)
    curve = np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 1e-9) ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(curve, 12), dtype=np.float64)  # so that white stays exactly 1


def encode_srgb_rgba(rgba: ArrayLike) -> NDArray[np.float64]:
    """[..., 4] linear color with alpha as sRGB values. Alpha is coverage: it is only clipped to [0, 1]."""
    value = np.asarray(rgba, dtype=np.float64)
    return np.concatenate([encode_srgb(value[..., :3]), np.clip(value[..., 3:4], 0, 1)], axis=-1)
