"""From what a geometry network says about space to a surface: the one place that knows all three extractors.

The whole grid is evaluated without gradient. The vertices next to the surface are then evaluated again with gradient,
but the values of the first evaluation stay in use, so rounding cannot change a sign.
"""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from configs.generator_schema import GeometryConfig
from geometry.cavities import without_cavities
from geometry.cube_grid import CubeGrid, cube_grid_on
from geometry.extraction import ExtractedSurface, FoundSurface, build_surface, find_surface
from geometry.flexicubes_extraction import build_cubes, find_cubes
from geometry.subdivided_extraction import find_midpoints, find_subdivided_surface, midpoint_vertices
from geometry.subdivision import SubdividedGrid, subdivided_on
from geometry.tet_grid import TetGrid, tet_grid_on
from torch_utils.timing import phase


class SurfaceField(Protocol):
    """A geometry network with a batch of samples: values at packed points [P, 3], world units; offsets [B + 1]."""

    def sdf_grid(self, grid: TetGrid | CubeGrid) -> Tensor:
        """SDF at every grid vertex [B, V], world units, without gradient."""
        ...

    def features(self, points: Tensor, offsets: Tensor) -> Tensor:
        """What the heads below take [P, C]."""
        ...

    def sdf(self, points: Tensor, features: Tensor, offsets: Tensor) -> Tensor:
        """SDF [P], world units."""
        ...

    def movement(self, points: Tensor, features: Tensor, offsets: Tensor, cell: float) -> Tensor | None:
        """Movement of grid vertices [P, 3], world units, for a grid with this cell; None if off."""
        ...

    def cube_weights(self, features: Tensor, offsets: Tensor) -> Tensor:
        """FlexiCubes' weights [K, 21] of cubes from the features of their corners [K, 8 · C]."""
        ...


def grid_of(config: GeometryConfig, device: torch.device) -> TetGrid | CubeGrid:
    """The grid that the SDF is evaluated on."""
    if config.extraction == "flexicubes":
        return cube_grid_on(config.cells, config.box, device)
    return tet_grid_on(config.tet_grid, config.cells, config.box, device)


def extract_surface(
    field: SurfaceField, config: GeometryConfig, device: torch.device, *, training: bool
) -> ExtractedSurface:
    """The surfaces of a batch, differentiable in the field.

    training: see `build_cubes`, centers. Otherwise, the meshes have no cavities; sdf_a and sdf_b keep all crossings.
    """
    surface = _extracted(field, config, device, training)
    if training:
        return surface
    with phase("extraction"):
        return replace(surface, mesh=without_cavities(surface.mesh))


def _extracted(field: SurfaceField, config: GeometryConfig, device: torch.device, training: bool) -> ExtractedSurface:
    grid = grid_of(config, device)
    with phase("SDF of the grid"):
        dense = field.sdf_grid(grid)
    if isinstance(grid, CubeGrid):
        return _by_flexicubes(field, grid, dense, config, training)
    if config.subdivide:
        fine = subdivided_on(config.tet_grid, config.cells, config.box, device)
        return _by_subdivided_tets(field, fine, dense, config)
    return _by_tets(field, grid, dense, config)


def _by_tets(field: SurfaceField, grid: TetGrid, dense: Tensor, config: GeometryConfig) -> ExtractedSurface:
    with phase("extraction"):
        found = find_surface(dense, grid, connected=config.connect_components)
    return _with_gradient(field, found, grid)


def _by_subdivided_tets(
    field: SurfaceField, grid: SubdividedGrid, dense: Tensor, config: GeometryConfig
) -> ExtractedSurface:
    with phase("extraction"):
        coarse = find_midpoints(dense, grid, connected=config.connect_components)
    with phase("SDF of the grid"), torch.no_grad():
        points = grid.positions[midpoint_vertices(coarse, grid)]
        offsets = coarse.near.offsets
        middle = field.sdf(points, field.features(points, offsets), offsets)
    with phase("extraction"):
        found = find_subdivided_surface(coarse, middle, grid)
    return _with_gradient(field, found, grid)


def _with_gradient(field: SurfaceField, found: FoundSurface, grid: TetGrid | SubdividedGrid) -> ExtractedSurface:
    """The surface whose crossings were found without gradient, with the SDF and movement of its grid vertices."""
    with phase("SDF at the surface"):
        _, sdf, movement = _values_at(field, grid, found.active, found.active_offsets)
    with phase("extraction"):
        return build_surface(found, grid, sdf, movement)


def _values_at(
    field: SurfaceField, grid: TetGrid | SubdividedGrid | CubeGrid, active: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features [A, C], SDF [A] and movement [A, 3] of grid vertices, with gradient. active [A]: b·V + v, sorted."""
    points = grid.positions.index_select(0, active % grid.num_vertices)
    features = field.features(points, offsets)
    return features, field.sdf(points, features, offsets), field.movement(points, features, offsets, grid.cell)


def _by_flexicubes(
    field: SurfaceField, grid: CubeGrid, dense: Tensor, config: GeometryConfig, training: bool
) -> ExtractedSurface:
    with phase("extraction"):
        found = find_cubes(dense, grid, connected=config.connect_components)
    topology = found.topology
    with phase("SDF at the surface"):
        features, sdf, movement = _values_at(field, grid, topology.active, topology.active_offsets)
        corners = features[topology.cube_corners].flatten(1)
        weights = field.cube_weights(corners, topology.cube_offsets)
    with phase("extraction"):
        return build_cubes(found, grid, sdf, movement, weights, centers=training)
