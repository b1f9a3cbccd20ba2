"""From an SDF on a tetrahedral grid that is subdivided near the surface to a packed mesh.

Evaluate the SDF on the coarse grid and call `find_midpoints`; evaluate it at those midpoints and call
`find_subdivided_surface`; go on with `extraction.build_surface` on the subdivided grid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.extraction import FoundSurface, found_surface
from geometry.fallback_surface import corrected_sdf, empty_samples
from geometry.subdivision import SubdividedGrid
from torch_utils.ops.subdivided_tets import (
    ENDS_AGREE,
    TAKE_MEAN,
    Midpoints,
    midpoints_near_surface,
    subdivided_tets_topology,
)


@dataclass(frozen=True)
class CoarseSurface:
    """Where the surfaces of a batch lie on the coarse grid; no gradient.

    sdf, used [B, V]: the network's SDF and the corrected one that is extracted from. near: the midpoints at which the
    network's SDF is wanted. connected: the corrected inside is one component.
    """

    sdf: Tensor
    used: Tensor
    near: Midpoints
    connected: bool


def find_midpoints(sdf: Tensor, grid: SubdividedGrid, *, connected: bool = False) -> CoarseSurface:
    """The midpoints at which the SDF is wanted, given a dense SDF [B, V] of the coarse grid (world units).

    Every mesh is closed, and every sample gets a surface; connected: see `fallback_surface.corrected_sdf`.
    """
    raw = sdf.detach()
    used = corrected_sdf(raw, grid.coarse, connected=connected)
    return CoarseSurface(raw, used, midpoints_near_surface(raw, used, grid.coarse.edges, grid.on_box), connected)


def midpoint_vertices(coarse: CoarseSurface, grid: SubdividedGrid) -> Tensor:
    """The vertices of the subdivided grid at the midpoints [M] int64."""
    return grid.coarse.num_vertices + coarse.near.ids % grid.coarse.edges.shape[0]


def find_subdivided_surface(coarse: CoarseSurface, midpoint_sdf: Tensor, grid: SubdividedGrid) -> FoundSurface:
    """The crossing edges, triangles and active vertices on the subdivided grid.

    midpoint_sdf [M]: the network's SDF at the midpoints, world units. The mean of the ends takes its place where an end
    was corrected, on the box, and where it is NaN. Where the inside is to be one component, a midpoint between two ends
    of one sign keeps that sign.
    """
    midpoint_sdf, near = midpoint_sdf.detach(), coarse.near
    corrected = (near.states == TAKE_MEAN) | midpoint_sdf.isnan()
    if coarse.connected:
        corrected |= (near.states == ENDS_AGREE) & ((near.means < 0) != (midpoint_sdf < 0))
    used = torch.where(corrected, near.means, midpoint_sdf)
    topology, sources = subdivided_tets_topology(coarse.used, near.ids, used, grid.tables)

    # A vertex has its own value, a midpoint that was asked for the one given, and any other the mean of its ends.
    given, a, b = sources.rows >= 0, *sources.parents.unbind(1)
    coarse_sdf, coarse_used = coarse.sdf.reshape(-1), coarse.used.reshape(-1)
    means = (coarse_used.index_select(0, a) + coarse_used.index_select(0, b)) / 2
    values = torch.where(given, _rows(used, sources.rows), means)
    of_network = torch.where(a == b, coarse_sdf.index_select(0, a), torch.nan)
    network_values = torch.where(given, _rows(midpoint_sdf, sources.rows), of_network)
    return found_surface(topology, network_values, values, empty_samples(coarse.sdf), grid)


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    """values[rows], and 0 for row −1."""
    return torch.cat([values.new_zeros(1), values]).index_select(0, rows + 1)
