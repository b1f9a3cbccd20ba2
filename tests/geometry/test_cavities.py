"""Cavities leave the mesh, and nothing else does."""

import torch

from geometry.cavities import without_cavities
from geometry.mesh import Mesh
from tests.rendering.scenes import sphere


def moved(mesh: Mesh, x: float) -> Mesh:
    return mesh.replace(vertices=mesh.vertices + torch.tensor([x, 0.0, 0.0]))


def inside_out(mesh: Mesh) -> Mesh:
    return mesh.replace(faces=mesh.faces.flip(1))


def joined(*meshes: Mesh) -> Mesh:
    """One mesh of several."""
    packed = Mesh.pack(meshes)
    return Mesh.single(packed.vertices, packed.faces)


def test_a_cavity_goes_and_separate_solids_stay() -> None:
    """Far from the origin, too, where single tetrahedra to it have large volumes of either sign."""
    large, small = sphere(0.5), sphere(0.2, 6)
    for place in (0.0, 7.0):
        hollow = joined(moved(inside_out(small), place), moved(large, place), moved(small, place + 2))
        found = without_cavities(hollow)
        expected = joined(moved(large, place), moved(small, place + 2))
        assert torch.equal(found.vertices, expected.vertices)
        assert torch.equal(found.faces, expected.faces)


def test_a_batch_keeps_its_samples_apart() -> None:
    large, small = sphere(0.5), sphere(0.2, 6)
    batch = Mesh.pack([large, joined(large, inside_out(small)), small])
    found = without_cavities(batch)
    assert len(found) == 3
    for got, wanted in zip((found[0], found[1], found[2]), (large, large, small), strict=True):
        assert torch.equal(got.vertices, wanted.vertices) and torch.equal(got.faces, wanted.faces)


def test_without_cavities_nothing_is_copied_and_gradients_pass() -> None:
    solid = sphere(0.5)
    assert without_cavities(solid) is solid
    hollow = joined(solid, inside_out(sphere(0.2)))
    vertices = hollow.vertices.clone().requires_grad_()
    without_cavities(hollow.replace(vertices=vertices)).vertices.sum().backward()
    assert vertices.grad is not None
    count = len(solid.vertices)
    assert vertices.grad[:count].eq(1).all() and vertices.grad[count:].eq(0).all()


def test_an_empty_mesh_stays_empty() -> None:
    empty = Mesh.single(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))
    assert without_cavities(empty) is empty
