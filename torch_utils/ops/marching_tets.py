"""Marching tetrahedra of a whole batch over one grid: topology first, then differentiable vertices.

    topology = marching_tets_topology(sdf, tets, edges, tet_edges)          # no gradient
    vertices = edge_crossings(sdf.reshape(-1), positions, topology.edge_vertices)

Every grid edge whose ends differ in sign holds a surface vertex, and every tetrahedron with such edges holds one or two
triangles. The SDF is negative inside; zero and NaN count as outside. Faces wind outward (counter-clockwise seen from
outside), given positively oriented tetrahedra. A quadrilateral is cut along the diagonal between its first and third
corner in the order of `CASES`, so equal signs always give equal cuts. Everything is ordered by sample, then by edge id
(vertices), tetrahedron id (faces) or grid vertex (`active`), so a batch of B equals B batches of one, bit for bit, for
any number of threads.

Gradient: once, from `edge_crossings` to `sdf` and `positions` (`surface_vertices`, the formula in plain PyTorch: to any
order); the topology has none. The CPU kernels are bitwise repeatable for any number of threads. On CUDA the forward
passes are repeatable; the backward pass adds with atomics and runs as PyTorch's deterministic scatter under
`torch.use_deterministic_algorithms(True)`. One host synchronization on CUDA, for the counts.
Errors: TypeError, ValueError "marching_tets_topology(): expected …, got …", also for `tets` and `edges` with ids out of
range and, on the CPU, `tet_edges` that do not match `tets` at the surface. Ids in `pairs` out of range raise on the CPU
and give zeros on CUDA.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable, differentiable_once
from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel

INDEX = (torch.int32, torch.int64)
# Defects of the tables that the kernels report, as a sum, in the last row of the offsets.
FLAWS = {
    1: "tets in [0, V)",
    2: "edges in [0, V)",
    4: "tet_edges to name the edges 01, 02, 03, 12, 13, 23 of each of tets",
}

# Crossed edges (columns of tet_edges: 01, 02, 03, 12, 13, 23) of each sign case (bit k set: vertex k is inside),
# as corners of one or two outward triangles; -1 pads. Vertex k alone inside: the edges to the other three in positive
# order. Two inside, i and j: the quadrilateral ik, il, jl, jk with (i, j, k, l) an even permutation.
CASES = (
    (-1, -1, -1, -1, -1, -1),
    (0, 1, 2, -1, -1, -1),
    (0, 4, 3, -1, -1, -1),
    (1, 2, 4, 1, 4, 3),
    (1, 3, 5, -1, -1, -1),
    (2, 0, 3, 2, 3, 5),
    (0, 4, 5, 0, 5, 1),
    (2, 4, 5, -1, -1, -1),
    (2, 5, 4, -1, -1, -1),
    (0, 1, 5, 0, 5, 4),
    (3, 0, 2, 3, 2, 5),
    (1, 5, 3, -1, -1, -1),
    (4, 2, 1, 4, 1, 3),
    (0, 3, 4, -1, -1, -1),
    (0, 2, 1, -1, -1, -1),
    (-1, -1, -1, -1, -1, -1),
)


@dataclass(frozen=True)
class Topology:
    """Connectivity of the surfaces of a batch of B samples over a grid of V vertices.

    faces [ΣF, 3] int32: surface-vertex ids, global in the packed batch.
    edge_vertices [ΣV', 2] int64: the two grid vertices of each surface vertex's edge, as b·V + v.
    active [ΣA] int64: sorted ids b·V + v of the grid vertices at the ends of crossing edges.
    edge_active [ΣV', 2] int64: the same ends as indices into `active`.
    vertex_offsets, face_offsets, active_offsets [B + 1] int64, on the CPU.
    """

    faces: Tensor
    edge_vertices: Tensor
    active: Tensor
    edge_active: Tensor
    vertex_offsets: Tensor
    face_offsets: Tensor
    active_offsets: Tensor


def marching_tets_topology(sdf: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor) -> Topology:
    """Which grid edges the surface crosses and how the crossings form triangles, for the whole batch at once.

    sdf [B, V] floating: values at the grid's vertices, negative inside. tets [T, 4], edges [E, 2], tet_edges [T, 6]
    (edges 01, 02, 03, 12, 13, 23) int32 (fastest) or int64, on the same device. See the module's text.
    """
    op = "marching_tets_topology"
    _check_topology(op, sdf, tets, edges, tet_edges)
    sdf = sdf.detach()
    if sdf.dtype in HALF:
        sdf = sdf.float()
    if use_kernel(sdf.device.type, op):
        tables = [table.to(torch.int32).contiguous() for table in (tets, edges, tet_edges)]
        parts = torch.ops.tetragan.marching_tets_topology(sdf.contiguous(), *tables)
    else:
        parts = marching_tets_topology_reference(sdf, tets, edges, tet_edges)
    faces, edge_vertices, active, edge_active, offsets = parts
    vertex_offsets, face_offsets, active_offsets, flaws = offsets.unbind()
    found = int(flaws[0])
    if found:
        raise ValueError(f"{op}(): expected {'; '.join(text for bit, text in FLAWS.items() if found & bit)}")
    return Topology(faces, edge_vertices, active, edge_active, vertex_offsets, face_offsets, active_offsets)


def edge_crossings(sdf: Tensor, positions: Tensor, pairs: Tensor) -> Tensor:
    """Points where the linear interpolant of the SDF vanishes on edges [K, 2]: p_a + (p_b − p_a)·s_a / (s_a − s_b).

    sdf [M] floating. positions [M, 3] of the same type, or [V, 3] shared by M / V samples. pairs [K, 2] int64: rows
    a, b of `sdf`, of opposite sign. Returns [K, 3]. Gradient to sdf and positions, once.
    """
    op = "edge_crossings"
    _check_crossings(op, sdf, positions, pairs)
    if sdf.dtype in HALF:
        sdf, positions = sdf.float(), positions.float()
    # The CUDA kernel's backward adds with atomics.
    atomics = sdf.device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
    if atomics or not use_kernel(sdf.device.type, op):
        return edge_crossings_reference(sdf, positions, pairs)
    return _edge_crossings(sdf.contiguous(), positions.contiguous(), pairs.contiguous())


def marching_tets(
    sdf: Tensor, positions: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both steps: (vertices [ΣV', 3], faces [ΣF, 3] int32, vertex_offsets, face_offsets [B + 1] int64 on the CPU).

    sdf [B, V]; positions [V, 3] or [B, V, 3], world units. Gradients to both, once.
    """
    topology = marching_tets_topology(sdf, tets, edges, tet_edges)
    vertices = edge_crossings(sdf.reshape(-1), positions.reshape(-1, 3), topology.edge_vertices)
    return vertices, topology.faces, topology.vertex_offsets, topology.face_offsets


def _check_topology(op: str, sdf: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor) -> None:
    check_tensor(op, "sdf", sdf, ("B", "V"), (*FLOATING, *HALF))
    check_tensor(op, "tets", tets, ("T", 4), INDEX, sdf.device)
    check_tensor(op, "edges", edges, ("E", 2), INDEX, sdf.device)
    check_tensor(op, "tet_edges", tet_edges, (tets.shape[0], 6), INDEX, sdf.device)
    for name, table, size in (("tets", tets, sdf.shape[1]), ("edges", edges, sdf.shape[1])):
        if table.dtype == torch.int64:  # the kernels check int32 tables as they read them
            check_index_range(op, name, table, size)
    # More would overflow the faces' int32 ids.
    if sdf.shape[0] * edges.shape[0] >= 2**31 and not sdf.is_meta:
        raise ValueError(f"{op}(): expected B · E < 2^31, got {sdf.shape[0]} · {edges.shape[0]}; use a smaller batch")


def _check_crossings(op: str, sdf: Tensor, positions: Tensor, pairs: Tensor) -> None:
    check_tensor(op, "sdf", sdf, ("M",), (*FLOATING, *HALF))
    check_tensor(op, "positions", positions, ("M", 3), (sdf.dtype,), sdf.device)
    check_tensor(op, "pairs", pairs, ("K", 2), (torch.int64,), sdf.device)
    values, rows = sdf.shape[0], positions.shape[0]
    if values % rows if rows else values:
        raise ValueError(f"{op}(): expected {values} positions or a divisor of that, got {rows}")
    check_index_range(op, "pairs", pairs, values)


# ---------------------------------------------------------------------------------------------------------- reference


def surface_vertices(sdf_a: Tensor, sdf_b: Tensor, position_a: Tensor, position_b: Tensor) -> Tensor:
    """(p_a·s_b − p_b·s_a) / (s_b − s_a) (Shen et al. 2021, DMTet), written as p_a + t·(p_b − p_a): t stays in [0, 1].

    sdf_a, sdf_b [K] of opposite sign; position_a, position_b [K, 3]. Differentiable to any order.
    """
    t = sdf_a / (sdf_a - sdf_b)
    return position_a + t[:, None] * (position_b - position_a)


def edge_crossings_reference(sdf: Tensor, positions: Tensor, pairs: Tensor) -> Tensor:
    """`edge_crossings` in plain PyTorch; differentiable to any order."""
    a, b = pairs.unbind(-1)
    rows = positions.shape[0]
    shared = rows != sdf.shape[0]
    position_a, position_b = (positions[i % rows if shared else i] for i in (a, b))
    return surface_vertices(sdf[a], sdf[b], position_a, position_b)


def marching_tets_topology_reference(
    sdf: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`marching_tets_topology` in plain PyTorch: (faces, edge_vertices, active, edge_active, offsets [4, B + 1]).

    Rows of the offsets: surface vertices, faces, active vertices, and defects of the tables (first entry).
    """
    batch, num_vertices = sdf.shape
    for name, ids, size in (("tets", tets, num_vertices), ("edges", edges, num_vertices)):
        check_index_range("marching_tets_topology", name, ids, size)
    check_index_range("marching_tets_topology", "tet_edges", tet_edges, edges.shape[0])
    inside = sdf < 0
    crossing = inside[:, edges[:, 0]] != inside[:, edges[:, 1]]
    bits = [inside[:, tets[:, k]].to(torch.uint8) << k for k in range(4)]
    code = bits[0] | bits[1] | bits[2] | bits[3]
    table = torch.tensor(CASES, device=sdf.device).view(16, 2, 3)
    num_faces = (table[..., 0] >= 0).sum(-1)

    touched = torch.zeros(batch, num_vertices, dtype=torch.bool, device=sdf.device)
    for end in edges.unbind(-1):
        touched.index_add_(1, end, crossing)
    counts = torch.stack([crossing.sum(1), num_faces[code.long()].sum(1), touched.sum(1)])
    offsets = torch.nn.functional.pad(counts.cpu().cumsum(1), (1, 0, 0, 1))  # the one host synchronization
    total_vertices, total_faces, total_active = offsets[:3, -1].tolist()

    sample, edge = torch.nonzero_static(crossing, size=total_vertices).unbind(-1)
    edge_vertices = edges[edge].long() + sample[:, None] * num_vertices
    active = torch.nonzero_static(touched.view(-1), size=total_active)[:, 0]
    edge_active = _ranks(touched)[edge_vertices]

    # One row per possible triangle; the rows in use, in order, are the faces.
    triangle = torch.nonzero_static((table[..., 0] >= 0)[code.long()].view(-1), size=total_faces)[:, 0]
    cell, second = triangle // 2, triangle % 2
    sample, tet = cell // max(tets.shape[0], 1), cell % max(tets.shape[0], 1)
    corners = tet_edges[tet].long().gather(1, table[code.view(-1)[cell].long(), second])
    corners = corners + sample[:, None] * edges.shape[0]
    if sdf.device.type == "cpu" and not crossing.view(-1)[corners].all():
        offsets[3, 0] = 4
    faces = _ranks(crossing)[corners].int()
    return faces, edge_vertices, active, edge_active, offsets


def _ranks(mask: Tensor) -> Tensor:
    """For each element of a mask, flattened, the number of set elements before it, int64."""
    flat = mask.reshape(-1)
    return flat.cumsum(0) - flat.long()


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::marching_tets_topology",
    "(Tensor sdf, Tensor tets, Tensor edges, Tensor tet_edges) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define("tetragan::edge_crossings", "(Tensor sdf, Tensor positions, Tensor pairs) -> Tensor")
torch.library.define(
    "tetragan::edge_crossings_backward",
    "(Tensor grad, Tensor sdf, Tensor positions, Tensor pairs, bool to_positions) -> (Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::marching_tets_topology")
def _fake_topology(sdf, tets, edges, tet_edges):
    vertices, faces, active = (torch.library.get_ctx().new_dynamic_size() for _ in range(3))
    return (
        tets.new_empty(faces, 3),
        tets.new_empty(vertices, 2, dtype=torch.int64),
        tets.new_empty(active, dtype=torch.int64),
        tets.new_empty(vertices, 2, dtype=torch.int64),
        torch.empty(4, sdf.shape[0] + 1, dtype=torch.int64, device="cpu"),
    )


@torch.library.register_fake("tetragan::edge_crossings")
def _fake_crossings(sdf, positions, pairs):
    return positions.new_empty(pairs.shape[0], 3)


@torch.library.register_fake("tetragan::edge_crossings_backward")
def _fake_crossings_backward(grad, sdf, positions, pairs, to_positions):
    return torch.empty_like(sdf), positions.new_empty(positions.shape[0] if to_positions else 0, 3)


def _crossings_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _crossings_backward(ctx, grad):
    to_positions = ctx.needs_input_grad[1]
    grad_sdf, grad_positions = _edge_crossings_backward(grad.contiguous(), *ctx.saved_tensors, to_positions)
    return grad_sdf, grad_positions if to_positions else None, None


_edge_crossings = differentiable("edge_crossings", _crossings_backward, _crossings_context)
_edge_crossings_backward = differentiable_once("edge_crossings_backward", "edge_crossings")
