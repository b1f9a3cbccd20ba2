"""Sample inputs of the ops on tet grids, and of collapse_edges, connected_vertices and weighted_normals."""

from dataclasses import astuple

import torch
from torch import Tensor

from geometry.tet_grid import tet_grid
from tests.geometry.dense import extract
from tests.ops.case import Arguments, BadInput, Case, edit
from tests.ops.cases_raster import grid_faces
from torch_utils.ops.collapse_edges import collapse_edges, collapse_edges_reference
from torch_utils.ops.connect_components import connect_components, connect_components_reference
from torch_utils.ops.connected_vertices import connected_vertices, connected_vertices_reference
from torch_utils.ops.marching_tets import (
    edge_crossings,
    edge_crossings_reference,
    marching_tets_topology,
    marching_tets_topology_reference,
)
from torch_utils.ops.weighted_normals import weighted_normals, weighted_normals_reference


def signed_noise(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Values of either sign, between 0.25 and 1.25 in size."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1
    return (noise + 0.25 * torch.where(noise < 0, -1.0, 1.0)).float().to(dtype)


def _topology(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    grid = tet_grid("bcc" if width % 2 else "kuhn", 1 + width // 8)
    sdf = signed_noise(batch, grid.num_vertices, dtype=dtype)
    return {
        "sdf": sdf,
        "tets": grid.tets.clone(),
        "edges": grid.edges.clone(),
        "tet_edges": grid.tet_edges.clone(),
    }


def _topology_parts(**arguments) -> tuple:
    parts = astuple(marching_tets_topology(**arguments))
    return (*parts[:4], torch.stack(parts[4:]))


def _topology_reference(**arguments) -> tuple:
    *parts, offsets = marching_tets_topology_reference(**arguments)
    return (*parts, offsets[:3])


def _topology_overloads(arguments: Arguments) -> list:
    return [(torch.ops.tetragan.marching_tets_topology.default, tuple(arguments.values()))]


def _crossings(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    count = 2 * batch * width
    generator = torch.Generator().manual_seed(1)
    sdf = signed_noise(count, dtype=dtype).abs() * torch.tensor([-1.0, 1.0]).repeat(batch * width).to(dtype)
    positions = torch.rand(count, 3, generator=generator, dtype=torch.float64).float().to(dtype)
    ends = torch.randint(max(count // 2, 1), (3 * batch * width, 2), generator=generator) * 2
    pairs = ends + torch.tensor([0, 1])
    flip = torch.rand(len(pairs), generator=generator) < 0.5
    return {"sdf": sdf, "positions": positions, "pairs": torch.where(flip[:, None], pairs.flip(1), pairs)}


def _crossings_overloads(arguments: Arguments) -> list:
    values = tuple(arguments.values())
    grad = torch.ones(arguments["pairs"].shape[0], 3)
    detached = tuple(value.detach() for value in values)
    return [
        (torch.ops.tetragan.edge_crossings.default, values),
        (torch.ops.tetragan.edge_crossings_backward.default, (grad, *detached, True)),
    ]


def _closed_mesh(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """Random blobs, closed, with noise so that no two costs are equal; a few faces are missing at wide ones."""
    grid = tet_grid("bcc", 3 + width // 6)
    noise = signed_noise(1, grid.num_vertices, dtype=torch.float64, seed=batch)
    sdf = grid.positions.double().norm(dim=1)[None] - 0.35 + 0.05 * noise
    sdf[:, grid.boundary] = sdf[:, grid.boundary].abs() + 0.01
    mesh = extract(sdf.float(), grid).mesh
    faces = mesh.faces[3 * (width > 20) :]
    return {"vertices": mesh.vertices.to(dtype), "faces": faces.clone(), "max_faces": len(faces) // (2 + batch)}


def _parts(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """A quarter of the vertices inside: many small parts."""
    grid = tet_grid("bcc" if width % 2 else "kuhn", 1 + width // 6)
    generator = torch.Generator().manual_seed(2)
    sdf = torch.rand(batch, grid.num_vertices, generator=generator, dtype=torch.float64) - 0.25
    return {
        "sdf": sdf.float().to(dtype),
        "edges": grid.edges.clone(),
        "blocked": grid.boundary.clone(),
        "depth": 0.5,
        "step": 0.05,
    }


def _parts_overloads(arguments: Arguments) -> list:
    return [(torch.ops.tetragan.connect_components.default, tuple(arguments.values()))]


def _components(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """Random triangles on more vertices than they can connect, far ids first, and one vertex three times."""
    generator = torch.Generator().manual_seed(6)
    count = 3 * batch * width
    faces = torch.randint(0, max(count, 1), (batch * width, 3), generator=generator).int()
    faces[:1] = 0
    return {"faces": faces.flip(0), "count": count}


def _bumpy_strips(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """Strips of triangles, and for each a vertex without faces and a fan around one with two opposite faces."""
    strips = [grid_faces(width, 2) + n * (3 * (width + 1) + 4) for n in range(batch)]
    rest = [torch.tensor([[0, 1, 2], [0, 2, 1]]) + (n + 1) * (3 * (width + 1) + 4) - 3 for n in range(batch)]
    generator = torch.Generator().manual_seed(6)
    vertices = torch.randn(batch * (3 * (width + 1) + 4), 3, generator=generator, dtype=torch.float64)
    faces = torch.cat([*strips, *rest]).int() if batch else torch.zeros(0, 3, dtype=torch.int32)
    return {"vertices": vertices.to(dtype), "faces": faces}


def _first_row(value: int):
    def change(tensor: Tensor) -> Tensor:
        tensor[0] = value
        return tensor

    return change


GEOMETRY_CASES = [
    Case(
        name="marching_tets_topology",
        function=_topology_parts,
        reference=_topology_reference,
        make=_topology,
        overloads=_topology_overloads,
        half=("sdf",),
        bad_inputs=(
            BadInput("rank", edit("sdf", lambda x: x[0]), "expected sdf of shape [B, V], got [9]"),
            BadInput("type", edit("sdf", lambda x: x.long()), "expected sdf of type float32", TypeError),
            BadInput("tets", edit("tets", lambda x: x[:, :3]), "expected tets of shape [T, 4], got [12, 3]"),
            BadInput("table type", edit("edges", lambda x: x.float()), "expected edges of type int32", TypeError),
            BadInput(
                "table size", edit("tet_edges", lambda x: x[1:]), "expected tet_edges of shape [12, 6], got [11, 6]"
            ),
            BadInput("tets range", edit("tets", _first_row(9)), "expected tets in [0, V)"),
            BadInput("tets below", edit("tets", _first_row(-1)), "expected tets in [0, V)"),
            BadInput("edges range", edit("edges", _first_row(9)), "expected edges in [0, V)"),
            BadInput(
                "wide range", edit("edges", lambda x: x.long() + 2**32), "expected edges in [0, 9), got 4294967304"
            ),
            BadInput("tet_edges range", edit("tet_edges", lambda x: x + 26), "expected tet_edges to name the edges"),
            BadInput("tet_edges wrong", edit("tet_edges", lambda x: x.flip(1)), "expected tet_edges to name the edges"),
        ),
    ),
    Case(
        name="edge_crossings",
        function=edge_crossings,
        reference=edge_crossings_reference,
        make=_crossings,
        gradients=("sdf", "positions"),
        overloads=_crossings_overloads,
        half=("sdf", "positions"),
        bad_inputs=(
            BadInput("rank", edit("sdf", lambda x: x[None]), "expected sdf of shape [M], got [1, 20]"),
            BadInput(
                "positions", edit("positions", lambda x: x[:, :2]), "expected positions of shape [M, 3], got [20, 2]"
            ),
            BadInput("types", edit("positions", lambda x: x.float()), "expected positions of type float64", TypeError),
            BadInput("rows", edit("positions", lambda x: x[:7]), "expected 20 positions or a divisor of that, got 7"),
            BadInput(
                "no rows", edit("positions", lambda x: x[:0]), "expected 20 positions or a divisor of that, got 0"
            ),
            BadInput(
                "pair type", edit("pairs", lambda x: x.int()), "expected pairs of type int64, got int32", TypeError
            ),
            BadInput("pair range", edit("pairs", _first_row(20)), "expected pairs in [0, 20), got 20"),
            BadInput("pair below", edit("pairs", _first_row(-1)), "expected pairs in [0, 20), got -1"),
        ),
    ),
    Case(
        name="connect_components",
        function=connect_components,
        reference=connect_components_reference,
        make=_parts,
        overloads=_parts_overloads,
        half=("sdf",),
        tolerance={torch.float32: 0.0, torch.float64: 0.0},
        bad_inputs=(
            BadInput("rank", edit("sdf", lambda x: x[0]), "expected sdf of shape [B, V], got [9]"),
            BadInput("type", edit("sdf", lambda x: x.long()), "expected sdf of type float32", TypeError),
            BadInput("edges", edit("edges", lambda x: x[:, :1]), "expected edges of shape [E, 2], got [26, 1]"),
            BadInput("edge type", edit("edges", lambda x: x.long()), "expected edges of type int32", TypeError),
            BadInput("edges range", edit("edges", _first_row(9)), "expected edges in [0, 9), got 9"),
            BadInput("edges below", edit("edges", _first_row(-1)), "expected edges in [0, 9), got -1"),
            BadInput("blocked", edit("blocked", lambda x: x[1:]), "expected blocked of shape [9], got [8]"),
            BadInput("blocked type", edit("blocked", lambda x: x.float()), "expected blocked of type bool", TypeError),
            BadInput("depth", edit("depth", lambda x: 0.0), "expected depth above 0, got 0.0"),
            BadInput("step", edit("step", lambda x: -0.1), "expected step of at least 0, got -0.1"),
        ),
    ),
    Case(
        name="collapse_edges",
        function=collapse_edges,
        reference=collapse_edges_reference,
        make=_closed_mesh,
        empty_batch=False,
        tolerance={torch.float32: 0.0, torch.float64: 0.0},
        overloads=lambda a: [(torch.ops.tetragan.collapse_edges.default, tuple(a.values()))],
        bad_inputs=(
            BadInput("rank", edit("vertices", lambda x: x[None]), "expected vertices of shape [V, 3]"),
            BadInput("type", edit("faces", lambda x: x.long()), "expected faces of type int32", TypeError),
            BadInput("range", edit("vertices", lambda x: x[:4]), "collapse_edges(): expected faces in [0, 4)"),
            BadInput("count", edit("max_faces", lambda x: -1), "expected max_faces of at least 0, got -1"),
        ),
    ),
    Case(
        name="connected_vertices",
        function=connected_vertices,
        reference=connected_vertices_reference,
        make=_components,
        overloads=lambda a: [(torch.ops.tetragan.connected_vertices.default, tuple(a.values()))],
        bad_inputs=(
            BadInput("type", edit("faces", lambda x: x.long()), "expected faces of type int32", TypeError),
            BadInput("shape", edit("faces", lambda x: x[:, :2]), "expected faces of shape [F, 3]"),
            BadInput("range", edit("count", lambda x: 1), "connected_vertices(): expected faces in [0, 1)"),
            BadInput("count", edit("count", lambda x: -1), "expected count in [0, 2³¹), got -1"),
        ),
    ),
    Case(
        name="weighted_normals",
        function=weighted_normals,
        reference=weighted_normals_reference,
        make=_bumpy_strips,
        gradients=("vertices",),
        overloads=lambda a: [(torch.ops.tetragan.weighted_normals.default, tuple(a.values()))],
        bad_inputs=(
            BadInput(
                "rank", edit("vertices", lambda x: x[None]), "weighted_normals(): expected vertices of shape [V, 3]"
            ),
            BadInput("half", edit("vertices", lambda x: x.half()), "expected vertices of type float32", TypeError),
            BadInput("type", edit("faces", lambda x: x.long()), "expected faces of type int32", TypeError),
            BadInput("range", edit("vertices", lambda x: x[:4]), "expected faces in [0, 4)"),
        ),
    ),
]
