"""Simplification keeps the topology and stays close to the surface."""

import pytest
import torch
from scipy.spatial import cKDTree

from geometry.mesh import Mesh
from geometry.simplification import largest_component, simplify
from geometry.tet_grid import tet_grid
from geometry.topology import count_components, edge_counts
from tests.geometry.dense import extract
from tests.geometry.fields import torus
from torch_utils.ops.collapse_edges import collapse_edges, collapse_edges_reference


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    grid = tet_grid("bcc", 16)
    return extract(torus(grid.positions)[None], grid).mesh


def euler_number(mesh: Mesh) -> int:
    return len(mesh.faces.unique()) - edge_counts(mesh).edges + len(mesh.faces)


@pytest.mark.parametrize("faces", [2000, 300, 40])
def test_a_torus_stays_a_closed_torus(mesh: Mesh, faces: int) -> None:
    assert len(mesh.faces) > 2000 and euler_number(mesh) == 0
    simplified, source = simplify(mesh, faces)
    assert len(simplified.faces) == faces
    assert edge_counts(simplified).closed and euler_number(simplified) == 0
    assert torch.equal(simplified.vertices, mesh.vertices[source])


def test_the_surface_hardly_moves(mesh: Mesh) -> None:
    simplified, _ = simplify(mesh, 600)
    corners = simplified.vertices[simplified.faces.long()]
    distance, _ = cKDTree(mesh.vertices.numpy()).query(corners.mean(1).numpy())
    assert distance.max() < 0.03, "a cell is 0.06"


def test_two_components_stay_two_and_the_larger_one_can_be_kept(mesh: Mesh) -> None:
    small = mesh.replace(vertices=0.5 * mesh.vertices + 2)
    pair = Mesh.pack([small, mesh])
    both = Mesh.single(pair.vertices, pair.faces)
    simplified, _ = simplify(both, 500)
    assert count_components(simplified) == 2 and edge_counts(simplified).closed
    largest = largest_component(both)
    assert torch.equal(largest.vertices, mesh.vertices) and torch.equal(largest.faces, mesh.faces)


def test_what_cannot_be_simplified_stays(mesh: Mesh) -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    tetrahedron = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32)
    assert torch.equal(collapse_edges(corners, tetrahedron, 0), tetrahedron)
    small = simplify(mesh, 400)[0]
    left = collapse_edges(small.vertices, small.faces, 0)
    assert torch.equal(left, collapse_edges_reference(small.vertices, small.faces, 0))
    left = collapse_edges(mesh.vertices, mesh.faces, 0)
    assert edge_counts(Mesh.single(mesh.vertices, left)).closed and len(left) >= 14, "the least torus has 14 faces"


def test_an_open_border_stays_where_it_is() -> None:
    side = 12
    grid = torch.arange(side * side).view(side, side)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    faces = torch.cat([torch.stack([a, b, d], -1).view(-1, 3), torch.stack([a, d, c], -1).view(-1, 3)]).int()
    flat = torch.stack([grid // side, grid % side, 0 * grid], -1).view(-1, 3).float()
    left = collapse_edges(flat, faces, 0)
    before, after = (edge_counts(Mesh.single(flat, each)) for each in (faces, left))
    assert len(left) < len(faces) // 2 and after.boundary == before.boundary == 4 * (side - 1)


def test_errors(mesh: Mesh) -> None:
    with pytest.raises(ValueError, match=r"simplify\(\): expected one mesh and at least 12 faces, got 1, 11"):
        simplify(mesh, 11)
    with pytest.raises(ValueError, match=r"collapse_edges\(\): expected max_faces of at least 0, got -1"):
        collapse_edges(mesh.vertices, mesh.faces, -1)
