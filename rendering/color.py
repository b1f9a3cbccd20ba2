"""sRGB values and linear light: the only place where tensors are converted from one to the other.

Images hold sRGB values. Antialiasing, averaging and compositing act on those, on both sides of the discriminator.
Light is added up, and textures are filtered, in linear light.
"""

import math

import torch
from torch import Tensor


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """Linear values of sRGB ones in [0, 1], any shape (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """sRGB values of linear ones, any shape; clipped to [0, 1]."""
    linear = linear.clamp(0, 1)
    # The clamp under the root keeps its gradient finite where the other branch is taken.
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def straight_alpha(rgb: Tensor, mask: Tensor) -> Tensor:
    """Premultiplied sRGB [N, 3, H, W] and coverage [N, 1, H, W], both in [0, 1], as straight-alpha images.

    Returns uint8 [N, H, W, 4]; colors are 0 where alpha is.
    """
    alpha = (mask.clamp(0, 1) * 255).round()
    color = (rgb / mask.clamp(min=1e-6)).clamp(0, 1) * 255
    color = torch.where(alpha > 0, color.round(), torch.zeros_like(color))
    return torch.cat([color, alpha], 1).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def psnr_db(mean_square: Tensor | float) -> float:
    """Peak signal-to-noise ratio of images in [0, 1] from the mean of their squared differences; at most 120 dB."""
    return -10 * math.log10(max(float(mean_square), 1e-12))


def linear_table(device: torch.device | str = "cpu") -> Tensor:
    """Linear values [256] of the 8-bit sRGB values."""
    return srgb_to_linear(torch.arange(256, dtype=torch.float32, device=device) / 255)
