"""Features of points for the geometry network, from feature volumes (GET3D, figure 2)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geometry.cube_grid import CubeGrid
from geometry.tet_grid import TetGrid
from networks.heads import PointHead
from torch_utils.devices import upload

# sin πp and cos πp for each axis.
NUM_ENCODING = 6


@dataclass(frozen=True)
class VolumeFeatures:
    """`geometry_network.PointFeatures` of volumes [B, 1 or 2, C, R, R, R], of the signed distance and the deformation.

    They are looked up (trilinear), with sin πp and cos πp between them, p in [−1, 1] over the box. channels: C. moved:
    whether there is a volume of the deformation. box: side, world units.
    """

    channels: int
    moved: bool
    box: float

    @property
    def width(self) -> int:
        """All features of a point."""
        return self.sdf_width + self.channels * self.moved

    @property
    def sdf_width(self) -> int:
        """The first volume's features and the encoding."""
        return self.channels + NUM_ENCODING

    @property
    def movement_width(self) -> int:
        """The encoding and the second volume's features."""
        return self.channels + NUM_ENCODING

    def at(self, volumes: Tensor, points: Tensor, offsets: Tensor) -> Tensor:
        """Features [P, width] of packed points: signed distance [C], encoding [6], deformation [C]."""
        at = points * (2 / self.box)
        looked_up = [volume_sample(volume, at, offsets) for volume in volumes.unbind(1)]
        return torch.cat([looked_up[0], encoding(at), *looked_up[1:]], 1)

    def sdf_on_grid(self, volumes: Tensor, head: PointHead, w: Tensor, grid: TetGrid | CubeGrid) -> Tensor:
        """Output of the SDF head at every grid vertex [B, V]."""
        at = grid.positions * (2 / self.box)
        looked_up = volume_grid_sample(volumes[:, 0], at)
        features = torch.cat([looked_up, encoding(at).expand(len(looked_up), -1, -1)], 2)
        values, offsets = [], torch.arange(2) * len(at)
        for each, styles in zip(features, w.split(1), strict=True):  # a sample at a time bounds the memory
            values.append(head(each, styles, offsets)[:, 0])
        return torch.stack(values) if values else features.new_zeros(0, len(at))


def encoding(points: Tensor) -> Tensor:
    """[sin πp, cos πp] [P, 6] of points [P, 3] in [−1, 1]."""
    return torch.cat([torch.sin(math.pi * points), torch.cos(math.pi * points)], -1)


def volume_grid_sample(volumes: Tensor, points: Tensor) -> Tensor:
    """`volume_sample` of the same points [P, 3] in every volume: [B, P, C]."""
    grid = points.to(volumes.dtype)[None, :, None, None].expand(volumes.shape[0], -1, -1, -1, -1)
    sampled = functional.grid_sample(volumes, grid.flip(-1), padding_mode="border", align_corners=False)
    return sampled[..., 0, 0].transpose(1, 2)


def volume_sample(volumes: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
    """Trilinear lookup in volumes [B, C, R, R, R] (x, y, z) at packed points [P, 3] in [−1, 1]: [P, C].

    point_offsets [B + 1] int64, on the CPU. Voxel centers lie at half-integers; outside, the border's values extend.
    Gradient: to the volumes.
    """
    channels, side = volumes.shape[1:3]
    at = ((points + 1) * (side / 2) - 0.5).clamp(0, side - 1)
    low = at.floor().clamp(max=max(side - 2, 0))
    share = at - low
    low = low.long()
    sample = torch.repeat_interleave(upload(point_offsets.diff(), points.device), output_size=len(points))
    # The eight corners: [2, 2, 2, P] along x, y and z.
    x, y, z = torch.stack([low, (low + 1).clamp(max=side - 1)]).unbind(-1)
    rows = (((sample * side + x)[:, None] * side + y)[:, :, None] * side + z).view(8, -1)
    x, y, z = torch.stack([1 - share, share]).unbind(-1)
    weights = ((x[:, None] * y)[:, :, None] * z).view(8, -1)
    table = volumes.permute(0, 2, 3, 4, 1).reshape(-1, channels)
    factors = weights.t().to(table.dtype).contiguous()
    return functional.embedding_bag(rows.t().contiguous(), table, per_sample_weights=factors, mode="sum")
