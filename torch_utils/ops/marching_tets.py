"""Marching tetrahedra of a whole batch over one grid: topology first, then differentiable vertices.

    topology = marching_tets_topology(sdf, tets, edges, tet_edges)          # no gradient
    vertices = edge_crossings(sdf.reshape(-1), positions, topology.edge_vertices)

A surface vertex lies on every grid edge whose ends differ in sign, a triangle or two in every tetrahedron that such
edges bound. The SDF is negative inside; zero counts as outside; NaN counts as outside. Faces wind outward (seen from
outside their corners run counter-clockwise), given positively oriented tetrahedra. A quadrilateral is cut along the
diagonal between its first and third corner, in the order of `CASES`: the same cut for the same signs, always.
Everything is ordered by sample, then by edge id (vertices), tetrahedron id (faces) or grid vertex (`active`), so a
batch of B equals B batches of one, bit for bit, for any number of threads.

Gradients: `edge_crossings` to `sdf` and `positions`, once (the reference to any order); the topology has none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

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
    active [ΣA] int64: sorted ids b·V + v of the grid vertices that touch a crossing edge.
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
    (edges 01, 02, 03, 12, 13, 23) int32 or int64, on the same device. One host synchronisation on CUDA (the counts).
    Raises ValueError or TypeError "marching_tets_topology(): expected …, got …".
    """
    _check_topology(sdf, tets, edges, tet_edges)
    parts = marching_tets_topology_reference(sdf.detach(), tets, edges, tet_edges)
    return Topology(*parts[:4], *parts[4].unbind())


def edge_crossings(sdf: Tensor, positions: Tensor, pairs: Tensor) -> Tensor:
    """Points where the linear interpolant of the SDF vanishes on edges [K, 2]: p_a + (p_b − p_a)·s_a / (s_a − s_b).

    sdf [M] floating. positions [M, 3], or [V, 3] shared by M / V samples. pairs [K, 2] int64: rows a, b of `sdf`, of
    opposite sign. Returns [K, 3]. Gradients to sdf and positions, once.
    """
    _check_crossings(sdf, positions, pairs)
    return edge_crossings_reference(sdf, positions, pairs)


def marching_tets(
    sdf: Tensor, positions: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both steps: (vertices [ΣV', 3], faces [ΣF, 3] int32, vertex_offsets, face_offsets [B + 1] int64 on the CPU).

    sdf [B, V]; positions [V, 3] or [B, V, 3], world units. Gradients to both, once.
    """
    topology = marching_tets_topology(sdf, tets, edges, tet_edges)
    vertices = edge_crossings(sdf.reshape(-1), positions.reshape(-1, 3), topology.edge_vertices)
    return vertices, topology.faces, topology.vertex_offsets, topology.face_offsets


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
    """`marching_tets_topology` in plain PyTorch: (faces, edge_vertices, active, edge_active, offsets [3, B + 1])."""
    batch, num_vertices = sdf.shape
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
    offsets = torch.nn.functional.pad(counts.cpu().cumsum(1), (1, 0))  # the one host synchronisation
    total_vertices, total_faces, total_active = offsets[:, -1].tolist()

    sample, edge = torch.nonzero_static(crossing, size=total_vertices).unbind(-1)
    edge_vertices = edges[edge].long() + sample[:, None] * num_vertices
    active = torch.nonzero_static(touched.view(-1), size=total_active)[:, 0]
    edge_active = _ranks(touched)[edge_vertices]

    # One row per possible triangle; the rows in use, in order, are the faces.
    triangle = torch.nonzero_static((table[..., 0] >= 0)[code.long()].view(-1), size=total_faces)[:, 0]
    cell, second = triangle // 2, triangle % 2
    sample, tet = cell // max(tets.shape[0], 1), cell % max(tets.shape[0], 1)
    corners = tet_edges[tet].long().gather(1, table[code.view(-1)[cell].long(), second])
    faces = _ranks(crossing)[corners + sample[:, None] * edges.shape[0]].int()
    return faces, edge_vertices, active, edge_active, offsets


def _ranks(mask: Tensor) -> Tensor:
    """For each element of a mask, flattened, the number of set elements before it, int64."""
    flat = mask.reshape(-1)
    return flat.cumsum(0) - flat.long()


def _check_topology(sdf: Tensor, tets: Tensor, edges: Tensor, tet_edges: Tensor) -> None:
    name = "marching_tets_topology()"
    if sdf.ndim != 2:
        raise ValueError(f"{name}: expected sdf [B, V], got shape {list(sdf.shape)}")
    if not sdf.is_floating_point():
        raise TypeError(f"{name}: expected a floating sdf, got {sdf.dtype}")
    for label, table, columns in (("tets", tets, 4), ("edges", edges, 2), ("tet_edges", tet_edges, 6)):
        if table.ndim != 2 or table.shape[1] != columns:
            raise ValueError(f"{name}: expected {label} [·, {columns}], got shape {list(table.shape)}")
        if table.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{name}: expected {label} of type int32 or int64, got {table.dtype}")
        if table.device != sdf.device:
            raise ValueError(f"{name}: expected {label} on {sdf.device}, got {table.device}")
    if tets.shape[0] != tet_edges.shape[0]:
        raise ValueError(f"{name}: expected tet_edges [{tets.shape[0]}, 6], got shape {list(tet_edges.shape)}")


def _check_crossings(sdf: Tensor, positions: Tensor, pairs: Tensor) -> None:
    name = "edge_crossings()"
    if sdf.ndim != 1:
        raise ValueError(f"{name}: expected sdf [M], got shape {list(sdf.shape)}")
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(f"{name}: expected positions [M, 3] or [V, 3], got shape {list(positions.shape)}")
    if not sdf.is_floating_point() or positions.dtype != sdf.dtype:
        raise TypeError(f"{name}: expected sdf and positions of one floating type, got {sdf.dtype}, {positions.dtype}")
    if sdf.shape[0] % max(positions.shape[0], 1) or (sdf.shape[0] and not positions.shape[0]):
        raise ValueError(
            f"{name}: expected {sdf.shape[0]} positions or a divisor of it, got shape {list(positions.shape)}"
        )
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"{name}: expected pairs [K, 2], got shape {list(pairs.shape)}")
    if pairs.dtype != torch.int64:
        raise TypeError(f"{name}: expected pairs of type int64, got {pairs.dtype}")
    if positions.device != sdf.device or pairs.device != sdf.device:
        raise ValueError(f"{name}: expected all on {sdf.device}, got {positions.device} and {pairs.device}")
