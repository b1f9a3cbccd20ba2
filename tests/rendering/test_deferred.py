"""The deferred pipeline: what it shows, and where its gradients go."""

import pytest
import torch

from geometry.mesh import Mesh
from rendering.backends import rasterizer
from rendering.camera import Cameras
from rendering.deferred import (
    composite,
    next_layer,
    rasterize_mesh,
    resolve,
    visible_attributes,
    visible_attributes_with_slopes,
    visible_faces,
    visible_points,
)
from tests.rendering.scenes import clip_positions, orbit, quad, sphere
from torch_utils.errors import UserError


def image(mesh, cameras, resolution, *, supersample=1, background=0.0, gradient="full", backend="auto"):
    """Colored by position: rgb = points + ½."""
    raster = rasterize_mesh(mesh, cameras, resolution, supersample=supersample, backend=backend)
    points = visible_points(raster, gradient=gradient == "full")
    return composite(raster, points + 0.5, background, color_gradient=gradient)


@pytest.mark.parametrize("supersample", [1, 2, 4])
@pytest.mark.parametrize("side", [0.5, 0.71])
def test_coverage_adds_up_to_the_area(side, supersample):
    """The plane z = 0 is 2 units wide: a square of side s covers (32 s)² of 64² pixels."""
    _, mask = image(quad(side), orbit([0.0]), 64, supersample=supersample)
    assert mask.shape == (1, 1, 64, 64)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert float(mask.sum()) == pytest.approx((32 * side) ** 2, rel=0.01)


def test_row_zero_is_the_top_and_the_right_is_right():
    """A quad around (0.5, 0.5, 0) lies in the upper right quarter and shows its own position as color."""
    mesh = quad(0.25)
    mesh = mesh.replace(vertices=mesh.vertices + torch.tensor([0.5, 0.5, 0.0]))
    rgb, mask = image(mesh, orbit([0.0]), 64)
    rows, columns = (mask[0, 0] > 0.5).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 19, 44, 51)
    # Pixel (12, 44) has its center at NDC (44.5 / 32 − 1, −(12.5 / 32 − 1)).
    torch.testing.assert_close(
        rgb[0, :, 13, 45], torch.tensor([45.5 / 32 - 0.5, 1.5 - 13.5 / 32, 0.5]), atol=1e-5, rtol=0
    )


def test_visible_points_project_onto_their_own_pixels():
    cameras = orbit([20.0, 200.0], 25.0)
    raster = rasterize_mesh(sphere(0.6), cameras, 32, supersample=2)
    points = visible_points(raster)
    image, row, column = raster.pixels // 64**2, raster.pixels // 64 % 64, raster.pixels % 64
    clip = clip_positions(cameras, points, image)
    ndc = clip[:, :2] / clip[:, 3:]
    expected = torch.stack([(2 * column + 1) / 64 - 1, (2 * row + 1) / 64 - 1], 1)
    torch.testing.assert_close(ndc, expected, atol=2e-5, rtol=0)
    radius = points.norm(dim=1)
    assert radius.max() <= 0.6001
    assert radius.min() > 0.6 * 0.97


