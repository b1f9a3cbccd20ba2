"""Corrections of an SDF before extraction: every sample gets a surface, closed and, if wanted, in one component."""

import torch
from torch import Tensor

from geometry.grid import Grid
from torch_utils.ops.connect_components import connect_components

# All lengths in grid cells. |SDF| of the vertices that give an empty sample its surface.
FALLBACK_CELLS = 0.5
# Least SDF of a boundary vertex: above zero, so that the cap has no zero-area triangles; small, so that surfaces near
# the box hardly move.
BOUNDARY_CELLS = 0.05
# A bridge between two components is one cell thick. Of two bridges of equal cost, the one over fewer vertices wins.
BRIDGE_CELLS = 0.5
BRIDGE_STEP_CELLS = 0.05


def corrected_sdf(
    sdf: Tensor, grid: Grid, *, closed: bool = True, fallback: bool = True, connected: bool = False
) -> Tensor:
    """The SDF [B, V] that a surface is extracted from; no gradient.

    closed: boundary vertices count as outside, so that every mesh is closed. fallback: a sample without a surface gets
    a small one. connected: the inside of every sample becomes one component.
    """
    used = sdf.detach()
    if closed:
        used = close_boundary(used, grid)
    if fallback:
        used, _ = add_fallback_surface(used, grid)
    return connect_inside(used, grid) if connected else used


def empty_samples(sdf: Tensor) -> Tensor:
    """Samples without a sign change: [B] bool. sdf [B, V]; the grid is connected, so they have no surface."""
    inside = sdf < 0
    return ~(inside.any(1) & ~inside.all(1))


def add_fallback_surface(sdf: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Give every sample without a surface a small one. Other samples are returned unchanged, with their gradient.

    sdf [B, V], world units. If all vertices are outside, the grid's center vertex moves half a cell inside; if all are
    inside, the boundary vertices move half a cell outside. Such samples pass no gradient on;
    `regularizers.fallback_surface_loss` leads them back instead.
    Returns the SDF [B, V] and the empty samples [B] bool. No host synchronization.
    """
    empty = empty_samples(sdf)
    push = FALLBACK_CELLS * grid.cell
    fixed = sdf.detach().clone()
    all_inside = (fixed[:, 0] < 0) & empty
    fixed = torch.where(all_inside[:, None] & grid.boundary, push, fixed)
    all_outside = empty & ~all_inside
    fixed[:, grid.center] = torch.where(all_outside, -push, fixed[:, grid.center])
    return torch.where(empty[:, None], fixed, sdf), empty


def close_boundary(sdf: Tensor, grid: Grid) -> Tensor:
    """Raise the SDF [B, V] of boundary vertices to at least 0.05 cell, so that every surface closes inside the box."""
    return torch.where(grid.boundary, sdf.clamp(min=BOUNDARY_CELLS * grid.cell), sdf)


def connect_inside(sdf: Tensor, grid: Grid) -> Tensor:
    """Make the inside of every sample [B, V] one connected component (`ops.connect_components`).

    No gradient. Close the boundary first: bridges never run through it. Cavities stay.
    """
    return connect_components(sdf, grid.edges, grid.boundary, BRIDGE_CELLS * grid.cell, BRIDGE_STEP_CELLS * grid.cell)
