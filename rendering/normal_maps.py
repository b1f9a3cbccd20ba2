"""Tangent-space normal maps, decoded as MikkTSpace and glTF 2.0 prescribe; `geometry/tangents.py` makes the frames."""

import torch
from torch import Tensor
from torch.nn import functional


def mapped_normals(texels: Tensor, normals: Tensor, tangents: Tensor, scale: float = 1.0) -> Tensor:
    """Unit normals [P, 3], world, from the values [P, 3] in [0, 1] of a normal map.

    normals [P, 3], tangents [P, 4] (w = handedness): interpolated from the vertices and not normalized, as MikkTSpace
    requires. scale: of x and y (glTF's `normalTexture.scale`). y points upward in the image.
    """
    x, y, z = (texels * 2 - 1).split(1, -1)
    bitangents = tangents[:, 3:].sign() * torch.linalg.cross(normals, tangents[:, :3])
    return functional.normalize(scale * (x * tangents[:, :3] + y * bitangents) + z * normals, dim=-1)
