"""FlexiCubes of a whole batch over one cubic grid: topology first, then differentiable dual vertices.

    topology = flexicubes_topology(sdf, cells)                                                    # no gradient
    vertices, spreads = flexicubes_vertices(sdf_active, positions, alpha, beta, topology)

The grid has (cells + 1)³ vertices, the last coordinate fastest. A cube with corners on both sides of the surface holds
one to four dual vertices (`flexicubes_cases`), and a grid edge whose ends differ in sign, a quadrilateral of those of
the four cubes around it. The SDF is negative inside; zero and NaN count as outside. Quadrilaterals wind outward. The
mesh is manifold for any signs, ambiguous cases included; it is closed unless the surface leaves the grid, where edges
on the boundary have no quadrilateral.

On each edge e of a dual vertex, with ends a and b, the surface crosses at
    u_e = p_a + (p_b − p_a)·s_a α_a / (s_a α_a − s_b α_b),
and the vertex is v = Σ β_e u_e / Σ β_e (Shen et al. 2023, eq. 4 to 6). Its spread is the mean absolute difference of
the distances |v − u_e| from their mean (eq. 8). With unit weights this is dual marching cubes with vertices at the
means of the crossings. α [8] and β [12] belong to a cube and must be above zero.

Everything is ordered by sample, then by cube (dual vertices: then by lowest edge), grid vertex (`active`), or lower
grid vertex and axis (quadrilaterals), so a batch of B equals B batches of one, bit for bit, for any number of threads.

Gradient: once, from vertices and spreads to the SDF, positions, α and β (`flexicubes_vertices_reference`: to any
order); the topology has none. On CUDA the backward pass adds with atomics, and runs as the reference under
`torch.use_deterministic_algorithms(True)`. One host synchronization on CUDA, for the counts.
Errors: TypeError, ValueError "flexicubes_topology(): expected …, got …".
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.ops.autograd import differentiable, differentiable_once
from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.flexicubes_cases import NUM_EDGES, case_tables, edge_ends
from torch_utils.ops.loading import use_kernel

ROWS = (torch.int64,)


@dataclass(frozen=True)
class CubeTopology:
    """Connectivity of the surfaces of a batch of B samples over a grid of V vertices and C cubes.

    cubes [ΣK] int64: sorted ids b·C + c of the cubes that the surface crosses. cube_corners [ΣK, 8] int64: their
    corners as rows of `active`. active [ΣA] int64: sorted ids b·V + v of those corners. vertex_cube [ΣD] int64: the row
    in `cubes` of each dual vertex, sorted. vertex_edges [ΣD] int32: its edges, a bit each. quads [ΣQ, 4] int32: dual
    vertices, global in the packed batch. quad_ends [ΣQ, 2] int64: rows in `active` of the ends of each quadrilateral's
    grid edge. cube_offsets, vertex_offsets, quad_offsets, active_offsets [B + 1] int64, on the CPU.
    """

    cubes: Tensor
    cube_corners: Tensor
    vertex_cube: Tensor
    vertex_edges: Tensor
    quads: Tensor
    quad_ends: Tensor
    active: Tensor
    cube_offsets: Tensor
    vertex_offsets: Tensor
    quad_offsets: Tensor
    active_offsets: Tensor


def flexicubes_topology(sdf: Tensor, cells: int) -> CubeTopology:
    """Which cubes the surface crosses, their dual vertices, and the quadrilaterals; see the module's text.

    sdf [B, (cells + 1)³] floating, negative inside.
    """
    op = "flexicubes_topology"
    if not isinstance(cells, int) or cells < 1:
        raise ValueError(f"{op}(): expected cells to be an integer of at least 1, got {cells!r}")
    check_tensor(op, "sdf", sdf, ("B", (cells + 1) ** 3), (*FLOATING, *HALF))
    sdf = sdf.detach()
    if sdf.dtype in HALF:
        sdf = sdf.float()
    if use_kernel(sdf.device.type, op):
        parts = torch.ops.tetragan.flexicubes_topology(sdf.contiguous(), *case_tables(sdf.device), cells)
    else:
        parts = flexicubes_topology_reference(sdf, cells)
    return CubeTopology(*parts[:7], *parts[7].unbind())


def flexicubes_vertices(
    sdf: Tensor, positions: Tensor, alpha: Tensor, beta: Tensor, topology: CubeTopology
) -> tuple[Tensor, Tensor]:
    """Dual vertices [ΣD, 3] and their spreads [ΣD], in the unit of the positions.

    sdf [ΣA] floating and positions [ΣA, 3] at `topology.active`; alpha [ΣK, 8] and beta [ΣK, 12] above zero, for
    `topology.cubes`; all of one type. Gradient to all four, once.
    """
    op = "flexicubes_vertices"
    _check_vertices(op, sdf, positions, alpha, beta, topology)
    if sdf.dtype in HALF:
        sdf, positions, alpha, beta = (x.float() for x in (sdf, positions, alpha, beta))
    inputs = (sdf, positions, alpha, beta, topology.cube_corners, topology.vertex_cube, topology.vertex_edges)
    # The CUDA kernel's backward adds with atomics.
    atomics = sdf.device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
    if atomics or not use_kernel(sdf.device.type, op):
        return flexicubes_vertices_reference(*inputs)
    return _flexicubes_vertices(*(x.contiguous() for x in inputs))


def _check_vertices(
    op: str, sdf: Tensor, positions: Tensor, alpha: Tensor, beta: Tensor, topology: CubeTopology
) -> None:
    check_tensor(op, "sdf", sdf, ("A",), (*FLOATING, *HALF))
    rows, cubes, count = sdf.shape[0], topology.cube_corners.shape[0], topology.vertex_cube.shape[0]
    device, same = sdf.device, (sdf.dtype,)
    check_tensor(op, "positions", positions, (rows, 3), same, device)
    check_tensor(op, "alpha", alpha, (cubes, 8), same, device)
    check_tensor(op, "beta", beta, (cubes, NUM_EDGES), same, device)
    check_tensor(op, "cube_corners", topology.cube_corners, ("K", 8), ROWS, device)
    check_tensor(op, "vertex_cube", topology.vertex_cube, ("D",), ROWS, device)
    check_tensor(op, "vertex_edges", topology.vertex_edges, (count,), (torch.int32,), device)
    check_index_range(op, "cube_corners", topology.cube_corners, rows)
    check_index_range(op, "vertex_cube", topology.vertex_cube, cubes)
    if device.type == "cpu" and bool((topology.vertex_cube.diff() < 0).any()):
        raise ValueError(f"{op}(): expected vertex_cube to be sorted, got a smaller row after a larger one")


# ---------------------------------------------------------------------------------------------------------- reference


def flexicubes_topology_reference(sdf: Tensor, cells: int) -> tuple[Tensor, ...]:
    """`flexicubes_topology` in plain PyTorch: the fields of `CubeTopology`, the offsets as one tensor [4, B + 1]."""
    batch, side, device = sdf.shape[0], cells + 1, sdf.device
    groups, ambiguous = (table.long() for table in case_tables(device))
    inside = (sdf < 0).view(batch, side, side, side)
    codes = torch.zeros(batch, cells, cells, cells, dtype=torch.int64, device=device)
    for k in range(8):
        codes += _corner(inside, k).long() << k
    cases = _resolve(codes, ambiguous)
    surface = (codes > 0) & (codes < 255)
    active = torch.zeros_like(inside)
    for k in range(8):
        _corner(active, k).logical_or_(surface)
    group_counts = groups.amax(1) + 1
    crossing = _crossing_edges(inside)
    counts = torch.stack(
        [surface.flatten(1).sum(1), (group_counts[cases] * surface).flatten(1).sum(1), crossing.flatten(1).sum(1),
         active.flatten(1).sum(1)]
    )  # fmt: skip
    offsets = torch.nn.functional.pad(counts.cpu().cumsum(1), (1, 0))  # the one host synchronization
    total_cubes, total_vertices, total_quads, total_active = offsets[:, -1].tolist()

    cubes = torch.nonzero_static(surface.view(-1), size=total_cubes)[:, 0]
    active_ids = torch.nonzero_static(active.view(-1), size=total_active)[:, 0]
    row_of = active.view(-1).cumsum(0) - 1
    ids = torch.arange(batch * side**3, device=device).view(batch, side, side, side)
    cube_corners = torch.stack([_corner(ids, k).reshape(-1)[cubes] for k in range(8)], 1)
    cube_corners = row_of[cube_corners]

    of_cube = group_counts[cases.view(-1)[cubes]]
    vertex_cube = torch.repeat_interleave(of_cube, output_size=total_vertices)
    first = of_cube.cumsum(0) - of_cube
    group = torch.arange(total_vertices, device=device) - first[vertex_cube]
    members = groups[cases.view(-1)[cubes][vertex_cube]] == group[:, None]
    vertex_edges = (members.int() << torch.arange(NUM_EDGES, device=device, dtype=torch.int32)).sum(
        1, dtype=torch.int32
    )

    edge = torch.nonzero_static(crossing.view(-1), size=total_quads)[:, 0]
    vertex, axis = edge // 3, edge % 3
    steps = torch.tensor([side * side, side, 1], device=device)
    lower_inside = inside.view(-1)[vertex]
    quad_ends = row_of[torch.stack([vertex, vertex + steps[axis]], 1)]
    first_of_cube = torch.zeros(batch * cells**3, dtype=torch.int64, device=device).index_copy(0, cubes, first)
    quads = _quads(vertex, axis, lower_inside, side, first_of_cube, groups, cases.view(-1))
    return cubes, cube_corners, vertex_cube, vertex_edges, quads, quad_ends, active_ids, offsets


def _corner(grid: Tensor, k: int) -> Tensor:
    """A view of values [B, n + 1, n + 1, n + 1] at the grid's vertices: those at corner k of each cube."""
    n = grid.shape[1] - 1
    x, y, z = k & 1, k >> 1 & 1, k >> 2 & 1
    return grid[:, x : x + n, y : y + n, z : z + n]


