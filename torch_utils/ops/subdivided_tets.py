"""Marching tetrahedra on a grid that is subdivided near the surface: which midpoints to query, then the topology.

    ids, offsets = midpoints_near_surface(sdf, edges)                  # evaluate the SDF at these edges' midpoints
    topology = subdivided_tets_topology(sdf, ids, midpoint_sdf, tables)

The subdivided grid has the V vertices of the coarse grid, then one at the middle of each of its E edges. Each
tetrahedron leaves four at its corners and an octahedron, which is cut into four around one of its diagonals
(`SUBTETS`). Nothing of it is stored but that choice: the result equals, bit for bit, that of `marching_tets_topology`
on the tables of `subdivide_tables`, and costs a fraction of it, because a tetrahedron without a sign change among its
ten vertices is skipped.

A midpoint is near the surface if an end of its edge is also an end of a crossing edge. All other midpoints count as
inside if both ends are. The tetrahedra of the outermost layer therefore keep the signs of the coarse grid, so the
subdivided region meets the rest without a crack, whatever the midpoints' values.

Order of the subdivided edges: 2e and 2e + 1, the halves of edge e; 2E + 3f + j, the edge that cuts off the j-th
smallest vertex of face f; 2E + 3F + t, the diagonal of tetrahedron t. Order of everything else as in `marching_tets`.

No gradient (`marching_tets.edge_crossings` has it). Bitwise repeatable for any number of threads; a batch of B equals B
batches of one. CPU kernels; on CUDA the plain PyTorch of `midpoints_near_surface` and the kernel of
`marching_tets_topology` on the explicit tables run. One host synchronization each on CUDA, for the counts.
Errors: TypeError, ValueError "subdivided_tets_topology(): expected …, got …".
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel
from torch_utils.ops.marching_tets import Topology, marching_tets_topology

INDEX = (torch.int32,)

# Local vertices of a tetrahedron with its midpoints: 0 … 3, then the middles of the edges 01, 02, 03, 12, 13, 23.
_EDGES = tuple(combinations(range(4), 2))
# The three diagonals of the octahedron of midpoints, and the ring of the other four around each.
DIAGONALS = ((4, 9), (5, 8), (6, 7))
_RINGS = ((5, 6, 8, 7), (4, 7, 9, 6), (4, 5, 9, 8))


def _subtets(diagonal: int) -> tuple[tuple[int, ...], ...]:
    """The eight tetrahedra of a positively oriented one, positively oriented, for one of `DIAGONALS`."""
    middle = {frozenset(edge): 4 + k for k, edge in enumerate(_EDGES)}
    corners = [tuple(i if i == j else middle[frozenset((i, j))] for j in range(4)) for i in range(4)]
    a, b = DIAGONALS[diagonal]
    ring = _RINGS[diagonal]
    around = [(a, b, ring[k], ring[(k + 1) % 4]) for k in range(4)]
    return (*corners, *around)


SUBTETS = tuple(_subtets(diagonal) for diagonal in range(3))
# Local edges of the subdivision, by their ends: twelve halves, then three on each face (opposite vertex 0 … 3).
_HALVES = tuple((end, 4 + k) for k, edge in enumerate(_EDGES) for end in edge)
_ON_FACES = tuple(
    (4 + _EDGES.index(tuple(sorted((i, x)))), 4 + _EDGES.index(tuple(sorted((i, y)))))
    for face in range(4)
    for i, x, y in ((i, *(v for v in range(4) if v not in (face, i))) for i in range(4) if i != face)
)


@dataclass(frozen=True)
class SubdivisionTables:
    """A tetrahedral grid and how each of its tetrahedra is subdivided; int32.

    tets [T, 4], positively oriented. edges [E, 2], the smaller vertex first. tet_edges [T, 6]: edges 01, 02, 03, 12,
    13, 23. tet_faces [T, 4]: the face opposite each vertex. diagonals [T]: index into `DIAGONALS`. num_vertices: V.
    num_faces: F.
    """

    tets: Tensor
    edges: Tensor
    tet_edges: Tensor
    tet_faces: Tensor
    diagonals: Tensor
    num_vertices: int
    num_faces: int


def midpoints_near_surface(sdf: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Edges with an end in common with a crossing edge: ids b·E + e, sorted [M] int64; offsets [B + 1], on the CPU.

    sdf [B, V] floating, negative inside. edges [E, 2] int32.
    """
    op = "midpoints_near_surface"
    check_tensor(op, "sdf", sdf, ("B", "V"), (*FLOATING, *HALF))
    check_tensor(op, "edges", edges, ("E", 2), INDEX, sdf.device)
    check_index_range(op, "edges", edges, sdf.shape[1])
    sdf = sdf.detach()
    if sdf.dtype in HALF:
        sdf = sdf.float()
    if sdf.device.type not in ("cpu", "meta") or not use_kernel(sdf.device.type, op):
        return midpoints_near_surface_reference(sdf, edges)
    return torch.ops.tetragan.midpoints_near_surface(sdf.contiguous(), edges.contiguous())


