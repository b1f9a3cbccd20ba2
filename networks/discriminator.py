"""Discriminators conditioned on the camera: one for RGB and one for the mask, or a single one for both."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.schema import Config
from networks.layers import Conv2d, EqualizedLinear, at_least_fp32, channels_at, compute_dtype, minibatch_stddev
from networks.mapping import Mapping
from networks.outline_discriminator import OutlineDiscriminator
from rendering.camera import Cameras

# All discriminators by name, with the channels of the images that each sees.
DISCRIMINATOR_CHANNELS = {"rgb": 3, "mask": 1, "rgba": 4, "outline": 1}
CAMERA_NUMBERS = 4
CROP_NUMBERS = 3
FINAL_RESOLUTION = 4
# Of the bottleneck block: blocks per resolution, the factor of its inner width, and channels per group.
BOTTLENECKS, EXPANSION, GROUP_WIDTH = 2, 2, 16


def discriminator_names(config: Config) -> tuple[str, ...]:
    """Names of the discriminators that a configuration has, keys of DISCRIMINATOR_CHANNELS."""
    names = ("rgba",) if config.discriminator.single else ("rgb", "mask")
    return (*names, "outline") if config.loss.outline_weight > 0 else names


def build_discriminator(config: Config, name: str) -> "ImageDiscriminator":
    """A new discriminator of a name among `discriminator_names`."""
    if name == "outline":
        return OutlineDiscriminator(config.training.precision, config.discriminator.stddev_group)
    return Discriminator(config, DISCRIMINATOR_CHANNELS[name])


def discriminator_input(name: str, rgb: Tensor, mask: Tensor) -> Tensor:
    """What the discriminator of a name sees of rgb [B, 3, H, W] and mask [B, 1, H, W]."""
    return {"rgb": rgb, "mask": mask, "outline": mask}[name] if name != "rgba" else torch.cat([rgb, mask], 1)


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


class Bottleneck(nn.Module):
    """An inverted bottleneck: 1 × 1 to more channels, a grouped 3 × 3 convolution, linear 1 × 1 back; added to x.

    The sum keeps the variance, as in the residual block. Source: Huang et al. 2024 (R3GAN), whose branch begins at
    zero instead.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = EXPANSION * channels
        groups = inner // GROUP_WIDTH if inner % GROUP_WIDTH == 0 else 1
        self.expand = Conv2d(channels, inner, 1)
        self.grouped = Conv2d(inner, inner, 3, groups=groups)
        self.project = Conv2d(inner, channels, 1, "linear", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] → [B, C, H, W]."""
        branch = self.project(self.grouped(self.expand(x)), gain=math.sqrt(0.5))
        return x * math.sqrt(0.5) + branch


class BottleneckBlock(nn.Module):
    """Two inverted bottlenecks, then a linear 1 × 1 convolution that halves the image."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.bottlenecks = nn.Sequential(*(Bottleneck(in_channels) for _ in range(BOTTLENECKS)))
        self.down = Conv2d(in_channels, out_channels, 1, "linear", down=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H / 2, W / 2]."""
        return self.down(self.bottlenecks(x))


BLOCKS = {"residual": ResidualBlock, "strided": StridedBlock, "bottleneck": BottleneckBlock}


class Discriminator(nn.Module):
    """Logits [B] of images [B, C, H, W]: RGB in [−1, 1] (3 channels), masks in [0, 1] (1 channel), or both (4).

    A mapping network turns the camera (and the class label, and the place of a crop) into a direction, onto which the
    last features are projected. Every operation between image and logits is twice differentiable, because R1 needs
    second derivatives. Source of the projection: Miyato and Koyama 2018.
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
        block = BLOCKS[options.block]
        blocks: list[nn.Module] = []
        while size > FINAL_RESOLUTION:
            blocks.append(block(width(size), width(size // 2)))
            size //= 2
        self.blocks = nn.Sequential(*blocks)
        final = width(FINAL_RESOLUTION)
        self.convolution = Conv2d(final + 1, final, 3)
        self.fully_connected = EqualizedLinear(final * FINAL_RESOLUTION**2, final, "lrelu")
        self.conditioning, self.crop_conditioning = options.conditioning, options.crop_conditioning
        numbers = config.classes
        numbers += CAMERA_NUMBERS * self.conditioning + CROP_NUMBERS * self.crop_conditioning
        self.output = EqualizedLinear(final, final if numbers else 1)
        self.mapping = (
            Mapping(0, final, options.mapping_layers, config.mapping.lr_multiplier, numbers) if numbers else None
        )

    def forward(
        self, image: Tensor, cameras: Cameras, labels: Tensor | None = None, crops: Tensor | None = None
    ) -> Tensor:
        """Logits [B], fp32; labels [B] int64 where the network has classes. ValueError for another resolution.

        crops [B, 3], with `crop_conditioning`: the logarithm to base 2 of the side of the part that each image shows,
        relative to the whole, and its center in NDC (x right, y down). None: whole images.
        """
        expected = (self.channels, self.resolution, self.resolution)
        if image.dim() != 4 or tuple(image.shape[1:]) != expected:
            raise ValueError(f"Discriminator(): expected images [B, {expected}], got {tuple(image.shape)}")
        if self.divisor > 1:
            image = functional.avg_pool2d(image, self.divisor)
        # The background, most of every image, must enter as zero: −1 would outweigh what differs between images.
        if self.channels == DISCRIMINATOR_CHANNELS["rgba"]:
            image = torch.cat([image[:, :3] + 1, image[:, 3:] * 2], 1)
        else:
            image = image + 1 if self.channels == 3 else image * 2
        dtype = compute_dtype(self.precision, image.device)
        x = image.to(dtype).contiguous(memory_format=torch.channels_last)
        x = self.blocks(self.entry(x))
        x = minibatch_stddev(at_least_fp32(x), self.stddev_group)
        x = self.fully_connected(self.convolution(x).flatten(1))
        logits = self.output(x)
        if self.mapping is None:
            return logits.squeeze(1)
        direction = self.mapping(None, self._condition(len(image), cameras, labels, crops))
        return (logits * direction).sum(1) / math.sqrt(logits.shape[1])

    def _condition(self, count: int, cameras: Cameras, labels: Tensor | None, crops: Tensor | None) -> Tensor:
        parts = [camera_condition(cameras)] if self.conditioning else []
        if self.crop_conditioning:
            whole = self.output.weight.new_zeros(count, CROP_NUMBERS)
            parts.append(whole if crops is None else crops)
        if self.classes:
            if labels is None:
                raise ValueError(f"Discriminator(): expected labels of {self.classes} classes, got none")
            parts.append(functional.one_hot(labels, self.classes).float())
        return torch.cat(parts, 1)


# What `build_discriminator` makes. All are called with images, cameras and labels.
ImageDiscriminator = Discriminator | OutlineDiscriminator
