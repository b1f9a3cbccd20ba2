"""Losses on the SDF of a tetrahedral grid."""

import torch.nn.functional as F
from torch import Tensor


def sdf_sign_loss(sdf_a: Tensor, sdf_b: Tensor) -> Tensor:
    """Cross-entropy of σ(s) at each end of the crossing edges with the sign of the other end: removes floaters.

    sdf_a, sdf_b [K]: SDF at the two ends of every crossing edge, K ≥ 0. Mean over edges, both directions summed; 0 for
    none. (Shen et al. 2021; GET3D, eq. 7.)
    """
    count = max(sdf_a.shape[0], 1)
    loss = F.binary_cross_entropy_with_logits(sdf_a, (sdf_b >= 0).to(sdf_a.dtype), reduction="sum")
    loss = loss + F.binary_cross_entropy_with_logits(sdf_b, (sdf_a >= 0).to(sdf_b.dtype), reduction="sum")
    return loss / count


def repair_loss(sdf_active: Tensor, values: Tensor, replaced: Tensor) -> Tensor:
    """Mean |s − value| over the vertices whose SDF was replaced (repaired or sealed), in world units; 0 for none.

    sdf_active [ΣA]: what the network says, with gradient. values, replaced [ΣA]: of `extraction.FoundSurface`.
    It leads an empty sample, or a surface that leaves the box, back without a surface gradient.
    """
    weight = replaced.to(sdf_active.dtype)
    return ((sdf_active - values).abs() * weight).sum() / weight.sum().clamp(min=1)
