"""Sample points on the surface of a shape."""

import numpy as np
from numpy.typing import NDArray

from geometry.surface_sampling import points_on_triangles
from mesh_io.source_mesh import SourceMesh
from torch_utils.errors import UserError


def surface_points(
    mesh: SourceMesh, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points [count, 3] uniform over the area, and the unit normals [count, 3] of their faces.

    Raises UserError for a mesh without area.
    """
    vertices, faces, _ = mesh.merged()
    points, normals = points_on_triangles(vertices[faces], rng.random((count, 3)))
    if np.isnan(points).any():
        raise UserError(f"{mesh.path}: its faces have no area")
    return points.astype(np.float32), normals.astype(np.float32)
