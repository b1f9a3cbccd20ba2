"""The tri-plane geometry network: geometry planes and styles → signed distance on a grid → surfaces."""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from configs.schema import GeometryConfig
from geometry.cube_grid import CubeGrid
from geometry.extraction import ExtractedSurface
from geometry.flexicubes_extraction import NUM_WEIGHTS
from geometry.tet_grid import CubicGrid, TetGrid, flipped_share
from networks.backbone import plane_features
from networks.heads import OUTPUT_INIT, PointHead, movement, on_sphere
from networks.layers import ModulatedPointLayer
from networks.surface_extraction import SurfaceField, extract_surface, grid_of
from torch_utils.ops.bias_act import DEFAULT_GAIN
from torch_utils.ops.lattice_mlp import lattice_mlp


class TriPlaneGeometry(nn.Module):
    """Surfaces from geometry planes [B, 3, R, R, C] and styles w [B, num_ws, w_dim].

    MLPs of the same shape read the planes: `sdf` gives the signed distance (1 value), `deformation` the movement of the
    grid's vertices (3 values; None where `geometry.deformation` is 0), `weights` those of a cube from the features of
    its eight corners (21 values; None without FlexiCubes). All take the same styles.
    """

    def __init__(self, config: GeometryConfig, plane_channels: int, w_dim: int) -> None:
        super().__init__()
        self.config = config
        hidden = [config.hidden] * config.hidden_layers
        self.sdf = PointHead([plane_channels, *hidden, 1], w_dim, OUTPUT_INIT)
        moved = config.deformation > 0
        self.deformation = PointHead([plane_channels, *hidden, 3], w_dim, OUTPUT_INIT) if moved else None
        cubes = config.extraction == "flexicubes"
        self.weights = PointHead([8 * plane_channels, *hidden, NUM_WEIGHTS], w_dim, OUTPUT_INIT) if cubes else None
        self.num_ws = config.hidden_layers + 1

    @property
    def grid(self) -> TetGrid | CubeGrid:
        """The grid that the SDF is evaluated on, on the network's device."""
        return grid_of(self.config, self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.parameters()).device

    def forward(self, planes: Tensor, w: Tensor) -> ExtractedSurface:
        """The surfaces of a batch, differentiable in the planes and the styles (`surface_extraction`)."""
        return extract_surface(self.field(planes, w), self.config, self.device, training=self.training)

    def field(self, planes: Tensor, w: Tensor) -> SurfaceField:
        """The SDF and the other heads as functions of points."""
        return _Field(self, planes, w)

    @torch.no_grad()
    def sdf_grid(self, planes: Tensor, w: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V], world units, without gradient: `sdf_dense` by the faster way if any."""
        if not is_separable(self.sdf):
            return self.sdf_dense(planes, w)
        output = sdf_head_on_grid(planes, self.sdf, w, self.grid, self.config.box)
        return on_sphere(self.grid.positions, output, self.config)

    def sdf_dense(self, planes: Tensor, w: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V], world units, by plane look-ups, with gradient."""
        points, features, offsets = self._dense_features(planes)
        return on_sphere(points, self.sdf(features, w, offsets), self.config).view(planes.shape[0], -1)

    @torch.no_grad()
    def flipped_share(self, planes: Tensor, w: Tensor) -> Tensor:
        """Share of tetrahedra that the deformation turns inside out [B]; always 0 for one of up to 0.2 cell."""
        points, features, offsets = self._dense_features(planes)
        grid = self.grid
        moved = movement(self.deformation, features, w, offsets, self.config.deformation * grid.cell)
        if moved is None or not isinstance(grid, TetGrid):
            return torch.zeros(planes.shape[0], device=planes.device)
        return flipped_share(grid, (points + moved).view(planes.shape[0], -1, 3))

    def _dense_features(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every grid vertex for every sample: points [B·V, 3], their features [B·V, C], offsets [B + 1]."""
        batch, count = planes.shape[0], self.grid.num_vertices
        points = self.grid.positions.repeat(batch, 1)
        offsets = torch.arange(batch + 1) * count
        return points, plane_features(planes, points, offsets, self.config.box), offsets


class _Field:
    """The network with the planes [B, 3, R, R, C] and styles of a batch, as `surface_extraction.SurfaceField`."""

    def __init__(self, network: TriPlaneGeometry, planes: Tensor, w: Tensor) -> None:
        self.network, self.planes, self.w = network, planes, w

    def sdf_grid(self, grid: TetGrid | CubeGrid) -> Tensor:
        return self.network.sdf_grid(self.planes, self.w)

    def features(self, points: Tensor, offsets: Tensor) -> Tensor:
        return plane_features(self.planes, points, offsets, self.network.config.box)

    def sdf(self, points: Tensor, features: Tensor, offsets: Tensor) -> Tensor:
        return on_sphere(points, self.network.sdf(features, self.w, offsets), self.network.config)

    def movement(self, features: Tensor, offsets: Tensor, cell: float) -> Tensor | None:
        bound = self.network.config.deformation * cell
        return movement(self.network.deformation, features, self.w, offsets, bound)

    def cube_weights(self, features: Tensor, offsets: Tensor) -> Tensor:
        assert self.network.weights is not None, "FlexiCubes has a head for its weights"
        return self.network.weights(features, self.w, offsets)


# -- the whole grid without look-ups ----------------------------------------------------------------------------------


def is_separable(head: PointHead) -> bool:
    """Whether `sdf_head_on_grid` can evaluate a head: it has one hidden layer."""
    return len(head.layers) == 2


def sdf_head_on_grid(planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid | CubeGrid, box: float) -> Tensor:
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
