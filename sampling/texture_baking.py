"""From a generated surface and its texture field to a mesh with a UV atlas and a base-color image."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from geometry.atlas import unwrap
from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from torch_utils.ops.interpolate import interpolate
from torch_utils.ops.rasterize import rasterize

# Samples along each side of a texel, which are averaged: a field with fine detail would alias otherwise.
BAKE_SUPERSAMPLE = 2
# Points that the color field takes at once: bounds the memory of large textures.
POINTS_PER_CALL = 1 << 20

ColorField = Callable[[Tensor], Tensor]


def bake(mesh: Mesh, color_field: ColorField, texture_size_px: int = 1024) -> Mesh:
    """Give a mesh UVs, normals and a base-color texture.

    mesh: a batch of one. color_field: surface points [P, 3] (world) → sRGB colors [P, 3] in [0, 1].
    Every texel that a triangle touches gets the field's color at its own surface point; the rest of the image is
    filled with the nearest such texel, so filtering and mip maps never read an undefined color.
    Vertices on chart borders are duplicated, because their UVs differ; the normals are those of the smooth surface.
    """
    if len(mesh) != 1:
        raise ValueError(f"bake(): expected a batch of one mesh, got {len(mesh)}")
    mesh = mesh.detach()
    normals = vertex_normals(mesh)
    uvs, vertex_map, faces = unwrap(mesh.vertices, mesh.faces, texture_size_px)
    charted = Mesh.single(mesh.vertices[vertex_map], faces, normals=normals[vertex_map], uvs=uvs)
    points, covered = atlas_points(charted, texture_size_px * BAKE_SUPERSAMPLE)
    colors = torch.zeros(*covered.shape, 3)
    chunks = [color_field(chunk).detach().float().cpu() for chunk in points.split(POINTS_PER_CALL)]
    colors[covered] = torch.cat(chunks)
    image = fill_outside(*reduce_covered(colors, covered, BAKE_SUPERSAMPLE))
    return charted.replace(textures={"base_color": image})


def atlas_points(mesh: Mesh, size_px: int) -> tuple[Tensor, Tensor]:
    """Surface points under the texels of a size² image: (points [P, 3], covered [size, size] bool, row-major)."""
    assert mesh.uvs is not None, "atlas_points(): expected a mesh with UVs"
    clip = torch.zeros(mesh.uvs.shape[0], 4, device=mesh.uvs.device)
    clip[:, :2] = mesh.uvs * 2 - 1
    clip[:, 3] = 1
    rast, _ = rasterize(clip, mesh.faces, mesh.face_offsets, (size_px, size_px))
    covered = rast[0, ..., 3] > 0
    positions, _ = interpolate(mesh.vertices, rast, mesh.faces)
    return positions[0][covered], covered.cpu()


def reduce_covered(colors: Tensor, covered: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Average the covered samples of each factor² block: ([H, W, 3], [H, W] bool: any sample covered)."""

    def blocks(values: Tensor) -> Tensor:
        height, width = values.shape[0] // factor, values.shape[1] // factor
        return values.view(height, factor, width, factor, -1).sum((1, 3))

    count = blocks(covered[..., None].float())
    return blocks(colors * covered[..., None]) / count.clamp_min(1), count[..., 0] > 0


def fill_outside(image: Tensor, covered: Tensor) -> Tensor:
    """Give each uncovered texel the color of the nearest covered one (image [H, W, 3], covered [H, W] bool)."""
    if covered.all() or not covered.any():
        return image
    nearest = ndimage.distance_transform_edt(~covered.numpy(), return_distances=False, return_indices=True)
    rows, columns = torch.from_numpy(np.ascontiguousarray(nearest)).long()
    return image[rows, columns]
