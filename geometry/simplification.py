"""Simplification of meshes that keeps their topology."""

import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.normals import face_cross_products
from geometry.topology import vertex_components
from torch_utils.ops.collapse_edges import collapse_edges

MIN_FACES = 12


def simplify(mesh: Mesh, max_faces: int) -> tuple[Mesh, Tensor]:
    """Simplify one mesh to at most `max_faces` faces, if its topology allows that.

    Edges of least quadric error collapse (`torch_utils/ops/collapse_edges.py`). A closed mesh stays closed and keeps
    its Euler number and its connected components. Returns the mesh, on the CPU, and the vertex of the source
    that each of its vertices is [V'] int64. Attributes are dropped. ValueError for a batch, or fewer than 12 faces
    wanted.
    """
    if len(mesh) != 1 or max_faces < MIN_FACES:
        raise ValueError(f"simplify(): expected one mesh and at least {MIN_FACES} faces, got {len(mesh)}, {max_faces}")
    vertices, faces = mesh.vertices.detach().cpu(), mesh.faces.cpu()
    if len(faces) > max_faces:
        faces = collapse_edges(vertices, faces, max_faces)
    return compact(vertices, faces)


def largest_component(mesh: Mesh) -> Mesh:
    """The connected component of one mesh with the most area."""
    labels = vertex_components(mesh)[mesh.faces[:, 0].long()]
    areas = torch.zeros(len(mesh.vertices), dtype=torch.float64, device=labels.device)
    areas = areas.index_add(0, labels, face_cross_products(mesh).double().norm(dim=1))
    return compact(mesh.vertices, mesh.faces[labels == areas.argmax()])[0]


def compact(vertices: Tensor, faces: Tensor) -> tuple[Mesh, Tensor]:
    """The mesh of some faces and the vertices that they use, and the former ids of these [V'] int64."""
    used, renumbered = faces.long().unique(return_inverse=True)
    return Mesh.single(vertices[used], renumbered), used
