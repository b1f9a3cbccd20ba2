"""Defects of meshes that trouble other programs: open boundaries, components, bad edges and faces."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geometry.mesh import Mesh
from metrics.shapes.self_intersections import count_self_intersections

# A face is degenerate if its area is below this share of its longest edge squared.
DEGENERATE_SHAPE = 1e-6


@dataclass(frozen=True)
class Validity:
    """Counts of one mesh.

    components: connected components, after vertices at the same position are merged. boundary_edges: edges of one face.
    non_manifold_edges: edges of three faces or more. degenerate_faces: faces with a repeated corner or almost no area.
    faces: all faces. self_intersections: pairs of faces that cross and share no corner; −1 if it was not computed.
    """

    components: int
    boundary_edges: int
    non_manifold_edges: int
    degenerate_faces: int
    faces: int
    self_intersections: int = -1

    @property
    def watertight(self) -> bool:
        """Every edge has exactly two faces (and there are faces)."""
        return self.faces > 0 and self.boundary_edges == 0 and self.non_manifold_edges == 0

    def row(self) -> Tensor:
        """The counts as an int64 row, in the order of the fields."""
        return torch.tensor([getattr(self, f.name) for f in fields(self)])

    @staticmethod
    def from_row(row: Tensor) -> "Validity":
        """The inverse of `row`."""
        return Validity(*map(int, row.tolist()))


COLUMNS = len(fields(Validity))


def welded_faces(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Faces [F, 3] with ids of unique positions, which merges vertices that were split at UV or normal seams."""
    _, merged = np.unique(vertices, axis=0, return_inverse=True)
    return merged.reshape(-1)[faces.astype(np.int64)]


def mesh_validity(mesh: Mesh, *, intersections: bool = False) -> Validity:
    """Counts of one mesh (a batch of one). intersections: also count crossing faces, which takes longer."""
    vertices = mesh.vertices.detach().cpu().numpy()
    raw = mesh.faces.cpu().numpy()
    faces = welded_faces(vertices, raw)
    repeated = (faces == np.roll(faces, 1, axis=1)).any(1)
    corners = vertices[raw].astype(np.float64)
    sides = np.roll(corners, -1, axis=1) - corners
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    thin = area <= DEGENERATE_SHAPE * (sides**2).sum(2).max(1, initial=0)
    proper = faces[~repeated]
    edges = np.sort(np.concatenate([proper[:, [0, 1]], proper[:, [1, 2]], proper[:, [2, 0]]]), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    crossings = -1
    if intersections:
        crossings = count_self_intersections(corners, faces)
    return Validity(
        _components(faces),
        int((uses == 1).sum()),
        int((uses > 2).sum()),
        int((repeated | thin).sum()),
        len(faces),
        crossings,
    )


def _components(faces: NDArray[np.int64]) -> int:
    """Connected components; unused vertices do not count."""
    used, compact = np.unique(faces, return_inverse=True)
    compact = compact.reshape(-1, 3)
    rows = np.concatenate([compact[:, 0], compact[:, 1]])
    columns = np.concatenate([compact[:, 1], compact[:, 2]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(used), len(used)))
    return int(connected_components(graph, directed=False)[0])