def test_shapes_and_views_are_what_they_are_alone():
    """Three shapes, one empty, two views each: bit for bit the six images rendered one by one."""
    empty = Mesh.single(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))
    meshes = [sphere(0.5), empty, quad(0.8, 0.1)]
    cameras = orbit([0.0, 60.0, 10.0, 20.0, -30.0, 30.0], 10.0)
    rgb, mask = image(Mesh.pack(meshes), cameras, 24, supersample=2, background=0.3)
    for n in range(6):
        alone_rgb, alone_mask = image(meshes[n // 2], cameras[n], 24, supersample=2, background=0.3)
        assert (rgb[n] == alone_rgb[0]).all(), n
        assert (mask[n] == alone_mask[0]).all(), n
    assert mask[2:4].max() == 0
    assert (rgb[2:4] == 0.3).all()


def test_offsets_say_which_shape_a_point_belongs_to():
    mesh = Mesh.pack([quad(0.4), quad(0.4, 0.2)])
    raster = rasterize_mesh(mesh, orbit([0.0, 5.0, 0.0, 5.0]), 32)
    points = visible_points(raster)
    first, last = raster.point_offsets[1], raster.point_offsets[2]
    assert raster.point_offsets.device.type == "cpu"
    assert last == len(points)
    assert points[:first, 2].abs().max() < 1e-6
    assert (points[first:, 2] - 0.2).abs().max() < 1e-6


def test_visible_faces_are_rows_of_the_mesh():
    """Each point lies in the plane of the face it is said to lie on, for every shape and view."""
    mesh = Mesh.pack([sphere(0.5, 6), sphere(0.3, 4)])
    raster = rasterize_mesh(mesh, orbit([0.0, 70.0, 140.0] * 2, 15.0), 32)
    corners = mesh.vertices[mesh.faces[visible_faces(raster)].long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = torch.nn.functional.normalize(normal, dim=1)
    distance = ((visible_points(raster) - corners[:, 0]) * normal).sum(1)
    assert distance.abs().max() < 1e-5


def test_slopes_are_differences_between_pixels():
    raster = rasterize_mesh(quad(1.0), orbit([0.0]), 64, derivatives=True)
    values, slopes = visible_attributes_with_slopes(raster, raster.mesh.vertices[:, :2].contiguous())
    torch.testing.assert_close(values, visible_points(raster)[:, :2])
    # One column is 2 / 64 units along x, one row as much down y.
    expected = torch.tensor([[1 / 32, 0.0], [0.0, -1 / 32]]).expand_as(slopes)
    torch.testing.assert_close(slopes, expected, atol=1e-6, rtol=0)


def test_attributes_are_interpolated_at_the_points():
    mesh = sphere(0.5)
    raster = rasterize_mesh(mesh, orbit([30.0, 90.0]), 24)
    torch.testing.assert_close(visible_attributes(raster, 3 * mesh.vertices), 3 * visible_points(raster))


@pytest.mark.parametrize("kind", ["number", "color", "colors", "image"])
def test_backgrounds_are_composited_with_the_coverage(kind):
    generator = torch.Generator().manual_seed(0)
    background = {
        "number": 0.25,
        "color": torch.rand(3, generator=generator),
        "colors": torch.rand(2, 3, generator=generator),
        "image": torch.rand(2, 3, 20, 20, generator=generator),
    }[kind]
    cameras = orbit([0.0, 40.0], 10.0)
    black, mask = image(sphere(0.5), cameras, 20, supersample=2)
    rgb, _ = image(sphere(0.5), cameras, 20, supersample=2, background=background)
    full = torch.as_tensor(background, dtype=torch.float32)
    full = full if full.dim() == 4 else full.reshape(-1, 3 if full.dim() else 1)[:, :, None, None]
    torch.testing.assert_close(rgb, black + (1 - mask) * full)
    assert ((mask > 0.01) & (mask < 0.99)).sum() > 20, "expected soft edges"


def test_the_reference_backend_agrees():
    cameras = orbit([0.0, 40.0], 20.0)
    got = image(sphere(0.5, 6), cameras, 16, supersample=2)
    expected = image(sphere(0.5, 6), cameras, 16, supersample=2, backend="reference")
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_unknown_backend_and_wrong_number_of_cameras():
    with pytest.raises(UserError, match="expected one of auto, native, nvdiffrast, reference, got 'opengl'"):
        rasterizer("opengl")
    with pytest.raises(ValueError, match=r"rasterize_mesh\(\): expected a multiple of 2 cameras, got 3"):
        rasterize_mesh(Mesh.pack([quad(1.0)] * 2), orbit([0.0] * 3), 16)


def test_moving_camera_and_mesh_together_changes_nothing():
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    turn = turn * torch.linalg.det(turn)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = turn, torch.tensor([0.3, -0.1, 0.7], dtype=torch.float64)
    mesh, camera = sphere(0.5, dtype=torch.float64), orbit([30.0], 20.0, dtype=torch.float64)
    moved_mesh = mesh.replace(vertices=mesh.vertices @ turn.T + motion[:3, 3])
    moved_camera = Cameras(motion @ camera.camera_to_world, camera.focal, camera.principal)
    _, mask = image(mesh, camera, 32, supersample=2)
    _, moved = image(moved_mesh, moved_camera, 32, supersample=2)
    torch.testing.assert_close(moved, mask, atol=1e-9, rtol=0)


def test_next_layer_is_what_lies_behind():
    mesh = Mesh.pack([quad(0.5, 0.3), quad(0.5, -0.3)])
    mesh = mesh.replace(vertex_offsets=torch.tensor([0, 8]), face_offsets=torch.tensor([0, 4]))
    front = rasterize_mesh(mesh, orbit([0.0]), 32)
    behind = next_layer(front)
    assert (visible_points(front)[:, 2] - 0.3).abs().max() < 1e-6
    assert (visible_points(behind)[:, 2] + 0.3).abs().max() < 1e-6
    assert len(next_layer(behind).pixels) == 0


# ------------------------------------------------------------------------------------------------------------ gradients


def test_resolve_averages_blocks():
    image = torch.randn(
        2, 8, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    expected = torch.nn.functional.avg_pool2d(image.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    torch.testing.assert_close(resolve(image, 4), expected)
    assert torch.autograd.gradcheck(lambda x: resolve(x, 2), (image,))
    assert resolve(image, 1) is image


@pytest.mark.parametrize("gradient", ["none", "silhouette", "full"])
def test_where_the_color_gradient_goes(gradient):
    """Same image in every mode; RGB's gradient to the vertices is none, that of coverage, or that and the points'."""
    mesh, cameras = sphere(0.5, 6, torch.float64), orbit([30.0], 20.0, torch.float64)
    vertices = mesh.vertices.requires_grad_()
    rgb, mask = image(mesh, cameras, 16, supersample=2, gradient=gradient)
    plain_rgb, plain_mask = image(mesh.detach(), cameras, 16, supersample=2)
    torch.testing.assert_close(rgb.detach(), plain_rgb, atol=0, rtol=0)
    torch.testing.assert_close(mask.detach(), plain_mask, atol=1e-15, rtol=0)
    (of_mask,) = torch.autograd.grad(mask.square().sum(), vertices, retain_graph=True)
    assert of_mask.abs().max() > 0.1
    if gradient == "none":
        assert not rgb.requires_grad
        return
    (of_rgb,) = torch.autograd.grad(rgb.square().sum(), vertices)
    # The vertex that looks straight at the camera takes no part in the silhouette.
    middle = int((vertices.detach() @ cameras.position()[0]).argmax())
    assert of_rgb.abs().max() > 0.1
    assert (float(of_rgb[middle].abs().max()) > 1e-6) == (gradient == "full")


@pytest.mark.parametrize("motion", ["scale", "shift"])
def test_the_coverage_gradient_is_the_change_of_area(motion):
    """A square with edges of 38 px: d(coverage) within 5 % of the analytic d(area); a shift changes one half only."""
    parameter = torch.zeros((), dtype=torch.float64, requires_grad=True)
    mesh = quad(1.2, dtype=torch.float64)
    move = torch.stack([mesh.vertices[:, 0], torch.zeros(4), torch.zeros(4)], 1).double()
    if motion == "scale":
        move = mesh.vertices
    else:
        move = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64).expand(4, 3)
    _, mask = image(mesh.replace(vertices=mesh.vertices + parameter * move), orbit([0.0], dtype=torch.float64), 64)
    if motion == "scale":
        expected = 2 * (1.2 * 32) ** 2
        total = mask.sum()
    else:
        expected = 1.2 * 32 * 32
        total = mask[..., 32:].sum()
    (got,) = torch.autograd.grad(total, parameter)
    assert float(got) == pytest.approx(expected, rel=0.05)


def test_points_follow_the_surface_along_the_ray():
    """Finite differences: the point that a pixel sees, as the mesh grows and moves."""
    mesh, cameras = sphere(0.5, 6, torch.float64), orbit([30.0], 20.0, torch.float64)
    weight = None

    def total(shift):
        nonlocal weight
        moved = mesh.replace(vertices=mesh.vertices * (1 + shift[3]) + shift[:3])
        raster = rasterize_mesh(moved, cameras, 8)
        points = visible_points(raster)
        if weight is None:
            weight = torch.randn(points.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return (points * weight).sum()

    assert torch.autograd.gradcheck(total, (torch.zeros(4, dtype=torch.float64, requires_grad=True),), eps=1e-7)


def test_colors_get_their_gradient():
    raster = rasterize_mesh(sphere(0.5, 6, torch.float64), orbit([0.0, 50.0], 0.0, torch.float64), 6, supersample=2)
    colors = torch.randn(len(raster.pixels), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c: composite(raster, c)[0], (colors.requires_grad_(),))


def test_two_views_add_their_gradients():
    mesh = sphere(0.5, 6, torch.float64)
    vertices = mesh.vertices.requires_grad_()
    cameras = orbit([30.0, 120.0], 20.0, torch.float64)
    (both,) = torch.autograd.grad(image(mesh, cameras, 16)[0].square().sum(), vertices)
    one = [torch.autograd.grad(image(mesh, cameras[i], 16)[0].square().sum(), vertices)[0] for i in range(2)]
    torch.testing.assert_close(both, one[0] + one[1])
