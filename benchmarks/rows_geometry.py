"""Rows of marching_tets, its subdivision, flexicubes and connect_components."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.peer_flexicubes import PEER_FOLDER as PEER_FLEXICUBES
from benchmarks.peer_flexicubes import beta_in_their_order, kaolin_flexicubes, peer_cubes
from benchmarks.row import Job, Row, tensor_bytes
from geometry.cube_grid import cube_grid_on
from geometry.fallback_surface import connect_inside
from geometry.grid import Vertices
from geometry.subdivision import subdivided_on
from geometry.tet_grid import TetGrid, tet_grid
from torch_utils.ops.flexicubes import flexicubes_topology, flexicubes_vertices
from torch_utils.ops.loading import use_mode
from torch_utils.ops.marching_tets import Topology, edge_crossings, marching_tets, marching_tets_topology
from torch_utils.ops.subdivided_tets import midpoints_near_surface, subdivided_tets_topology

BATCH, CELLS = 16, 26
# Path of kaolin/ops/conversions/tetmesh.py in a checkout of kaolin (Apache-2.0). The file depends on torch alone.
PEER_FILE = "TETRAGAN_KAOLIN_TETMESH"


def ball_unions(grid: Vertices, batch: int) -> Tensor:
    """SDFs [batch, V] of unions of six balls: about 2.5 % of the edges cross."""
    generator = torch.Generator().manual_seed(0)
    centers = (torch.rand(batch, 6, 3, generator=generator) - 0.5) * 0.5
    radii = torch.rand(batch, 6, generator=generator) * 0.12 + 0.1
    return torch.stack(
        [((grid.positions[:, None] - c).norm(dim=-1) - r).amin(-1) for c, r in zip(centers, radii, strict=True)]
    )


def _kaolin() -> Callable | str:
    """kaolin's `marching_tetrahedra`, or the reason why it is missing."""
    path = os.environ.get(PEER_FILE)
    if path:
        spec = importlib.util.spec_from_file_location("kaolin_tetmesh", Path(path))
        if spec is None or spec.loader is None:
            return f"{PEER_FILE} is not a Python file"
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.marching_tetrahedra
    if importlib.util.find_spec("kaolin") is None:
        return f"kaolin is not installed (or set {PEER_FILE})"
    return importlib.import_module("kaolin.ops.conversions").marching_tetrahedra


def _inputs(device: torch.device) -> tuple[TetGrid, Tensor, Tensor]:
    grid = tet_grid("bcc", CELLS)
    sdf = ball_unions(grid, BATCH)
    moved = torch.randn(BATCH, grid.num_vertices, 3, generator=torch.Generator().manual_seed(1)) * 0.002
    positions = grid.positions + moved
    return grid.to(device), sdf.to(device).requires_grad_(), positions.to(device).requires_grad_()


def _forward_backward(extract: Callable[[], Tensor], leaves: tuple[Tensor, Tensor]) -> Callable[[], object]:
    def work() -> object:
        vertices = extract()
        return torch.autograd.grad(vertices, leaves, torch.ones_like(vertices))

    return work


def _jobs(device: torch.device, peer: str) -> Job:
    grid, sdf, positions = _inputs(device)
    tables = (grid.tets, grid.edges, grid.tet_edges)

    def ours() -> Tensor:
        return marching_tets(sdf, positions, *tables)[0]

    def reference() -> Tensor:
        with use_mode("reference"):
            return marching_tets(sdf, positions, *tables)[0]

    found = marching_tets_topology(sdf, *tables)
    outputs = (found.faces, found.edge_vertices, found.active, found.edge_active)
    # Tables, SDF and outputs once; positions and gradients at the ends of crossed edges; the two dense gradients.
    moved = tensor_bytes(*tables, sdf, *outputs, sdf, positions) + found.edge_vertices.shape[0] * (
        12 + 2 * 16 + 12 + 2 * 16
    )
    if peer == "reference":
        return Job(_forward_backward(ours, (sdf, positions)), _forward_backward(reference, (sdf, positions)), moved)
    marching_tetrahedra = _kaolin()
    if isinstance(marching_tetrahedra, str):
        return Job(_forward_backward(ours, (sdf, positions)), None, moved, marching_tetrahedra)
    tets = grid.tets.long()
    peer_function = marching_tetrahedra

    def theirs() -> Tensor:
        return torch.cat(peer_function(positions, tets, -sdf)[0])

    return Job(_forward_backward(ours, (sdf, positions)), _forward_backward(theirs, (sdf, positions)), moved)


def _connect(device: torch.device) -> Job:
    """Balls with gaps between them and floaters: as many components as a generator has after a few kimg."""
    grid = tet_grid("bcc", CELLS)
    noise = torch.randn(BATCH, grid.num_vertices, generator=torch.Generator().manual_seed(2))
    sdf = ball_unions(grid, BATCH) + 0.05 + 0.012 * noise
    grid, sdf = grid.to(device), sdf.to(device)

    def reference() -> Tensor:
        with use_mode("reference"):
            return connect_inside(sdf, grid)

    return Job(lambda: connect_inside(sdf, grid), reference, tensor_bytes(sdf, grid.edges, grid.boundary, sdf))


