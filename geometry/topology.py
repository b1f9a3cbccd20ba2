"""Connectivity of meshes: edges, connected components, welded vertices, degenerate faces."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh
from torch_utils.ops.connected_vertices import connected_vertices

# A face is degenerate if its area is at most this share of its longest edge squared.
DEGENERATE_SHAPE = 1e-6


@dataclass(frozen=True)
class EdgeCounts:
    """Undirected edges of one mesh.

    edges: all. boundary: with one face. non_manifold: with three faces or more. flipped: with two faces that run
    through it in the same direction.
    """

    edges: int
    boundary: int
    non_manifold: int
    flipped: int

    @property
    def closed(self) -> bool:
        """Every edge has two faces that run through it in opposite directions."""
        return self.boundary == 0 and self.non_manifold == 0 and self.flipped == 0


def edge_counts(mesh: Mesh) -> EdgeCounts:
    """The undirected edges of one mesh, counted by the faces that use them."""
    _, faces = _arrays(mesh)
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    keys = ends.min(1) * max(len(mesh.vertices), 1) + ends.max(1)
    forward = np.where(ends[:, 0] < ends[:, 1], 1, -1)
    order = np.argsort(keys, kind="stable")
    if not len(order):
        return EdgeCounts(0, 0, 0, 0)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(keys[order]) != 0]))
    uses = np.diff(np.append(starts, len(order)))
    balance = np.add.reduceat(forward[order], starts)
    return EdgeCounts(
        edges=len(starts),
        boundary=int((uses == 1).sum()),
        non_manifold=int((uses > 2).sum()),
        flipped=int(((uses == 2) & (balance != 0)).sum()),
    )


def count_components(mesh: Mesh) -> int:
    """Connected components of a packed batch; components share no vertex. Vertices without faces do not count."""
    return len(vertex_components(mesh)[mesh.faces[:, 0].long()].unique())


def vertex_components(mesh: Mesh) -> Tensor:
    """The connected component of each vertex of a packed batch [ΣV] int64: the least vertex id in it."""
    return connected_vertices(mesh.faces.int(), mesh.vertices.shape[0])


def weld_vertices(mesh: Mesh) -> Mesh:
    """One mesh with vertices at equal positions merged, as at UV and normal seams. Attributes are dropped."""
    vertices = mesh.vertices.detach()
    _, first, merged = np.unique(vertices.cpu().numpy(), axis=0, return_index=True, return_inverse=True)
    index = torch.from_numpy(merged.reshape(-1)).to(vertices.device)
    return Mesh.single(vertices[torch.from_numpy(first).to(vertices.device)], index[mesh.faces.long()])


def count_degenerate_faces(mesh: Mesh) -> int:
    """Faces of one mesh with a repeated corner or (nearly) no area (`DEGENERATE_SHAPE`)."""
    vertices, faces = _arrays(mesh)
    corners = vertices[faces]
    sides = np.roll(corners, -1, 1) - corners
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    repeated = (faces == np.roll(faces, 1, 1)).any(1)
    return int((repeated | (area <= DEGENERATE_SHAPE * (sides**2).sum(2).max(1, initial=0))).sum())


def _arrays(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if len(mesh) != 1:
        raise ValueError(f"topology: expected one mesh, got a batch of {len(mesh)}")
    return mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy().astype(np.int64)
