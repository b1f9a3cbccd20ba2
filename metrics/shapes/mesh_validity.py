"""Defects of meshes that trouble other programs: open boundaries, components, bad edges and faces."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.topology import count_components, count_degenerate_faces, edge_counts, weld_vertices
from metrics.shapes.self_intersections import TooManyPairsError, count_self_intersections

# In the place of a number of self-intersections.
NOT_COUNTED, TOO_MANY_PAIRS = -1, -2


@dataclass(frozen=True)
class Validity:
    """Counts of one mesh.

    components: connected components, after vertices at the same position are merged. boundary_edges: edges of one face.
    non_manifold_edges: edges of three faces or more. degenerate_faces: faces with a repeated corner or almost no area.
    faces: all faces. self_intersections: pairs of faces that cross and share no corner; NOT_COUNTED, or TOO_MANY_PAIRS
    where so many faces lie so close that counting would take too long.
    """

    components: int
    boundary_edges: int
    non_manifold_edges: int
    degenerate_faces: int
    faces: int
    self_intersections: int = NOT_COUNTED

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
    crossings = NOT_COUNTED
    if intersections:
        faces = welded.faces.cpu().numpy().astype(np.int64)
        try:
            crossings = count_self_intersections(welded.vertices.cpu().double().numpy()[faces], faces)
        except TooManyPairsError:
            crossings = TOO_MANY_PAIRS
    return Validity(
        count_components(welded),
        edges.boundary,
        edges.non_manifold,
        count_degenerate_faces(welded),
        welded.faces.shape[0],
        crossings,
    )
