import pytest
import torch

from geometry.mesh import Mesh
from geometry.topology import count_components, count_degenerate_faces, edge_counts, vertex_components, weld_vertices
from tests.geometry.measures import euler_number, is_watertight, signed_volume, singular_vertices

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def tetrahedron() -> Mesh:
    return Mesh.single(CORNERS, TETRAHEDRON)


def test_a_tetrahedron() -> None:
    mesh = tetrahedron()
    assert edge_counts(mesh).edges == 6
    assert is_watertight(mesh)
    assert count_components(mesh) == 1
    assert euler_number(mesh) == 2
    assert singular_vertices(mesh) == 0
    assert count_degenerate_faces(mesh) == 0
    assert abs(signed_volume(mesh) - 1 / 6) < 1e-12
    assert abs(signed_volume(Mesh.single(CORNERS, TETRAHEDRON.flip(1))) + 1 / 6) < 1e-12


def test_an_open_mesh_and_one_face_turned_around() -> None:
    opened = edge_counts(Mesh.single(CORNERS, TETRAHEDRON[1:]))
    assert (opened.boundary, opened.non_manifold, opened.flipped, opened.closed) == (3, 0, 0, False)
    turned = TETRAHEDRON.clone()
    turned[0] = turned[0].flip(0)
    counts = edge_counts(Mesh.single(CORNERS, turned))
    assert (counts.boundary, counts.non_manifold, counts.flipped, counts.closed) == (0, 0, 3, False)


def test_a_third_face_on_an_edge() -> None:
    vertices = torch.cat([CORNERS, torch.ones(1, 3)])
    counts = edge_counts(Mesh.single(vertices, torch.cat([TETRAHEDRON, torch.tensor([[0, 1, 4]])])))
    assert (counts.boundary, counts.non_manifold) == (2, 1)


def test_two_components_and_unused_vertices() -> None:
    pair = Mesh.pack([tetrahedron(), tetrahedron()])
    both = Mesh.single(torch.cat([pair.vertices, torch.zeros(2, 3)]), pair.faces)
    assert count_components(both) == 2
    assert vertex_components(both).tolist() == [0] * 4 + [4] * 4 + [8, 9]
    assert euler_number(both) == 4
    assert is_watertight(both)


def test_two_cones_that_meet_in_a_point() -> None:
    second = TETRAHEDRON + 3
    second[TETRAHEDRON == 0] = 0
    mesh = Mesh.single(torch.cat([CORNERS, -CORNERS[1:]]), torch.cat([TETRAHEDRON, second]))
    assert is_watertight(mesh)
    assert count_components(mesh) == 1
    assert singular_vertices(mesh) == 1


def test_degenerate_faces() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 3], [0, 1, 2], [0, 0, 3], [2, 1, 3]])
    assert count_degenerate_faces(Mesh.single(vertices, faces)) == 2
    assert count_degenerate_faces(Mesh.single(vertices * 1e-9, faces)) == 2


def test_nothing_is_not_watertight() -> None:
    mesh = Mesh.single(torch.zeros(0, 3), torch.zeros(0, 3))
    assert not is_watertight(mesh)
    assert count_components(mesh) == euler_number(mesh) == singular_vertices(mesh) == count_degenerate_faces(mesh) == 0
    assert signed_volume(mesh) == 0


def test_welding_merges_equal_positions() -> None:
    split = Mesh.single(CORNERS[TETRAHEDRON].reshape(-1, 3), torch.arange(12).reshape(4, 3))
    assert count_components(split) == 4
    welded = weld_vertices(split)
    assert welded.vertices.shape == (4, 3)
    assert is_watertight(welded)
    assert torch.equal(welded.vertices[welded.faces.long()], split.vertices[split.faces.long()])


def test_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one mesh, got a batch of 2"):
        edge_counts(Mesh.pack([tetrahedron(), tetrahedron()]))


def test_components_of_a_packed_batch_are_those_of_each_mesh_alone() -> None:
    """A long strip (labels travel far), two tetrahedra, a vertex without faces, and an empty mesh."""
    steps = torch.arange(300)
    strip = Mesh.single(torch.rand(302, 3), torch.stack([steps, steps + 1, steps + 2], 1)[torch.randperm(300)])
    order = torch.randperm(302)
    strip = Mesh.single(strip.vertices, order[strip.faces.long()])
    two = Mesh.single(torch.cat([CORNERS, CORNERS + 2, CORNERS[:1]]), torch.cat([TETRAHEDRON, TETRAHEDRON + 4]))
    empty = Mesh.single(torch.empty(0, 3), torch.empty(0, 3))
    batch = Mesh.pack([strip, two, empty, tetrahedron()])
    expected = [0] * 302 + [302] * 4 + [306] * 4 + [310] + [311] * 4
    assert vertex_components(batch).tolist() == expected
