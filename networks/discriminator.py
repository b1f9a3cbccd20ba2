"""Discriminators conditioned on the camera, of residual or strided blocks: one for RGB, one for the mask."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.schema import Config
from networks.layers import Conv2d, EqualizedLinear, at_least_fp32, channels_at, compute_dtype, minibatch_stddev
from networks.mapping import Mapping
from rendering.camera import Cameras

# The discriminators by name, with the channels of the images that each sees.
DISCRIMINATOR_CHANNELS = {"rgb": 3, "mask": 1}
CAMERA_NUMBERS = 4
FINAL_RESOLUTION = 4


def camera_condition(cameras: Cameras) -> Tensor:
    """(sin a, cos a, sin e, cos e) of azimuth and elevation: [N, 4], fp32."""
    azimuth, elevation = cameras.azimuth_rad(), cameras.elevation_rad()
    return torch.stack([azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()], 1).float()


class ResidualBlock(nn.Module):
    """Two convolutions, the second of which halves the image, plus a linear 1 × 1 skip; the sum keeps the variance."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = Conv2d(in_channels, in_channels, 3)
        self.second = Conv2d(in_channels, out_channels, 3, down=2)
        self.skip = Conv2d(in_channels, out_channels, 1, "linear", down=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H / 2, W / 2]."""
        skip = self.skip(x, gain=math.sqrt(0.5))
        return skip + self.second(self.first(x), gain=math.sqrt(0.5))


class StridedBlock(nn.Module):
    """One 4 × 4 convolution that halves the image without a low-pass filter, which would remove fine detail."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = Conv2d(in_channels, out_channels, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H / 2, W / 2]."""
        return self.convolution(x)


class Discriminator(nn.Module):
    """Logits [B] of images [B, C, H, W], RGB in [−1, 1] (3 channels) or masks in [0, 1] (1 channel).

    A mapping network turns the camera (and the class label) into a direction, onto which the last features are
    projected. Every operation between image and logits is twice differentiable, because R1 needs second derivatives.
    """

    def __init__(self, config: Config, channels: int = 3) -> None:
        super().__init__()
        options = config.discriminator
        self.channels = channels
        self.classes = config.classes
        self.resolution = config.data.resolution
        self.precision: str = config.training.precision
        self.stddev_group = options.stddev_group
        self.divisor = options.mask_downsample if channels == 1 else 1
        base = options.mask_channel_base if channels == 1 else options.channel_base
        size = self.resolution // self.divisor
        stride = options.from_rgb_stride

        def width(resolution: int) -> int:
            return channels_at(resolution, base, options.channel_max)

        # StyleGAN's from_rgb. The parameter name stays `entry`, under which saved discriminators hold it.
        self.entry = Conv2d(channels, width(size // stride), 1 if stride == 1 else 4, stride=stride)
        size //= stride
        block = {"residual": ResidualBlock, "strided": StridedBlock}[options.block]
        blocks: list[nn.Module] = []
        while size > FINAL_RESOLUTION:
            blocks.append(block(width(size), width(size // 2)))
            size //= 2
        self.blocks = nn.Sequential(*blocks)
        final = width(FINAL_RESOLUTION)
        self.convolution = Conv2d(final + 1, final, 3)
        self.fully_connected = EqualizedLinear(final * FINAL_RESOLUTION**2, final, "lrelu")
        numbers = (CAMERA_NUMBERS if options.conditioning else 0) + config.classes
        self.conditioning = options.conditioning
        self.output = EqualizedLinear(final, final if numbers else 1)
        self.mapping = (
            Mapping(0, final, options.mapping_layers, config.mapping.lr_multiplier, numbers) if numbers else None
        )

    def forward(self, image: Tensor, cameras: Cameras, labels: Tensor | None = None) -> Tensor:
        """Logits [B], fp32; labels [B] int64 where the network has classes. ValueError for another resolution."""
        expected = (self.channels, self.resolution, self.resolution)
        if image.dim() != 4 or tuple(image.shape[1:]) != expected:
            raise ValueError(f"Discriminator(): expected images [B, {expected}], got {tuple(image.shape)}")
        if self.divisor > 1:
            image = functional.avg_pool2d(image, self.divisor)
        # The background, most of every image, must enter as zero: −1 would outweigh what differs between images.
        image = image + 1 if self.channels == 3 else image * 2
        dtype = compute_dtype(self.precision, image.device)
        x = image.to(dtype).contiguous(memory_format=torch.channels_last)
        x = self.blocks(self.entry(x))
        x = minibatch_stddev(at_least_fp32(x), self.stddev_group)
        x = self.fully_connected(self.convolution(x).flatten(1))
        logits = self.output(x)
        if self.mapping is None:
            return logits.squeeze(1)
        direction = self.mapping(None, self._condition(cameras, labels))
        return (logits * direction).sum(1) / math.sqrt(logits.shape[1])

    def _condition(self, cameras: Cameras, labels: Tensor | None) -> Tensor:
        parts = [camera_condition(cameras)] if self.conditioning else []
        if self.classes:
            if labels is None:
                raise ValueError(f"Discriminator(): expected labels of {self.classes} classes, got none")
            parts.append(functional.one_hot(labels, self.classes).float())
        return torch.cat(parts, 1)
