"""Marching tetrahedra on a grid that is subdivided near the surface: which midpoints to query, then the topology.

    near = midpoints_near_surface(sdf, used, edges, fixed)                # evaluate the SDF at these edges' midpoints
    topology, sources = subdivided_tets_topology(used, near.ids, midpoint_sdf, tables)

The subdivided grid has the V vertices of the coarse grid, then one at the middle of each of its E edges. Each
tetrahedron leaves four at its corners and an octahedron, which is cut into four around one of its diagonals
(`SUBTETS`). The result equals, bit for bit, that of `marching_tets_topology` on the whole subdivided grid
(`subdivide_tables`), and costs a fraction of it, because a tetrahedron without a sign change among its ten vertices is
skipped.

A midpoint is near the surface if an end of its edge is also an end of a crossing edge. All other midpoints count as
inside if both ends are. The tetrahedra of the outermost layer therefore keep the signs of the coarse grid, so the
subdivided region meets the rest without a crack, whatever the midpoints' values.

Everything is ordered as in `marching_tets`. No gradient (`marching_tets.edge_crossings` has it). Bitwise repeatable for
any number of threads; a batch of B equals B batches of one. CPU kernels; on CUDA the plain PyTorch of
`midpoints_near_surface` and the kernel of `marching_tets_topology` on the whole subdivided grid run. One host
synchronization each on CUDA, for the counts.
Errors: TypeError, ValueError "subdivided_tets_topology(): expected …, got …".
"""

from dataclasses import dataclass
from functools import cached_property
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


def _subtets(split: int) -> tuple[tuple[int, ...], ...]:
    """The eight tetrahedra of one, positively oriented, for one of `SPLITS`."""
    middle = {frozenset(edge): 4 + k for k, edge in enumerate(_EDGES)}
    corners = [tuple(i if i == j else middle[frozenset((i, j))] for j in range(4)) for i in range(4)]
    a, b = DIAGONALS[split % 3]
    ring = _RINGS[split % 3]
    around = [(a, b, ring[k], ring[(k + 1) % 4]) for k in range(4)]
    order = (0, 1, 2, 3) if split < 3 else (0, 1, 3, 2)
    return tuple(tuple(tet[k] for k in order) for tet in (*corners, *around))


# How a tetrahedron splits: around one of the diagonals, and of a negatively oriented one, as 3 + the diagonal.
SPLITS = range(6)
SUBTETS = tuple(_subtets(split) for split in SPLITS)
# Local edges of the subdivision, by their ends: twelve halves, then three on each face (opposite vertex 0 … 3).
_HALVES = tuple((end, 4 + k) for k, edge in enumerate(_EDGES) for end in edge)
_ON_FACES = tuple(
    (4 + _EDGES.index((min(i, x), max(i, x))), 4 + _EDGES.index((min(i, y), max(i, y))))
    for face in range(4)
    for i in range(4)
    if i != face
    for x, y in [[v for v in range(4) if v not in (face, i)]]
)
LOCAL_EDGES = tuple((*_HALVES, *_ON_FACES, DIAGONALS[split % 3]) for split in SPLITS)
# The three edges of the face opposite each vertex, falling; the j-th lies opposite the face's j-th vertex.
FACE_EDGES = tuple(
    tuple(k for i in range(4) if i != face for k, edge in enumerate(_EDGES) if not {face, i} & set(edge))
    for face in range(4)
)
# The edges of the subdivided grid on a face join the middles of these pairs of its edges, of which the numbers rise.
_PAIRS = ((0, 1), (0, 2), (1, 2))
# What a midpoint's value is: the mean of the ends, or the network's, where the ends have one sign, or differ in sign.
TAKE_MEAN, ENDS_AGREE, ENDS_DIFFER = 0, 1, 2


