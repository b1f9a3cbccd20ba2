"""Extraction from a dense SDF in one call, differentiable everywhere."""

from torch import Tensor

from geometry.extraction import ExtractedSurface, build_surface, find_surface
from geometry.tet_grid import TetGrid


def extract(
    sdf: Tensor, grid: TetGrid, deformation: Tensor | None = None, *, closed: bool = True, fallback: bool = True
) -> ExtractedSurface:
    """Meshes of an SDF [B, V] and a deformation [B, V, 3] (world units), differentiable in both."""
    found = find_surface(sdf, grid, closed=closed, fallback=fallback)
    moved = None if deformation is None else deformation.reshape(-1, 3)[found.active]
    return build_surface(found, grid, sdf.reshape(-1)[found.active], moved)
