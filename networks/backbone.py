"""The shared tri-plane backbone: one StyleGAN2 skip synthesis network for geometry and texture.

Convolutions and geometry heads take w_geo, texture heads take w_tex, so the geometry does not depend on w_tex.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from configs.generator_schema import BackboneConfig
from networks.layers import ModulatedConv, ModulatedPlaneHead, channels_at, resample_filter
from torch_utils.ops.triplane_sample import triplane_sample
from torch_utils.ops.upfirdn2d import upfirdn2d

START_RESOLUTION = 4


class BackboneBlock(nn.Module):
    """One resolution: convolutions (the first one upsamples), and a head each for geometry and texture planes.

    Its slots of w_geo are the styles of its convolutions and of its geometry head, in this order.
    """

    def __init__(self, in_channels: int, channels: int, head_channels: int, w_dim: int) -> None:
        super().__init__()
        self.upsampling = ModulatedConv(in_channels, channels, w_dim, up=2) if in_channels else None
        self.convolution = ModulatedConv(channels, channels, w_dim)
        self.to_geometry = ModulatedPlaneHead(channels, head_channels, w_dim)
        self.to_texture = ModulatedPlaneHead(channels, head_channels, w_dim)

    @property
    def num_convolutions(self) -> int:
        """1 at the lowest resolution, else 2."""
        return 1 if self.upsampling is None else 2

    def forward(self, x: Tensor, slots: Sequence[Tensor]) -> Tensor:
        """Features of this resolution."""
        if self.upsampling is not None:
            x = self.upsampling(x, slots[0])
        return self.convolution(x, slots[-2])


class TriPlaneBackbone(nn.Module):
    """w_geo [B, num_ws_geo, w_dim], w_tex [B, num_ws_tex, w_dim] → two tri-planes [B, 3, R, R, C], fp32.

    Slots of w_geo: the convolutions and geometry heads in order of resolution; of w_tex: the texture heads.
    The planes are views of channels-last images [B, R, R, 3·C]; planes are (x, y), (y, z), (x, z).
    symmetric: whether they are the same at x and −x.
    """

    filter: Tensor

    def __init__(self, config: BackboneConfig, w_dim: int, *, symmetric: bool = False) -> None:
        super().__init__()
        self.plane_channels = config.plane_channels
        self.symmetric = symmetric
        sizes = resolutions(config.plane_resolution)
        widths = [channels_at(size, config.channel_base, config.channel_max) for size in sizes]
        self.constant = nn.Parameter(torch.randn(widths[0], START_RESOLUTION, START_RESOLUTION))
        blocks = [
            BackboneBlock(below, width, 3 * config.plane_channels, w_dim)
            for below, width in zip([0, *widths], widths, strict=False)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.slots_of_blocks = [block.num_convolutions + 1 for block in blocks]
        self.num_ws_geo = sum(self.slots_of_blocks)
        self.num_ws_tex = len(blocks)
        self.register_buffer("filter", resample_filter(), persistent=False)

    @torch.no_grad()
    def zero_initialize(self, block: int) -> None:
        """Zero a block's heads, so that it adds nothing to the planes: a larger backbone starts as the smaller one."""
        for head in (self.blocks[block].to_geometry, self.blocks[block].to_texture):
            cast(ModulatedPlaneHead, head).weight.zero_()

    def forward(self, w_geo: Tensor, w_tex: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """dtype: of the convolutions; the planes are summed in fp32."""
        x, styles = self._start(w_geo.shape[0], dtype), w_geo.unbind(1)
        geometry = texture = None
        # Resolution by resolution, not by `features`: gradients then add up in an order that never changes.
        for block, count, w_texture in zip(self._blocks, self.slots_of_blocks, w_tex.unbind(1), strict=True):
            x = block(x, styles[:count])
            add_geometry, add_texture = block.to_geometry(x, styles[count - 1]), block.to_texture(x, w_texture)
            styles = styles[count:]
            geometry = self._join(geometry, add_geometry)
            texture = self._join(texture, add_texture)
        assert geometry is not None and texture is not None, "a backbone has at least one block"
        return self._split(geometry), self._split(texture)

    def features(self, w_geo: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Features of every block [B, C, R', R'], from the lowest resolution up; they depend on w_geo alone."""
        x, styles = self._start(w_geo.shape[0], dtype), w_geo.unbind(1)
        features = []
        for block, count in zip(self.blocks, self.slots_of_blocks, strict=True):
            x = block(x, styles[:count])
            features.append(x)
            styles = styles[count:]
        return features

    def geometry_planes(self, features: Sequence[Tensor], w_geo: Tensor) -> Tensor:
        """Geometry planes [B, 3, R, R, C], fp32, of the features of every block."""
        ends = accumulate(self.slots_of_blocks)
        styles = [w_geo[:, end - 1] for end in ends]
        return self._planes([block.to_geometry for block in self._blocks], features, styles)

    def texture_planes(self, features: Sequence[Tensor], w_tex: Tensor) -> Tensor:
        """Texture planes [B, 3, R, R, C], fp32, of the features of every block."""
        return self._planes([block.to_texture for block in self._blocks], features, w_tex.unbind(1))

    def _start(self, batch: int, dtype: torch.dtype) -> Tensor:
        """The learned constant for every sample [B, C, 4, 4], channels-last."""
        return self.constant.to(dtype)[None].expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)

    @property
    def _blocks(self) -> list[BackboneBlock]:
        return [cast(BackboneBlock, block) for block in self.blocks]

    def _planes(
        self, heads: Sequence[ModulatedPlaneHead], features: Sequence[Tensor], styles: Sequence[Tensor]
    ) -> Tensor:
        """The sum over resolutions of what each head adds to the planes."""
        planes = None
        for head, x, style in zip(heads, features, styles, strict=True):
            planes = self._join(planes, head(x, style))
        assert planes is not None, "a backbone has at least one block"
        return self._split(planes)

    def _join(self, below: Tensor | None, planes: Tensor) -> Tensor:
        return join_planes(below, planes, self.filter)

    def _split(self, planes: Tensor) -> Tensor:
        if self.symmetric:
            planes = mirrored_mean(planes)
        return split_planes(planes, self.plane_channels)


def resolutions(last: int) -> list[int]:
    """The sides of a synthesis network's features: 4, 8, … up to `last`."""
    sizes = [START_RESOLUTION]
    while sizes[-1] < last:
        sizes.append(2 * sizes[-1])
    return sizes


def join_planes(below: Tensor | None, planes: Tensor, taps: Tensor) -> Tensor:
    """The planes so far, upsampled by the filter [T], plus those of this resolution [B, 3·C, R, R]; fp32."""
    if below is None:
        return planes.to(taps.dtype)
    return upfirdn2d(below, taps, up=2, padding=(2, 1, 2, 1), gain=4.0, add=planes)


def mirrored_mean(planes: Tensor) -> Tensor:
    """The mean of planes [B, 3·C, R, R] and what a mirror at x = 0 makes of them; (y, z) has no x and stays."""
    xy, yz, xz = planes.chunk(3, 1)
    return torch.cat([(xy + xy.flip(3)) / 2, yz, (xz + xz.flip(3)) / 2], 1)


def split_planes(planes: Tensor, channels: int) -> Tensor:
    """[B, 3·C, R, R] → [B, 3, R, R, C], without a copy where it is channels-last."""
    batch, _, height, width = planes.shape
    return planes.permute(0, 2, 3, 1).view(batch, height, width, 3, channels).permute(0, 3, 1, 2, 4)


def plane_features(planes: Tensor, points: Tensor, point_offsets: Tensor, box: float) -> Tensor:
    """Features [P, C] of planes [B, 3, R, R, C] at packed points [P, 3].

    points: world units; point_offsets [B + 1], on the CPU. box: side of the cube that the planes span, world units.
    """
    return triplane_sample(planes, points * (2 / box), point_offsets)