@dataclass(frozen=True)
class SubdivisionTables:
    """A tetrahedral grid and how each of its tetrahedra is subdivided; int32.

    tets [T, 4], rising. edges [E, 2], the smaller vertex first. tet_edges [T, 6]: edges 01, 02, 03, 12, 13, 23; rising.
    tet_faces [T, 4]: the face opposite each vertex. face_edges [F, 3], rising. splits [T]: index into `SUBTETS`.
    num_vertices: V. All rise, so that the edges of a tetrahedron's parts have their order without being compared.

    Edges of the subdivided grid: 2e and 2e + 1, the halves of edge e at its smaller and at its larger vertex; from 2E
    on, three for each face, between the middles of its edges (0, 1), (0, 2) and (1, 2); from 2E + 3F on, the diagonal
    of each tetrahedron.
    """

    tets: Tensor
    edges: Tensor
    tet_edges: Tensor
    tet_faces: Tensor
    face_edges: Tensor
    splits: Tensor
    num_vertices: int

    def __post_init__(self) -> None:
        """The ids are checked once here, because that takes as long as an extraction."""
        for name, size in (
            ("tets", self.num_vertices),
            ("edges", self.num_vertices),
            ("tet_edges", self.edges.shape[0]),
            ("tet_faces", self.face_edges.shape[0]),
            ("face_edges", self.edges.shape[0]),
            ("splits", len(SPLITS)),
        ):
            check_index_range("SubdivisionTables", name, getattr(self, name), size)
        for name in ("tets", "tet_edges", "face_edges"):
            table = getattr(self, name)
            if table.device.type == "cpu" and bool((table.diff() <= 0).any()):
                raise ValueError(f"SubdivisionTables(): expected {name} that rise in each row, got others")

    @cached_property
    def whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """`subdivide_tables` of this, made once: on the device where it is used, not in every step."""
        return subdivide_tables(self)


@dataclass(frozen=True)
class Midpoints:
    """Edges whose middle is near a surface. ids [M] int64: b·E + e, sorted. means [M]: of the SDF in use at the ends.

    states [M] uint8: `TAKE_MEAN` where an end was corrected or the edge is fixed, `ENDS_AGREE` or `ENDS_DIFFER`.
    offsets [B + 1] int64, on the CPU: samples' ranges.
    """

    ids: Tensor
    means: Tensor
    states: Tensor
    offsets: Tensor


@dataclass(frozen=True)
class Sources:
    """Where the values of the active vertices come from.

    parents [ΣA, 2] int64: rows b·V + v of the coarse grid; twice the same one, or the ends of a midpoint's edge.
    rows [ΣA] int64: the row of a midpoint among the given ones; −1 for the others.
    """

    parents: Tensor
    rows: Tensor


def midpoints_near_surface(sdf: Tensor, used: Tensor, edges: Tensor, fixed: Tensor) -> Midpoints:
    """Edges with an end in common with a crossing edge, and what their midpoints are to be.

    sdf, used [B, V] floating, negative inside: the network's and the corrected one, whose signs count. edges [E, 2]
    int32. fixed [E] bool: midpoints that take the mean in any case.
    """
    op = "midpoints_near_surface"
    check_tensor(op, "sdf", sdf, ("B", "V"), (*FLOATING, *HALF))
    check_tensor(op, "used", used, sdf.shape, (sdf.dtype,), sdf.device)
    check_tensor(op, "edges", edges, ("E", 2), INDEX, sdf.device)
    check_tensor(op, "fixed", fixed, (edges.shape[0],), (torch.bool,), sdf.device)
    check_index_range(op, "edges", edges, sdf.shape[1])
    sdf, used = sdf.detach(), used.detach()
    if sdf.dtype in HALF:
        sdf, used = sdf.float(), used.float()
    if sdf.device.type not in ("cpu", "meta") or not use_kernel(sdf.device.type, op):
        return midpoints_near_surface_reference(sdf, used, edges, fixed)
    inputs = (each.contiguous() for each in (sdf, used, edges, fixed))
    return Midpoints(*torch.ops.tetragan.midpoints_near_surface(*inputs))


