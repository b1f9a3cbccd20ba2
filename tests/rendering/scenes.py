"""Small meshes and cameras for the tests of rendering."""

import math

import torch

from geometry.mesh import Mesh
from rendering.camera import Cameras


def quad(side: float, depth: float = 0.0, dtype: torch.dtype = torch.float32) -> Mesh:
    """A square of that side in the plane z = depth, facing +Z, as two triangles."""
    h = side / 2
    corners = [[-h, -h, depth], [h, -h, depth], [h, h, depth], [-h, h, depth]]
    return Mesh.single(torch.tensor(corners, dtype=dtype), torch.tensor([[0, 1, 2], [0, 2, 3]]))


def sphere(radius: float, rings: int = 12, dtype: torch.dtype = torch.float32) -> Mesh:
    """A closed ball of latitude rings, wound outward."""
    columns = 2 * rings
    points, faces = [(0.0, radius, 0.0)], []
    for ring in range(1, rings):
        polar = math.pi * ring / rings
        for column in range(columns):
            turn = 2 * math.pi * column / columns
            points.append(
                (
                    radius * math.sin(polar) * math.sin(turn),
                    radius * math.cos(polar),
                    radius * math.sin(polar) * math.cos(turn),
                )
            )
    points.append((0.0, -radius, 0.0))
    last = len(points) - 1
    for column in range(columns):
        after = (column + 1) % columns
        faces.append((0, 1 + column, 1 + after))
        base = 1 + (rings - 2) * columns
        faces.append((last, base + after, base + column))
        for ring in range(rings - 2):
            a, b = 1 + ring * columns + column, 1 + ring * columns + after
            faces += [(a, a + columns, b), (b, a + columns, b + columns)]
    return Mesh.single(torch.tensor(points, dtype=dtype), torch.tensor(faces))


def clip_positions(cameras: Cameras, points: torch.Tensor, camera_index: torch.Tensor) -> torch.Tensor:
    """Clip-space positions [P, 4] of points [P, 3], point i seen by camera `camera_index[i]`: the plain definition."""
    homogeneous = torch.nn.functional.pad(points, (0, 1), value=1.0)
    return torch.einsum("pij,pj->pi", cameras.world_to_clip()[camera_index], homogeneous)


def orbit(azimuth_deg: list[float], elevation_deg: float = 0.0, dtype: torch.dtype = torch.float32) -> Cameras:
    """Cameras at distance 2 with a field of view of 2·atan(1/2): the plane z = 0 of the front view is 2 units wide."""
    azimuth = torch.tensor(azimuth_deg, dtype=dtype).deg2rad()
    elevation = torch.full_like(azimuth, math.radians(elevation_deg))
    return Cameras.orbit(azimuth, elevation, 2.0, 2 * math.atan(0.5))