def _resolve(codes: Tensor, ambiguous: Tensor) -> Tensor:
    """The row of the table of cases for each cube, from the sign cases [B, n, n, n]."""
    faces = ambiguous[codes]
    cases = codes.clone()
    for face in range(6):
        axis, side = divmod(face, 2)
        n = codes.shape[axis + 1]
        low, high = faces.narrow(axis + 1, 0, n - 1), faces.narrow(axis + 1, 1, n - 1)
        both = (low == 2 * axis + 1) & (high == 2 * axis)
        cases.narrow(axis + 1, 1 - side, n - 1).add_(both * 256)
    return cases


def _crossing_edges(inside: Tensor) -> Tensor:
    """Whether the edge from each grid vertex along each axis has a quadrilateral: [B, n + 1, n + 1, n + 1, 3]."""
    crossing = torch.zeros(*inside.shape, 3, dtype=torch.bool, device=inside.device)
    n = inside.shape[1] - 1
    for axis in range(3):
        differ = inside.narrow(axis + 1, 0, n) != inside.narrow(axis + 1, 1, n)
        target = crossing[..., axis].narrow(axis + 1, 0, n)
        for other in range(3):
            if other != axis:
                differ, target = differ.narrow(other + 1, 1, n - 1), target.narrow(other + 1, 1, n - 1)
        target.copy_(differ)
    return crossing


