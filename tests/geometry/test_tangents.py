"""Tangent frames: along u, upward in the image, and MikkTSpace's weights at a corner of a cube."""

import pytest
import torch

from geometry.mesh import Mesh
from geometry.tangents import vertex_tangents


def square(uvs: list[list[float]]) -> Mesh:
    """The square [0, 1]² in the plane z = 0, facing +Z."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    normals = torch.tensor([0.0, 0, 1]).expand(4, 3)
    return Mesh.single(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), normals=normals, uvs=torch.tensor(uvs))


@pytest.mark.parametrize(
    ("uvs", "tangent", "upward"),
    [
        ([[0.0, 1], [1, 1], [1, 0], [0, 0]], [1, 0, 0], [0, 1, 0]),  # upright: v runs down, so +Y is up in the image
        ([[1.0, 1], [1, 0], [0, 0], [0, 1]], [0, -1, 0], [1, 0, 0]),  # a quarter turn
        ([[1.0, 1], [0, 1], [0, 0], [1, 0]], [-1, 0, 0], [0, 1, 0]),  # mirrored
    ],
)
def test_the_tangent_runs_along_u_and_the_bitangent_up_in_the_image(uvs, tangent, upward) -> None:
    mesh = square(uvs)
    found = vertex_tangents(mesh)
    torch.testing.assert_close(found[:, :3], torch.tensor(tangent).float().expand(4, 3))
    bitangent = found[:, 3:] * torch.linalg.cross(mesh.normals, found[:, :3])
    torch.testing.assert_close(bitangent, torch.tensor(upward).float().expand(4, 3))


def test_faces_count_by_their_angle() -> None:
    """Two faces at a vertex, of 90° and 45°, with tangents along +X and +Y."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 1, 0]])
    uvs = torch.tensor([[0.5, 0.5], [0.9, 0.5], [0.5, 0.1], [0.5, 0.1]])
    # The second face's u runs along +Y, its v along +X.
    uvs = torch.cat([uvs[:3], torch.tensor([[0.9, 0.9]])])
    normals = torch.tensor([0.0, 0, 1]).expand(4, 3)
    one = Mesh.single(vertices, torch.tensor([[0, 1, 2]]), normals=normals, uvs=uvs)
    torch.testing.assert_close(vertex_tangents(one)[0, :3], torch.tensor([1.0, 0, 0]))
    two = Mesh.single(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), normals=normals, uvs=uvs)
    alone = vertex_tangents(Mesh.single(vertices, torch.tensor([[0, 2, 3]]), normals=normals, uvs=uvs))[0, :3]
    wanted = torch.nn.functional.normalize(2 * torch.tensor([1.0, 0, 0]) + alone, dim=0)
    torch.testing.assert_close(vertex_tangents(two)[0, :3], wanted)


def test_a_mesh_without_uvs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vertex_tangents\(\): expected one mesh with normals and uvs"):
        vertex_tangents(Mesh.single(torch.eye(3), torch.tensor([[0, 1, 2]])))
