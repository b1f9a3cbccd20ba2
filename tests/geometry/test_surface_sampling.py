import math

import pytest
import torch

from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from geometry.surface_sampling import sample_surface
from geometry.tet_grid import tet_grid
from tests.geometry.dense import extract
from tests.geometry.fields import sphere, torus


@pytest.fixture(scope="module")
def meshes() -> Mesh:
    grid = tet_grid("bcc", 14)
    return extract(torch.stack([sphere(grid.positions), torus(grid.positions)]), grid).mesh


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_points_lie_on_the_surface_with_outward_normals(meshes: Mesh) -> None:
    points, normals = sample_surface(meshes, 500, seeded())
    assert points.shape == normals.shape == (2, 500, 3)
    assert ((points[0].norm(dim=1) - 0.35).abs() < 0.01).all()
    assert ((normals[0] * points[0]).sum(1) / points[0].norm(dim=1) > 0.97).all()
    assert torus(points[1]).abs().max() < 0.02
    assert torch.allclose(normals.norm(dim=-1), torch.ones(2, 500), atol=1e-5)


def test_points_are_uniform_over_the_area_not_the_faces() -> None:
    # A unit square of two triangles, and 200 slivers that together have a third of its area.
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    x = torch.linspace(2, 2 + 1 / 3, 201)
    strip = torch.stack([torch.stack([x, torch.zeros(201), x * 0], 1), torch.stack([x, torch.ones(201), x * 0], 1)], 1)
    ids = torch.arange(200) * 2 + 4
    slivers = torch.cat([torch.stack([ids, ids + 2, ids + 3], 1), torch.stack([ids, ids + 3, ids + 1], 1)])
    faces = torch.cat([torch.tensor([[0, 1, 2], [0, 2, 3]]), slivers])
    points, _ = sample_surface(Mesh.single(torch.cat([square, strip.reshape(-1, 3)]), faces), 8000, seeded())
    on_square = points[0, :, 0] <= 1
    assert abs(on_square.float().mean().item() - 0.75) < 3 * math.sqrt(0.75 * 0.25 / 8000)
    inner = points[0][on_square][:, :2]
    assert torch.allclose(inner.mean(0), torch.tensor([0.5, 0.5]), atol=0.02)
    assert torch.allclose(inner.var(0), torch.tensor([1 / 12, 1 / 12]), atol=0.004)


def test_points_are_seeded_and_independent_of_the_rest_of_the_batch(meshes: Mesh) -> None:
    points, _ = sample_surface(meshes, 100, seeded())
    assert torch.equal(points, sample_surface(meshes, 100, seeded())[0])
    assert not torch.equal(points, sample_surface(meshes, 100, seeded(1))[0])
    assert torch.equal(points[:1], sample_surface(meshes[0], 100, seeded())[0])


def test_meshes_without_area_give_nan(meshes: Mesh) -> None:
    flat = Mesh.single(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    none = Mesh.single(torch.zeros(0, 3), torch.zeros(0, 3))
    points, normals = sample_surface(Mesh.pack([flat, meshes[0], none]), 10, seeded())
    assert points.isnan().all(-1).all(-1).tolist() == [True, False, True]
    assert normals.isnan().any(-1).any(-1).tolist() == [True, False, True]
    assert sample_surface(none, 10, seeded())[0].isnan().all()
    with pytest.raises(ValueError, match=r"sample_surface\(\): expected at least one point, got 0"):
        sample_surface(meshes, 0, seeded())


def test_vertex_normals_of_a_sphere_point_outward(meshes: Mesh) -> None:
    normals = vertex_normals(meshes)[: int(meshes.vertex_offsets[1])]
    radial = torch.nn.functional.normalize(meshes[0].vertices, dim=1)
    assert ((normals * radial).sum(1) > 0.99).all()
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(normals)), atol=1e-5)


def test_vertex_normals_weigh_by_area_and_survive_tiny_meshes() -> None:
    # Two right-angled faces on the edge 0-1: normals +Z (area 1/2) and −Y (area 3/2).
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]])
    mesh = Mesh.single(vertices, torch.tensor([[0, 1, 2], [0, 1, 3]]))
    expected = torch.tensor([0.0, -3, 1]) / math.sqrt(10)
    for scale in (1.0, 1e-12):
        normals = vertex_normals(mesh.replace(vertices=vertices * scale))
        assert torch.allclose(normals[0], expected, atol=1e-6)
        assert torch.allclose(normals[2], torch.tensor([0.0, 0, 1]))


def test_vertex_normals_of_loose_and_cancelling_vertices_are_up() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1], [5, 5, 5]])
    normals = vertex_normals(Mesh.single(vertices, torch.tensor([[0, 1, 2], [0, 2, 1]])))
    assert torch.equal(normals, torch.tensor([[0.0, 1, 0]]).expand(4, 3))
    assert vertex_normals(Mesh.single(torch.zeros(0, 3), torch.zeros(0, 3))).shape == (0, 3)


def test_vertex_normals_have_gradients() -> None:
    mesh = extract(sphere(tet_grid("bcc", 3).positions)[None].double(), tet_grid("bcc", 3)).mesh
    leaf = mesh.vertices.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(mesh.replace(vertices=v)), leaf, eps=1e-7, atol=1e-5)
