"""The tri-plane geometry network: geometry planes and styles → signed distance on a tetrahedral grid → surfaces."""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from configs.schema import GeometryConfig
from geometry.extraction import ExtractedSurface, build_surface, find_surface
from geometry.tet_grid import CubicGrid, TetGrid, flipped_share, tet_grid_on
from networks.backbone import plane_features
from networks.heads import PointHead
from networks.layers import ModulatedPointLayer
from torch_utils.ops.bias_act import DEFAULT_GAIN
from torch_utils.ops.lattice_mlp import lattice_mlp
from torch_utils.timing import phase

# Standard deviation of the output weights before training: the first surface is a sphere with dents of about a cell.
OUTPUT_INIT = 0.03


class TriPlaneGeometry(nn.Module):
    """Surfaces from geometry planes [B, 3, R, R, C] and styles w [B, num_ws, w_dim].

    Two MLPs of the same shape read the planes: `sdf` gives the signed distance (1 value), `deformation` the movement
    of the grid's vertices (3 values; None where `geometry.deformation` is 0). Both take the same styles.
    """

    def __init__(self, config: GeometryConfig, plane_channels: int, w_dim: int) -> None:
        super().__init__()
        self.config = config
        hidden = [plane_channels] + [config.hidden] * config.hidden_layers
        self.sdf = PointHead([*hidden, 1], w_dim, OUTPUT_INIT)
        self.deformation = PointHead([*hidden, 3], w_dim, OUTPUT_INIT) if config.deformation > 0 else None
        self.num_ws = config.hidden_layers + 1

    @property
    def grid(self) -> TetGrid:
        """The tetrahedral grid on the network's device."""
        device = next(self.parameters()).device
        return tet_grid_on(self.config.tet_grid, self.config.cells, self.config.box, device)

    def forward(self, planes: Tensor, w: Tensor) -> ExtractedSurface:
        """The surfaces of a batch, differentiable in the planes and the styles.

        The whole grid is evaluated without gradient. The ends of the edges that cross the surface are then evaluated
        again with gradient, but the values of the first evaluation stay in use, so rounding cannot change a sign.
        """
        grid = self.grid
        with phase("SDF of the grid"):
            dense = self.sdf_grid(planes, w)
        with phase("extraction"):
            found = find_surface(dense, grid, connected=self.config.connect_components)
        with phase("SDF at the surface"):
            points = grid.positions[found.active % grid.num_vertices]
            features = self._features(planes, points, found.active_offsets)
            sdf = self._on_sphere(points, self.sdf(features, w, found.active_offsets))
            movement = self._movement(features, w, found.active_offsets)
        with phase("extraction"):
            return build_surface(found, grid, sdf, movement)

    @torch.no_grad()
    def sdf_grid(self, planes: Tensor, w: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V], world units, without gradient: `sdf_dense` by the faster way if any."""
        if not is_separable(self.sdf):
            return self.sdf_dense(planes, w)
        output = sdf_head_on_grid(planes, self.sdf, w, self.grid, self.config.box)
        return self._on_sphere(self.grid.positions, output)

    def sdf_dense(self, planes: Tensor, w: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V], world units, by plane look-ups, with gradient."""
        points, features, offsets = self._dense_features(planes)
        return self._on_sphere(points, self.sdf(features, w, offsets)).view(planes.shape[0], -1)

    @torch.no_grad()
    def flipped_share(self, planes: Tensor, w: Tensor) -> Tensor:
        """Share of tetrahedra that the deformation turns inside out [B]; always 0 for one of up to 0.2 cell."""
        points, features, offsets = self._dense_features(planes)
        movement = self._movement(features, w, offsets)
        if movement is None:
            return torch.zeros(planes.shape[0], device=planes.device)
        return flipped_share(self.grid, (points + movement).view(planes.shape[0], -1, 3))

    def _dense_features(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every grid vertex for every sample: points [B·V, 3], their features [B·V, C], offsets [B + 1]."""
        batch, count = planes.shape[0], self.grid.num_vertices
        points = self.grid.positions.repeat(batch, 1)
        offsets = torch.arange(batch + 1) * count
        return points, self._features(planes, points, offsets), offsets

    def _features(self, planes: Tensor, points: Tensor, offsets: Tensor) -> Tensor:
        return plane_features(planes, points, offsets, self.config.box)

    def _on_sphere(self, points: Tensor, output: Tensor) -> Tensor:
        """SDF: the output [P, 1] of the head, or [B, V] at the grid's vertices, added to a sphere's; world units."""
        sphere = torch.linalg.vector_norm(points, dim=-1) - self.config.sphere_radius
        return sphere + self.config.sdf_scale * (output.squeeze(-1) if output.shape[-1] == 1 else output)

    def _movement(self, features: Tensor, w: Tensor, offsets: Tensor) -> Tensor | None:
        """Movement of grid vertices [P, 3], world units, at most `geometry.deformation` cells per axis; None if off."""
        if self.deformation is None:
            return None
        bound = self.config.deformation * self.grid.cell
        return bound * torch.tanh(self.deformation(features, w, offsets))


# -- the whole grid without look-ups ----------------------------------------------------------------------------------


def is_separable(head: PointHead) -> bool:
    """Whether `sdf_head_on_grid` can evaluate a head: it has one hidden layer."""
    return len(head.layers) == 2


def sdf_head_on_grid(planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid, box: float) -> Tensor:
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
        coordinates = _coordinates(cubic, box, planes.device)
        values.append(lattice_mlp(planes, hidden, first.bias, output, coordinates).flatten(1))
    return torch.cat(values, 1) + last.bias


@lru_cache(maxsize=16)
def _coordinates(cubic: CubicGrid, box: float, device: torch.device) -> Tensor:
    """A cubic grid's coordinates along each axis [side] in [−1, 1], on the device; cached."""
    steps = torch.arange(cubic.side, dtype=torch.float64)
    return ((cubic.first + cubic.step * steps) * (2 / box)).float().to(device)