def subdivided_tets_topology(
    sdf: Tensor, midpoint_ids: Tensor, midpoint_sdf: Tensor, tables: SubdivisionTables
) -> tuple[Topology, Sources]:
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
    grid = (tables.tets, tables.edges, tables.tet_edges, tables.tet_faces, tables.face_edges, tables.splits)
    parts = torch.ops.tetragan.subdivided_tets_topology(
        *(each.contiguous() for each in (sdf, midpoint_ids, midpoint_sdf, *grid))
    )
    faces, edge_vertices, active, edge_active, parents, rows, offsets = parts
    return Topology(faces, edge_vertices, active, edge_active, *offsets.unbind()), Sources(parents, rows)


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
    check_tensor(op, "face_edges", tables.face_edges, ("F", 3), INDEX, sdf.device)
    check_tensor(op, "splits", tables.splits, (count,), INDEX, sdf.device)
    check_index_range(op, "midpoint_ids", midpoint_ids, sdf.shape[0] * tables.edges.shape[0])


# ---------------------------------------------------------------------------------------------------------- reference


def midpoints_near_surface_reference(sdf: Tensor, used: Tensor, edges: Tensor, fixed: Tensor) -> Midpoints:
    """`midpoints_near_surface` in plain PyTorch."""
    inside = used < 0
    a, b = edges.long().unbind(-1)
    crossing = inside[:, a] != inside[:, b]
    touched = torch.zeros_like(inside).index_add_(1, a, crossing).index_add_(1, b, crossing)
    near = touched[:, a] | touched[:, b]
    offsets = torch.nn.functional.pad(near.sum(1).cpu().cumsum(0), (1, 0))
    ids = torch.nonzero_static(near.reshape(-1), size=int(offsets[-1]))[:, 0]
    sample, edge = ids // edges.shape[0], ids % edges.shape[0]
    ends = edges[edge] + (sample * sdf.shape[1])[:, None]
    values = used.reshape(-1)[ends]
    corrected = (values != sdf.reshape(-1)[ends]).any(1) | fixed[edge]
    signs = values < 0
    states = torch.where(signs[:, 0] == signs[:, 1], ENDS_AGREE, ENDS_DIFFER)
    states = torch.where(corrected, TAKE_MEAN, states).to(torch.uint8)
    return Midpoints(ids, (values[:, 0] + values[:, 1]) / 2, states, offsets)


def subdivided_tets_topology_reference(
    sdf: Tensor, midpoint_ids: Tensor, midpoint_sdf: Tensor, tables: SubdivisionTables
) -> tuple[Topology, Sources]:
    """`subdivided_tets_topology` by `marching_tets_topology` on the whole subdivided grid."""
    inside = sdf < 0
    a, b = tables.edges.long().unbind(-1)
    both = torch.where(inside[:, a] & inside[:, b], -1.0, 1.0).to(sdf.dtype)
    middle = both.reshape(-1).index_copy(0, midpoint_ids, midpoint_sdf).view_as(both)
    topology = marching_tets_topology(torch.cat([sdf, middle], 1), *tables.whole)

    vertices, count = tables.num_vertices, tables.edges.shape[0]
    sample, vertex = topology.active // (vertices + count), topology.active % (vertices + count)
    edge = (vertex - vertices).clamp(min=0)
    parents = torch.where((vertex < vertices)[:, None], vertex[:, None], tables.edges[edge])
    given = torch.full((sdf.shape[0] * count + 1,), -1, dtype=torch.int64, device=sdf.device)
    given[midpoint_ids] = torch.arange(len(midpoint_ids), device=sdf.device)
    rows = torch.where(vertex < vertices, -1, given[sample * count + edge])
    return topology, Sources(parents + (sample * vertices)[:, None], rows)


def subdivide_tables(tables: SubdivisionTables) -> tuple[Tensor, Tensor, Tensor]:
    """Tables of the whole subdivided grid: tets [8T, 4], edges [E', 2], tet_edges [8T, 6], int32."""
    device, count, which = tables.tets.device, tables.tets.shape[0], tables.splits.long()
    local = torch.cat([tables.tets, tables.tet_edges + tables.num_vertices], 1)
    subtets = torch.tensor(SUBTETS, device=device)[which]
    tets = local[:, None].expand(-1, 8, -1).gather(2, subtets)
    of_subtets = torch.tensor(_subtet_edges(), device=device)[which].view(count, 48)
    return tets.reshape(-1, 4), _subdivided_edges(tables), _edge_ids(tables).gather(1, of_subtets).view(-1, 6)


