"""`connect_components`: make the inside of an SDF one connected component, with the smallest change.

    connect_components(sdf [B, V], edges [E, 2] int32, blocked [V] bool, depth, step=0) -> [B, V]

A component is a connected set of vertices with a negative SDF; `edges` say which vertices are neighbors. Components are
connected to the largest one (by vertices; of equals, the one with the lowest vertex), nearest first, each by the
cheapest bridge to what is already connected. A bridge costs the SDF of the outside vertices on its path, plus `step`
for each of them; it never passes through a `blocked` vertex. Removing a component costs the sum of −SDF over its
vertices. A component, together with all that is connected through it, is removed instead if that is cheaper, or if no
bridge reaches it. So a narrow gap is bridged, and a small floater far away disappears. This is the least edit over the
minimum spanning tree of the components: simplification by 0-dimensional persistence (Edelsbrunner et al. 2002) that
bridges or removes, whichever changes less.

Vertices of bridges become −depth, those of removed components become depth. All other vertices, and samples with at
most one component, are returned unchanged, bit for bit. Zero and NaN count as outside. depth (> 0) and step (≥ 0) are
in the SDF's unit. float32 or float64; costs are summed in double precision; half precision is computed as float32. No
gradient. Deterministic and independent of the batch and of the number of threads. The CPU kernel equals the reference
bit for bit. The CUDA kernel leaves nothing to the host; it may choose otherwise only where several ways cost the same
up to rounding. Errors: ValueError or TypeError for shape, type and device; ids out of range raise on the CPU and are
left out on CUDA, where a sample has fewer than 2²² vertices.
"""

import heapq
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.ops.checks import FLOATING, HALF, check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel


def connect_components(sdf: Tensor, edges: Tensor, blocked: Tensor, depth: float, step: float = 0.0) -> Tensor:
    """An SDF with one component in each sample; see the contract at the top of this file."""
    check_tensor("connect_components", "sdf", sdf, ("B", "V"), (*FLOATING, *HALF))
    check_tensor("connect_components", "edges", edges, ("E", 2), (torch.int32,), sdf.device)
    check_tensor("connect_components", "blocked", blocked, (sdf.shape[1],), (torch.bool,), sdf.device)
    if not (depth > 0 and math.isfinite(depth)):
        raise ValueError(f"connect_components(): expected depth above 0, got {depth}")
    if not (step >= 0 and math.isfinite(step)):
        raise ValueError(f"connect_components(): expected step of at least 0, got {step}")
    check_index_range("connect_components", "edges", edges, sdf.shape[1])
    values = sdf.detach()
    if values.dtype in HALF:
        values = values.float()
    if use_kernel(sdf.device.type, "connect_components"):
        return torch.ops.tetragan.connect_components(
            values.contiguous(), edges.contiguous(), blocked.contiguous(), depth, step
        )
    return connect_components_reference(values.cpu(), edges.cpu(), blocked.cpu(), depth, step).to(sdf.device)


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


def _label_components(sdf: Sequence[float], neighbors: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Each vertex's component (−1 outside), and each component's vertices in order of breadth-first search.

    Components are numbered by their lowest vertex.
    """
    component = [-1] * len(sdf)
    components: list[list[int]] = []
    for seed, value in enumerate(sdf):
        if not value < 0 or component[seed] >= 0:
            continue
        members = [seed]
        component[seed] = len(components)
        for v in members:
            for u in neighbors[v]:
                if sdf[u] < 0 and component[u] < 0:
                    component[u] = len(components)
                    members.append(u)
        components.append(members)
    return component, components


def _least_edit(
    sdf: Sequence[float], neighbors: list[list[int]], blocked: Sequence[bool], step: float
) -> tuple[list[int], list[int]]:
    """The vertices of one sample's bridges, and those of its removed components."""
    component, components = _label_components(sdf, neighbors)
    if len(components) < 2:
        return [], []
    weights = [sum(-sdf[v] for v in members) for members in components]
    largest = max(range(len(components)), key=lambda c: (len(components[c]), -c))
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
            # Of equal costs the lowest vertex; never one of u's own cost, or free vertices could lead to each other.
            if cost < best[u] or (cost == best[u] and best[v] < cost and v < previous[u]):
                best[u], previous[u] = cost, v
                heapq.heappush(queue, (cost, u))

    start_from(components[largest])
    left = sum(weights) - weights[largest]
    # A bridge that costs more than the weight of all components not yet reached is never worth it.
    while queue and len(order) < len(components) and queue[0][0] <= left:
        cost, v = heapq.heappop(queue)
        if cost > best[v]:
            continue
        c = component[v]
        if c < 0 or c in parents:
            reach_from(v)
            continue
        bridge, u = [], previous[v]
        while component[u] < 0:
            bridge.append(u)
            u = previous[u]
        parents[c], costs[c], bridges[c] = component[u], cost, bridge
        order.append(c)
        for u in bridge:
            component[u] = c
        start_from([*components[c], *bridge])
        left -= weights[c]
    keep = _worth_connecting(order, parents, costs, weights)
    kept = [u for c in order[1:] if keep[c] for u in bridges[c]]
    return kept, [v for c, members in enumerate(components) if not keep.get(c, False) for v in members]


def _worth_connecting(
    order: Sequence[int], parents: dict[int, int], costs: dict[int, float], weights: Sequence[float]
) -> dict[int, bool]:
    """Whether each component of `order`, in which they were connected, is worth its bridge; the first one stays."""
    # Backwards, from the component connected last: what each is worth together with all that is connected through it.
    worth = list(weights)
    keep = dict.fromkeys(order, True)
    for c in reversed(order[1:]):
        keep[c] = worth[c] >= costs[c]
        if keep[c]:
            worth[parents[c]] += worth[c] - costs[c]
    for c in order[1:]:
        keep[c] = keep[c] and keep[parents[c]]
    return keep


# ----------------------------------------------------------------------------------------------------------- schema

torch.library.define(
    "tetragan::connect_components", "(Tensor sdf, Tensor edges, Tensor blocked, float depth, float step) -> Tensor"
)


@torch.library.register_fake("tetragan::connect_components")
def _fake(sdf, edges, blocked, depth, step):
    return torch.empty_like(sdf)
