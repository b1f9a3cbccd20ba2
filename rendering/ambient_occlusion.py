"""Ambient occlusion: the unblocked share of a surface point's hemisphere, computed from depth maps of the shape.

It depends on the surface point only, not on the camera, so all views of a shape agree.
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
# Faces rasterized in one call, over all directions. This limit bounds the memory.
FACES_PER_CALL = 1 << 22


@dataclass(frozen=True)
class SkyMaps:
    """Depth maps of a shape from K directions.

    height [K, S, S]: coordinate of the outermost surface along the direction, world units; −∞ for an empty texel.
    axes [K, 3, 3]: rows right, down, towards the sky. radius: half the width of a map, world units.
    """

    height: Tensor
    axes: Tensor
    radius: float


def sky_directions(count: int) -> Tensor:
    """Unit vectors [count, 3], distributed evenly over the sphere (a Fibonacci lattice)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    y = 1 - 2 * index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    ring = (1 - y.square()).sqrt()
    return torch.stack([ring * angle.cos(), y, ring * angle.sin()], 1).float()


def sky_maps(mesh: Mesh, *, directions: int = DIRECTIONS, side: int = MAP_SIDE, backend: str = "auto") -> SkyMaps:
    """The maps of one mesh (a batch of one) that is centered near the origin."""
    towards = sky_directions(directions).to(mesh.vertices)
    right = functional.normalize(torch.linalg.cross(towards.new_tensor([0.0, 1.0, 0.0]).expand_as(towards), towards))
    axes = torch.stack([right, torch.linalg.cross(right, towards), towards], 1)
    radius = float(mesh.vertices.norm(dim=1).max()) * 1.01
    local = torch.einsum("kij,vj->kvi", axes, mesh.vertices)
    # The surface nearest to the sky must win, so it gets the smallest z.
    clip = functional.pad(local * local.new_tensor([1, 1, -1]) / radius, (0, 1), value=1.0)
    chunk = max(1, FACES_PER_CALL // max(1, len(mesh.faces)))
    heights = []
    for first in range(0, directions, chunk):
        part = clip[first : first + chunk]
        shift = torch.arange(len(part), dtype=torch.int32, device=mesh.faces.device) * part.shape[1]
        faces = (mesh.faces[None] + shift[:, None, None]).view(-1, 3)
        offsets = torch.arange(len(part) + 1) * len(mesh.faces)
        rast, _ = rasterizer(backend, clip.device.type).rasterize(part.reshape(-1, 4), faces, offsets, (side, side))
        heights.append(torch.where(rast[..., 3] > 0, rast[..., 2] * -radius, -math.inf))
    return SkyMaps(torch.cat(heights), axes, radius)


def sky_visibility(maps: SkyMaps, points: Tensor, normals: Tensor) -> Tensor:
    """Unblocked, cosine-weighted share [P, 1] in [0, 1] of the hemisphere over points [P, 3], unit normals [P, 3]."""
    side = maps.height.shape[1]
    texel = 2 * maps.radius / side
    # The points are lifted off the surface, because a texel has one depth for its whole area.
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
