"""What `antialias` promises: coverage that is a smooth function of the positions, with the derivative of the area."""

import pytest
import torch
import trimesh
from torch import Tensor

from tests.compare import assert_close
from tests.ops.cases_raster import grid_faces
from torch_utils.ops.antialias import antialias, antialias_reference
from torch_utils.ops.face_neighbors import face_neighbors
from torch_utils.ops.rasterize import rasterize

pytestmark = pytest.mark.usefixtures("kernels_required")


def image(positions: Tensor, faces: Tensor, size: int, color: Tensor | None = None) -> Tensor:
    """Antialiased color [size, size, C]; white on black unless given."""
    rast, _ = rasterize(positions.detach(), faces, torch.tensor([0, faces.shape[0]]), (size, size))
    if color is None:
        color = (rast[..., 3:] > 0).to(positions.dtype)
    return antialias(color, rast, positions, faces)[0]


def moved(points: Tensor, size: int, scale: Tensor, shift_px: Tensor) -> Tensor:
    """Clip-space positions of points [V, 3] in pixels from the image's center, scaled and shifted; w is not 1."""
    xy = (points[:, :2] * scale + shift_px) * 2 / size
    w = 1 + 0.3 * torch.sin(torch.arange(points.shape[0], dtype=points.dtype))
    return torch.cat([xy * w[:, None], (points[:, 2:] / size) * w[:, None], w[:, None]], 1)


def polygon(corners: int, radius_px: float, angle_rad: float) -> tuple[Tensor, Tensor]:
    """A regular polygon as a fan."""
    a = torch.arange(corners, dtype=torch.float64) * 2 * torch.pi / corners + angle_rad
    rim = torch.stack([a.cos() * radius_px, a.sin() * radius_px, 0 * a], 1)
    k = torch.arange(corners)
    faces = torch.stack([k, (k + 1) % corners, torch.full_like(k, corners)], 1).int()
    return torch.cat([rim, torch.zeros(1, 3, dtype=torch.float64)]), faces


def projected_area(points: Tensor, faces: Tensor) -> Tensor:
    """Area of a flat or convex shape's outline in pixels²: half its triangles' areas where it is closed."""
    a, b, c = points[faces.long()][..., :2].unbind(1)
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs() / 2
    closed = bool((face_neighbors(faces) >= 0).all())
    return areas.sum() / (2 if closed else 1)


