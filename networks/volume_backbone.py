"""GET3D's first generator: feature volumes of its own for the geometry, planes of its own for the texture.

Two 3D networks, for the signed distance and for the deformation, take w_geo. The texture network takes w_tex together
with w_geo, detached, so nothing of the texture reaches the geometry.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.generator_schema import BackboneConfig, GeometryConfig
from networks.backbone import START_RESOLUTION, join_planes, resolutions, split_planes
from networks.layers import EqualizedLinear, ModulatedConv, ModulatedPlaneHead, channels_at, resample_filter
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.modulated_conv2d import demodulation


class ModulatedConv3d(nn.Module):
    """3D convolution whose weights a style modulates: x [B, C_in, D, H, W], w [B, w_dim] → [B, C_out, D, H, W].

    As `layers.ModulatedConv`: style, convolution, demodulation, bias and leaky ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, kernel: int = 3) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, initial_bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**3)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, C_in, D, H, W], w [B, w_dim] → [B, C_out, D, H, W] in x's type."""
        styles, weight = self.affine(w), self.weight * self.weight_gain
        x = bias_act(x, scale=styles, activation="linear")
        x = conv3d(x, weight.to(x.dtype))
        return bias_act(x, self.bias, scale=demodulation(weight, styles), activation="lrelu")


# PyTorch's bound on C_in·D·H of one sample, up to which its CPU convolution takes an unblocked path, and the depth from
# which convolving slice by slice is faster than that: with 16 channels at 32³ six times.
UNBLOCKED_SIZE, SLICED_DEPTH = 20480, 8


