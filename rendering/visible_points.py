"""Points on the part of a surface that can be seen from outside.

A car has seats and an underside of the hood that no view shows, so a generator that learns from views cannot have them.
"""

import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.surface_sampling import sample_surface
from rendering.ambient_occlusion import SkyMaps, sky_maps, sky_visibility

# A point counts as seen if this share of the directions over it is free: less is a gap of a texel.
SEEN = 0.02
DRAWN = 4  # points drawn for each one wanted, at a time
ROUNDS = 8


@torch.no_grad()
def visible_points(mesh: Mesh, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points [count, 3] uniform over the visible area, and the unit normals [count, 3] of their faces.

    mesh: one, anywhere. Either side of a face may be the visible one. NaN for a mesh without area. Where hardly
    anything is visible, points are repeated.
    """
    center = (mesh.vertices.amax(0) + mesh.vertices.amin(0)) / 2 if len(mesh.vertices) else mesh.vertices.new_zeros(3)
    centered = mesh.replace(vertices=mesh.vertices - center)
    points, normals = (each[0] for each in sample_surface(centered, count * DRAWN, generator))
    if not bool(torch.isfinite(points).all()):
        return points[:count], normals[:count]
    maps = sky_maps(centered)
    kept = [_seen(points, normals, maps)]
    for _ in range(ROUNDS - 1):
        if sum(len(each[0]) for each in kept) >= count:
            break
        points, normals = (each[0] for each in sample_surface(centered, count * DRAWN, generator))
        kept.append(_seen(points, normals, maps))
    points, normals = (torch.cat(part) for part in zip(*kept, strict=True))
    if len(points) == 0:
        raise ValueError("visible_points(): expected a surface that can be seen from outside")
    rows = torch.arange(count, device=points.device) % len(points)
    return points[rows] + center, normals[rows]


def _seen(points: Tensor, normals: Tensor, maps: SkyMaps) -> tuple[Tensor, Tensor]:
    free = torch.maximum(sky_visibility(maps, points, normals), sky_visibility(maps, points, -normals))[:, 0]
    return points[free > SEEN], normals[free > SEEN]
