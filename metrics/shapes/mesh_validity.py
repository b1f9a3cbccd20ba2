"""Defects of meshes that trouble other programs: open boundaries, components, bad edges and faces."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.topology import count_components, count_degenerate_faces, edge_counts, weld_vertices
from metrics.shapes.self_intersections import count_self_intersections


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


def mesh_validity(mesh: Mesh, *, intersections: bool = False) -> Validity:
    """Counts of one mesh (a batch of one). intersections: look for crossing faces too, which takes longer.

    Vertices at equal positions count as one: they are split only at UV or normal seams.
    """
    welded = weld_vertices(mesh)
    repeated = (welded.faces == welded.faces.roll(1, 1)).any(1)
    edges = edge_counts(Mesh.single(welded.vertices, welded.faces[~repeated]))
    crossings = -1
    if intersections:
        faces = welded.faces.cpu().numpy().astype(np.int64)
        crossings = count_self_intersections(welded.vertices.cpu().double().numpy()[faces], faces)
    return Validity(
        count_components(welded),
        edges.boundary,
        edges.non_manifold,
        count_degenerate_faces(welded),
        welded.faces.shape[0],
        crossings,
    )
