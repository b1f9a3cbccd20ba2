"""From an SDF on a cubic grid to a packed mesh, by FlexiCubes (Shen et al. 2023).

As in `extraction`: evaluate the SDF on the whole grid without gradient, call `find_cubes`, evaluate SDF, deformation
and the 21 weights of each cube with gradient at `found.topology` alone, and call `build_cubes`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.cube_grid import CubeGrid
from geometry.extraction import CubeTerms, ExtractedSurface, active_positions, values_in_use, values_with_gradient
from geometry.fallback_surface import corrected_sdf, empty_samples
from geometry.mesh import Mesh
from geometry.regularizers import fallback_surface_loss
from torch_utils.devices import upload
from torch_utils.ops.flexicubes import CubeTopology, flexicubes_topology, flexicubes_vertices

# Weights of a cube: 8 α for its corners, 12 β for its edges, 1 γ for its quadrilaterals.
NUM_WEIGHTS = 21
# α and β lie in 1 ± this, γ in ½ ± half of this: never zero (Shen et al. 2023, supplement).
WEIGHT_SCALE = 0.99


@dataclass(frozen=True)
class FoundCubes:
    """Where the surfaces of a batch lie; no gradient. The fields are those of `extraction.FoundSurface`, for the
    corners of the cubes that the surface crosses.
    """

    topology: CubeTopology
    values: Tensor
    replaced: Tensor
    fallback: Tensor
    empty: Tensor


def find_cubes(sdf: Tensor, grid: CubeGrid, *, closed: bool = True, connected: bool = False) -> FoundCubes:
    """The crossed cubes, quadrilaterals and active vertices of a dense SDF [B, V] (world units, negative inside).

    Every sample gets a surface. closed, connected: see `fallback_surface.corrected_sdf`.
    """
    raw = sdf.detach()
    used = corrected_sdf(raw, grid, closed=closed, connected=connected)
    topology = flexicubes_topology(used, grid.cells)
    empty = empty_samples(raw)
    of_network, in_use = (each.reshape(-1).index_select(0, topology.active) for each in (raw, used))
    values, replaced = values_in_use(of_network, in_use, grid)
    fallback = empty.index_select(0, topology.active // grid.num_vertices)
    return FoundCubes(topology, values, replaced, fallback, empty)


def build_cubes(
    found: FoundCubes,
    grid: CubeGrid,
    sdf_active: Tensor,
    deformation_active: Tensor | None,
    weights: Tensor,
    *,
    centers: bool,
) -> ExtractedSurface:
    """The meshes of `found`, with gradient to the SDF and deformation of the active vertices and to the weights.

    sdf_active [ΣA], deformation_active [ΣA, 3]: as for `extraction.build_surface`. weights [ΣK, 21]: any numbers; zero
    gives α = β = 1. centers: each quadrilateral becomes four triangles around a center that its γ choose, so that they
    get a gradient (training); otherwise two, along the diagonal with the larger product of γ.
    """
    topology = found.topology
    of_fallback = found.empty.index_select(0, topology.cubes // grid.cells**3)
    weights = torch.where(of_fallback[:, None], weights.detach(), weights)
    alpha = 1 + WEIGHT_SCALE * torch.tanh(weights[:, :8])
    beta = 1 + WEIGHT_SCALE * torch.tanh(weights[:, 8:20])
    gamma = 0.5 + WEIGHT_SCALE * (torch.sigmoid(weights[:, 20]) - 0.5)
    values = values_with_gradient(sdf_active, found.values, found.replaced | found.fallback)
    positions = active_positions(topology.active, grid, deformation_active, found.fallback).to(values.dtype)
    vertices, spreads = flexicubes_vertices(values, positions, alpha, beta, topology)
    mesh = _split_quads(vertices, gamma.index_select(0, topology.vertex_cube), topology, centers)
    terms = CubeTerms(_mean(spreads), _mean(weights[:, :20].abs()), spreads.shape[0], weights.shape[0])
    sdf_a, sdf_b = _rows(values, topology.quad_ends).unbind(-1)
    loss = fallback_surface_loss(sdf_active, found.values, found.replaced)
    return ExtractedSurface(mesh, sdf_a, sdf_b, found.empty, loss, found.replaced.sum(), terms)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """table[index], faster. index [K, N]."""
    return table.index_select(0, index.flatten()).view(*index.shape, *table.shape[1:])


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 of nothing."""
    return values.sum() / max(values.numel(), 1)


def _split_quads(vertices: Tensor, gamma: Tensor, topology: CubeTopology, centers: bool) -> Mesh:
    """Triangles from quadrilaterals (Shen et al. 2023, section 4.3). gamma [ΣD]: of each dual vertex's cube."""
    quads = topology.quads.long()
    g = _rows(gamma, quads)
    first, second = g[:, 0] * g[:, 2], g[:, 1] * g[:, 3]
    if not centers:
        along_first = quads[:, [0, 1, 2, 0, 2, 3]]
        along_second = quads[:, [0, 1, 3, 3, 1, 2]]
        faces = torch.where((first > second)[:, None], along_first, along_second).view(-1, 3)
        return Mesh(vertices, faces.int(), topology.vertex_offsets, 2 * topology.quad_offsets)
    corners = _rows(vertices, quads)
    share = (first / (first + second))[:, None]
    middle = share * corners[:, 0::2].mean(1) + (1 - share) * corners[:, 1::2].mean(1)
    # Each sample's dual vertices, then its centers.
    vertex_offsets, quad_offsets = topology.vertex_offsets, topology.quad_offsets
    parts = zip(vertices.split(vertex_offsets.diff().tolist()), middle.split(quad_offsets.diff().tolist()), strict=True)
    ranges = torch.stack([quad_offsets.diff(), quad_offsets[:-1], vertex_offsets[1:]])
    counts, before, after = upload(ranges, quads.device).unbind()
    sample = torch.repeat_interleave(counts, output_size=len(quads))
    ring = quads + before[sample][:, None]
    center = torch.arange(len(quads), device=quads.device) + after[sample]
    faces = torch.stack([ring, ring.roll(-1, 1), center[:, None].expand(-1, 4)], -1).view(-1, 3)
    together = torch.cat([each for part in parts for each in part]) if len(counts) else vertices
    return Mesh(together, faces.int(), vertex_offsets + quad_offsets, 4 * quad_offsets)
