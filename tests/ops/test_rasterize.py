"""What `rasterize` promises beyond agreeing with its reference."""

import pytest
import torch
from torch import Tensor

from tests.compare import assert_close
from tests.ops.cases_raster import grid_faces, triangle_soup
from torch_utils.ops.rasterize import rasterize, rasterize_reference

pytestmark = pytest.mark.usefixtures("kernels_required")


def single(faces: Tensor) -> Tensor:
    return torch.tensor([0, faces.shape[0]])


def flat(points: Tensor, z: float = 0.0) -> Tensor:
    """Clip-space positions [V, 4] of points [V, 2] in NDC, w = 1."""
    ones = torch.ones_like(points[:, :1])
    return torch.cat([points, z * ones, ones], 1)


def patch(rows: int, columns: int, jitter: float, size: int, on_centers: bool) -> tuple[Tensor, Tensor]:
    """A patch over the middle of the image, faces of both windings; vertices on pixel centers or anywhere."""
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    y, x = torch.meshgrid(torch.linspace(-0.7, 0.7, rows + 1), torch.linspace(-0.7, 0.7, columns + 1), indexing="ij")
    points = torch.stack([x, y], -1).reshape(-1, 2)
    points += jitter * (torch.rand(points.shape, generator=generator) - 0.5)
    if on_centers:
        pixel = ((points + 1) * size / 2).floor().clamp(0, size - 1)
        points = (2 * pixel + 1) / size - 1
    faces = grid_faces(rows, columns)
    turned = torch.rand(faces.shape[0], generator=generator) < 0.5
    faces[turned] = faces[turned].flip(1)
    return points, faces


@pytest.mark.parametrize("on_centers", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 9), (40, 40)])
def test_shared_edges_neither_leak_nor_double(rows: int, columns: int, on_centers: bool) -> None:
    size = 64
    # Without jitter and with vertices on pixel centers every edge runs exactly through centers.
    points, faces = patch(rows, columns, 0.0 if on_centers else 0.4 / max(rows, columns), size, on_centers)
    first, _ = rasterize(flat(points), faces, single(faces), (size, size))
    second, _ = rasterize(flat(points), faces, single(faces), (size, size), previous=first)
    covered = first[0, ..., 3] > 0
    assert covered.any()
    assert not second.any(), "a pixel belongs to two triangles of a flat patch"
    inner = 0.7 if on_centers else 0.7 - 0.2 / max(rows, columns)
    centers = (2 * torch.arange(size) + 1) / size - 1
    inside = centers.abs() < inner - 2 / size
    assert covered[inside][:, inside].all(), "a pixel inside the patch belongs to no triangle"


def test_half_open_rule_on_a_square() -> None:
    """A square from pixel center to pixel center holds its upper and left border, not its lower and right one."""
    corners = torch.tensor([[2, 3], [6, 3], [2, 7], [6, 7]]) + 0.5
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]], dtype=torch.int32)
    rast, _ = rasterize(flat(corners / 5 - 1), faces, single(faces), (10, 10))
    expected = torch.zeros(10, 10, dtype=torch.bool)
    expected[3:7, 2:6] = True
    assert torch.equal(rast[0, ..., 3] > 0, expected)


def test_what_the_numbers_mean() -> None:
    """Perspective-correct weights, z/w and pixel (row, column) at NDC, on one triangle with three different w."""
    positions = torch.tensor([[-2.0, -1.8, 0.2, 2.0], [2.8, -2.5, 1.0, 3.0], [0.1, 0.9, -0.3, 1.0]])
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    height, width = 12, 20
    rast, _ = rasterize(positions, faces, single(faces), (height, width))
    rows, columns = (rast[0, ..., 3] > 0).nonzero(as_tuple=True)
    assert rows.numel() > 30
    u, v, depth, _ = rast[0, rows, columns].T
    point = torch.stack([u, v, 1 - u - v], 1) @ positions
    assert_close(point[:, 0] / point[:, 3], (2 * columns + 1) / width - 1, 1e-6, name="NDC x")
    assert_close(point[:, 1] / point[:, 3], (2 * rows + 1) / height - 1, 1e-6, name="NDC y")
    assert_close(point[:, 2] / point[:, 3], depth, 1e-6, name="z/w")


