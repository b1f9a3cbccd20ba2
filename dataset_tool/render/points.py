"""Sample points on the surface of a shape, and hash its geometry."""

import hashlib

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


def geometry_hash(mesh: SourceMesh) -> str:
    """SHA-256 of the distinct vertex positions of a normalized mesh, rounded to 1/8192 of a world unit.

    It does not depend on the order or splitting of vertices, materials or names, so copies of a shape have one hash.
    """
    vertices = np.concatenate([part.vertices for part in mesh.parts])
    cells = np.unique(np.rint(vertices * 8192).astype(np.int32), axis=0)
    return hashlib.sha256(cells.tobytes()).hexdigest()
