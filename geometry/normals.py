"""Vertex normals."""

import torch
from torch import Tensor

from geometry.mesh import Mesh


def face_cross_products(mesh: Mesh) -> Tensor:
    """Outward face normals times twice the area [ΣF, 3]."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return torch.linalg.cross(b - a, c - a)


def vertex_normals(mesh: Mesh) -> Tensor:
    """Area-weighted unit vertex normals of a packed batch [ΣV, 3]; differentiable.

    A vertex without faces, or whose faces cancel, gets +Y. Repeatable: the sums run in the order of the faces (on CUDA
    under `torch.use_deterministic_algorithms(True)`).
    """
    weighted = face_cross_products(mesh)
    total = torch.zeros_like(mesh.vertices)
    for k in range(3):
        total = total.index_add(0, mesh.faces[:, k], weighted)
    # Scale first: cross products of small faces are tiny and their squares would vanish.
    scale = weighted.detach().abs().amax().clamp(min=torch.finfo(total.dtype).tiny) if weighted.numel() else 1
    total = total / scale
    length = total.norm(dim=-1, keepdim=True)
    good = length > torch.finfo(total.dtype).eps ** 2
    up = torch.tensor([0.0, 1.0, 0.0], dtype=total.dtype, device=total.device)
    return torch.where(good, total / torch.where(good, length, 1), up)