def subdivided_tets_topology(
    sdf: Tensor, midpoint_ids: Tensor, midpoint_sdf: Tensor, tables: SubdivisionTables
) -> Topology:
    """The surface of the subdivided grid, whose vertices are numbered v, then V + e, for each sample.

    sdf [B, V] floating: values at the coarse grid's vertices. midpoint_ids [M] int64, sorted, midpoint_sdf [M]: values
    at those edges' midpoints. See the module's text.
    """
    op = "subdivided_tets_topology"
    _check(op, sdf, midpoint_ids, midpoint_sdf, tables)
    sdf, midpoint_sdf = sdf.detach(), midpoint_sdf.detach()
    if sdf.dtype in HALF:
        sdf, midpoint_sdf = sdf.float(), midpoint_sdf.float()
    if sdf.device.type not in ("cpu", "meta") or not use_kernel(sdf.device.type, op):
        return subdivided_tets_topology_reference(sdf, midpoint_ids, midpoint_sdf, tables)
    parts = torch.ops.tetragan.subdivided_tets_topology(
        sdf.contiguous(),
        midpoint_ids.contiguous(),
        midpoint_sdf.contiguous(),
        *(table.contiguous() for table in (tables.tets, tables.edges, tables.tet_edges, tables.tet_faces)),
        tables.diagonals.contiguous(),
        tables.num_faces,
    )
    faces, edge_vertices, active, edge_active, offsets = parts
    vertex_offsets, face_offsets, active_offsets = offsets.unbind()
    return Topology(faces, edge_vertices, active, edge_active, vertex_offsets, face_offsets, active_offsets)


def _check(op: str, sdf: Tensor, midpoint_ids: Tensor, midpoint_sdf: Tensor, tables: SubdivisionTables) -> None:
    check_tensor(op, "sdf", sdf, ("B", "V"), (*FLOATING, *HALF))
    if sdf.shape[1] != tables.num_vertices:
        raise ValueError(f"{op}(): expected sdf of shape [B, {tables.num_vertices}], got {list(sdf.shape)}")
    check_tensor(op, "midpoint_ids", midpoint_ids, ("M",), (torch.int64,), sdf.device)
    check_tensor(op, "midpoint_sdf", midpoint_sdf, (midpoint_ids.shape[0],), (sdf.dtype,), sdf.device)
    check_tensor(op, "tets", tables.tets, ("T", 4), INDEX, sdf.device)
    count = tables.tets.shape[0]
    check_tensor(op, "edges", tables.edges, ("E", 2), INDEX, sdf.device)
    check_tensor(op, "tet_edges", tables.tet_edges, (count, 6), INDEX, sdf.device)
    check_tensor(op, "tet_faces", tables.tet_faces, (count, 4), INDEX, sdf.device)
    check_tensor(op, "diagonals", tables.diagonals, (count,), INDEX, sdf.device)
    for name, values, size in (
        ("midpoint_ids", midpoint_ids, sdf.shape[0] * tables.edges.shape[0]),
        ("tets", tables.tets, tables.num_vertices),
        ("edges", tables.edges, tables.num_vertices),
        ("tet_edges", tables.tet_edges, tables.edges.shape[0]),
        ("tet_faces", tables.tet_faces, tables.num_faces),
        ("diagonals", tables.diagonals, len(DIAGONALS)),
    ):
        check_index_range(op, name, values, size)


# ---------------------------------------------------------------------------------------------------------- reference


