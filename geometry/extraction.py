"""From an SDF on a tetrahedral grid to a packed mesh, by marching tetrahedra.

Evaluate the SDF on the whole grid without gradient, call `find_surface`, evaluate SDF and deformation again with
gradient at `found.active` alone, and call `build_surface`. Only the vertices next to the surface cost memory.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.fallback_surface import corrected_sdf, empty_samples
from geometry.grid import Vertices
from geometry.mesh import Mesh
from geometry.regularizers import fallback_surface_loss
from geometry.tet_grid import TetGrid
from torch_utils.ops.marching_tets import Topology, edge_crossings, marching_tets_topology

# Least |SDF| of a grid vertex, in cells. No crossing coincides with a grid vertex, so no triangle has (nearly) no area
# and no gradient explodes. Signs never change; the surface moves by less than this.
MARGIN_CELLS = 1e-3


@dataclass(frozen=True)
class FoundSurface:
    """Where the surfaces of a batch lie; no gradient.

    topology: connectivity. values [ΣA]: SDF in use at the active grid vertices, world units. replaced [ΣA] bool: where
    that is not the network's value, but one of `fallback_surface`. fallback [ΣA] bool: vertices of samples that had no
    surface; their mesh passes no gradient on. empty [B] bool: those samples.
    """

    topology: Topology
    values: Tensor
    replaced: Tensor
    fallback: Tensor
    empty: Tensor

    @property
    def active(self) -> Tensor:
        """Grid vertices at the ends of crossing edges, sorted: b·V + v, [ΣA] int64."""
        return self.topology.active

    @property
    def active_offsets(self) -> Tensor:
        """Samples' ranges in `active`: [B + 1] int64, on the CPU."""
        return self.topology.active_offsets


@dataclass(frozen=True)
class CubeTerms:
    """What the regularizers of FlexiCubes need, with gradient (Shen et al. 2023, eq. 8; GET3D's code).

    spread []: mean spread of the dual vertices from their crossings, world units. weights []: mean |weight| of
    all α and β, before they are squashed. crossings, count: how many crossings and cubes these are means over.
    """

    spread: Tensor
    weights: Tensor
    crossings: int
    count: int


@dataclass(frozen=True)
class ExtractedSurface:
    """A batch of extracted meshes and what the regularizers need.

    mesh: packed, world units. sdf_a, sdf_b [K]: SDF at the two ends of each crossing grid edge, with gradient; of a tet
    grid, those are the edges of the mesh's vertices.
    empty [B] bool: samples that had no surface; they got a fallback surface, or an empty mesh without one.
    fallback_surface_loss []: mean distance, world units, of the network's SDF from the values that replaced it.
    replaced [] int64: the number of grid vertices that this is a mean over (the loss is 0 if there are none).
    cubes: of FlexiCubes only.
    """

    mesh: Mesh
    sdf_a: Tensor
    sdf_b: Tensor
    empty: Tensor
    fallback_surface_loss: Tensor
    replaced: Tensor
    cubes: CubeTerms | None = None


def find_surface(
    sdf: Tensor, grid: TetGrid, *, closed: bool = True, fallback: bool = True, connected: bool = False
) -> FoundSurface:
    """The crossing edges, triangles and active vertices of a dense SDF [B, V] (world units, negative inside).

    closed, fallback, connected: corrections of the SDF, see `fallback_surface.corrected_sdf`. Without a fallback, the
    mesh of a sample without a surface is empty.
    """
    raw = sdf.detach()
    used = corrected_sdf(raw, grid, closed=closed, fallback=fallback, connected=connected)
    topology = marching_tets_topology(used, grid.tets, grid.edges, grid.tet_edges)
    active = topology.active
    of_network, values = (each.reshape(-1).index_select(0, active) for each in (raw, used))
    return found_surface(topology, of_network, values, empty_samples(raw), grid)


def found_surface(
    topology: Topology, network_values: Tensor, values: Tensor, empty: Tensor, grid: Vertices
) -> FoundSurface:
    """A found surface from the network's SDF and the one in use at the active vertices [ΣA] each, and empty [B]."""
    values, replaced = values_in_use(network_values, values, grid)
    return FoundSurface(topology, values, replaced, empty[topology.active // grid.num_vertices], empty)


def values_in_use(network_values: Tensor, values: Tensor, grid: Vertices) -> tuple[Tensor, Tensor]:
    """Corrected values [ΣA], kept from zero by `MARGIN_CELLS`, and where they are not the network's, [ΣA] bool."""
    replaced = values != network_values
    margin = MARGIN_CELLS * grid.cell
    return torch.where(values < 0, values.clamp(max=-margin), values.clamp(min=margin)), replaced


def build_surface(
    found: FoundSurface, grid: Vertices, sdf_active: Tensor, deformation_active: Tensor | None = None
) -> ExtractedSurface:
    """The meshes of `found`, with gradient to the SDF and the deformation of the active vertices.

    sdf_active [ΣA]: the network's SDF at `found.active`. It receives the gradient, except where a value was replaced
    and in samples without a surface. The values in use are `found.values`, so that a rounding difference between the
    two evaluations cannot change a sign. deformation_active [ΣA, 3]: movement of the same vertices, world units;
    boundary vertices stay on the box's surface whatever it says.
    """
    topology = found.topology
    values = values_with_gradient(sdf_active, found.values, found.replaced | found.fallback)
    positions = active_positions(found.active, grid, deformation_active, found.fallback).to(values.dtype)
    vertices = edge_crossings(values, positions, topology.edge_active)
    mesh = Mesh(vertices, topology.faces, topology.vertex_offsets, topology.face_offsets)
    sdf_a, sdf_b = values[topology.edge_active].unbind(-1)
    loss = fallback_surface_loss(sdf_active, found.values, found.replaced)
    return ExtractedSurface(mesh, sdf_a, sdf_b, found.empty, loss, found.replaced.sum())


def values_with_gradient(sdf_active: Tensor, values: Tensor, blocked: Tensor) -> Tensor:
    """Values in use [ΣA], with gradient to the network's SDF at the same vertices, except where `blocked`."""
    return _Substitute.apply(sdf_active, values, ~blocked)


def active_positions(active: Tensor, grid: Vertices, deformation_active: Tensor | None, fallback: Tensor) -> Tensor:
    """Positions of the active vertices [ΣA, 3], moved; without gradient where `fallback` [ΣA]."""
    vertex = active % grid.num_vertices
    positions = grid.positions.index_select(0, vertex)
    if deformation_active is None:
        return positions
    movement = torch.where(fallback[:, None], deformation_active.detach(), deformation_active)
    return positions + movement * grid.free.index_select(0, vertex)


class _Substitute(torch.autograd.Function):
    """Values of the second argument; gradient to the first where the third is true."""

    @staticmethod
    def forward(ctx, source: Tensor, values: Tensor, passes: Tensor) -> Tensor:
        ctx.save_for_backward(passes)
        return values.to(source.dtype)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (passes,) = ctx.saved_tensors
        return gradients[0] * passes, None, None
