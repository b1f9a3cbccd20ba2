"""Attributes of face corners as attributes of vertices: vertices are split where corners differ."""

import numpy as np
from numpy.typing import NDArray


def split_vertices(
    corner_vertices: NDArray[np.int64], corner_values: list[NDArray]
) -> tuple[NDArray[np.int64], NDArray[np.int32], list[NDArray]]:
    """Vertices that are distinct in position and values.

    corner_vertices [F, 3]: vertex ids. corner_values: arrays [F, 3, C] of values at the corners.
    Returns the old vertex of each new one [V], faces [F, 3] with the new ids, and the values per new vertex [V, C].
    """
    flat = corner_vertices.reshape(-1)
    columns = [flat.astype(np.float64)[:, None]] + [v.reshape(len(flat), -1).astype(np.float64) for v in corner_values]
    table = np.ascontiguousarray(np.concatenate(columns, axis=1) + 0.0)  # + 0 makes −0 and 0 one value
    rows = table.view(np.dtype((np.void, table.shape[1] * 8)))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    values = [v.reshape(len(flat), -1)[first] for v in corner_values]
    return flat[first], inverse.reshape(-1, 3).astype(np.int32), values


def rgba_float(colors: NDArray) -> NDArray[np.float32]:
    """[N, 3 or 4] colors of a file as sRGB values [N, 4]: integers by their range, floats above 1.5 as 0 … 255."""
    if colors.dtype.kind in "iu":
        scale = 65535.0 if colors.dtype.itemsize == 2 else 255.0
    else:
        scale = 255.0 if np.max(colors, initial=0, where=np.isfinite(colors)) > 1.5 else 1.0
    rgba = np.ones((len(colors), 4), np.float32)
    rgba[:, : colors.shape[1]] = colors / scale
    return rgba