SHAPES = {
    "triangle": polygon(3, 40.0, 0.3),
    "square": polygon(4, 36.0, 0.2),
    "pentagon": polygon(5, 45.0, 1.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_coverage_changes_as_the_area_does(name: str) -> None:
    """Edges ≥ 32 px: the gradient of total coverage by scale and by each vertex against differences of the area."""
    points, faces = SHAPES[name]
    size = 128
    for offset in (0.0, 0.23, 0.61):
        scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        shift = torch.tensor([offset, 0.7 * offset], dtype=torch.float64, requires_grad=True)
        corners = points.clone().requires_grad_()
        coverage = image(moved(corners, size, scale, shift), faces, size).sum()
        by_scale, by_shift, by_corner = torch.autograd.grad(coverage, [scale, shift, corners])
        area = projected_area(corners * scale, faces)
        area_by_scale, area_by_corner = torch.autograd.grad(area, [scale, corners])
        assert abs(coverage / area - 1) < 0.002
        assert abs(by_scale / area_by_scale - 1) < 0.05
        edge_length = area_by_corner.norm(dim=1).max()
        assert (by_corner - area_by_corner)[:, :2].norm(dim=1).max() < 0.05 * edge_length
        assert by_shift.abs().max() < 0.05 * edge_length  # the area does not change with a shift


def test_coverage_gradient_by_one_sided_shift() -> None:
    """A square that leaves the image: the shift changes the visible area by the height of the cut."""
    points, faces = polygon(4, 36.0, 0.2)
    size = 128
    shift = torch.tensor([60.3, 0.2], dtype=torch.float64, requires_grad=True)
    one = torch.ones((), dtype=torch.float64)
    coverage = image(moved(points, size, one, shift), faces, size).sum()
    (gradient,) = torch.autograd.grad(coverage, shift)

    def hard(x: float) -> float:
        fine = 8
        position = moved(points * fine, size * fine, one, torch.tensor([x, 0.2], dtype=torch.float64) * fine)
        rast, _ = rasterize(position, faces, torch.tensor([0, 4]), (size * fine, size * fine))
        return (rast[..., 3] > 0).double().sum().item() / fine**2

    difference = (hard(61.3) - hard(59.3)) / 2
    assert difference < -20
    assert abs(gradient[0].item() / difference - 1) < 0.05


@pytest.mark.parametrize("subdivisions", [3, 4, 5])
def test_triangles_of_a_pixel_still_have_right_gradients(subdivisions: int) -> None:
    """Triangles of 4, 2 and 1 px: the walk across them finds the silhouette."""
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    faces = torch.from_numpy(sphere.faces.copy()).int()
    size = 128
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        points = torch.from_numpy(sphere.vertices.copy()) @ turn * torch.tensor([45.0, 32.0, 38.0])
        scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        shift = torch.tensor([0.37, 0.11], dtype=torch.float64, requires_grad=True)
        xy = points[:, :2] * scale + shift
        positions = torch.cat([xy * 2 / size, points[:, 2:] / size, torch.ones_like(points[:, :1])], 1)
        coverage = image(positions, faces, size).sum()
        by_scale, by_shift = torch.autograd.grad(coverage, [scale, shift])
        area = projected_area(points, faces)
        assert abs(coverage / area - 1) < 0.001
        assert abs(by_scale / (2 * area) - 1) < 0.03
        assert by_shift.abs().max() < 0.03 * 2 * area / 40


def test_gradient_against_own_differences() -> None:
    """Away from topology changes: a step too small for any crossing to leave its pixel pair."""
    points, faces = SHAPES["pentagon"]
    size, step = 64, 1e-6
    color = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.randn(size, size, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, none = torch.ones((), dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    positions = moved(points * 0.5, size, one, none).requires_grad_()
    (gradient,) = torch.autograd.grad((image(positions, faces, size, color) * weight).sum(), positions)
    for vertex in range(5):
        for axis in (0, 1, 3):
            change = torch.zeros_like(positions)
            change[vertex, axis] = step
            with torch.no_grad():
                up, down = ((image(positions + s * change, faces, size, color) * weight).sum() for s in (1, -1))
            difference = (up - down).item() / (2 * step)
            assert abs(gradient[vertex, axis].item() - difference) <= 1e-3 * (1 + abs(difference))
    assert not gradient[:, 2].any()


def test_inner_edges_are_left_alone_and_folds_are_not() -> None:
    """Nothing is blended inside a flat patch; a patch folded over itself blends along the fold."""
    size = 32
    generator = torch.Generator().manual_seed(0)
    color = torch.rand(1, size, size, 3, generator=generator)
    y, x = torch.meshgrid(torch.linspace(-1.3, 1.3, 12), torch.linspace(-1.3, 1.3, 12), indexing="ij")
    points = torch.stack([x + 0.05 * y, y - 0.03 * x], -1).reshape(-1, 2)
    faces = grid_faces(11, 11)
    one, nil = torch.ones(144, 1), torch.zeros(144, 1)
    flat = image(torch.cat([points, nil, one], 1), faces, size, color)
    assert torch.equal(flat, color[0])
    line = x[0, 7].item()  # the columns to the right turn back, underneath
    folded = torch.stack([torch.minimum(x, 2 * line - x), y, 0.5 * (x > line)], -1).reshape(-1, 3)
    mask = image(torch.cat([folded, one], 1), faces, size)[..., 0]
    edge = (line + 1) * size / 2
    share = (edge - torch.arange(size)).clamp(0, 1)
    assert 0.1 < share[int(edge)] < 0.9
    assert_close(mask, share.expand(size, size), 1e-4, name="coverage at the fold")


def test_blend_is_the_covered_share_of_the_pixel() -> None:
    """A vertical edge at x = 3.8 px of a row: pixel 3 (center 3.5) is covered by 0.8; at 3.2 by 0.2."""
    size = 8
    for edge, pixel, share in ((3.8, 3, 0.8), (3.2, 3, 0.2), (4.0, 3, 1.0), (3.5 + 1e-9, 3, 0.5)):
        right = edge / size * 2 - 1
        positions = torch.tensor([[-9.0, -9, 0, 1], [right, -9, 0, 1], [right, 9, 0, 1], [-9, 9, 0, 1]]).double()
        positions[1:3, 0] = right
        faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
        out = image(positions, faces, size)[..., 0]
        expected = torch.tensor([1.0] * pixel + [share] + [0.0] * (size - pixel - 1), dtype=torch.float64)
        assert_close(out, expected.expand(size, size), 1e-6, name=f"edge at {edge}")


@pytest.mark.parametrize("axis", [0, 1])
def test_a_border_through_a_pixel_center_is_no_silhouette_inside(axis: int) -> None:
    """A patch begins at 4.5 px, in the center of pixel 4. Pixel 5 shows another triangle of it: nothing is between."""
    size = 16
    x = torch.tensor([4.5, 5.0, 40.0]).double() / size * 2 - 1
    points = torch.cartesian_prod(x, torch.tensor([-9.0, 9.0]).double())
    nearer_inside = torch.stack([-0.2 * points[:, 0], torch.ones(6).double()], 1)
    positions = torch.cat([points if axis == 0 else points.flip(1), nearer_inside], 1)
    faces = torch.tensor([[0, 2, 3], [0, 3, 1], [2, 4, 5], [2, 5, 3]], dtype=torch.int32)
    color = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = image(positions, faces, size, color)
    out, before = (out, color[0]) if axis == 0 else (out.transpose(0, 1), color[0].transpose(0, 1))
    assert torch.equal(out[:, 5:], before[:, 5:])
    assert_close(out[:, 4], (before[:, 3] + before[:, 4]) / 2, 1e-12, name="border")


def test_the_nearer_surface_blends_over_the_farther() -> None:
    """A near square over a far plane: only pixels at the square's border change, towards each other."""
    size = 16
    near = torch.tensor(
        [[-0.53, -0.53, -0.5, 1], [0.53, -0.53, -0.5, 1], [0.53, 0.53, -0.5, 1], [-0.53, 0.53, -0.5, 1]]
    )
    far = torch.tensor([[-2.0, -2, 0.5, 1], [2, -2, 0.5, 1], [2, 2, 0.5, 1], [-2, 2, 0.5, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    positions, faces = torch.cat([far, near]), torch.cat([faces, faces + 4])
    rast, _ = rasterize(positions, faces, torch.tensor([0, 4]), (size, size))
    color = (rast[..., 3:] > 2).float()
    out = image(positions, faces, size, color)
    assert abs(out.sum().item() - (1.06 * size / 2) ** 2) < 0.5
    assert out.min() >= 0
    assert out.max() <= 1


def test_bad_vertices_do_no_harm() -> None:
    """The right edge leads to a triangle behind the camera: nothing is blended there. The left edge is open."""
    positions = torch.tensor([[-0.9, -1, 0, 1], [0.9, -1, 0, 1], [0, 1, 0, 1], [float("nan")] * 4, [0, 0, 0, -1]])
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [2, 1, 4]], dtype=torch.int32)
    leaf = positions.clone().requires_grad_()
    rast, _ = rasterize(positions, faces, torch.tensor([0, 3]), (16, 16))
    assert (rast[..., 3] == 3).any(), "the clipped triangle is seen beside the first"
    out = image(leaf, faces, 16, (rast[..., 3:] == 1).float())
    assert out.isfinite().all()
    partial = (out > 0) & (out < 1)
    assert partial[:, :8].sum() >= 8
    assert not partial[:, 8:].any()
    out.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_a_seam_with_the_neighbors_of_the_welded_mesh_is_no_silhouette() -> None:
    """A patch that hides a part of itself, each triangle with vertices of its own, as along the seams of an atlas."""
    size, shared = 48, grid_faces(4, 4)
    points = torch.randn(25, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 12
    one = torch.ones((), dtype=torch.float64)
    welded = moved(points, size, one, torch.zeros(2, dtype=torch.float64))
    positions, faces = welded[shared.flatten().long()], torch.arange(shared.numel(), dtype=torch.int32).view(-1, 3)
    rast, _ = rasterize(positions, faces, torch.tensor([0, len(faces)]), (size, size))
    color = torch.rand(1, size, size, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    neighbors = face_neighbors(shared)
    smooth = antialias(color, rast, positions, faces, neighbors)
    assert_close(smooth, antialias_reference(color, rast, positions, faces, neighbors), 1e-12, name="seams")
    apart = antialias(color, rast, positions, faces)
    assert not torch.equal(smooth, apart), "without these neighbors, every edge is a silhouette"
    assert not torch.equal(smooth, color), "the patch has a border"
