"""Texture lookups at packed samples, mip-mapped and filtered in linear light."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mesh_io.source_mesh import SourceMaterial
from rendering.color import linear_table
from torch_utils.ops.texture import Boundary, mip_levels, texture

# Factor on the footprint of a sample. Supersampling averages several samples, so each may be a little sharper than
# with the textbook's filter.
SHARPNESS = 2**-0.5


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A texture in linear light (alpha is unchanged): levels [1, H, W, C] float32, each half the size of the last."""

    levels: tuple[Tensor, ...]

    def to(self, device: torch.device | str) -> "Pyramid":
        """A copy on `device`."""
        return Pyramid(tuple(level.to(device) for level in self.levels))


def build_pyramid(image: np.ndarray, levels: bool = True) -> Pyramid:
    """Mip levels of an image [H, W, 3 or 4] uint8, sRGB. With `levels` false, the image is the only level."""
    color = linear_table()[torch.from_numpy(image[..., :3].astype(np.int64))]
    if image.shape[2] == 4:
        color = torch.cat([color, torch.from_numpy(image[..., 3:].astype(np.float32) / 255)], 2)
    return Pyramid(tuple(mip_levels(color[None])) if levels else (color[None],))


def build_linear_pyramid(image: np.ndarray, levels: bool = True) -> Pyramid:
    """Mip levels of an image [H, W, C] uint8 of linear values."""
    values = torch.from_numpy(np.ascontiguousarray(image).astype(np.float32) / 255)
    return Pyramid(tuple(mip_levels(values[None])) if levels else (values[None],))


def sample(pyramid: Pyramid, uv: Tensor, slopes: Tensor, material: SourceMaterial) -> Tensor:
    """Colors [P, C] in linear light at uv [P, 2] (origin top left); slopes [P, 2, 2] = d(u, v)/d(column, row)."""
    image = pyramid.levels[0]
    boundary: Boundary = "clamp" if "repeat" not in material.wrap else "wrap"
    uv = _inside(uv, image, material)[None, :, None]
    if material.nearest:
        return texture(image, uv, filter="nearest", boundary=boundary)[0, :, 0]
    uv_db = (slopes * SHARPNESS).reshape(1, -1, 1, 4)
    return texture(image, uv, uv_db, filter="trilinear", boundary=boundary, levels=pyramid.levels)[0, :, 0]


def _inside(uv: Tensor, image: Tensor, material: SourceMaterial) -> Tensor:
    """Equivalent coordinates for the one boundary rule that the lookup applies to both axes."""
    if material.wrap in (("repeat", "repeat"), ("clamp", "clamp")):
        return uv
    axes = []
    for axis, wrap in enumerate(material.wrap):
        coordinate = uv[:, axis]
        if wrap == "mirror":
            coordinate = 1 - (coordinate - 2 * (coordinate / 2).floor() - 1).abs()
        if wrap != "repeat":  # the other axis may repeat, so this one must not pass the centers of the border texels
            half = 0.5 / image.shape[2 - axis]
            coordinate = coordinate.clamp(half, 1 - half)
        axes.append(coordinate)
    return torch.stack(axes, 1)
