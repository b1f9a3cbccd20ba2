"""From an SDF on a tetrahedral grid to a packed mesh.

Sparse path (training): evaluate the SDF on the whole grid without gradient, `find_surface`, evaluate SDF and
deformation again with gradient at `found.active` alone, `build_surface`. Dense path: `extract`. Both give the same
mesh, bit for bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.repair import empty_samples, join_loose_parts, repair_empty, seal_boundary
from geometry.tet_grid import TetGrid
from torch_utils.ops.marching_tets import Topology, edge_crossings, marching_tets_topology

# Least |SDF| of a grid vertex, lattice cells: no crossing coincides with a grid vertex, so there are no triangles of
# (nearly) no area and no gradients out of all proportion. Signs never change; the surface moves by less than this.
MARGIN_CELLS = 1e-3


@dataclass(frozen=True)
class FoundSurface:
    """Where the surfaces of a batch lie; no gradient.

    topology: connectivity. values [ΣA]: SDF in use at the active grid vertices. replaced [ΣA] bool: where that is not
    the network's value but a repair's, the seal's or a bridge's. stray [ΣA] bool: vertices of samples that had no
    surface; their mesh passes no gradient on. empty [B] bool: those samples.
    """

    topology: Topology
    values: Tensor
    replaced: Tensor
    stray: Tensor
    empty: Tensor

    @property
    def active(self) -> Tensor:
        """Grid vertices that touch a crossing edge, sorted: b·V + v, [ΣA] int64."""
        return self.topology.active

    @property
    def active_offsets(self) -> Tensor:
        """Samples' ranges in `active`: [B + 1] int64, on the CPU."""
        return self.topology.active_offsets


@dataclass(frozen=True)
class Surface:
    """A batch of extracted meshes and what the regularizers need.

    mesh: packed. sdf_a, sdf_b [ΣV]: SDF at the two ends of each mesh vertex's grid edge. empty [B] bool.
    """

    mesh: Mesh
    sdf_a: Tensor
    sdf_b: Tensor
    empty: Tensor


def find_surface(
    sdf: Tensor, grid: TetGrid, *, seal: bool = True, repair: bool = True, join: bool = False
) -> FoundSurface:
    """The crossing edges, triangles and active vertices of a dense SDF [B, V] (world units, negative inside).

    seal: boundary vertices count as outside, so that every mesh is closed. repair: a sample without a surface gets one
    (`repair.repair_empty`); without it such a sample yields an empty mesh. join: the inside of every sample becomes one
    part (`repair.join_loose_parts`).
    """
    raw = sdf.detach()
    used = seal_boundary(raw, grid) if seal else raw
    if repair:
        used, _ = repair_empty(used, grid)
    if join:
        used = join_loose_parts(used, grid)
    topology = marching_tets_topology(used, grid.tets, grid.edges, grid.tet_edges)
    empty = empty_samples(raw)
    values = used.reshape(-1)[topology.active]
    replaced = values != raw.reshape(-1)[topology.active]
    margin = MARGIN_CELLS * grid.cell
    values = torch.where(values < 0, values.clamp(max=-margin), values.clamp(min=margin))
    stray = empty[topology.active // grid.num_vertices]
    return FoundSurface(topology, values, replaced, stray, empty)


def build_surface(
    found: FoundSurface, grid: TetGrid, sdf_active: Tensor, deformation_active: Tensor | None = None
) -> Surface:
    """The meshes of `found`, with gradient to the SDF and the deformation of the active vertices.

    sdf_active [ΣA]: the network's SDF at `found.active`. It passes the gradient (none where a value was replaced, none
    for a sample without a surface); the values are `found.values`, so that a rounding difference between the two
    evaluations cannot turn a sign. deformation_active [ΣA, 3]: movement of the same vertices, world units; boundary
    vertices stay on the box's surface, whatever it says.
    """
    topology = found.topology
    values = _Substitute.apply(sdf_active, found.values, ~(found.replaced | found.stray))
    vertex = found.active % grid.num_vertices
    positions = grid.positions[vertex].to(values.dtype)
    if deformation_active is not None:
        movement = torch.where(found.stray[:, None], deformation_active.detach(), deformation_active)
        positions = positions + movement * grid.free[vertex]
    vertices = edge_crossings(values, positions, topology.edge_active)
    mesh = Mesh(vertices, topology.faces, topology.vertex_offsets, topology.face_offsets)
    sdf_a, sdf_b = values[topology.edge_active].unbind(-1)
    return Surface(mesh, sdf_a, sdf_b, found.empty)


def extract(
    sdf: Tensor, grid: TetGrid, deformation: Tensor | None = None, *, seal: bool = True, repair: bool = True
) -> Surface:
    """Dense path: meshes of an SDF [B, V] and a deformation [B, V, 3] (world units), differentiable in both."""
    found = find_surface(sdf, grid, seal=seal, repair=repair)
    moved = None if deformation is None else deformation.reshape(-1, 3)[found.active]
    return build_surface(found, grid, sdf.reshape(-1)[found.active], moved)


class _Substitute(torch.autograd.Function):
    """Values of the second argument, gradient to the first where the third allows it."""

    @staticmethod
    def forward(ctx, source: Tensor, values: Tensor, live: Tensor) -> Tensor:
        ctx.save_for_backward(live)
        return values.to(source.dtype)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (live,) = ctx.saved_tensors
        return gradients[0] * live, None, None
