import torch
from torch.nn import functional

from geometry.mesh import Mesh
from geometry.normals import vertex_normals


def test_vertex_normals_are_the_sums_of_the_faces_around_a_vertex():
    generator = torch.Generator().manual_seed(0)
    vertices = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    faces = torch.randint(11, (30, 3), generator=generator).int()
    total = torch.zeros_like(vertices)
    for face in faces.tolist():
        a, b, c = vertices[face]
        for corner in face:
            total[corner] += torch.linalg.cross(b - a, c - a)
    found = vertex_normals(Mesh.single(vertices, faces))
    assert torch.allclose(found[:11], functional.normalize(total[:11], dim=1), atol=1e-12)
    assert found[11].tolist() == [0, 1, 0]  # no face
    assert torch.allclose(found, vertex_normals(Mesh.single(vertices * 1e-5, faces)))


def test_vertex_normals_have_a_gradient_and_need_no_faces():
    vertices = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 4, 0]], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(Mesh.single(v, faces)), vertices)
    assert (vertex_normals(Mesh.single(vertices, faces[:0])) == torch.tensor([0.0, 1, 0])).all()