def _surface_job(device: torch.device, grid: TetGrid) -> Callable[[], object]:
    """Marching tetrahedra as a generator uses it: gradients of the vertices to the active SDF and positions."""
    grid = grid.to(device)
    sdf = ball_unions(grid, BATCH)

    def work() -> object:
        found = marching_tets_topology(sdf, grid.tets, grid.edges, grid.tet_edges)
        return _crossings(sdf, grid, found)

    return work


def _crossings(sdf: Tensor, grid: Vertices, found: Topology) -> object:
    active = sdf.reshape(-1).index_select(0, found.active).requires_grad_()
    positions = grid.positions.index_select(0, found.active % grid.num_vertices).requires_grad_()
    vertices = edge_crossings(active, positions, found.edge_active)
    return torch.autograd.grad(vertices, (active, positions), torch.ones_like(vertices))


def _subdivided(device: torch.device, peer_cells: int) -> Job:
    """Tetrahedra near the surface split into eight, beside marching tetrahedra; evaluating the SDF is left out."""
    grid = subdivided_on("bcc", CELLS, 1.0, device)
    coarse, vertices = grid.coarse, grid.coarse.num_vertices
    sdf = ball_unions(grid, BATCH)
    used, middle = sdf[:, :vertices].contiguous(), sdf[:, vertices:].reshape(-1)
    at_midpoints = middle[midpoints_near_surface(used, used, coarse.edges, grid.on_box).ids]

    def work() -> object:
        near = midpoints_near_surface(used, used, coarse.edges, grid.on_box)
        found, _ = subdivided_tets_topology(used, near.ids, at_midpoints, grid.tables)
        return _crossings(sdf, grid, found)

    return Job(work, _surface_job(device, tet_grid("bcc", peer_cells)), tensor_bytes(sdf, *astuple(grid.tables)[:6]))


def _flexicubes(device: torch.device, peer: str) -> Job:
    """Topology, vertices and spreads with random weights, and the gradients to all inputs."""
    grid = cube_grid_on(CELLS, 1.0, device)
    sdf = ball_unions(grid, BATCH)
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(BATCH, CELLS**3, 21, generator=generator).to(device)

    def work() -> object:
        found = flexicubes_topology(sdf, CELLS)
        active = sdf.reshape(-1)[found.active].requires_grad_()
        positions = grid.positions[found.active % grid.num_vertices].requires_grad_()
        own = weights.reshape(-1, 21)[found.cubes].requires_grad_()
        alpha, beta = 1 + 0.99 * torch.tanh(own[:, :8]), 1 + 0.99 * torch.tanh(own[:, 8:20])
        vertices, spreads = flexicubes_vertices(active, positions, alpha, beta, found)
        ones = (torch.ones_like(vertices), torch.ones_like(spreads))
        return torch.autograd.grad((vertices, spreads), (active, positions, own), ones)

    if peer == "marching_tets":
        return Job(work, _surface_job(device, tet_grid("bcc", CELLS)), tensor_bytes(sdf))
    theirs = kaolin_flexicubes()
    if theirs is None:
        return Job(work, None, tensor_bytes(sdf), f"set {PEER_FLEXICUBES} to kaolin's folder of FlexiCubes")
    cubes, leaves = peer_cubes(CELLS), (sdf.clone().requires_grad_(), weights.clone().requires_grad_())

    def per_sample() -> object:
        results = [
            theirs(
                grid.positions, s, cubes, CELLS, alpha=w[:, :8], beta=beta_in_their_order(theirs, w[:, 8:20]),
                gamma_f=w[:, 20], training=True,
            )
            for s, w in zip(*leaves, strict=True)
        ]  # fmt: skip
        return torch.autograd.grad(sum(vertices.sum() + spread.sum() for vertices, _, spread in results), leaves)

    return Job(work, per_sample, tensor_bytes(sdf))


_SIZE = f"{BATCH} × {CELLS} cells, forward + backward"
GEOMETRY_ROWS = [
    Row("marching_tets", _SIZE, "kaolin, per sample", lambda d: _jobs(d, "kaolin"), 15.0, ("cpu",)),
    Row("marching_tets", _SIZE, "kaolin, per sample", lambda d: _jobs(d, "kaolin"), 10.0, ("cuda",)),
    Row("marching_tets", _SIZE, "our reference", lambda d: _jobs(d, "reference"), 15.0, ("cpu",)),
    Row("subdivided_tets", _SIZE, "marching_tets", lambda d: _subdivided(d, CELLS), 0.33, ("cpu",)),
    Row("subdivided_tets", _SIZE, "twice the cells", lambda d: _subdivided(d, 2 * CELLS), 1.67, ("cpu",)),
    Row("flexicubes", _SIZE, "kaolin, per sample", lambda d: _flexicubes(d, "kaolin"), 15.0, ("cpu",)),
    Row("flexicubes", _SIZE, "marching_tets", lambda d: _flexicubes(d, "marching_tets"), 0.5, ("cpu",)),
    Row("connect_components", f"{BATCH} × {CELLS} cells", "our reference", _connect, 15.0),
]
