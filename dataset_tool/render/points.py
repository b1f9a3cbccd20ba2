"""Sample points on the surface of a shape."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geometry.mesh import Mesh
from geometry.surface_sampling import points_on_triangles
from mesh_io.source_mesh import SourceMesh
from rendering.visible_points import visible_points
from torch_utils.errors import UserError


def surface_points(
    mesh: SourceMesh, count: int, rng: np.random.Generator, *, visible: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points [count, 3] uniform over the area, and the unit normals [count, 3] of their faces.

    visible: only where the surface can be seen from outside. Raises UserError for a mesh without area.
    """
    vertices, faces, _ = mesh.merged()
    if visible:
        return _visible(Mesh.single(torch.from_numpy(vertices).float(), torch.from_numpy(faces)), mesh.path, count, rng)
    points, normals = points_on_triangles(vertices[faces], rng.random((count, 3)))
    if np.isnan(points).any():
        raise UserError(f"{mesh.path}: its faces have no area")
    return points.astype(np.float32), normals.astype(np.float32)


def _visible(
    mesh: Mesh, path: Path, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    points, normals = visible_points(mesh, count, torch.Generator().manual_seed(int(rng.integers(2**62))))
    if not bool(torch.isfinite(points).all()):
        raise UserError(f"{path}: its faces have no area")
    return points.numpy(), normals.numpy()
