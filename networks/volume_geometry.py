"""The volume geometry network: feature volumes and styles → signed distance on a grid → surfaces (GET3D, figure 2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.schema import GeometryConfig
from geometry.cube_grid import CubeGrid
from geometry.extraction import ExtractedSurface
from geometry.flexicubes_extraction import NUM_WEIGHTS
from geometry.tet_grid import TetGrid
from networks.heads import OUTPUT_INIT, PointHead, movement, on_sphere
from networks.surface_extraction import SurfaceField, extract_surface, grid_of
from torch_utils.devices import upload

# sin πp and cos πp for each axis.
NUM_ENCODING = 6


class VolumeGeometry(nn.Module):
    """Surfaces from feature volumes [B, 1 or 2, C, R, R, R] and styles w [B, num_ws, w_dim].

    A point's features are looked up in the volumes of the signed distance and of the deformation (trilinear) and joined
    with sin πp and cos πp, p in [−1, 1] over the box. The heads are those of `TriPlaneGeometry`; `sdf` reads the first
    volume, `deformation` the second, `weights` both, at the eight corners of a cube.
    """

    def __init__(self, config: GeometryConfig, channels: int, w_dim: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        read, moved = channels + NUM_ENCODING, config.deformation > 0
        hidden = [config.hidden] * config.hidden_layers
        given = config.deformation_hidden_layers
        of_movement = [config.hidden] * (config.hidden_layers if given is None else given)
        self.sdf = PointHead([read, *hidden, 1], w_dim, OUTPUT_INIT)
        self.deformation = PointHead([read, *of_movement, 3], w_dim, OUTPUT_INIT) if moved else None
        of_cube = 8 * (read + channels * moved)
        cubes = config.extraction == "flexicubes"
        self.weights = PointHead([of_cube, *hidden, NUM_WEIGHTS], w_dim, OUTPUT_INIT) if cubes else None
        self.num_ws = max(len(hidden), len(of_movement)) + 1

    @property
    def grid(self) -> TetGrid | CubeGrid:
        """The grid that the SDF is evaluated on, on the network's device."""
        return grid_of(self.config, self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.parameters()).device

    def forward(self, volumes: Tensor, w: Tensor) -> ExtractedSurface:
        """The surfaces of a batch, differentiable in the volumes and the styles (`surface_extraction`)."""
        return extract_surface(self.field(volumes, w), self.config, self.device, training=self.training)

    def field(self, volumes: Tensor, w: Tensor) -> SurfaceField:
        """The SDF and the other heads as functions of points."""
        return _Field(self, volumes, w)

    @torch.no_grad()
    def sdf_grid(self, volumes: Tensor, w: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V], world units, without gradient."""
        return self.field(volumes, w).sdf_grid(self.grid)


class _Field:
    """The network with the volumes and styles of a batch, as `surface_extraction.SurfaceField`."""

    def __init__(self, network: VolumeGeometry, volumes: Tensor, w: Tensor) -> None:
        self.network, self.volumes, self.w = network, volumes, w

    @torch.no_grad()
    def sdf_grid(self, grid: TetGrid | CubeGrid) -> Tensor:
        points, config = grid.positions, self.network.config
        at = points * (2 / config.box)
        looked_up = volume_grid_sample(self.volumes[:, 0], at)
        features = torch.cat([looked_up, encoding(at).expand(len(looked_up), -1, -1)], 2)
        values, offsets = [], torch.arange(2) * len(points)
        for each, w in zip(features, self.w.split(1), strict=True):  # a sample at a time bounds the memory
            values.append(self.network.sdf(each, w, offsets)[:, 0])
        output = torch.stack(values) if values else features.new_zeros(0, len(points))
        return on_sphere(points, output, config)

    def features(self, points: Tensor, offsets: Tensor) -> Tensor:
        """Of the signed distance [C], the encoding [6], of the deformation [C], in this order."""
        at = points * (2 / self.network.config.box)
        looked_up = [volume_sample(volume, at, offsets) for volume in self.volumes.unbind(1)]
        return torch.cat([looked_up[0], encoding(at), *looked_up[1:]], 1)

    def sdf(self, points: Tensor, features: Tensor, offsets: Tensor) -> Tensor:
        read = features[:, : self.network.channels + NUM_ENCODING]
        return on_sphere(points, self.network.sdf(read, self.w, offsets), self.network.config)

    def movement(self, features: Tensor, offsets: Tensor, cell: float) -> Tensor | None:
        bound, read = self.network.config.deformation * cell, features[:, self.network.channels :]
        return movement(self.network.deformation, read, self.w, offsets, bound)

    def cube_weights(self, features: Tensor, offsets: Tensor) -> Tensor:
        assert self.network.weights is not None, "FlexiCubes has a head for its weights"
        return self.network.weights(features, self.w, offsets)


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
