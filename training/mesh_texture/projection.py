"""Posed images projected onto textures: each texel takes the colors of the views that see it, blended."""

import torch
from torch import Tensor
from torch.nn import functional

from dataset_tool.posed_images import PosedImages
from rendering.camera import Cameras
from rendering.deferred import rasterize_mesh, visible_attributes
from sampling.texture_baking import Texels, fill_outside
from training.mesh_texture.target import TextureTarget
from training.mesh_texture.views import extent

# How strongly a view from the front is preferred: weight = cosine to this power.
FACING_POWER = 4
MIN_COSINE = 0.15
# A texel is seen if it is at most this much, as a share of the mesh's size, behind what the view shows.
DEPTH_TOLERANCE = 0.008
# Pixels next to the silhouette mix object and background; colors are taken from where coverage is full around.
FULL_COVERAGE = 0.98


def project_images(target: TextureTarget, images: PosedImages, size_px: int) -> tuple[list[Tensor], list[Tensor]]:
    """Textures [S, S, 3], sRGB in [0, 1], one for each of the target's, and which texels a view sees [S, S] bool.

    Texels outside the charts, and those that no view sees, continue the colors of the nearest ones.
    """
    depths = [_depth(target, images.cameras[view : view + 1], images.rgb.shape[-1]) for view in range(len(images.rgb))]
    textures, seen = [], []
    for number in range(len(target.materials)):
        texels = target.texels(number, size_px)
        total = torch.zeros(len(texels.points), 4)
        for view, depth in enumerate(depths):
            total += _weighted_colors(texels, images, view, depth, DEPTH_TOLERANCE * extent(target.mesh))
        known = total[:, 3] > 1e-6
        colors = total[:, :3] / total[:, 3:].clamp(min=1e-9)
        textures.append(_filled(texels, colors, known))
        image = torch.zeros(size_px, size_px, dtype=torch.bool)
        image[texels.covered] = known
        seen.append(image)
    return textures, seen


def _depth(target: TextureTarget, camera: Cameras, resolution: int) -> Tensor:
    """Distance [1, 1, 2R, 2R] from the eye to the surface; infinite for the background."""
    raster = rasterize_mesh(target.mesh, camera, resolution, supersample=2)
    distance = (visible_attributes(raster, target.mesh.vertices) - camera.position()).norm(dim=1)
    image = torch.full((raster.rast[..., 0].numel(),), torch.inf)
    image[raster.pixels] = distance
    return image.view(1, 1, 2 * resolution, 2 * resolution)


def _weighted_colors(texels: Texels, images: PosedImages, view: int, depth: Tensor, tolerance: float) -> Tensor:
    """Colors times weight, and the weight [P, 4], that a view gives to the texels."""
    camera = images.cameras[view : view + 1]
    clip = camera.transform_packed(texels.points, torch.tensor([0, len(texels.points)]))
    place = clip[:, :2] / clip[:, 3:].clamp(min=1e-9)
    eye = camera.position()
    towards = eye - texels.points
    distance = towards.norm(dim=1)
    cosine = (texels.normals * towards).sum(1) / distance.clamp(min=1e-9)
    grid = place[None, None]

    def at(image: Tensor, mode: str) -> Tensor:
        return functional.grid_sample(image, grid, mode=mode, align_corners=False, padding_mode="zeros")[0, :, 0].T

    # The farthest of the nearest samples: at a crease one of them may show what lies in front.
    finite = torch.where(depth.isinf(), torch.zeros_like(depth), depth)
    farthest = at(functional.max_pool2d(finite, 3, 1, 1), "nearest")[:, 0]
    whole = at(-functional.max_pool2d(-images.mask[view][None], 3, 1, 1), "bilinear")[:, 0]
    inside = (clip[:, 3] > 0) & (place.abs() < 1).all(1)
    visible = inside & (distance <= farthest + tolerance) & (cosine > MIN_COSINE) & (whole > FULL_COVERAGE)
    weight = torch.where(visible, cosine**FACING_POWER, torch.zeros_like(cosine))[:, None]
    return torch.cat([at(images.rgb[view][None], "bilinear") * weight, weight], 1)


def _filled(texels: Texels, colors: Tensor, known: Tensor) -> Tensor:
    """An image [S, S, 3] of the known colors, continued everywhere else."""
    image = torch.zeros(*texels.covered.shape, 3)
    mask = torch.zeros_like(texels.covered)
    image[texels.covered] = colors
    mask[texels.covered] = known
    return fill_outside(image, mask)
