"""From an SDF on a tetrahedral grid that is subdivided near the surface to a packed mesh.

Evaluate the SDF on the coarse grid and call `find_midpoints`; evaluate it at those midpoints and call
`find_subdivided_surface`; go on with `extraction.build_surface` on the subdivided grid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.extraction import FoundSurface, found_surface
from geometry.fallback_surface import BOUNDARY_CELLS, corrected_sdf, empty_samples
from geometry.subdivision import SubdividedGrid
from torch_utils.ops.subdivided_tets import midpoints_near_surface, subdivided_tets_topology


@dataclass(frozen=True)
class CoarseSurface:
    """Where the surfaces of a batch lie on the coarse grid; no gradient.

    sdf, used [B, V]: the network's SDF and the corrected one that is extracted from. midpoints [M] int64: edges whose
    middle is near a surface, b·E + e, sorted. offsets [B + 1] int64, on the CPU: their ranges. connected: the corrected
    inside is one component.
    """

    sdf: Tensor
    used: Tensor
    midpoints: Tensor
    offsets: Tensor
    connected: bool


def find_midpoints(sdf: Tensor, grid: SubdividedGrid, *, connected: bool = False) -> CoarseSurface:
    """The midpoints at which the SDF is wanted, given a dense SDF [B, V] of the coarse grid (world units).

    Every mesh is closed, and every sample gets a surface; connected: see `fallback_surface.corrected_sdf`.
    """
    raw = sdf.detach()
    used = corrected_sdf(raw, grid.coarse, connected=connected)
    return CoarseSurface(raw, used, *midpoints_near_surface(used, grid.coarse.edges), connected)


def midpoint_vertices(coarse: CoarseSurface, grid: SubdividedGrid) -> Tensor:
    """The vertices of the subdivided grid at the midpoints [M] int64."""
    return grid.coarse.num_vertices + coarse.midpoints % grid.coarse.edges.shape[0]


def find_subdivided_surface(coarse: CoarseSurface, midpoint_sdf: Tensor, grid: SubdividedGrid) -> FoundSurface:
    """The crossing edges, triangles and active vertices on the subdivided grid.

    midpoint_sdf [M]: the network's SDF at the midpoints, world units. Where an end of the edge was corrected, and where
    it is NaN, the mean of the ends takes its place; on the box it is raised like that of the coarse grid. Where the
    inside is to be one component, a midpoint between two ends of one sign keeps that sign.
    """
    midpoint_sdf = midpoint_sdf.detach()
    used = _corrected_midpoints(coarse, midpoint_sdf, grid)
    topology = subdivided_tets_topology(coarse.used, coarse.midpoints, used, grid.tables)
    network_values, values = _at_active(coarse, topology.active, midpoint_sdf, used, grid)
    return found_surface(topology, network_values, values, empty_samples(coarse.sdf), grid)


def _corrected_midpoints(coarse: CoarseSurface, midpoint_sdf: Tensor, grid: SubdividedGrid) -> Tensor:
    """The midpoints' SDF in use [M]."""
    vertices, count = grid.coarse.num_vertices, grid.coarse.edges.shape[0]
    edge = coarse.midpoints % count
    ends = grid.coarse.edges[edge] + (coarse.midpoints // count * vertices)[:, None]
    used = coarse.used.reshape(-1)[ends]
    mean = used.mean(1)
    corrected = (used != coarse.sdf.reshape(-1)[ends]).any(1) | midpoint_sdf.isnan()
    if coarse.connected:
        inside = used < 0
        corrected |= (inside[:, 0] == inside[:, 1]) & (inside[:, 0] != (midpoint_sdf < 0))
    values = torch.where(corrected, mean, midpoint_sdf)
    on_box = ~grid.free[vertices + edge].all(1)
    return torch.where(on_box, values.clamp(min=BOUNDARY_CELLS * grid.cell), values)


def _at_active(
    coarse: CoarseSurface, active: Tensor, midpoint_sdf: Tensor, used: Tensor, grid: SubdividedGrid
) -> tuple[Tensor, Tensor]:
    """The network's SDF and the one in use at active vertices [ΣA].

    A midpoint that was not asked for has NaN and the mean of its ends.
    """
    vertices, count = grid.coarse.num_vertices, grid.coarse.edges.shape[0]
    sample, vertex = active // grid.num_vertices, active % grid.num_vertices
    edge = (vertex - vertices).clamp(min=0)
    rows = torch.full((coarse.sdf.shape[0] * count,), -1, dtype=torch.int32, device=active.device)
    rows[coarse.midpoints] = torch.arange(len(coarse.midpoints), dtype=torch.int32, device=active.device)
    row = rows[sample * count + edge]
    ends = grid.coarse.edges[edge] + (sample * vertices)[:, None]
    mean = coarse.used.reshape(-1)[ends].mean(1)
    kept = sample * vertices + vertex.clamp(max=vertices - 1)
    pairs = []
    for of_vertices, of_midpoints, missing in (
        (coarse.sdf, midpoint_sdf, torch.full_like(mean, torch.nan)),
        (coarse.used, used, mean),
    ):
        extended = torch.cat([of_midpoints, of_midpoints.new_zeros(1)])  # row −1, for those that were not asked for
        middle = torch.where(row >= 0, extended[row.long()], missing)
        pairs.append(torch.where(vertex < vertices, of_vertices.reshape(-1)[kept], middle))
    return pairs[0], pairs[1]
