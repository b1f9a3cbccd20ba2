"""From an SDF on a tetrahedral grid to a packed mesh, by marching tetrahedra.

Evaluate the SDF on the whole grid without gradient, call `find_surface`, evaluate SDF and deformation again with
gradient at `found.active` alone, and call `build_surface`. Only the vertices next to the surface cost memory.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.fallback_surface import add_fallback_surface, close_boundary, connect_inside, empty_samples
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
class ExtractedSurface:
    """A batch of extracted meshes and what the regularizers need.

    mesh: packed, world units. sdf_a, sdf_b [ΣV]: SDF at the two ends of each mesh vertex's grid edge, with gradient.
    empty [B] bool: samples that had no surface; they got a fallback surface, or an empty mesh without one.
    fallback_surface_loss []: mean distance, world units, of the network's SDF from the values that replaced it.
    replaced [] int64: the number of grid vertices that this is a mean over (the loss is 0 if there are none).
    """

    mesh: Mesh
    sdf_a: Tensor
    sdf_b: Tensor
    empty: Tensor
    fallback_surface_loss: Tensor
    replaced: Tensor


def find_surface(
    sdf: Tensor, grid: TetGrid, *, closed: bool = True, fallback: bool = True, connected: bool = False
) -> FoundSurface:
    """The crossing edges, triangles and active vertices of a dense SDF [B, V] (world units, negative inside).

    closed: boundary vertices count as outside, so that every mesh is closed. fallback: a sample without a surface gets
    a small one (`fallback_surface.add_fallback_surface`); otherwise its mesh is empty. connected: the inside of every
    sample becomes one component (`fallback_surface.connect_inside`).
    """
    raw = sdf.detach()
    used = close_boundary(raw, grid) if closed else raw
    if fallback:
        used, _ = add_fallback_surface(used, grid)
    if connected:
        used = connect_inside(used, grid)
    topology = marching_tets_topology(used, grid.tets, grid.edges, grid.tet_edges)
    empty = empty_samples(raw)
    values = used.reshape(-1)[topology.active]
    replaced = values != raw.reshape(-1)[topology.active]
    margin = MARGIN_CELLS * grid.cell
    values = torch.where(values < 0, values.clamp(max=-margin), values.clamp(min=margin))
    return FoundSurface(topology, values, replaced, empty[topology.active // grid.num_vertices], empty)


def build_surface(
    found: FoundSurface, grid: TetGrid, sdf_active: Tensor, deformation_active: Tensor | None = None
) -> ExtractedSurface:
    """The meshes of `found`, with gradient to the SDF and the deformation of the active vertices.

    sdf_active [ΣA]: the network's SDF at `found.active`. It receives the gradient, except where a value was replaced
    and in samples without a surface. The values in use are `found.values`, so that a rounding difference between the
    two evaluations cannot change a sign. deformation_active [ΣA, 3]: movement of the same vertices, world units;
    boundary vertices stay on the box's surface whatever it says.
    """
    topology = found.topology
    values = _Substitute.apply(sdf_active, found.values, ~(found.replaced | found.fallback))
    vertex = found.active % grid.num_vertices
    positions = grid.positions[vertex].to(values.dtype)
    if deformation_active is not None:
        movement = torch.where(found.fallback[:, None], deformation_active.detach(), deformation_active)
        positions = positions + movement * grid.free[vertex]
    vertices = edge_crossings(values, positions, topology.edge_active)
    mesh = Mesh(vertices, topology.faces, topology.vertex_offsets, topology.face_offsets)
    sdf_a, sdf_b = values[topology.edge_active].unbind(-1)
    loss = fallback_surface_loss(sdf_active, found.values, found.replaced)
    return ExtractedSurface(mesh, sdf_a, sdf_b, found.empty, loss, found.replaced.sum())


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
