"""UV atlases: a mesh is cut into charts, and the charts are packed into a square image."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.charts import Charts, cut_into_charts
from geometry.packing import Packing, pack_charts

# Empty texels around each chart, as a share of the image's side; two charts are twice as far apart.
MARGIN_SHARE = 1 / 384
MIN_TEXTURE_PX = 16


@dataclass(frozen=True)
class Atlas:
    """UVs of one mesh.

    uvs [V', 2] float32 in [0, 1], origin top left. vertex_map [V'] int64: the vertex that each was; vertices on seams
    appear more than once. faces [F, 3] int32, in their order and winding. labels [F] int64: the chart of each face.
    """

    uvs: Tensor
    vertex_map: Tensor
    faces: Tensor
    labels: Tensor
    charts: Charts
    packing: Packing
    size_px: int

    def project(self, points: NDArray[np.float64], charts: NDArray[np.int64]) -> NDArray[np.float64]:
        """UVs [P, 2] of any points [P, 3] near the surface, seen along the direction of their charts [P]."""
        return self.packing.pixels(self.charts.flat(points, charts), charts) / self.size_px


def unwrap(vertices: Tensor, faces: Tensor, texture_size: int = 1024) -> Atlas:
    """Cut one mesh into charts and pack them into a square image.

    vertices [V, 3] floating, finite; faces [F, 3] integer, at least one. texture_size: side of the image, px, ≥ 16.
    Each chart has a margin of 1/384 of the side; if the charts do not fit, the margin is halved, and so on. All results
    are on the CPU. Texels are equally dense on all charts. Faces of no area may map to a single point. The same input
    gives the same atlas. Raises ValueError "unwrap(): expected …, got …".
    """
    _check(vertices, faces, texture_size)
    points = vertices.detach().cpu().double().numpy()
    triangles = faces.cpu().numpy().astype(np.int64)
    # Units are arbitrary: tiny meshes are charted as large ones are.
    scale = float(np.ptp(points[triangles].reshape(-1, 3), axis=0).max()) or 1.0
    charts = cut_into_charts(points / scale, triangles, MARGIN_SHARE)
    keys, corner = np.unique(np.repeat(charts.labels, 3) * len(points) + triangles.reshape(-1), return_inverse=True)
    vertex_map, owner = keys % len(points), keys // len(points)
    flat = charts.flat(points[vertex_map], owner)
    split = corner.reshape(-1, 3)
    border, border_charts = _border(split, charts.labels)
    corners = flat[split]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = float(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / 2
    if not area > 0:
        raise ValueError(f"unwrap(): expected faces with an area, got {len(triangles)} without")
    margin = texture_size * MARGIN_SHARE
    while (packing := pack_charts(flat[border], border_charts, area, texture_size, margin)) is None:
        if margin < 0.25:
            raise ValueError(f"unwrap(): expected a larger texture for {len(triangles)} faces, got {texture_size} px")
        margin /= 2
    uvs = (packing.pixels(flat, owner) / texture_size).clip(0, 1)
    return Atlas(
        torch.from_numpy(uvs.astype(np.float32)),
        torch.from_numpy(vertex_map),
        torch.from_numpy(split.astype(np.int32)),
        torch.from_numpy(charts.labels),
        charts,
        packing,
        texture_size,
    )


def _border(faces: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges [E, 2] that only one face has, and the charts of these faces [E]; all edges of a chart that has no such.

    Faces without area can be a closed chart.
    """
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    keys = ends[:, 0] * (int(faces.max()) + 1) + ends[:, 1]
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    charts = labels[first % len(faces)]
    kept = (counts == 1) | ~np.isin(charts, charts[counts == 1])
    return ends[first[kept]], charts[kept]


def _check(vertices: Tensor, faces: Tensor, texture_size: int) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"unwrap(): expected vertices [V, 3], got shape {list(vertices.shape)}")
    if faces.ndim != 2 or faces.shape[1] != 3 or not faces.shape[0]:
        raise ValueError(f"unwrap(): expected faces [F, 3] with at least one face, got shape {list(faces.shape)}")
    if not torch.isfinite(vertices).all():
        raise ValueError("unwrap(): expected finite vertices, got NaN or infinite ones")
    low, high = (int(x) for x in faces.aminmax())
    if low < 0 or high >= vertices.shape[0]:
        raise ValueError(f"unwrap(): expected faces in [0, {vertices.shape[0]}), got {low if low < 0 else high}")
    if texture_size < MIN_TEXTURE_PX:
        raise ValueError(f"unwrap(): expected a texture of at least {MIN_TEXTURE_PX} px, got {texture_size}")
