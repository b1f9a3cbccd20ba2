"""`connect_components`: an SDF on a lattice whose inside is one part, changed as little as possible.

    connect_components(sdf [B, V], edges [E, 2] int32, blocked [V] bool, depth, step=0) -> [B, V]

A part is a connected set of vertices with a negative SDF; `edges` say which vertices are neighbors. Parts are joined
to the largest (by vertices; of equals the one with the lowest vertex) from near to far, each by the cheapest bridge to
what is joined already. A bridge costs the SDF of the outside vertices that it runs through, plus `step` for each; it
never runs through a `blocked` one. A part, with all that hangs on it, is removed instead where that is cheaper: the sum
of −SDF over its vertices; and where no bridge reaches it. So a bar with a crack is closed, and a crumb that hangs far
from everything goes. (The least edit over the minimum spanning tree of parts: simplification by 0-dimensional
persistence, Edelsbrunner et al. 2002, that closes or fills, whichever changes less.)

The vertices of bridges become −depth, those of removed parts depth; all others, and samples of one part or of none,
are returned as they are, bit for bit. Zero and NaN count as outside. depth, step: in the SDF's unit, depth above 0,
step not below. float32 or float64; costs are summed in double; half precision is taken as float32. No gradient.
Deterministic, by sample: a batch equals its samples for any number of threads, and the kernel equals the reference, bit
for bit. CPU kernel; a CUDA tensor makes the way to the CPU and back (one synchronization). Errors: ValueError or
TypeError for shape, type, device and ids out of range.
"""

import heapq
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel


def connect_components(sdf: Tensor, edges: Tensor, blocked: Tensor, depth: float, step: float = 0.0) -> Tensor:
    """An SDF of one part a sample; see the contract at the top of this file."""
    check_tensor("connect_components", "sdf", sdf, ("B", "V"), (*FLOATING, *HALF))
    check_tensor("connect_components", "edges", edges, ("E", 2), (torch.int32,), sdf.device)
    check_tensor("connect_components", "blocked", blocked, (sdf.shape[1],), (torch.bool,), sdf.device)
    if not (depth > 0 and math.isfinite(depth)):
        raise ValueError(f"connect_components(): expected depth above 0, got {depth}")
    if not (step >= 0 and math.isfinite(step)):
        raise ValueError(f"connect_components(): expected step of at least 0, got {step}")
    values, edges, blocked = (tensor.detach().cpu() for tensor in (sdf, edges, blocked))
    check_index_range("connect_components", "edges", edges, sdf.shape[1])
    if values.dtype in HALF:
        values = values.float()
    if use_kernel("cpu", "connect_components"):
        joined = torch.ops.tetragan.connect_components(
            values.contiguous(), edges.contiguous(), blocked.contiguous(), depth, step
        )
    else:
        joined = connect_components_reference(values, edges, blocked, depth, step)
    return joined.to(sdf.device)


# ---------------------------------------------------------------------------------------------------------- reference


def connect_components_reference(
    sdf: Tensor, edges: Tensor, blocked: Tensor, depth: float, step: float = 0.0
) -> Tensor:
    """`connect_components` in plain Python, one sample and one vertex at a time."""
    neighbors: list[list[int]] = [[] for _ in range(sdf.shape[1])]
    for a, b in edges.tolist():
        neighbors[a].append(b)
        neighbors[b].append(a)
    result = sdf.clone()
    for row in result:
        bridges, removed = _least_edit(row.tolist(), neighbors, blocked.tolist(), step)
        row[bridges] = -depth
        row[removed] = depth
    return result


def _label(sdf: Sequence[float], neighbors: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Each vertex's part (−1 outside) and each part's vertices, by lowest vertex; a flood, first in first out."""
    part = [-1] * len(sdf)
    parts: list[list[int]] = []
    for seed, value in enumerate(sdf):
        if not value < 0 or part[seed] >= 0:
            continue
        members = [seed]
        part[seed] = len(parts)
        for v in members:
            for u in neighbors[v]:
                if sdf[u] < 0 and part[u] < 0:
                    part[u] = len(parts)
                    members.append(u)
        parts.append(members)
    return part, parts


def _least_edit(
    sdf: Sequence[float], neighbors: list[list[int]], blocked: Sequence[bool], step: float
) -> tuple[list[int], list[int]]:
    """The vertices of one sample's bridges, and those of its removed parts."""
    part, parts = _label(sdf, neighbors)
    if len(parts) < 2:
        return [], []
    weights = [sum(-sdf[v] for v in members) for members in parts]
    largest = max(range(len(parts)), key=lambda p: (len(parts[p]), -p))
    order, parents, costs, bridges = [largest], {largest: -1}, {}, {}
    best = [math.inf] * len(sdf)
    previous = [-1] * len(sdf)
    queue: list[tuple[float, int]] = []

    def start_from(sources: Sequence[int]) -> None:
        for v in sources:
            best[v] = 0.0
        for v in sources:
            reach_from(v)

    def reach_from(v: int) -> None:
        for u in neighbors[v]:
            if not sdf[u] < 0 and blocked[u]:
                continue
            cost = best[v] if sdf[u] < 0 else best[v] + (sdf[u] if sdf[u] > 0 else 0.0) + step
            if cost < best[u] or (cost == best[u] and best[u] > 0 and v < previous[u]):
                best[u], previous[u] = cost, v
                heapq.heappush(queue, (cost, u))

    start_from(parts[largest])
    left = sum(weights) - weights[largest]
    # Beyond the weight of all that is left, no bridge is worth it.
    while queue and len(order) < len(parts) and queue[0][0] <= left:
        cost, v = heapq.heappop(queue)
        if cost > best[v]:
            continue
        p = part[v]
        if p < 0 or p in parents:
            reach_from(v)
            continue
        bridge, u = [], previous[v]
        while part[u] < 0:
            bridge.append(u)
            u = previous[u]
        parents[p], costs[p], bridges[p] = part[u], cost, bridge
        order.append(p)
        for u in bridge:
            part[u] = p
        start_from([*parts[p], *bridge])
        left -= weights[p]
    # From the last joined: what a part is worth with all that hangs on it.
    worth = list(weights)
    keep = dict.fromkeys(order, True)
    for p in reversed(order[1:]):
        keep[p] = worth[p] >= costs[p]
        if keep[p]:
            worth[parents[p]] += worth[p] - costs[p]
    for p in order[1:]:
        keep[p] = keep[p] and keep[parents[p]]
    kept = [u for p in order[1:] if keep[p] for u in bridges[p]]
    return kept, [v for p, members in enumerate(parts) if not keep.get(p, False) for v in members]


# ----------------------------------------------------------------------------------------------------------- schema

torch.library.define(
    "tetragan::connect_components", "(Tensor sdf, Tensor edges, Tensor blocked, float depth, float step) -> Tensor"
)


@torch.library.register_fake("tetragan::connect_components")
def _fake(sdf, edges, blocked, depth, step):
    return torch.empty_like(sdf)