def conv3d(x: Tensor, weight: Tensor) -> Tensor:
    """3D convolution of x [B, C_in, D, H, W] with weight [C_out, C_in, K, K, K], K odd, to the same size."""
    unblocked = x.device.type == "cpu" and len(x) == 1 and math.prod(x.shape[1:4]) <= UNBLOCKED_SIZE
    if not unblocked or x.shape[2] < SLICED_DEPTH:
        return functional.conv3d(x, weight, padding=weight.shape[-1] // 2)
    depth, around = x.shape[2], weight.shape[-1] // 2
    slices = functional.pad(x, (0, 0, 0, 0, around, around))[0].transpose(0, 1)
    parts = (functional.conv2d(slices[k : k + depth], part, padding=around) for k, part in enumerate(weight.unbind(2)))
    return reduce(torch.add, parts).transpose(0, 1)[None]


class Shortcut3d(nn.Module):
    """Linear map of the channels at every voxel: [B, C_in, D, H, W] → [B, C_out, D, H, W], in x's type."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.conv3d(x, (self.weight * self.weight_gain).to(x.dtype))


class VolumeBlock(nn.Module):
    """One resolution: trilinear upsampling (except at the lowest), two modulated convolutions, and a shortcut."""

    num_ws = 2

    def __init__(self, in_channels: int, channels: int, w_dim: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.first = ModulatedConv3d(in_channels, channels, w_dim)
        self.second = ModulatedConv3d(channels, channels, w_dim)
        self.shortcut = Shortcut3d(in_channels, channels) if in_channels != channels else None

    def forward(self, x: Tensor, slots: Sequence[Tensor]) -> Tensor:
        """Features of this resolution; slots: two styles [B, w_dim]."""
        # The shortcut commutes with the upsampling, and costs an eighth before it.
        shortcut = x if self.shortcut is None else self.shortcut(x)
        if self.up:
            x, shortcut = (functional.interpolate(each, scale_factor=2, mode="trilinear") for each in (x, shortcut))
        x = self.second(self.first(x, slots[0]), slots[1])
        return (x + shortcut) * math.sqrt(0.5)


class VolumeTrunk(nn.Module):
    """w [B, num_ws, w_dim] → a feature volume [B, C, R, R, R] from a learned constant of side 4."""

    def __init__(self, config: GeometryConfig, w_dim: int) -> None:
        super().__init__()
        sizes = resolutions(config.volume_resolution)
        widths = [channels_at(size, config.volume_channel_base, config.volume_channel_max) for size in sizes]
        self.constant = nn.Parameter(torch.randn(widths[0], *[START_RESOLUTION] * 3))
        self.blocks = nn.ModuleList(
            VolumeBlock(below, width, w_dim, up=k > 0)
            for k, (below, width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.channels = widths[-1]
        self.num_ws = VolumeBlock.num_ws * len(widths)

    def forward(self, w: Tensor, dtype: torch.dtype) -> Tensor:
        """dtype: of the convolutions and the result."""
        x = self.constant.to(dtype)[None].expand(w.shape[0], -1, -1, -1, -1)
        styles = w.unbind(1)
        for k, block in enumerate(self.blocks):
            x = block(x, styles[VolumeBlock.num_ws * k :])
        return x


class PlaneBlock(nn.Module):
    """One resolution of the texture network: modulated convolutions, two with upsampling or else one, and a head."""

    def __init__(self, in_channels: int, channels: int, head_channels: int, w_dim: int, up: bool) -> None:
        super().__init__()
        self.upsampling = ModulatedConv(in_channels, channels, w_dim, up=2) if up else None
        self.convolution = ModulatedConv(channels, channels, w_dim)
        self.to_planes = ModulatedPlaneHead(channels, head_channels, w_dim)
        self.num_ws = 3 if up else 2

    def forward(self, x: Tensor, slots: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Features and planes of this resolution; slots: `num_ws` styles [B, w_dim]."""
        if self.upsampling is not None:
            x = self.upsampling(x, slots[0])
        x = self.convolution(x, slots[-2])
        return x, self.to_planes(x, slots[-1])


class TexturePlanes(nn.Module):
    """Styles w [B, num_ws, 2 · w_dim] of texture and shape together → texture planes [B, 3, R, R, C], fp32."""

    filter: Tensor

    def __init__(self, config: BackboneConfig, w_dim: int) -> None:
        super().__init__()
        self.plane_channels = config.plane_channels
        widths = [
            channels_at(size, config.channel_base, config.channel_max) for size in resolutions(config.plane_resolution)
        ]
        self.constant = nn.Parameter(torch.randn(widths[0], START_RESOLUTION, START_RESOLUTION))
        blocks = [
            PlaneBlock(below, width, 3 * config.plane_channels, 2 * w_dim, up=k > 0)
            for k, (below, width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        ]
        self.blocks = nn.ModuleList(blocks)
        self.slots_of_blocks = [block.num_ws for block in blocks]
        self.num_ws = sum(self.slots_of_blocks)
        self.register_buffer("filter", resample_filter(), persistent=False)

    def forward(self, w: Tensor, dtype: torch.dtype) -> Tensor:
        """dtype: of the convolutions; the planes are summed in fp32."""
        x = self.constant.to(dtype)[None].expand(w.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        styles, planes = w.unbind(1), None
        for block, count in zip(self.blocks, self.slots_of_blocks, strict=True):
            x, added = block(x, styles[:count])
            planes = join_planes(planes, added, self.filter)
            styles = styles[count:]
        assert planes is not None, "there is at least one block"
        return split_planes(planes, self.plane_channels)


class VolumeBackbone(nn.Module):
    """w_geo [B, num_ws_geo, w_dim], w_tex [B, num_ws_tex, w_dim] → feature volumes and texture planes, fp32.

    The volumes [B, 2, C, R, R, R] are those of the signed distance and of the deformation; without deformation, the
    first alone: [B, 1, …]. Slots of w_geo: the two 3D networks; of w_tex: the texture network's layers.
    """

    def __init__(self, config: BackboneConfig, geometry: GeometryConfig, w_dim: int) -> None:
        super().__init__()
        self.sdf = VolumeTrunk(geometry, w_dim)
        self.deformation = VolumeTrunk(geometry, w_dim) if geometry.deformation > 0 else None
        self.texture = TexturePlanes(config, w_dim)
        self.num_ws_geo = self.sdf.num_ws * (1 if self.deformation is None else 2)
        self.num_ws_tex = self.texture.num_ws

    def forward(self, w_geo: Tensor, w_tex: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """dtype: of the convolutions."""
        features = self.features(w_geo, dtype)
        return self.geometry_planes(features, w_geo), self.texture_planes(features, w_tex)

    def features(self, w_geo: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """What the two functions below need: the volumes, and the styles of the shape for the texture network."""
        of_sdf, of_deformation = w_geo[:, : self.sdf.num_ws], w_geo[:, self.sdf.num_ws :]
        volumes = [self.sdf(of_sdf, dtype)]
        if self.deformation is not None:
            volumes.append(self.deformation(of_deformation, dtype))
        return [torch.stack(volumes, 1), w_geo.detach()]

    def geometry_planes(self, features: Sequence[Tensor], w_geo: Tensor) -> Tensor:
        """The feature volumes; named as the tri-plane backbone's, which it stands in for."""
        return features[0].float()

    def texture_planes(self, features: Sequence[Tensor], w_tex: Tensor) -> Tensor:
        """Texture planes [B, 3, R, R, C], fp32. Each layer takes its style of texture and one of shape."""
        w_geo = features[1]
        slots = torch.arange(self.num_ws_tex, device=w_tex.device).clamp(max=w_geo.shape[1] - 1)
        return self.texture(torch.cat([w_tex, w_geo[:, slots]], 2), features[0].dtype)
