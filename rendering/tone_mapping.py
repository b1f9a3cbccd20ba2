"""From linear radiance to sRGB values: the only place where the range of light is compressed to that of a display."""

from typing import Literal

import torch
from torch import Tensor

from rendering.color import linear_to_srgb

# "clip" cuts at 1. "soft" keeps colors up to 0.7. "neutral" is that of glTF viewers.
ToneCurve = Literal["clip", "soft", "neutral"]


def display_colors(linear: Tensor, curve: ToneCurve = "soft", exposure: float = 1.0) -> Tensor:
    """sRGB values in [0, 1] of linear radiance [..., 3], multiplied by the exposure first."""
    return linear_to_srgb(tone_mapped(linear * exposure, curve))


def tone_mapped(linear: Tensor, curve: ToneCurve) -> Tensor:
    """Linear values of a display, in [0, 1] unless cut, of linear radiance [..., 3]."""
    if curve == "soft":
        return soft_highlights(linear)
    return khronos_neutral(linear) if curve == "neutral" else linear.clamp(max=1)


def soft_highlights(linear: Tensor) -> Tensor:
    """Compress linear light above 0.7 smoothly into [0.7, 1), so that white surfaces keep their form."""
    knee = 0.7
    over = (linear - knee).clamp(min=0) / (1 - knee)
    return torch.where(linear > knee, 1 - (1 - knee) * torch.exp(-over), linear)


def khronos_neutral(linear: Tensor) -> Tensor:
    """The Khronos PBR Neutral Tone Mapper (2024), which keeps base colors under gray light; [..., 3]."""
    start, desaturation = 0.8 - 0.04, 0.15
    low = linear.amin(-1, keepdim=True)
    linear = linear - torch.where(low < 0.08, low - 6.25 * low.square(), torch.full_like(low, 0.04))
    peak = linear.amax(-1, keepdim=True)
    room = 1 - start
    new_peak = 1 - room * room / (peak + room - start)
    compressed = linear * (new_peak / peak.clamp(min=1e-6))
    share = 1 - 1 / (desaturation * (peak - new_peak) + 1)
    return torch.where(peak < start, linear, compressed + (new_peak - compressed) * share)
