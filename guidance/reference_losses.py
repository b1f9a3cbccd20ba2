"""Losses of one rendered view against a reference image with its mask, depth and normals."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_color_loss(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of colors inside the mask. images, reference [B, 3, H, W], mask [B, 1, H, W]."""
    return ((images - reference).square() * mask).sum() / (3 * mask.sum()).clamp_min(1)


def depth_correlation_loss(depth: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """−cov(d, d̂) / (σ(d) σ(d̂)) over the mask, in [−1, 1]: a reference depth of unknown scale and shift will do.

    depth, reference, mask [B, 1, H, W]; the mean over images. Source: Sun et al. 2024 (DreamCraft3D).
    """
    weight = mask / mask.flatten(1).sum(1).clamp_min(1)[:, None, None, None]
    first, second = (value - (value * weight).sum((1, 2, 3), keepdim=True) for value in (depth, reference))
    covariance = (first * second * weight).sum((1, 2, 3))
    variances = ((value.square() * weight).sum((1, 2, 3)) for value in (first, second))
    product = torch.ones_like(covariance)
    for variance in variances:
        product = product * variance
    return -(covariance / product.clamp_min(1e-12).sqrt()).mean()


def normal_cosine_loss(normals: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """1 − cosine between normals inside the mask. normals, reference [B, 3, H, W], mask [B, 1, H, W]."""
    cosine = F.cosine_similarity(normals, reference, dim=1)[:, None]
    return ((1 - cosine) * mask).sum() / mask.sum().clamp_min(1)
