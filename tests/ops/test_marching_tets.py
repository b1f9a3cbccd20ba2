"""What marching_tets means: cases, windings, order, and how it behaves on whole grids."""

import hashlib
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from geometry.mesh import Mesh
from geometry.tet_grid import TET_EDGES, tet_grid
from tests.compare import assert_close, assert_gradient_close
from tests.geometry.measures import euler_number, is_watertight, signed_volume
from torch_utils.ops.loading import use_mode
from torch_utils.ops.marching_tets import (
    CASES,
    Topology,
    edge_crossings,
    edge_crossings_reference,
    marching_tets,
    marching_tets_topology,
    surface_vertices,
)

CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def shapes(grid, batch: int, seed: int = 0) -> torch.Tensor:
    """SDFs [B, V] of unions of three balls."""
    generator = torch.Generator().manual_seed(seed)
    centers = (torch.rand(batch, 1, 3, 3, generator=generator) - 0.5) * 0.4
    radii = 0.12 + 0.1 * torch.rand(batch, 1, 3, generator=generator)
    return ((grid.positions[None, :, None] - centers).norm(dim=-1) - radii).amin(-1)


def topology_of(sdf: torch.Tensor, grid) -> Topology:
    return marching_tets_topology(sdf, grid.tets, grid.edges, grid.tet_edges)


def assert_same(first: Topology, second: Topology) -> None:
    for field in fields(Topology):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert a.dtype == b.dtype, field.name
        assert torch.equal(a, b), field.name


@pytest.mark.parametrize("code", range(16))
def test_each_case_covers_its_crossing_edges_and_winds_outward(code: int) -> None:
    inside = torch.tensor([bool(code >> k & 1) for k in range(4)])
    crossed = {e for e, (a, b) in enumerate(TET_EDGES) if inside[a] != inside[b]}
    triangles = [row for row in (CASES[code][:3], CASES[code][3:]) if row[0] >= 0]
    assert {e for row in triangles for e in row} == crossed
    assert len(triangles) == (0, 1, 2, 1, 0)[int(inside.sum())]
    for row in triangles:
        a, b, c = ((CORNERS[TET_EDGES[e][0]] + CORNERS[TET_EDGES[e][1]]) / 2 for e in row)
        outward = CORNERS[~inside].mean(0) - CORNERS[inside].mean(0)
        assert torch.linalg.cross(b - a, c - a) @ outward > 1e-3


@pytest.mark.parametrize("mode", ["require", "reference"])
def test_one_tetrahedron_of_each_case(mode: str) -> None:
    tets = torch.arange(4)[None]
    edges = torch.tensor(TET_EDGES)
    sdf = torch.tensor([[-1.0 if code >> k & 1 else 1.0 for k in range(4)] for code in range(16)])
    with use_mode(mode):
        vertices, faces, _, offsets = marching_tets(sdf, CORNERS, tets, edges, torch.arange(6)[None])
    assert offsets.diff().tolist() == [sum(row[k] >= 0 for k in (0, 3)) for row in CASES]
    a, b, c = vertices[faces].unbind(1)
    outward = torch.stack([CORNERS[s > 0].mean(0) - CORNERS[s < 0].mean(0) for s in sdf[1:-1]])
    normals = torch.linalg.cross(b - a, c - a)
    index = torch.repeat_interleave(torch.arange(14), offsets.diff()[1:-1])
    assert ((normals * outward[index]).sum(1) > 1e-3).all()


@pytest.mark.parametrize("mode", ["require", "reference"])
def test_zero_and_nan_count_as_outside(mode: str) -> None:
    grid = tet_grid("bcc", 2)
    sdf = torch.full((3, grid.num_vertices), -1.0)
    sdf[0, 5], sdf[1, 5], sdf[2, 5] = 0.0, 1.0, torch.nan
    with use_mode(mode):
        found = topology_of(sdf, grid)
    counts = found.vertex_offsets.diff()
    assert counts[0] == counts[1] == counts[2] > 0
    assert (found.edge_vertices % grid.num_vertices == 5).any(1).all()


@pytest.mark.parametrize("batch", [1, 2, 7, 33, 64, 65, 130])
def test_kernel_equals_reference_at_any_batch(batch: int) -> None:
    grid = tet_grid("bcc", 3)
    sdf = torch.randn(batch, grid.num_vertices, generator=torch.Generator().manual_seed(batch))
    with use_mode("require"):
        kernel = topology_of(sdf, grid)
    with use_mode("reference"):
        assert_same(kernel, topology_of(sdf, grid))
    assert torch.equal(kernel.active[kernel.edge_active], kernel.edge_vertices)
    assert torch.equal(kernel.active, kernel.edge_vertices.unique())


@pytest.mark.parametrize("value", [1.0, 0.0, -1.0])
def test_no_surface_gives_empty_outputs(value: float) -> None:
    grid = tet_grid("kuhn", 3)
    found = topology_of(torch.full((2, grid.num_vertices), value), grid)
    assert found.faces.shape == (0, 3)
    assert found.edge_vertices.shape == (0, 2)
    assert found.active.shape == (0,)
    assert found.face_offsets.tolist() == [0, 0, 0]
    sdf = torch.full((2 * grid.num_vertices,), value, requires_grad=True)
    edge_crossings(sdf, grid.positions, found.edge_vertices).sum().backward()
    assert sdf.grad is not None
    assert not sdf.grad.any()