def _quads(
    vertex: Tensor, axis: Tensor, lower_inside: Tensor, side: int, first: Tensor, groups: Tensor, cases: Tensor
) -> Tensor:
    """The dual vertices around crossing edges [Q, 4] int32, counter-clockwise seen from outside."""
    cells = side - 1
    sample, rest = vertex // side**3, vertex % side**3
    at = torch.stack([rest // side**2, rest // side % side, rest % side], 1)
    u = torch.where(axis == 0, 1, 0)
    w = torch.where(axis == 2, 1, 2)
    forward = lower_inside != (axis == 1)  # x × z points along −y
    columns = []
    for k in range(4):
        turn = torch.where(forward, k, 3 - k)
        back_u, back_w = ((turn == 1) | (turn == 2)).long(), (turn >= 2).long()
        cube = at.scatter_add(1, u[:, None], -back_u[:, None]).scatter_add(1, w[:, None], -back_w[:, None])
        cube_id = ((sample * cells + cube[:, 0]) * cells + cube[:, 1]) * cells + cube[:, 2]
        columns.append(first[cube_id] + groups[cases[cube_id], 4 * axis + back_u + 2 * back_w])
    return torch.stack(columns, 1).int()


def flexicubes_vertices_reference(
    sdf: Tensor,
    positions: Tensor,
    alpha: Tensor,
    beta: Tensor,
    cube_corners: Tensor,
    vertex_cube: Tensor,
    vertex_edges: Tensor,
) -> tuple[Tensor, Tensor]:
    """`flexicubes_vertices` in plain PyTorch; differentiable to any order."""
    count = vertex_cube.shape[0]
    bits = torch.arange(NUM_EDGES, device=sdf.device, dtype=torch.int32)
    vertex, edge = (vertex_edges[:, None] >> bits & 1).nonzero(as_tuple=True)
    cube = vertex_cube[vertex]
    ends = torch.tensor([edge_ends(e) for e in range(NUM_EDGES)], device=sdf.device)[edge]
    rows = cube_corners[cube].gather(1, ends)
    s_a, s_b = (sdf[rows] * alpha[cube].gather(1, ends)).unbind(1)
    p_a, p_b = positions[rows].unbind(1)
    crossings = p_a + (s_a / (s_a - s_b))[:, None] * (p_b - p_a)
    weights = beta[cube, edge]

    def sums(values: Tensor) -> Tensor:
        return values.new_zeros(count, *values.shape[1:]).index_add(0, vertex, values)

    vertices = sums(crossings * weights[:, None]) / sums(weights)[:, None]
    apart = crossings - vertices[vertex]
    # The norm's gradient at zero is zero here, as in the kernels.
    distances = torch.linalg.vector_norm(apart, dim=1)
    number = sums(torch.ones_like(distances))
    mean = sums(distances) / number
    return vertices, sums((distances - mean[vertex]).abs()) / number


# ------------------------------------------------------------------------------------------------- schema and autograd

torch.library.define(
    "tetragan::flexicubes_topology",
    "(Tensor sdf, Tensor groups, Tensor ambiguous, int cells) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "tetragan::flexicubes_vertices",
    "(Tensor sdf, Tensor positions, Tensor alpha, Tensor beta, Tensor cube_corners, Tensor vertex_cube, "
    "Tensor vertex_edges) -> (Tensor, Tensor)",
)
torch.library.define(
    "tetragan::flexicubes_vertices_backward",
    "(Tensor grad_vertices, Tensor grad_spreads, Tensor sdf, Tensor positions, Tensor alpha, Tensor beta, "
    "Tensor cube_corners, Tensor vertex_cube, Tensor vertex_edges) -> (Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.register_fake("tetragan::flexicubes_topology")
def _fake_topology(sdf, groups, ambiguous, cells):
    cubes, vertices, quads, active = (torch.library.get_ctx().new_dynamic_size() for _ in range(4))
    return (
        groups.new_empty(cubes, dtype=torch.int64),
        groups.new_empty(cubes, 8, dtype=torch.int64),
        groups.new_empty(vertices, dtype=torch.int64),
        groups.new_empty(vertices),
        groups.new_empty(quads, 4),
        groups.new_empty(quads, 2, dtype=torch.int64),
        groups.new_empty(active, dtype=torch.int64),
        torch.empty(4, sdf.shape[0] + 1, dtype=torch.int64, device="cpu"),
    )


@torch.library.register_fake("tetragan::flexicubes_vertices")
def _fake_vertices(sdf, positions, alpha, beta, cube_corners, vertex_cube, vertex_edges):
    return sdf.new_empty(vertex_cube.shape[0], 3), sdf.new_empty(vertex_cube.shape[0])


@torch.library.register_fake("tetragan::flexicubes_vertices_backward")
def _fake_vertices_backward(grad_vertices, grad_spreads, sdf, positions, alpha, beta, corners, cube, edges):
    return tuple(torch.empty_like(x) for x in (sdf, positions, alpha, beta))


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_vertices, grad_spreads):
    gradients = _flexicubes_vertices_backward(grad_vertices.contiguous(), grad_spreads.contiguous(), *ctx.saved_tensors)
    return (*gradients, None, None, None)


_flexicubes_vertices = differentiable("flexicubes_vertices", _backward, _setup_context)
_flexicubes_vertices_backward = differentiable_once("flexicubes_vertices_backward", "flexicubes_vertices")
