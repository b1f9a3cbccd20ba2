"""Random points on surfaces, uniform over the area."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh


def sample_surface(mesh: Mesh, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points distributed uniformly over the area of each mesh of a packed batch, and the normals of their faces.

    count: points a mesh. generator: on the CPU; the points of mesh b depend on its state and on b, not on the other
    meshes. Returns points [B, count, 3] and unit normals [B, count, 3]; NaN for a mesh without faces or without area.
    No gradient. The points are independent of one another, as in the published protocols. Computed on the CPU in double
    precision.
    """
    if count < 1:
        raise ValueError(f"sample_surface(): expected at least one point, got {count}")
    uniform = torch.rand(len(mesh), count, 3, generator=generator, dtype=torch.float64).numpy()
    vertices, faces = mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy()
    offsets = mesh.face_offsets.tolist()
    points, normals = np.empty_like(uniform), np.empty_like(uniform)
    for b in range(len(mesh)):
        corners = vertices[faces[offsets[b] : offsets[b + 1]]]
        points[b], normals[b] = points_on_triangles(corners, uniform[b])
    return torch.from_numpy(points).to(mesh.vertices), torch.from_numpy(normals).to(mesh.vertices)


def points_on_triangles(
    corners: NDArray[np.float64], uniform: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points [P, 3] uniform over the area of triangles, and their unit normals [P, 3]; NaN if there is no area.

    corners [F, 3, 3]. uniform [P, 3]: random numbers in [0, 1), one row for each point.
    Source: Osada et al. 2002, eq. 1 (the square root makes points uniform within a triangle).
    """
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normals, axis=1)
    total = np.cumsum(double_area)
    if not len(total) or not np.isfinite(total[-1]) or not total[-1] > 0:
        return np.full_like(uniform, np.nan), np.full_like(uniform, np.nan)
    # The search finds the first sum above the number, so a face without area is never chosen.
    face = np.searchsorted(total, uniform[:, 0] * total[-1], side="right").clip(max=len(corners) - 1)
    root, along = np.sqrt(uniform[:, 1:2]), uniform[:, 2:3]
    weights = np.concatenate([1 - root, root * (1 - along), root * along], 1)
    points = np.einsum("pk,pki->pi", weights, corners[face])
    length = double_area[face, None]
    return points, normals[face] / np.where(length > 0, length, 1)