@pytest.mark.parametrize("threads", [1, 2])
def test_batch_of_eight_equals_eight_batches_of_one_bitwise(threads: int) -> None:
    torch.set_num_threads(threads)
    grid = tet_grid("bcc", 8)
    tables = (grid.tets, grid.edges, grid.tet_edges)
    sdf = shapes(grid, 8)
    positions = grid.positions + 0.01 * torch.randn(8, grid.num_vertices, 3, generator=torch.Generator().manual_seed(0))

    def run(s: torch.Tensor, p: torch.Tensor):
        s, p = s.clone().requires_grad_(), p.clone().requires_grad_()
        vertices, faces, vertex_offsets, face_offsets = marching_tets(s, p, *tables)
        vertices.square().sum().backward()
        return vertices.detach(), faces, vertex_offsets, face_offsets, s.grad, p.grad

    vertices, faces, vertex_offsets, face_offsets, grad_sdf, grad_positions = run(sdf, positions)
    packed = Mesh(vertices, faces, vertex_offsets, face_offsets)
    for b in range(8):
        one = run(sdf[b : b + 1], positions[b : b + 1])
        assert torch.equal(packed[b].vertices, one[0])
        assert torch.equal(packed[b].faces, one[1])
        assert torch.equal(grad_sdf[b : b + 1], one[4])
        assert torch.equal(grad_positions[b : b + 1], one[5])
    torch.set_num_threads(1)


def test_sphere_is_closed_outward_and_right_in_both_table_types() -> None:
    grid = tet_grid("bcc", 12)
    sdf = grid.positions.norm(dim=1)[None] - 0.3
    parts = marching_tets(sdf, grid.positions, grid.tets, grid.edges, grid.tet_edges)
    mesh = Mesh(*parts)
    assert is_watertight(mesh)
    assert euler_number(mesh) == 2
    assert 0.9 * 0.1131 < signed_volume(mesh) < 0.1131
    wide = marching_tets(sdf, grid.positions, grid.tets.long(), grid.edges.long(), grid.tet_edges.long())
    assert all(torch.equal(a, b) for a, b in zip(parts, wide, strict=True))


def test_shared_positions_and_their_gradient() -> None:
    grid = tet_grid("bcc", 4)
    sdf = shapes(grid, 3).double().reshape(-1)
    pairs = topology_of(sdf.view(3, -1), grid).edge_vertices
    weights = torch.randn(len(pairs), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    results = []
    for function in (edge_crossings, edge_crossings_reference):
        s, p = sdf.clone().requires_grad_(), grid.positions.double().requires_grad_()
        points = function(s, p, pairs)
        results.append((points, *torch.autograd.grad((points * weights).sum(), (s, p))))
    assert_close(results[0][0], results[1][0], 1e-12)
    assert_gradient_close(results[0][1], results[1][1], 1e-10)
    assert_gradient_close(results[0][2], results[1][2], 1e-10)


def test_surface_vertices_are_the_published_formula_and_stay_on_the_edge() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = -torch.rand(50, generator=generator).double(), torch.rand(50, generator=generator).double()
    p, q = torch.randn(2, 50, 3, generator=generator).double()
    expected = (p * b[:, None] - q * a[:, None]) / (b - a)[:, None]
    assert_close(surface_vertices(a, b, p, q), expected, 1e-12)
    tiny = torch.tensor([-1e-38, -1e-30, -3e38])
    points = surface_vertices(tiny, -tiny, torch.zeros(3, 3), torch.ones(3, 3))
    assert ((points >= 0) & (points <= 1)).all()
    assert torch.autograd.gradcheck(surface_vertices, [x[:5].requires_grad_() for x in (a, b, p, q)])
    assert torch.autograd.gradgradcheck(surface_vertices, [x[:2].detach().requires_grad_() for x in (a, b, p, q)])


def topology_digest() -> str:
    """A hash of kernel results on one input; run in other processes with other instruction sets."""
    grid = tet_grid("bcc", 5)
    digest = hashlib.sha256()
    for dtype in (torch.float32, torch.float64):
        sdf = torch.randn(70, grid.num_vertices, generator=torch.Generator().manual_seed(0)).to(dtype)
        with use_mode("require"):
            found = topology_of(sdf, grid)
        for field in fields(Topology):
            digest.update(getattr(found, field.name).numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("instruction_set", ["baseline", "avx2"])
def test_all_instruction_sets_agree_bitwise(instruction_set: str) -> None:
    root = Path(__file__).parents[2]
    code = "from tests.ops.test_marching_tets import topology_digest; print(topology_digest())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "TETRAGAN_ISA": instruction_set, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == topology_digest()


@pytest.mark.cuda
@pytest.mark.parametrize("batch", [1, 3, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_kernel_equals_the_cpu_kernel(batch: int, dtype: torch.dtype) -> None:
    grid = tet_grid("bcc", 7)
    sdf = torch.randn(batch, grid.num_vertices, generator=torch.Generator().manual_seed(batch)).to(dtype)
    sdf = sdf + 0.1 * sdf.sign()
    positions = grid.positions.to(dtype)
    on_device = grid.to("cuda")
    results = []
    with use_mode("require"):
        for place, tables in (("cpu", grid), ("cuda", on_device)):
            s, p = sdf.to(place).requires_grad_(), positions.to(place).requires_grad_()
            found = topology_of(s, tables)
            points = edge_crossings(s.reshape(-1), p, found.edge_vertices)
            gradients = torch.autograd.grad(points.square().sum(), (s, p))
            moved = {field.name: getattr(found, field.name).cpu() for field in fields(Topology)}
            results.append((Topology(**moved), points.cpu(), *(g.cpu() for g in gradients)))
    assert_same(results[0][0], results[1][0])
    assert_close(results[1][1], results[0][1], 1e-6)
    for actual, expected in zip(results[1][2:], results[0][2:], strict=True):
        assert_gradient_close(actual, expected, 1e-4)
