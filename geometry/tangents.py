"""Tangent frames for normal maps, as MikkTSpace defines them (Mikkelsen 2008), which glTF prescribes."""

import numpy as np
import torch
from torch import Tensor

from geometry.mesh import Mesh


def vertex_tangents(mesh: Mesh) -> Tensor:
    """Tangents [V, 4] of one mesh with normals and UVs: unit vectors along u, and the handedness w = ±1.

    The bitangent w · cross(normal, tangent) points along −v, upward in the image. Vertices must be split where the
    orientation of the UVs flips. A tangent is the mean of those of the vertex's faces, each projected onto the plane of
    the vertex normal and weighted by the corner's angle.
    """
    if len(mesh) != 1 or mesh.normals is None or mesh.uvs is None:
        raise ValueError("vertex_tangents(): expected one mesh with normals and uvs")
    positions, normals = (part.detach().cpu().double().numpy() for part in (mesh.vertices, mesh.normals))
    uvs = mesh.uvs.detach().cpu().double().numpy() * [1, -1]
    faces = mesh.faces.cpu().numpy().astype(np.int64)
    p, st = positions[faces], uvs[faces]
    d1, d2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    t1, t2 = st[:, 1] - st[:, 0], st[:, 2] - st[:, 0]
    area = t1[:, 0] * t2[:, 1] - t1[:, 1] * t2[:, 0]
    sign = np.where(area < 0, -1.0, 1.0)
    along_u = sign[:, None] * (t2[:, 1:] * d1 - t1[:, 1:] * d2)
    total = np.zeros((len(positions), 3))
    for corner in range(3):
        n = normals[faces[:, corner]]
        tangent = _unit(along_u - n * (n * along_u).sum(1, keepdims=True))
        ahead, behind = (p[:, (corner + step) % 3] - p[:, corner] for step in (1, 2))
        ahead, behind = (_unit(e - n * (n * e).sum(1, keepdims=True)) for e in (ahead, behind))
        angle = np.arccos((ahead * behind).sum(1).clip(-1, 1))
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], tangent[:, axis] * angle, len(positions))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    tangents = np.where(length > 1e-12, total / np.maximum(length, 1e-12), _perpendicular(normals))
    handedness = np.ones(len(positions))
    handedness[faces.reshape(-1)] = np.repeat(sign, 3)
    return torch.from_numpy(np.concatenate([tangents, handedness[:, None]], 1)).float()


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-20, vectors / np.maximum(length, 1e-20), 0)


def _perpendicular(normals: np.ndarray) -> np.ndarray:
    """Any unit vectors [V, 3] in the planes of unit normals [V, 3]."""
    other = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    return _unit(other - normals * (normals * other).sum(1, keepdims=True))
