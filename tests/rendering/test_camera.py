"""Cameras: every convention of docs/conventions.md that a number can show."""

import json
import math

import pytest
import torch

from dataset_tool.format.transforms_json import frames_json, parse_frames
from rendering.camera import Cameras, fov_from_sensor, orbit_cameras
from tests.rendering.scenes import clip_positions


def orbit(azimuth_deg, elevation_deg, radius=1.2, fov_deg=49.13):
    azimuth = torch.tensor(azimuth_deg, dtype=torch.float64).deg2rad()
    elevation = torch.tensor(elevation_deg, dtype=torch.float64).deg2rad()
    return Cameras.orbit(azimuth, elevation, radius, math.radians(fov_deg))


def pixel(cameras, point, resolution):
    """Column and row (continuous, 0 = the outer edge of the first pixel) of a world point in the first camera."""
    clip = clip_positions(cameras, torch.tensor([point], dtype=torch.float64), torch.zeros(1, dtype=torch.int64))[0]
    ndc = clip[:3] / clip[3]
    return ((ndc[:2] + 1) / 2 * resolution).tolist()


def test_orbit_puts_the_camera_where_the_formula_says():
    cameras = orbit([0.0, 90.0, 0.0, 30.0], [0.0, 0.0, 90.0, 20.0], radius=2.0)
    a, e = math.radians(30), math.radians(20)
    expected = [
        [0, 0, 2],
        [2, 0, 0],
        [0, 2, 0],
        [2 * math.cos(e) * math.sin(a), 2 * math.sin(e), 2 * math.cos(e) * math.cos(a)],
    ]
    torch.testing.assert_close(cameras.position(), torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_orbit_and_angles_are_inverse():
    azimuth = torch.linspace(-179, 179, 37, dtype=torch.float64)
    elevation = torch.linspace(-85, 85, 37, dtype=torch.float64)
    cameras = Cameras.orbit(azimuth.deg2rad(), elevation.deg2rad(), 1.2, 0.8)
    torch.testing.assert_close(cameras.azimuth_rad().rad2deg(), azimuth)
    torch.testing.assert_close(cameras.elevation_rad().rad2deg(), elevation)


@pytest.mark.parametrize("elevation", [-90.0, -40.0, 0.0, 90.0])
def test_the_pose_is_rigid_and_looks_at_the_origin(elevation):
    cameras = orbit([70.0], [elevation])
    rotation = cameras.camera_to_world[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.linalg.det(rotation) > 0.999
    assert pixel(cameras, (0.0, 0.0, 0.0), 64) == pytest.approx([32, 32])


def test_view_is_the_inverse_of_camera_to_world():
    cameras = orbit([10.0, 200.0], [5.0, -60.0])
    product = cameras.view() @ cameras.camera_to_world
    torch.testing.assert_close(product, torch.eye(4, dtype=torch.float64).expand(2, 4, 4), atol=1e-12, rtol=0)


def test_known_points_fall_on_known_pixels():
    """From the front: +X is to the right, +Y is up (towards row 0); half the field of view is the image's edge."""
    front = orbit([0.0], [0.0], radius=2.0, fov_deg=90.0)
    assert pixel(front, (0.5, 0.0, 0.0), 64) == pytest.approx([40, 32])
    assert pixel(front, (0.0, 0.5, 0.0), 64) == pytest.approx([32, 24])
    assert pixel(front, (2.0, 2.0, 0.0), 64) == pytest.approx([64, 0])
    # Counter-clockwise seen from above: at azimuth 90° the camera is on +X and the object's front points to the left.
    right = orbit([90.0], [0.0], radius=2.0, fov_deg=90.0)
    assert pixel(right, (0.0, 0.0, 0.5), 64) == pytest.approx([24, 32])


def test_principal_point_moves_the_image_right_and_down():
    front = orbit([0.0], [0.0], radius=2.0, fov_deg=90.0)
    moved = Cameras(front.camera_to_world, front.focal, torch.tensor([[0.25, 0.5]], dtype=torch.float64))
    assert pixel(moved, (0.0, 0.0, 0.0), 64) == pytest.approx([40, 48])


def test_rays_pass_through_the_points_of_their_pixels():
    cameras = orbit([10.0, 200.0], [5.0, -60.0])
    cameras = Cameras(cameras.camera_to_world, cameras.focal, cameras.principal + 0.2)
    points = torch.tensor([[[-0.7, 0.3], [0.5, 0.9], [0.0, 0.0]]], dtype=torch.float64).expand(2, -1, -1)
    world = cameras.position()[:, None] + 1.7 * cameras.ray_directions(points)
    clip = torch.cat([world, torch.ones(2, 3, 1, dtype=torch.float64)], 2) @ cameras.world_to_clip().transpose(1, 2)
    torch.testing.assert_close(clip[..., :2] / clip[..., 3:], points)
    torch.testing.assert_close(clip[..., 3], torch.full((2, 3), 1.7, dtype=torch.float64))


def test_depth_runs_from_near_to_far():
    front = orbit([0.0], [0.0], radius=2.0)
    points = torch.tensor([[0, 0, 2 - 0.1], [0, 0, 2 - 10.0]], dtype=torch.float64)
    clip = clip_positions(front, points, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(clip[:, 2] / clip[:, 3], torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(clip[:, 3], torch.tensor([0.1, 10.0], dtype=torch.float64))


def test_moving_camera_and_mesh_together_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64) * 0.3
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = rotation, torch.tensor([0.4, -2.0, 0.7], dtype=torch.float64)
    camera = orbit([33.0], [21.0])
    moved = Cameras(motion @ camera.camera_to_world, camera.focal, camera.principal)
    index = torch.zeros(20, dtype=torch.int64)
    torch.testing.assert_close(
        clip_positions(moved, points @ rotation.T + motion[:3, 3], index), clip_positions(camera, points, index)
    )


@pytest.mark.parametrize("views", [1, 3])
def test_transform_packed_is_every_vertex_by_its_camera(views):
    """Shapes of unequal size, one of them empty; values and gradients."""
    counts = torch.tensor([5, 0, 9])
    offsets = torch.tensor([0, 5, 5, 14])
    vertices = torch.randn(14, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    cameras = orbit([float(i * 17) for i in range(3 * views)], [10.0] * (3 * views))
    parts = vertices.split(counts.tolist())
    repeated = torch.cat([parts[n // views] for n in range(3 * views)])
    image = torch.repeat_interleave(torch.arange(3 * views), counts.repeat_interleave(views))
    expected = clip_positions(cameras, repeated, image)
    got = cameras.transform_packed(vertices, offsets)
    torch.testing.assert_close(got, expected)
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((got * weight).sum(), vertices)[0],
        torch.autograd.grad((expected * weight).sum(), vertices)[0],
    )


def test_transform_packed_refuses_a_wrong_number_of_cameras():
    with pytest.raises(ValueError, match=r"transform_packed\(\): expected a multiple of 2 cameras, got 3"):
        orbit([0.0] * 3, [0.0] * 3).transform_packed(torch.zeros(4, 3), torch.tensor([0, 2, 4]))


def test_selecting_and_joining():
    cameras = orbit([0.0, 10.0, 20.0], [0.0, 1.0, 2.0])
    joined = Cameras.cat([cameras[-1], cameras[:2], cameras[torch.tensor([1])]])
    torch.testing.assert_close(joined.azimuth_rad().rad2deg(), torch.tensor([20.0, 0, 10, 10], dtype=torch.float64))


def test_published_field_of_view():
    assert math.degrees(fov_from_sensor(32, 35)) == pytest.approx(49.13, abs=0.005)


@pytest.mark.parametrize("shared", [True, False])
def test_transforms_json_gives_the_same_cameras_back(shared):
    generator = torch.Generator().manual_seed(3)
    fov = torch.full((4,), 0.8575) if shared else torch.rand(4, generator=generator) + 0.3
    cameras = Cameras.orbit(torch.rand(4, generator=generator) * 6, torch.rand(4, generator=generator), 1.2, fov)
    text = frames_json(cameras, [f"{view:03d}.png" for view in range(4)], 100)
    frames = parse_frames(text.encode(), "test")
    assert frames.images == ("000.png", "001.png", "002.png", "003.png")
    assert (torch.from_numpy(frames.camera_to_world) == cameras.camera_to_world).all()
    torch.testing.assert_close(torch.from_numpy(frames.focal), cameras.focal, atol=0, rtol=1e-6)
    assert (torch.from_numpy(frames.principal) == cameras.principal).all()


def test_transforms_json_is_what_nerf_tools_read():
    """Intrinsics in pixels, the field of view in radians, an OpenGL camera-to-world matrix."""
    values = json.loads(frames_json(orbit([90.0], [0.0], radius=2.0, fov_deg=90.0), ["000.png"], 64))
    assert (values["w"], values["h"], values["cx"], values["cy"]) == (64, 64, 32, 32)
    assert values["fl_x"] == pytest.approx(32)
    assert values["camera_angle_x"] == pytest.approx(math.pi / 2)
    matrix = values["frames"][0]["transform_matrix"]
    assert [row[3] for row in matrix] == pytest.approx([2, 0, 0, 1])
    assert [row[2] for row in matrix] == pytest.approx([1, 0, 0, 0])


def test_orbit_cameras_see_front_at_azimuth_zero() -> None:
    position = orbit_cameras([0], elevation_deg=0).position()
    torch.testing.assert_close(position, torch.tensor([[0.0, 0.0, 1.2]]), atol=1e-6, rtol=0)
