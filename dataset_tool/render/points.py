"""Points on a shape's surface, and a fingerprint of its geometry."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from mesh_io.source_mesh import SourceMesh
from torch_utils.errors import UserError


def surface_points(
    mesh: SourceMesh, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points [count, 3] uniform over the area, and the unit normals [count, 3] of their faces.

    Raises UserError where the mesh has no area.
    """
    vertices, faces, _ = mesh.merged()
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normals, axis=1)
    total = np.cumsum(double_area)
    if not total[-1] > 0:
        raise UserError(f"{mesh.path}: its faces have no area")
    numbers = rng.random((count, 3))
    # Only faces with area can be hit: the search finds the first sum above the number.
    face = np.searchsorted(total, numbers[:, 0] * total[-1], side="right").clip(max=len(faces) - 1)
    # Square root: uniform over the triangle (Osada et al. 2002, eq. 1).
    root, along = np.sqrt(numbers[:, 1:2]), numbers[:, 2:3]
    weights = np.concatenate([1 - root, root * (1 - along), root * along], 1)
    points = np.einsum("pk,pki->pi", weights, corners[face])
    length = double_area[face, None]
    normals = normals[face] / np.where(length > 0, length, 1)
    return points.astype(np.float32), normals.astype(np.float32)


def geometry_hash(mesh: SourceMesh) -> str:
    """SHA-256 of the distinct vertex positions of a normalized mesh, to 1/8192 of a world unit.

    Order, splitting of vertices, materials and names do not count: copies of a shape under several ids share it.
    """
    vertices = np.concatenate([part.vertices for part in mesh.parts])
    cells = np.unique(np.rint(vertices * 8192).astype(np.int32), axis=0)
    return hashlib.sha256(cells.tobytes()).hexdigest()
