"""Ambient occlusion: how much of its hemisphere a surface sees, from depth maps of the shape seen from all around.

It depends on the surface point alone, not on the camera, so that all views of a shape agree.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from rendering.backends import rasterizer

DIRECTIONS = 64
MAP_SIDE = 256
# Faces rasterized in one call, over all directions: bounds the memory.
FACES_PER_CALL = 1 << 22


@dataclass(frozen=True)
class SkyMaps:
    """Depth maps [K, S, S] of a shape from K directions: at each texel how far towards the sky the outermost surface
    lies (−∞ where there is none), world units. axes [K, 3, 3]: rows right, down, towards the sky. radius: half the
    width of a map, world units.
    """

    height: Tensor
    axes: Tensor
    radius: float


def sky_directions(count: int) -> Tensor:
    """Unit vectors [count, 3] spread evenly over the sphere (a Fibonacci lattice)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    y = 1 - 2 * index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    ring = (1 - y.square()).sqrt()
    return torch.stack([ring * angle.cos(), y, ring * angle.sin()], 1).float()


def sky_maps(mesh: Mesh, *, directions: int = DIRECTIONS, side: int = MAP_SIDE, backend: str = "auto") -> SkyMaps:
    """The maps of a batch of one, centered near the origin."""
    towards = sky_directions(directions).to(mesh.vertices)
    right = functional.normalize(torch.linalg.cross(towards.new_tensor([0.0, 1.0, 0.0]).expand_as(towards), towards))
    axes = torch.stack([right, torch.linalg.cross(right, towards), towards], 1)
    radius = float(mesh.vertices.norm(dim=1).max()) * 1.01
    local = torch.einsum("kij,vj->kvi", axes, mesh.vertices)
    # Nearer to the sky counts as nearer to the eye: a smaller z.
    clip = functional.pad(local * local.new_tensor([1, 1, -1]) / radius, (0, 1), value=1.0)
    chunk = max(1, FACES_PER_CALL // max(1, len(mesh.faces)))
    heights = []
    for first in range(0, directions, chunk):
        part = clip[first : first + chunk]
        shift = torch.arange(len(part), dtype=torch.int32, device=mesh.faces.device) * part.shape[1]
        faces = (mesh.faces[None] + shift[:, None, None]).view(-1, 3)
        offsets = torch.arange(len(part) + 1) * len(mesh.faces)
        rast, _ = rasterizer(backend).rasterize(part.reshape(-1, 4), faces, offsets, (side, side))
        heights.append(torch.where(rast[..., 3] > 0, rast[..., 2] * -radius, -math.inf))
    return SkyMaps(torch.cat(heights), axes, radius)


def sky_visibility(maps: SkyMaps, points: Tensor, normals: Tensor) -> Tensor:
    """Share of the cosine-weighted hemisphere [P, 1] over `normals` [P, 3] that `points` [P, 3] see, in [0, 1]."""
    side = maps.height.shape[1]
    texel = 2 * maps.radius / side
    # Lifted off the surface: a texel holds one depth for all that it covers.
    points = points + normals * (1.5 * texel)
    seen, total = points.new_zeros(len(points)), points.new_full((len(points),), 1e-6)
    for height, axes in zip(maps.height, maps.axes, strict=True):
        cosine = (normals @ axes[2]).clamp(min=0)
        local = points @ axes.T
        column, row = ((local[:, :2] + maps.radius) / texel).long().clamp(0, side - 1).unbind(1)
        clear = local[:, 2] >= height.view(-1)[row * side + column] - texel
        seen += cosine * clear
        total += cosine
    return (seen / total)[:, None]
