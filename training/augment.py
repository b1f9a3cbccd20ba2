"""Augmentation of the discriminators' inputs, real and generated, for small datasets.

Each transformation is applied with a probability. The colors and the mask of an image are transformed alike. Color
transformations change the object only: the background stays black. There are no flips, which would contradict the
camera that the discriminators are conditioned on. Differentiable once with respect to the images.

Source: Karras et al. 2020 (StyleGAN2-ADA), also for the adaptive probability.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.schema import AugmentConfig
from torch_utils import seeding

_UNIFORMS = 14  # random numbers per image
_SCALE_OCTAVES = 0.25  # isotropic scale in 2^±0.25
_ROTATION_RAD = math.pi / 12
_SHIFT = 0.125  # of the image's side
_BRIGHTNESS = 0.2
_CONTRAST_OCTAVES = 0.5
_SATURATION_OCTAVES = 1.0
_ADA_KIMG = 100.0  # kimg in which the probability can go from 0 to 1
_SIGN_WEIGHT = 0.2  # weight of the newest minibatch in the running mean of signs


def augmentation_uniforms(seed: int, indices: Sequence[int], stream: str) -> Tensor:
    """Random numbers in [0, 1) that determine the augmentation of each image [B, 14], from (seed, index, stream)."""
    return seeding.uniform(seed, indices, f"augment/{stream}", _UNIFORMS)


def augment(rgb: Tensor, mask: Tensor, uniforms: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Transformed copies of images and masks.

    rgb [B, 3, H, W] in [−1, 1] over black; mask [B, 1, H, W] in [0, 1]; uniforms [B, 14] from
    `augmentation_uniforms`; probability: of each transformation, [] on the images' device.
    """
    on = (uniforms[:, :6] < probability).to(rgb.dtype)  # scale, rotation, shift, brightness, contrast, saturation
    signed = uniforms[:, 6:13] * 2 - 1
    image = torch.cat([_recolor((rgb + 1) / 2, mask, on[:, 3:], signed[:, 4:]), mask], 1)
    image = _move(image, on[:, :3], signed[:, :4])
    return image[:, :3] * 2 - 1, image[:, 3:]


def _recolor(color: Tensor, mask: Tensor, on: Tensor, signed: Tensor) -> Tensor:
    """Change brightness, contrast (about mid-gray) and saturation (about the gray of the same brightness).

    color [B, 3, H, W] in [0, 1], premultiplied by the mask, so an offset is scaled by the mask as well.
    """
    brightness, contrast, saturation = (on * signed)[:, :, None, None, None].unbind(1)
    contrast = torch.exp2(contrast * _CONTRAST_OCTAVES)
    gray = color.mean(1, keepdim=True)
    color = gray + (color - gray) * torch.exp2(saturation * _SATURATION_OCTAVES)
    offset = brightness * _BRIGHTNESS + (1 - contrast) * 0.5
    return (color * contrast + offset * mask).clamp(0, 1)


def _move(image: Tensor, on: Tensor, signed: Tensor) -> Tensor:
    """Scale (isotropic), rotate and shift [B, 4, H, W], with zeros outside. The identity changes no pixel."""
    scale = torch.exp2(on[:, 0] * signed[:, 0] * _SCALE_OCTAVES)
    angle = on[:, 1] * signed[:, 1] * _ROTATION_RAD
    shift = on[:, 2:3] * signed[:, 2:4] * (2 * _SHIFT)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Adaptation(nn.Module):
    """The probability of each transformation and, in mode ada, the running mean that controls it. Part of the state."""

    probability: Tensor
    mean_sign: Tensor

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        self.mode = config.mode
        self.target = config.ada_target
        self.register_buffer("probability", torch.tensor(config.probability))
        self.register_buffer("mean_sign", torch.zeros(()))

    @torch.no_grad()
    def adapt(self, mean_sign: Tensor, images: int) -> None:
        """Move the probability by a fixed step, up if the mean of sign(D(real)) exceeds the target and down otherwise.

        mean_sign []: over the global minibatch of `images` images. No host synchronization.
        Source: Karras et al. 2020, §3.2.
        """
        self.mean_sign.lerp_(mean_sign.to(self.mean_sign.dtype), _SIGN_WEIGHT)
        step = images / (_ADA_KIMG * 1000)
        self.probability.add_(torch.sign(self.mean_sign - self.target) * step).clamp_(0, 1)