def midpoints_near_surface_reference(sdf: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """`midpoints_near_surface` in plain PyTorch."""
    inside = sdf < 0
    a, b = edges.long().unbind(-1)
    crossing = inside[:, a] != inside[:, b]
    touched = torch.zeros_like(inside).index_add_(1, a, crossing).index_add_(1, b, crossing)
    near = touched[:, a] | touched[:, b]
    offsets = torch.nn.functional.pad(near.sum(1).cpu().cumsum(0), (1, 0))
    return torch.nonzero_static(near.reshape(-1), size=int(offsets[-1]))[:, 0], offsets


def subdivided_tets_topology_reference(
    sdf: Tensor, midpoint_ids: Tensor, midpoint_sdf: Tensor, tables: SubdivisionTables
) -> Topology:
    """`subdivided_tets_topology` by `marching_tets_topology` on the whole subdivided grid."""
    inside = sdf < 0
    a, b = tables.edges.long().unbind(-1)
    both = torch.where(inside[:, a] & inside[:, b], -1.0, 1.0).to(sdf.dtype)
    middle = both.reshape(-1).index_copy(0, midpoint_ids, midpoint_sdf).view_as(both)
    return marching_tets_topology(torch.cat([sdf, middle], 1), *subdivide_tables(tables))


def subdivide_tables(tables: SubdivisionTables) -> tuple[Tensor, Tensor, Tensor]:
    """Tables of the whole subdivided grid: tets [8T, 4], edges [2E + 3F + T, 2], tet_edges [8T, 6], int32."""
    device, count = tables.tets.device, tables.tets.shape[0]
    first_face, first_diagonal = 2 * tables.edges.shape[0], 2 * tables.edges.shape[0] + 3 * tables.num_faces
    middles = tables.tet_edges + tables.num_vertices
    local = torch.cat([tables.tets, middles], 1)
    subtets = torch.tensor(SUBTETS, device=device)[tables.diagonals.long()]
    tets = local[:, None].expand(-1, 8, -1).gather(2, subtets)

    # Ids and ends of the local edges of each tetrahedron: 12 halves, 12 on its faces, its diagonal.
    low, high = tables.tets[:, [0, 0, 0, 1, 1, 2]], tables.tets[:, [1, 2, 3, 2, 3, 3]]
    swapped = (low > high).int()
    halves = torch.stack([2 * tables.tet_edges + swapped, 2 * tables.tet_edges + 1 - swapped], -1).view(count, 12)
    others = torch.tensor([[j for j in range(4) if j != face] for face in range(4)], device=device)
    corners = tables.tets[:, others.reshape(-1)].view(count, 4, 3)
    rank = (corners[..., :, None] > corners[..., None, :]).sum(-1, dtype=torch.int32)
    on_faces = (first_face + 3 * tables.tet_faces[..., None] + rank).view(count, 12)
    ids = torch.cat([halves, on_faces, first_diagonal + torch.arange(count, device=device)[:, None]], 1).int()
    pairs = torch.tensor([(*_HALVES, *_ON_FACES, diagonal) for diagonal in DIAGONALS], device=device)
    pairs = pairs[tables.diagonals.long()]
    ends = local[:, None].expand(-1, 25, -1).gather(2, pairs).sort(-1).values
    edges = torch.empty(first_diagonal + count, 2, dtype=torch.int32, device=device)
    edges[ids.reshape(-1).long()] = ends.reshape(-1, 2)

    of_subtets = torch.tensor(_subtet_edges(), device=device)[tables.diagonals.long()].view(count, 48)
    return tets.reshape(-1, 4), edges, ids.gather(1, of_subtets).view(-1, 6)


def _subtet_edges() -> list[list[list[int]]]:
    """The local edges 01, 02, 03, 12, 13, 23 of each of `SUBTETS`."""
    found = []
    for diagonal, subtets in zip(DIAGONALS, SUBTETS, strict=True):
        number = {frozenset(ends): k for k, ends in enumerate((*_HALVES, *_ON_FACES, diagonal))}
        found.append([[number[frozenset((tet[a], tet[b]))] for a, b in _EDGES] for tet in subtets])
    return found


# --------------------------------------------------------------------------------------------------------------- schema

torch.library.define("tetragan::midpoints_near_surface", "(Tensor sdf, Tensor edges) -> (Tensor, Tensor)")
torch.library.define(
    "tetragan::subdivided_tets_topology",
    "(Tensor sdf, Tensor midpoint_ids, Tensor midpoint_sdf, Tensor tets, Tensor edges, Tensor tet_edges, "
    "Tensor tet_faces, Tensor diagonals, int num_faces) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::midpoints_near_surface")
def _fake_midpoints(sdf, edges):
    count = torch.library.get_ctx().new_dynamic_size()
    return edges.new_empty(count, dtype=torch.int64), torch.empty(sdf.shape[0] + 1, dtype=torch.int64, device="cpu")


@torch.library.register_fake("tetragan::subdivided_tets_topology")
def _fake_topology(sdf, midpoint_ids, midpoint_sdf, tets, edges, tet_edges, tet_faces, diagonals, num_faces):
    vertices, faces, active = (torch.library.get_ctx().new_dynamic_size() for _ in range(3))
    return (
        tets.new_empty(faces, 3),
        tets.new_empty(vertices, 2, dtype=torch.int64),
        tets.new_empty(active, dtype=torch.int64),
        tets.new_empty(vertices, 2, dtype=torch.int64),
        torch.empty(3, sdf.shape[0] + 1, dtype=torch.int64, device="cpu"),
    )
