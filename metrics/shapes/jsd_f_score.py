"""JSD of histograms of pooled points, and the F-score of two point clouds."""

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from torch_utils.ops.chamfer import chamfer

GRID = 28


def cell_centers(grid: int = GRID) -> Tensor:
    """Centers of the cells of [−½, ½]³ whose distance from the origin is at most ½ [C, 3] float64."""
    axis = torch.linspace(-0.5, 0.5, grid, dtype=torch.float64)
    centers = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return centers[centers.norm(dim=1) <= 0.5]


def occupancy(points: Tensor, grid: int = GRID) -> Tensor:
    """The share of the points [N, P, 3] (in [−½, ½]³) nearest to each center: [C], with sum one.

    Points that are not finite are left out.
    """
    centers = cell_centers(grid)
    pooled = points.reshape(-1, 3).double()
    pooled = pooled[torch.isfinite(pooled).all(1)]
    # Rounding gives the nearest center of the whole cube; a search is needed only if that lies outside the ball.
    step = 1 / (grid - 1)

    def cube_index(positions: Tensor) -> Tensor:
        cell = ((positions + 0.5) / step).round().clamp(0, grid - 1).long()
        return (cell[:, 0] * grid + cell[:, 1]) * grid + cell[:, 2]

    in_ball = torch.full((grid**3,), -1)
    in_ball[cube_index(centers)] = torch.arange(len(centers))
    nearest = in_ball[cube_index(pooled)]
    outside = nearest < 0
    if bool(outside.any()):
        nearest[outside] = torch.from_numpy(cKDTree(centers.numpy()).query(pooled[outside].numpy())[1])
    counts = torch.bincount(nearest, minlength=len(centers)).double()
    return counts / counts.sum().clamp_min(1)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """Jensen-Shannon divergence in bits of two histograms [C] with sum one; in [0, 1], zero for equal histograms."""
    middle = (p + q) / 2

    def divergence(a: Tensor) -> Tensor:
        seen = a > 0
        return (a[seen] * (a[seen] / middle[seen]).log2()).sum()

    return float((divergence(p) + divergence(q)) / 2)


def f_score(references: Tensor, generated: Tensor, threshold: float) -> Tensor:
    """F-score [B] of pairs of point clouds [B, P, 3] and [B, Q, 3], the harmonic mean of precision and recall.

    Precision is the share of generated points within `threshold` of a reference point; recall is the share of
    reference points within it of a generated point (Tatarchenko et al. 2019). In [0, 1], higher is better.
    """
    to_generated, to_reference = chamfer(references, generated)
    recall = (to_generated <= threshold**2).double().mean(1)
    precision = (to_reference <= threshold**2).double().mean(1)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-12)


def common_cube(references: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets after the transform that fits the box of all references [R, P, 3] into [−½, ½]³ by its longest side.

    Generated points outside the cube count in the nearest cell of its border.
    """
    every = references.reshape(-1, 3)
    every = every[torch.isfinite(every).all(1)]
    low, high = every.amin(0), every.amax(0)
    side = (high - low).max().clamp_min(1e-12)
    return (references - (low + high) / 2) / side, (generated - (low + high) / 2) / side