def _subdivided_edges(tables: SubdivisionTables) -> Tensor:
    """The vertices of the edges of the subdivided grid, the smaller one first: [E', 2] int32."""
    device, first = tables.tets.device, tables.num_vertices
    middles = torch.arange(len(tables.edges), dtype=torch.int32, device=device) + first
    halves = torch.stack([tables.edges, middles[:, None].expand(-1, 2)], -1)
    on_faces = tables.face_edges[:, torch.tensor(_PAIRS, device=device)] + first
    ends = torch.tensor(DIAGONALS, device=device)[tables.splits.long() % 3] - 4
    diagonals = tables.tet_edges.gather(1, ends) + first
    return torch.cat([halves.view(-1, 2), on_faces.view(-1, 2), diagonals])


def _edge_ids(tables: SubdivisionTables) -> Tensor:
    """The number of each of a tetrahedron's `LOCAL_EDGES`: [T, 25] int32."""
    device, count = tables.tets.device, tables.tets.shape[0]
    first_on_faces = 2 * len(tables.edges)
    first_diagonal = first_on_faces + 3 * len(tables.face_edges)
    halves = 2 * tables.tet_edges[..., None] + torch.arange(2, dtype=torch.int32, device=device)
    # An edge on a face leaves out the middle of one of the face's edges; the first leaves out the largest.
    on_faces = first_on_faces + 3 * tables.tet_faces[..., None] + torch.arange(3, dtype=torch.int32, device=device)
    diagonals = first_diagonal + torch.arange(count, dtype=torch.int32, device=device)
    return torch.cat([halves.view(count, 12), on_faces.view(count, 12), diagonals[:, None]], 1)


def _subtet_edges() -> list[list[list[int]]]:
    """The local edges 01, 02, 03, 12, 13, 23 of each of `SUBTETS`."""
    found = []
    for edges, subtets in zip(LOCAL_EDGES, SUBTETS, strict=True):
        number = {frozenset(ends): k for k, ends in enumerate(edges)}
        found.append([[number[frozenset((tet[a], tet[b]))] for a, b in _EDGES] for tet in subtets])
    return found


# --------------------------------------------------------------------------------------------------------------- schema

torch.library.define(
    "tetragan::midpoints_near_surface",
    "(Tensor sdf, Tensor used, Tensor edges, Tensor fixed) -> (Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "tetragan::subdivided_tets_topology",
    "(Tensor sdf, Tensor midpoint_ids, Tensor midpoint_sdf, Tensor tets, Tensor edges, Tensor tet_edges, "
    "Tensor tet_faces, Tensor face_edges, Tensor splits) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::midpoints_near_surface")
def _fake_midpoints(sdf, used, edges, fixed):
    count = torch.library.get_ctx().new_dynamic_size()
    return (
        edges.new_empty(count, dtype=torch.int64),
        sdf.new_empty(count),
        edges.new_empty(count, dtype=torch.uint8),
        torch.empty(sdf.shape[0] + 1, dtype=torch.int64, device="cpu"),
    )


@torch.library.register_fake("tetragan::subdivided_tets_topology")
def _fake_topology(sdf, midpoint_ids, midpoint_sdf, tets, edges, tet_edges, tet_faces, face_edges, splits):
    vertices, faces, active = (torch.library.get_ctx().new_dynamic_size() for _ in range(3))
    return (
        tets.new_empty(faces, 3),
        tets.new_empty(vertices, 2, dtype=torch.int64),
        tets.new_empty(active, dtype=torch.int64),
        tets.new_empty(vertices, 2, dtype=torch.int64),
        tets.new_empty(active, 2, dtype=torch.int64),
        tets.new_empty(active, dtype=torch.int64),
        torch.empty(3, sdf.shape[0] + 1, dtype=torch.int64, device="cpu"),
    )
