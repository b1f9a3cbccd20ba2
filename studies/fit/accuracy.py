"""Error against faces and time of each extractor, on the exact SDF of a torus: `python -m studies.fit.accuracy`."""

import time
from collections.abc import Callable

import click
import torch
from torch import Tensor

from geometry.cube_grid import cube_grid
from geometry.extraction import ExtractedSurface, build_surface, find_surface
from geometry.flexicubes_extraction import NUM_WEIGHTS, build_cubes, find_cubes
from geometry.mesh import Mesh
from geometry.subdivided_extraction import find_midpoints, find_subdivided_surface, midpoint_vertices
from geometry.subdivision import subdivided_on
from geometry.surface_sampling import sample_surface
from geometry.tet_grid import tet_grid

RING, TUBE, POINTS, BATCH = 0.28, 0.1, 50_000, 4


def torus_sdf(points: Tensor) -> Tensor:
    """Signed distance [P] of points [P, 3], turned so that the torus lies along no axis of the grid."""
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 0.7, -0.4], [-0.7, 0.0, 0.5], [0.4, -0.5, 0.0]]))
    x, y, z = (points @ turn).unbind(-1)
    return torch.hypot(torch.hypot(x, z) - RING, y) - TUBE


def _tets(cells: int) -> Callable[[], ExtractedSurface]:
    grid = tet_grid("bcc", cells)
    sdf = torus_sdf(grid.positions).expand(BATCH, -1).contiguous()

    def extract() -> ExtractedSurface:
        found = find_surface(sdf, grid)
        return build_surface(found, grid, sdf.reshape(-1)[found.active].requires_grad_())

    return extract


def _subdivided(cells: int) -> Callable[[], ExtractedSurface]:
    grid = subdivided_on("bcc", cells, 1.0, torch.device("cpu"))
    sdf = torus_sdf(grid.positions).expand(BATCH, -1).contiguous()
    coarse_sdf = sdf[:, : grid.coarse.num_vertices].contiguous()

    def extract() -> ExtractedSurface:
        coarse = find_midpoints(coarse_sdf, grid)
        found = find_subdivided_surface(coarse, sdf[0, midpoint_vertices(coarse, grid)], grid)
        return build_surface(found, grid, sdf.reshape(-1)[found.active].requires_grad_())

    return extract


def _flexicubes(cells: int) -> Callable[[], ExtractedSurface]:
    grid = cube_grid(cells)
    sdf = torus_sdf(grid.positions).expand(BATCH, -1).contiguous()

    def extract() -> ExtractedSurface:
        found = find_cubes(sdf, grid)
        weights = torch.zeros(len(found.topology.cubes), NUM_WEIGHTS)
        active = sdf.reshape(-1)[found.topology.active].requires_grad_()
        return build_cubes(found, grid, active, None, weights, centers=False)

    return extract


def rms_error(mesh: Mesh) -> float:
    """Root mean square distance of points on a mesh from the torus, world units."""
    points = sample_surface(mesh, POINTS, torch.Generator().manual_seed(0))[0][0]
    return float(torus_sdf(points).square().mean().sqrt())


@click.command()
def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    click.echo("| extractor | cells | faces | RMS error, % of the size | forward + backward, CPU ms a sample |")
    click.echo("|---|---|---|---|---|")
    for name, make in (("tets", _tets), ("tets, subdivided", _subdivided), ("FlexiCubes, unit weights", _flexicubes)):
        for cells in (16, 24, 32, 48):
            extract = make(cells)
            times = []
            for _ in range(4):
                start = time.process_time()
                surface = extract()
                surface.mesh.vertices.sum().backward()
                times.append(time.process_time() - start)
            size = 2 * (RING + TUBE)
            error = 100 * rms_error(surface.mesh.detach()[0]) / size
            faces = surface.mesh.faces.shape[0] // BATCH
            click.echo(f"| {name} | {cells} | {faces:,} | {error:.3f} | {1000 * min(times) / BATCH:.1f} |")


if __name__ == "__main__":
    main()
