"""Counts that tell whether a mesh is closed, manifold and of the expected shape."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geometry.mesh import Mesh


@dataclass(frozen=True)
class EdgeCounts:
    """Undirected edges of one mesh by the number of faces that use them."""

    edges: int
    boundary: int
    non_manifold: int
    flipped: int

    @property
    def closed(self) -> bool:
        """Every edge has two faces that run through it in opposite directions."""
        return self.boundary == 0 and self.non_manifold == 0 and self.flipped == 0


def _arrays(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if len(mesh) != 1:
        raise ValueError(f"topology: expected one mesh, got a batch of {len(mesh)}")
    return mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy().astype(np.int64)


def edge_counts(mesh: Mesh) -> EdgeCounts:
    """Edges of one mesh: all, with one face, with three or more, and with two faces that run the same way."""
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


def is_watertight(mesh: Mesh) -> bool:
    """Whether one mesh has faces and every edge has exactly two, consistently wound."""
    return mesh.faces.shape[0] > 0 and edge_counts(mesh).closed


def components(mesh: Mesh) -> int:
    """Parts of one mesh that share no vertex; vertices without faces do not count."""
    return len(np.unique(face_components(mesh)))


def face_components(mesh: Mesh) -> NDArray[np.int64]:
    """The part that each face of one mesh belongs to [F]."""
    vertices, faces = _arrays(mesh)
    rows, columns = np.concatenate([faces[:, 0], faces[:, 1]]), np.concatenate([faces[:, 1], faces[:, 2]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(vertices), len(vertices)))
    labels = connected_components(graph, directed=False)[1]
    return labels[faces[:, 0]].astype(np.int64)


@torch.no_grad()
def vertex_components(mesh: Mesh) -> Tensor:
    """The part that each vertex of a packed batch belongs to [ΣV] int64: the least id of a vertex in that part.

    On the mesh's device, for training. Labels hook onto their smaller neighbors' and are followed to their ends until
    nothing changes: a number of rounds that grows with the logarithm of a part's size (Shiloach and Vishkin 1982).
    """
    faces = mesh.faces.long()
    a, b = torch.cat([faces[:, 0], faces[:, 1]]), torch.cat([faces[:, 1], faces[:, 2]])
    labels = torch.arange(mesh.vertices.shape[0], device=faces.device)
    while len(a):
        ends_a, ends_b = labels[a], labels[b]
        differ = ends_a != ends_b
        if not bool(differ.any()):
            break
        a, b, ends_a, ends_b = a[differ], b[differ], ends_a[differ], ends_b[differ]
        low, high = torch.minimum(ends_a, ends_b), torch.maximum(ends_a, ends_b)
        labels = labels.scatter_reduce(0, high, low, "amin")
        followed = labels[labels]
        while not torch.equal(followed, labels):
            labels, followed = followed, followed[followed]
    return labels


def euler_number(mesh: Mesh) -> int:
    """V − E + F of one mesh, over the vertices that have faces: 2 for a sphere, 0 for a torus, summed over parts."""
    return len(np.unique(mesh.faces.cpu().numpy())) - edge_counts(mesh).edges + mesh.faces.shape[0]


def singular_vertices(mesh: Mesh) -> int:
    """Vertices of one mesh whose faces do not form a single fan (two cones that meet in a point, for example)."""
    vertices, faces = _arrays(mesh)
    # Corners of one vertex are joined where their faces share an edge at it: one fan is one joined set.
    count = len(faces)
    corner = np.arange(3 * count).reshape(count, 3)
    sides = np.concatenate([np.stack([faces[:, k], faces[:, (k + 1) % 3]], -1) for k in range(3)])
    at_first = np.concatenate([corner[:, k] for k in range(3)])
    at_second = np.concatenate([corner[:, (k + 1) % 3] for k in range(3)])
    swap = sides[:, 0] > sides[:, 1]
    low, high = np.where(swap, at_second, at_first), np.where(swap, at_first, at_second)
    keys = sides.min(1) * max(len(vertices), 1) + sides.max(1)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    left, right = order[:-1][same], order[1:][same]
    rows, columns = np.concatenate([low[left], high[left]]), np.concatenate([low[right], high[right]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(3 * count, 3 * count))
    fans = connected_components(graph, directed=False)[1]
    pairs = np.unique(np.stack([faces.ravel(), fans[corner.ravel()]], -1), axis=0)
    _, per_vertex = np.unique(pairs[:, 0], return_counts=True)
    return int((per_vertex > 1).sum())


def degenerate_faces(mesh: Mesh, shape: float = 1e-6) -> int:
    """Faces of one mesh with a repeated corner, or with an area below `shape` times their longest side squared."""
    vertices, faces = _arrays(mesh)
    corners = vertices[faces]
    sides = np.roll(corners, -1, 1) - corners
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    repeated = (faces == np.roll(faces, 1, 1)).any(1)
    return int((repeated | (area <= shape * (sides**2).sum(2).max(1, initial=0))).sum())


def signed_volume(mesh: Mesh) -> float:
    """Volume that one closed mesh encloses, world units³; above 0 where the faces wind outward."""
    vertices, faces = _arrays(mesh)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def surface_area(mesh: Mesh) -> float:
    """Area of one mesh, world units²."""
    vertices, faces = _arrays(mesh)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
