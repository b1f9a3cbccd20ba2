"""Augmentation of what the discriminators see, reals and fakes alike, for small data sets.

Each transformation is applied with a probability; the same draw moves the colors and the mask of an image. Colors are
moved inside the object only: the black background stays black. Differentiable once with respect to the images.
Source of the idea and of the adaptive probability: Karras et al. 2020 (StyleGAN2-ADA). No flips: they would contradict
the camera that the discriminators are told.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.schema import AugmentConfig
from torch_utils import seeding

_UNIFORMS = 14  # numbers that one image's draw takes
_SCALE_OCTAVES = 0.25  # isotropic scale in 2^±0.25
_ROTATION_RAD = math.pi / 12
_SHIFT = 0.125  # of the image's side
_BRIGHTNESS = 0.2
_CONTRAST_OCTAVES = 0.5
_SATURATION_OCTAVES = 1.0
_ADA_KIMG = 100.0  # thousands of images in which the probability can go from 0 to 1
_SIGN_WEIGHT = 0.2  # of the newest minibatch in the running mean of signs


def draw(seed: int, indices: Sequence[int], stream: str) -> Tensor:
    """The numbers in [0, 1) that decide the augmentation of each image [B, 14], from (seed, index, stream)."""
    return seeding.uniform(seed, indices, f"augment/{stream}", _UNIFORMS)


def augment(rgb: Tensor, mask: Tensor, uniforms: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Transformed copies of images and masks.

    rgb [B, 3, H, W] in [−1, 1] over black; mask [B, 1, H, W] in [0, 1]; uniforms [B, 14] of `draw`;
    probability: of each transformation, [] on the images' device.
    """
    on = (uniforms[:, :6] < probability).to(rgb.dtype)  # scale, rotation, shift, brightness, contrast, saturation
    signed = uniforms[:, 6:13] * 2 - 1
    image = torch.cat([_recolor((rgb + 1) / 2, mask, on[:, 3:], signed[:, 4:]), mask], 1)
    image = _move(image, on[:, :3], signed[:, :4])
    return image[:, :3] * 2 - 1, image[:, 3:]


def _recolor(color: Tensor, mask: Tensor, on: Tensor, signed: Tensor) -> Tensor:
    """Brightness, contrast about mid-gray, saturation about the gray of the same brightness.

    color [B, 3, H, W] in [0, 1], premultiplied by the mask, so an offset counts in proportion to the mask.
    """
    brightness, contrast, saturation = (on * signed)[:, :, None, None, None].unbind(1)
    contrast = torch.exp2(contrast * _CONTRAST_OCTAVES)
    gray = color.mean(1, keepdim=True)
    color = gray + (color - gray) * torch.exp2(saturation * _SATURATION_OCTAVES)
    offset = brightness * _BRIGHTNESS + (1 - contrast) * 0.5
    return (color * contrast + offset * mask).clamp(0, 1)


def _move(image: Tensor, on: Tensor, signed: Tensor) -> Tensor:
    """Isotropic scale, rotation and shift of [B, 4, H, W], zeros outside; the identity leaves every pixel as it is."""
    scale = torch.exp2(on[:, 0] * signed[:, 0] * _SCALE_OCTAVES)
    angle = on[:, 1] * signed[:, 1] * _ROTATION_RAD
    shift = on[:, 2:3] * signed[:, 2:4] * (2 * _SHIFT)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Adaptation(nn.Module):
    """The probability of each augmentation and, in mode ada, the running figure that moves it; saved with the state."""

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
        """Move the probability, without a host sync, towards where the mean of sign(D(real)) meets the target.

        mean_sign []: over the global minibatch of `images`. Source: Karras et al. 2020, §3.2: a fixed step up or down.
        """
        self.mean_sign.lerp_(mean_sign, _SIGN_WEIGHT)
        step = images / (_ADA_KIMG * 1000)
        self.probability.add_(torch.sign(self.mean_sign - self.target) * step).clamp_(0, 1)
