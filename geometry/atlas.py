"""UV atlases by xatlas."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PADDING_PX = 8
# The packer takes a texel density, not the size of the image, so we search for the density.
MAX_PACKINGS = 5
# A packing that fills this share of the image's side is accepted; the search aims at a value between it and 1.
GOOD_FILL, AIM = 0.95, 0.975
# Padding may shrink charts to this share of their unpadded density at most; beyond that, the padding is reduced.
MIN_DENSITY = 0.25


def unwrap(vertices: Tensor, faces: Tensor, texture_size: int = 1024) -> tuple[Tensor, Tensor, Tensor]:
    """Cut one mesh into charts and pack them into a square image.

    vertices [V, 3] floating, finite; faces [F, 3] integer, at least one. texture_size: side of the image, px, ≥ 16.
    Each chart has its own margin of 8 empty pixels; if the charts do not fit, the margin is halved, and so on.
    Returns uvs [V', 2] float32 in [0, 1] (origin top left), vertex_map [V'] int64 (the original of each new vertex;
    vertices on seams appear more than once), faces [F, 3] int32 in their order and winding, all on the input's
    device. Faces of (nearly) no area may map to a single point. The same input gives the same atlas.
    Raises ValueError "unwrap(): expected …, got …".
    """
    _check(vertices, faces, texture_size)
    points = vertices.detach().float().cpu().numpy()
    vertex_map, triangles, charts = _chart(points, faces.cpu().numpy().astype(np.uint32), texture_size)
    padding = PADDING_PX
    while (packed := _pack_into(charts, triangles, texture_size, padding)) is None:
        if padding == 0:
            raise ValueError(f"unwrap(): expected a larger texture for {len(triangles)} faces, got {texture_size} px")
        padding //= 2
    copies, triangles, uvs = packed
    return (
        torch.from_numpy(uvs).to(vertices.device),
        torch.from_numpy(vertex_map[copies].astype(np.int64)).to(vertices.device),
        torch.from_numpy(triangles.astype(np.int32)).to(vertices.device),
    )


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
    if texture_size < 2 * PADDING_PX:
        raise ValueError(f"unwrap(): expected a texture of at least {2 * PADDING_PX} px, got {texture_size}")


Packed = tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float32]]


def _chart(points: NDArray[np.float32], triangles: NDArray[np.uint32], size: int) -> Packed:
    """Cut and flatten: (vertex map, faces, coordinates in texels of an atlas of about `size` px)."""
    import xatlas

    # xatlas drops faces below an absolute area of about 1e-7, so typical edges are scaled to length 1.
    corners = points[triangles]
    edge = float(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).mean())
    atlas = xatlas.Atlas()
    atlas.add_mesh(points / (edge or 1.0), triangles)
    options = xatlas.PackOptions()
    options.resolution = size
    options.padding = 2  # charts that touch could be merged in the next packing
    atlas.generate(pack_options=options)
    vertex_map, faces, uvs = atlas[0]
    return vertex_map, faces, uvs * np.array([atlas.width, atlas.height], np.float32)


def _pack_into(charts: NDArray[np.float32], triangles: NDArray[np.uint32], size: int, padding: int) -> Packed | None:
    """The densest of a few packings that fits `size`; None if none does."""
    inner = size - 2 * padding  # the packer pads around charts, but not at the image's border
    best: Packed | None = None
    tried: list[tuple[float, int]] = []
    density = 1.0
    for _ in range(MAX_PACKINGS):
        (copies, faces, uvs), width, height = _pack(charts, triangles, padding, density)
        side = max(width, height)
        tried.append((density, side))
        if side <= inner:
            scaled = (uvs * np.array([width, height], np.float32) + padding) / size
            best = copies, faces, scaled.astype(np.float32)
            if side >= GOOD_FILL * inner:
                break
        density = _next_density(tried, AIM * inner)
        if density < MIN_DENSITY and padding > 0:
            break
    return best


def _next_density(tried: list[tuple[float, int]], aim: float) -> float:
    """The density at which the side should be `aim`: the side is about linear in it, offset by the padding."""
    (density, side) = tried[-1]
    if len(tried) == 1:
        return density * (aim / side) ** 1.3
    (d0, s0), (d1, s1) = sorted(tried, key=lambda point: abs(point[1] - aim))[:2]
    if d0 == d1 or (s1 - s0) / (d1 - d0) <= 0:
        return density * aim / side
    return d0 + (aim - s0) * (d1 - d0) / (s1 - s0)


def _pack(
    charts: NDArray[np.float32], triangles: NDArray[np.uint32], padding: int, density: float
) -> tuple[Packed, int, int]:
    """One packing of flat charts at `density` times their size: (vertex map, faces, uvs in [0, 1]), width, height."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_uv_mesh(charts, triangles)
    options = xatlas.PackOptions()
    options.padding = padding
    options.texels_per_unit = density
    atlas.generate(pack_options=options)
    return atlas[0], atlas.width, atlas.height
