"""Features of points for the geometry network, from tri-planes; and the SDF of the whole grid without look-ups."""

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from geometry.cube_grid import CubeGrid
from geometry.tet_grid import CubicGrid, TetGrid
from networks.backbone import plane_features
from networks.heads import PointHead
from networks.layers import ModulatedPointLayer
from torch_utils.ops.bias_act import DEFAULT_GAIN
from torch_utils.ops.lattice_mlp import lattice_mlp


@dataclass(frozen=True)
class PlaneFeatures:
    """`geometry_network.PointFeatures` of planes [B, 3, R, R, width]; both heads take all. box: side, world units."""

    width: int
    box: float

    @property
    def sdf_width(self) -> int:
        """Features that the SDF head takes."""
        return self.width

    @property
    def movement_width(self) -> int:
        """Features that the deformation head takes."""
        return self.width

    def at(self, planes: Tensor, points: Tensor, offsets: Tensor) -> Tensor:
        """Features [P, width] of packed points."""
        return plane_features(planes, points, offsets, self.box)

    def sdf_on_grid(self, planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid | CubeGrid) -> Tensor:
        """Output of the SDF head at every grid vertex [B, V], by the faster way if any."""
        if len(head.layers) == 2:
            return separable_head_on_grid(planes, head, w, grid, self.box)
        points, offsets = grid.positions.repeat(len(planes), 1), torch.arange(len(planes) + 1) * grid.num_vertices
        return head(self.at(planes, points, offsets), w, offsets).view(len(planes), -1)


def separable_head_on_grid(planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid | CubeGrid, box: float) -> Tensor:
    """Output of a head with one hidden layer at every grid vertex: planes [B, 3, R, R, C] → [B, V]; no gradient.

    The grid's vertices form cubic grids, on which the hidden layer separates over the planes: it is applied to each
    plane once instead of to each vertex.
    w [B, layers, w_dim]: the head's styles. box: side of the cube that the planes span, world units.
    """
    first, last = (cast(ModulatedPointLayer, layer) for layer in head.layers)
    hidden, output = head.weights(w)
    output = output[..., 0] * DEFAULT_GAIN["lrelu"]
    values = []
    for cubic in grid.cubic_grids:
        coordinates = _coordinates(cubic, box, planes.device).to(planes.dtype)
        values.append(lattice_mlp(planes, hidden, first.bias, output, coordinates).flatten(1))
    return torch.cat(values, 1) + last.bias


@lru_cache(maxsize=16)
def _coordinates(cubic: CubicGrid, box: float, device: torch.device) -> Tensor:
    """A cubic grid's coordinates along each axis [side] in [−1, 1], on the device; cached."""
    steps = torch.arange(cubic.side, dtype=torch.float64)
    return ((cubic.first + cubic.step * steps) * (2 / box)).float().to(device)
