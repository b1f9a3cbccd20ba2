"""Sample inputs of midpoints_near_surface, subdivided_tets_topology, flexicubes_topology and flexicubes_vertices."""

from dataclasses import astuple
from functools import lru_cache

import torch
from torch import Tensor

from geometry.subdivision import SubdividedGrid, subdivided
from geometry.tet_grid import tet_grid
from tests.ops.case import Arguments, BadInput, Case, edit
from tests.ops.cases_geometry import signed_noise
from torch_utils.ops.flexicubes import (
    CubeTopology,
    flexicubes_topology,
    flexicubes_topology_reference,
    flexicubes_vertices,
    flexicubes_vertices_reference,
)
from torch_utils.ops.flexicubes_cases import case_tables
from torch_utils.ops.subdivided_tets import (
    SubdivisionTables,
    midpoints_near_surface,
    midpoints_near_surface_reference,
    subdivided_tets_topology,
    subdivided_tets_topology_reference,
)


@lru_cache
def _grid(layout: str, cells: int) -> SubdividedGrid:
    return subdivided(tet_grid(layout, cells))


def _grid_of(width: int) -> SubdividedGrid:
    return _grid("bcc" if width % 2 else "kuhn", 1 + width // 8)


def _midpoints(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """Mostly outside, so that some edges are far from the surface; a few corrected vertices and fixed edges."""
    grid = _grid_of(width)
    sdf = signed_noise(batch, grid.coarse.num_vertices, dtype=dtype) + 0.9
    used = torch.where(signed_noise(*sdf.shape, dtype=dtype, seed=3) > 1, 0.5 - sdf, sdf)
    return {"sdf": sdf, "used": used, "edges": grid.coarse.edges.clone(), "fixed": grid.on_box.clone()}


def _midpoints_kernel(**arguments) -> tuple:
    return astuple(midpoints_near_surface(**arguments))


def _midpoints_reference(**arguments) -> tuple:
    return astuple(midpoints_near_surface_reference(**arguments))


def _midpoints_overloads(arguments: Arguments) -> list:
    return [(torch.ops.tetragan.midpoints_near_surface.default, tuple(arguments.values()))]


TABLES = ("tets", "edges", "tet_edges", "tet_faces", "face_edges", "splits")


def _subdivided(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    grid = _grid_of(width)
    sdf = signed_noise(batch, grid.coarse.num_vertices, dtype=dtype) + 0.5
    ids = midpoints_near_surface_reference(sdf, sdf, grid.coarse.edges, grid.on_box).ids
    return {
        "sdf": sdf,
        "midpoint_ids": ids,
        "midpoint_sdf": signed_noise(len(ids), dtype=dtype, seed=1),
        **{name: getattr(grid.tables, name).clone() for name in TABLES},
        "vertices": grid.coarse.num_vertices,
    }


def _parts(function, arguments: Arguments) -> tuple:
    tables = SubdivisionTables(
        **{name: arguments[name] for name in TABLES},
        num_vertices=arguments["vertices"],
    )
    topology, sources = function(arguments["sdf"], arguments["midpoint_ids"], arguments["midpoint_sdf"], tables)
    parts = astuple(topology)
    return (*parts[:4], torch.stack(parts[4:]), *astuple(sources))


def _subdivided_kernel(**arguments) -> tuple:
    return _parts(subdivided_tets_topology, arguments)


def _subdivided_reference(**arguments) -> tuple:
    return _parts(subdivided_tets_topology_reference, arguments)


def _subdivided_overloads(arguments: Arguments) -> list:
    tensors = tuple(value for value in arguments.values() if isinstance(value, torch.Tensor))
    return [(torch.ops.tetragan.subdivided_tets_topology.default, tensors)]


def _cubes(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    cells = 2 + width // 8
    return {"sdf": signed_noise(batch, (cells + 1) ** 3, dtype=dtype), "cells": cells}


def _cubes_kernel(**arguments) -> tuple:
    parts = astuple(flexicubes_topology(**arguments))
    return (*parts[:7], torch.stack(parts[7:]))


def _cubes_overloads(arguments: Arguments) -> list:
    tables = case_tables(torch.device("cpu"))
    return [(torch.ops.tetragan.flexicubes_topology.default, (arguments["sdf"], *tables, arguments["cells"]))]


def _vertices(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    cells = 2 + width // 8
    sdf = signed_noise(batch, (cells + 1) ** 3, dtype=dtype)
    *parts, _ = flexicubes_topology_reference(sdf, cells)
    _, cube_corners, vertex_cube, vertex_edges, _, _, active = parts
    generator = torch.Generator().manual_seed(2)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "sdf": sdf.reshape(-1)[active],
        "positions": uniform(len(active), 3),
        "alpha": uniform(len(cube_corners), 8) + 0.5,
        "beta": uniform(len(cube_corners), 12) + 0.5,
        "cube_corners": cube_corners,
        "vertex_cube": vertex_cube,
        "vertex_edges": vertex_edges,
    }


def _vertices_kernel(sdf, positions, alpha, beta, cube_corners, vertex_cube, vertex_edges) -> tuple:
    nothing = torch.empty(0, dtype=torch.int64)
    topology = CubeTopology(
        nothing, cube_corners, vertex_cube, vertex_edges, nothing.int(), nothing, nothing, *[nothing] * 4
    )
    return flexicubes_vertices(sdf, positions, alpha, beta, topology)


def _vertices_overloads(arguments: Arguments) -> list:
    values = tuple(arguments.values())
    detached = tuple(value.detach() for value in values)
    count = len(arguments["vertex_cube"])
    return [
        (torch.ops.tetragan.flexicubes_vertices.default, values),
        (
            torch.ops.tetragan.flexicubes_vertices_backward.default,
            (torch.ones(count, 3), torch.ones(count), *detached),
        ),
    ]


EXACT = {torch.float32: 0.0, torch.float64: 0.0}
SURFACE_CASES = [
    Case(
        name="midpoints_near_surface",
        function=_midpoints_kernel,
        reference=_midpoints_reference,
        make=_midpoints,
        overloads=_midpoints_overloads,
        half=("sdf", "used"),
        tolerance=EXACT,
        bad_inputs=(
            BadInput("rank", edit("sdf", lambda x: x[0]), "expected sdf of shape [B, V], got [9]"),
            BadInput("used", edit("used", lambda x: x[:, 1:]), "expected used of shape [2, 9], got [2, 8]"),
            BadInput("fixed", edit("fixed", lambda x: x[1:]), "expected fixed of shape [26], got [25]"),
            BadInput("type", edit("edges", lambda x: x.long()), "expected edges of type int32, got int64", TypeError),
            BadInput("range", edit("edges", lambda x: x + 1), "expected edges in [0, 9), got 9"),
        ),
    ),
    Case(
        name="subdivided_tets_topology",
        function=_subdivided_kernel,
        reference=_subdivided_reference,
        make=_subdivided,
        overloads=_subdivided_overloads,
        half=("sdf", "midpoint_sdf"),
        tolerance=EXACT,
        bad_inputs=(
            BadInput("size", edit("sdf", lambda x: x[:, 1:]), "expected sdf of shape [B, 9], got [2, 8]"),
            BadInput("ids", edit("midpoint_ids", lambda x: x + 52), "expected midpoint_ids in [0, 52)"),
            BadInput("values", edit("midpoint_sdf", lambda x: x[1:]), "expected midpoint_sdf of shape ["),
            BadInput("table", edit("tet_faces", lambda x: x[1:]), "expected tet_faces of shape [12, 4], got [11, 4]"),
            BadInput("faces", edit("face_edges", lambda x: x[:3]), "expected tet_faces in [0, 3)"),
            BadInput("edges of faces", edit("face_edges", lambda x: x + 26), "expected face_edges in [0, 26)"),
            BadInput("split", edit("splits", lambda x: x + 6), "expected splits in [0, 6)"),
            BadInput("falling", edit("tets", lambda x: x.flip(1)), "expected tets that rise"),
            BadInput("edge ids", edit("tet_edges", lambda x: x + 26), "expected tet_edges in [0, 26)"),
        ),
    ),
    Case(
        name="flexicubes_topology",
        function=_cubes_kernel,
        reference=flexicubes_topology_reference,
        make=_cubes,
        overloads=_cubes_overloads,
        half=("sdf",),
        tolerance=EXACT,
        bad_inputs=(
            BadInput("size", edit("sdf", lambda x: x[:, 1:]), "expected sdf of shape [B, 27], got [2, 26]"),
            BadInput("type", edit("sdf", lambda x: x.long()), "expected sdf of type float32", TypeError),
            BadInput("cells", edit("cells", lambda x: 0), "expected cells to be an integer of at least 1, got 0"),
        ),
    ),
    Case(
        name="flexicubes_vertices",
        function=_vertices_kernel,
        reference=flexicubes_vertices_reference,
        make=_vertices,
        gradients=("sdf", "positions", "alpha", "beta"),
        overloads=_vertices_overloads,
        half=("sdf", "positions", "alpha", "beta"),
        gradcheck_size=(1, 5),
        tolerance={torch.float32: 2e-4, torch.float64: 1e-10},
        bad_inputs=(
            BadInput("rank", edit("sdf", lambda x: x[None]), "expected sdf of shape [A], got [1, "),
            BadInput("types", edit("alpha", lambda x: x.float()), "expected alpha of type float64", TypeError),
            BadInput("columns", edit("beta", lambda x: x[:, 1:]), ", 12], got ["),
            BadInput("rows", edit("cube_corners", lambda x: x + 1000), "expected cube_corners in [0, "),
            BadInput("cubes", edit("vertex_cube", lambda x: x + 1000), "expected vertex_cube in [0, "),
            BadInput("order", edit("vertex_cube", lambda x: x.flip(0)), "expected vertex_cube to be sorted"),
        ),
    ),
]
