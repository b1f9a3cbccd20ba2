"""Normals of faces and vertices."""

import torch.nn.functional as F
from torch import Tensor

from geometry.mesh import Mesh
from torch_utils.ops.weighted_normals import cross_products, weighted_normals


def face_cross_products(mesh: Mesh) -> Tensor:
    """Outward face normals of a packed batch, each as long as twice the face's area [ΣF, 3]."""
    return cross_products(mesh.vertices, mesh.faces)


def face_normals(mesh: Mesh) -> Tensor:
    """Outward unit face normals of a packed batch [ΣF, 3], in the type of the vertices; zero for a face without area.

    Computed in double precision, since the cross products of small faces vanish in single precision.
    """
    weighted = face_cross_products(mesh.replace(vertices=mesh.vertices.double()))
    return F.normalize(weighted, dim=-1, eps=1e-300).to(mesh.vertices.dtype)


def vertex_normals(mesh: Mesh) -> Tensor:
    """Area-weighted unit vertex normals of a packed batch [ΣV, 3]; differentiable.

    A vertex without faces, or whose faces cancel, gets +Y.
    """
    return weighted_normals(mesh.vertices, mesh.faces)
