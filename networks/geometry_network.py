"""The geometry network: planes or volumes and styles → signed distance on a grid → surfaces.

Heads on the features of points are the same for both; `triplane_geometry` and `volume_geometry` look the features up.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from configs.generator_schema import GeometryConfig
from geometry.cube_grid import CubeGrid
from geometry.extraction import ExtractedSurface
from geometry.flexicubes_extraction import NUM_WEIGHTS
from geometry.tet_grid import TetGrid
from networks.heads import OUTPUT_INIT, PointHead, movement, on_sphere
from networks.surface_extraction import SurfaceField, extract_surface, grid_of


class PointFeatures(Protocol):
    """What a geometry network knows of a point, read from a source: the planes or volumes of a batch."""

    @property
    def width(self) -> int:
        """Features of a point."""
        ...

    @property
    def sdf_width(self) -> int:
        """The SDF head takes so many of the first."""
        ...

    @property
    def movement_width(self) -> int:
        """The deformation head takes so many of the last."""
        ...

    def at(self, source: Tensor, points: Tensor, offsets: Tensor) -> Tensor:
        """Features [P, width] of packed points [P, 3], world units; offsets [B + 1] int64 on the CPU."""
        ...

    def sdf_on_grid(self, source: Tensor, head: PointHead, w: Tensor, grid: TetGrid | CubeGrid) -> Tensor:
        """Output of the SDF head with styles w [B, layers, w_dim] at every grid vertex: [B, V]. Without gradient."""
        ...


class GeometryNetwork(nn.Module):
    """Surfaces from planes or volumes [B, …] and styles w [B, num_ws, w_dim].

    MLPs read the features of points: `sdf` gives the signed distance (1 value), `deformation` the movement of the
    grid's vertices (3 values; None where `geometry.deformation` is 0), `weights` those of a cube from the features of
    its eight corners (21 values; None without FlexiCubes). All take the same styles.
    """

    def __init__(self, config: GeometryConfig, features: PointFeatures, w_dim: int) -> None:
        super().__init__()
        self.config = config
        self.features = features
        hidden = [config.hidden] * config.hidden_layers
        given = config.deformation_hidden_layers if config.network == "volume" else None
        of_movement = hidden if given is None else [config.hidden] * given
        moved, cubes = config.deformation > 0, config.extraction == "flexicubes"
        widths_sdf = [features.sdf_width, *hidden, 1]
        widths_movement = [features.movement_width, *of_movement, 3]
        widths_weights = [8 * features.width, *hidden, NUM_WEIGHTS]
        self.sdf = PointHead(widths_sdf, w_dim, OUTPUT_INIT)
        self.deformation = PointHead(widths_movement, w_dim, OUTPUT_INIT) if moved else None
        self.weights = PointHead(widths_weights, w_dim, OUTPUT_INIT) if cubes else None
        self.num_ws = max(len(hidden), len(of_movement)) + 1

    @property
    def grid(self) -> TetGrid | CubeGrid:
        """The grid that the SDF is evaluated on, on the network's device."""
        return grid_of(self.config, self.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.parameters()).device

    def forward(self, source: Tensor, w: Tensor) -> ExtractedSurface:
        """The surfaces of a batch, differentiable in the source and the styles (`surface_extraction`)."""
        return extract_surface(self.field(source, w), self.config, self.device, training=self.training)

    def field(self, source: Tensor, w: Tensor) -> SurfaceField:
        """The heads as functions of points."""
        return _Field(self, source, w)


class _Field:
    """The network with the source and styles of a batch, as `surface_extraction.SurfaceField`."""

    def __init__(self, network: GeometryNetwork, source: Tensor, w: Tensor) -> None:
        self.network, self.source, self.w = network, source, w

    @torch.no_grad()
    def sdf_grid(self, grid: TetGrid | CubeGrid) -> Tensor:
        output = self.network.features.sdf_on_grid(self.source, self.network.sdf, self.w, grid)
        return on_sphere(grid.positions, output, self.network.config)

    def features(self, points: Tensor, offsets: Tensor) -> Tensor:
        return self.network.features.at(self.source, points, offsets)

    def sdf(self, points: Tensor, features: Tensor, offsets: Tensor) -> Tensor:
        read = _columns(features, 0, self.network.features.sdf_width)
        return on_sphere(points, self.network.sdf(read, self.w, offsets), self.network.config)

    def movement(self, points: Tensor, features: Tensor, offsets: Tensor, cell: float) -> Tensor | None:
        config, count = self.network.config, self.network.features.movement_width
        read = _columns(features, features.shape[1] - count, count)
        moved = movement(self.network.deformation, read, self.w, offsets, config.deformation * cell)
        return mirrored_movement(moved, points, cell) if config.symmetric and moved is not None else moved

    def cube_weights(self, features: Tensor, offsets: Tensor) -> Tensor:
        assert self.network.weights is not None, "FlexiCubes has a head for its weights"
        return self.network.weights(features, self.w, offsets)


def mirrored_movement(movement: Tensor, points: Tensor, cell: float) -> Tensor:
    """Movement of grid vertices [P, 3] that was the same at x and −x, with opposite x on the two sides of x = 0.

    Vertices at x = 0 stay there. The nearest others are a quarter of a cell away, after a subdivision.
    """
    side = (points[:, :1] * (4 / cell)).clamp(-1, 1)
    return torch.cat([movement[:, :1] * side, movement[:, 1:]], 1)


def _columns(features: Tensor, first: int, count: int) -> Tensor:
    """Columns of features [P, C]; all of them as they are, because the gradient of a slice is a copy."""
    return features if count == features.shape[1] else features[:, first : first + count]
