"""Point clouds in the units of a protocol."""

import torch
from torch import Tensor

from metrics.protocols import Normalization


def normalize_point_clouds(points: Tensor, how: Normalization, references: Tensor | None = None) -> Tensor:
    """Point clouds [N, P, 3] in the protocol's units.

    none: unchanged. longest_side: each divided by the longest side of its own box, not centered (GET3D).
    unit_box: each centered on its box and divided by the longest side (LION's box × 0.5).
    reference_mean_std: minus the mean of all points of `references` [R, P, 3], divided by one scalar
    standard deviation (PointFlow). A point cloud without extent keeps none.
    """
    if how == "none":
        return points
    if how == "reference_mean_std":
        if references is None:
            raise ValueError("normalize_point_clouds(): expected references for reference_mean_std, got none")
        # As PointFlow computes it: the standard deviation of all coordinates about one scalar mean.
        mean, std = references.reshape(-1, 3).mean(0), references.double().std(correction=0)
        return (points - mean) / std.clamp_min(1e-12).to(points.dtype)
    low, high = points.amin(dim=1, keepdim=True), points.amax(dim=1, keepdim=True)
    side = (high - low).amax(dim=2, keepdim=True).clamp_min(torch.finfo(points.dtype).tiny)
    if how == "longest_side":
        return points / side
    return (points - (low + high) / 2) / side