def test_derivatives_are_those_of_the_weights_by_the_pixel() -> None:
    """Central differences between the pixels of one triangle under perspective."""
    positions = torch.tensor([[-9.0, -9, 0.2, 2.0], [9, -6.0, 1.0, 4.0], [0.1, 7, -0.3, 1.5]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    rast, rast_db = rasterize(positions, faces, single(faces), (501, 401), derivatives=True)
    assert rast_db is not None
    u, v = rast[0, ..., 0], rast[0, ..., 1]
    whole = rast[0, ..., 3] > 0
    whole = whole[1:-1, 1:-1] & whole[2:, 1:-1] & whole[:-2, 1:-1] & whole[1:-1, 2:] & whole[1:-1, :-2]
    assert whole.sum() > 1000
    numeric = [d[whole] for w in (u, v) for d in ((w[1:-1, 2:] - w[1:-1, :-2]) / 2, (w[2:, 1:-1] - w[:-2, 1:-1]) / 2)]
    for k, expected in enumerate(numeric):
        actual = rast_db[0, 1:-1, 1:-1, k][whole]
        assert_close(actual / expected.abs().max(), expected / expected.abs().max(), 1e-4, name=f"rast_db {k}")


def test_near_plane_and_behind_the_camera() -> None:
    """A floor from behind the camera to far in front: each pixel against the ray's own intersection."""
    near, far = 0.1, 50.0
    a, b = -(far + near) / (far - near), -2 * far * near / (far - near)
    world = torch.tensor([[-40.0, -1, 40], [40, -1, 40], [0, -1, -80]], dtype=torch.float64)
    positions = torch.stack([world[:, 0], -world[:, 1], a * world[:, 2] + b, -world[:, 2]], 1)
    faces = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    size = 64
    rast, _ = rasterize(positions, faces, single(faces), (size, size))
    ndc = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
    distance = (1 / ndc).expand(size, size).T  # row's NDC y = 1 / distance
    x = ndc * distance
    inside = (ndc[:, None] > 0) & (distance > near) & (distance < far)
    inside &= x.abs() < 40 * (80 - distance) / 120
    assert inside.sum() > 500
    assert torch.equal(rast[0, ..., 3] > 0, inside)
    expected = (a * -distance + b) / distance
    assert_close(rast[0, ..., 2][inside], expected[inside], 1e-9, name="z/w")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("component", range(4))
def test_bad_vertices_leave_the_others_alone(value: float, component: int) -> None:
    positions, faces, offsets = triangle_soup(1, 30, torch.float32)
    alone, _ = rasterize(positions, faces[1:], torch.tensor([0, 29]), (16, 16))
    positions[0, component] = value
    both, _ = rasterize(positions, faces, offsets, (16, 16))
    if value == value and abs(value) < 1e39:  # huge but finite: only that nothing breaks
        assert both.isfinite().all()
        return
    alone[..., 3] += alone[..., 3] > 0
    assert torch.equal(both, alone)


def test_degenerate_and_behind_camera_triangles_are_left_out() -> None:
    positions = torch.tensor(
        [
            [-1.0, -1, 0, 1],
            [1, -1, 0, 1],
            [0, 1, 0, 1],
            [0.5, -1, 0, 1],  # on the line from 0 to 1
            [-1, -1, 0, -1],
            [1, -1, 0, -1],
            [0, 1, 0, -1],
            [0, 0, 0, 0],
        ]
    )
    faces = torch.tensor([[0, 1, 3], [0, 0, 2], [4, 5, 6], [7, 7, 7]], dtype=torch.int32)
    rast, rast_db = rasterize(positions, faces, single(faces), (17, 17), derivatives=True)
    assert rast_db is not None
    assert not rast.any()
    assert not rast_db.any()


def test_depth_range_is_closed_and_ties_go_to_the_lowest_id() -> None:
    points = torch.tensor([[-1.0, -1], [3, -1], [-1, 3]])
    depths = (1.1, 1.0, -1.0, -1.1)
    positions = torch.cat([flat(points, z) for z in depths])
    faces = torch.arange(12, dtype=torch.int32).reshape(4, 3)
    offsets = torch.arange(5)
    rast, _ = rasterize(positions, faces, offsets, (4, 4))
    assert [bool(image[..., 3].all()) for image in rast] == [False, True, True, False]
    tied = torch.cat([faces[1:2], faces[1:2].flip(1), faces[1:2]])
    rast, _ = rasterize(positions, tied, torch.tensor([0, 3]), (4, 4))
    assert (rast[..., 3] == 1).all()


def test_peeling_gives_every_layer_in_order() -> None:
    points = torch.tensor([[-1.0, -1], [3, -1], [-1, 3]])
    depths = [0.3, -0.2, 0.3, 0.9]  # faces 0 and 2 coincide: both are layers, the lower id first
    positions = torch.cat([flat(points, z) for z in depths])
    faces = torch.arange(12, dtype=torch.int32).reshape(4, 3)
    rast, order = None, []
    for _ in range(5):
        rast, _ = rasterize(positions, faces, torch.tensor([0, 4]), (3, 5), previous=rast)
        assert (rast[..., 3] == rast[0, 0, 0, 3]).all()
        order.append(int(rast[0, 0, 0, 3]))
    assert order == [2, 1, 3, 4, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_second_layer_matches_the_reference(dtype: torch.dtype) -> None:
    positions, faces, offsets = triangle_soup(2, 150, dtype, seed=5)
    first, _ = rasterize(positions, faces, offsets, (15, 18))
    positions.requires_grad_()
    results = [f(positions, faces, offsets, (15, 18), previous=first)[0] for f in (rasterize, rasterize_reference)]
    assert (results[0][..., 3] > 0).float().mean() > 0.2
    assert torch.equal(results[0][..., 3], results[1][..., 3])
    assert_close(*results, 1e-6, name="second layer")
    gradients = [torch.autograd.grad(r[..., :3].square().sum(), positions)[0] for r in results]
    assert_close(gradients[0], gradients[1], 1e-4, name="gradient")


def test_clipped_soup_matches_the_reference() -> None:
    positions, faces, offsets = triangle_soup(2, 60, torch.float64, seed=7)
    positions[::5, 3] -= 2.2  # every fifth vertex behind the camera
    positions[1::7, 2] -= 1.5  # and some in front of the near plane
    results = [f(positions, faces, offsets, (21, 19)) for f in (rasterize, rasterize_reference)]
    assert torch.equal(results[0][0][..., 3], results[1][0][..., 3])
    assert_close(results[0][0], results[1][0], 1e-9, name="clipped")


def test_zero_triangles_and_zero_images() -> None:
    positions, faces, _ = triangle_soup(1, 2, torch.float32)
    positions.requires_grad_()
    rast, rast_db = rasterize(positions, faces[:0], torch.tensor([0, 0, 0]), (3, 4), derivatives=True)
    assert rast_db is not None
    assert rast.shape == rast_db.shape == (2, 3, 4, 4)
    assert not rast.any()
    rast.sum().backward()
    assert positions.grad is not None
    assert not positions.grad.any()
    rast, rast_db = rasterize(positions, faces[:0], torch.tensor([0]), (3, 4))
    assert rast.shape == (0, 3, 4, 4)
    assert rast_db is None


def test_one_large_image_is_the_same_for_any_number_of_threads() -> None:
    """Rows are split into bands only where threads would idle: the split must not show."""
    positions, faces, offsets = triangle_soup(1, 300, torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        leaf = positions.clone().requires_grad_()
        rast, _ = rasterize(leaf, faces, offsets, (128, 96))
        results.append((rast.detach(), torch.autograd.grad(rast[..., :3].square().sum(), leaf)[0]))
    for rast, gradient in results[1:]:
        assert torch.equal(rast, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_images_that_share_vertices() -> None:
    """Two images of the same vertices: gradients add up."""
    positions, faces, _ = triangle_soup(1, 20, torch.float64)
    twice = torch.cat([faces, faces])
    leaf = positions.clone().requires_grad_()
    rast, _ = rasterize(leaf, twice, torch.tensor([0, 20, 40]), (11, 12))
    shared = torch.autograd.grad(rast[..., :3].square().sum(), leaf)[0]
    rast, _ = rasterize(leaf, faces, torch.tensor([0, 20]), (11, 12))
    once = torch.autograd.grad(rast[..., :3].square().sum(), leaf)[0]
    assert_close(shared, 2 * once, 1e-12, name="gradient")
