"""Camera distributions."""

import math

import pytest
import torch

from rendering.camera_distribution import (
    CAMERA_DISTRIBUTIONS,
    dump_camera_distribution,
    load_camera_distribution,
    parse_camera_distribution,
)
from torch_utils.errors import UserError


@pytest.mark.parametrize(
    ("name", "highest"),
    [("car", 30), ("chair", 30), ("motorbike", 30), ("house", 30), ("table", 30), ("animal", 45), ("human", 20)],
)
def test_published_camera_distributions(name, highest):
    cameras = load_camera_distribution(name).sample(0, range(2000))
    azimuth, elevation = cameras.azimuth_rad().rad2deg() % 360, cameras.elevation_rad().rad2deg()
    assert -1e-3 < elevation.min() < 0.05 * highest
    assert 0.95 * highest < elevation.max() < highest + 1e-3
    assert abs(float(elevation.mean()) - highest / 2) < 0.05 * highest
    quarters = torch.histc(azimuth, 4, 0, 360)
    assert quarters.min() > 400
    torch.testing.assert_close(cameras.position().norm(dim=1), torch.full((2000,), 1.2))
    torch.testing.assert_close(
        2 * torch.atan(1 / cameras.focal).rad2deg(), torch.full((2000, 2), 49.134), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize(("name", "low", "high"), [("lamp", 0, 30), ("mug", 5, 50), ("plane", -20, 40)])
def test_camera_distributions_of_the_procedural_categories(name, low, high):
    """The published cameras but for the elevation: from below too where an object shows its belly."""
    cameras, published = (
        load_camera_distribution(name).sample(0, range(2000)),
        load_camera_distribution("car").sample(0, range(2000)),
    )
    elevation = cameras.elevation_rad().rad2deg()
    assert low - 1e-3 < elevation.min() < low + 1
    assert high - 1 < elevation.max() < high + 1e-3
    torch.testing.assert_close(cameras.azimuth_rad(), published.azimuth_rad())
    torch.testing.assert_close(cameras.focal, published.focal)
    torch.testing.assert_close(cameras.position().norm(dim=1), torch.full((2000,), 1.2))


def test_a_camera_depends_on_seed_and_index_alone():
    camera_distribution = load_camera_distribution("chair")
    forward, shuffled = camera_distribution.sample(5, [0, 1, 2, 3]), camera_distribution.sample(5, [3, 1, 0])
    assert (shuffled.camera_to_world == forward.camera_to_world[[3, 1, 0]]).all()
    assert not torch.equal(camera_distribution.sample(6, [0]).camera_to_world, forward.camera_to_world[:1])


def test_distributions():
    camera_distribution = parse_camera_distribution(
        {
            "azimuth_deg": {"list": [0, 90, 180]},
            "elevation_deg": {"sphere": [-30, 90]},
            "radius": {"normal": [2.0, 0.1]},
            "fov_y_deg": {"uniform": [30, 50]},
            "roll_deg": 10,
        },
        "test",
    )
    cameras = camera_distribution.sample(0, range(3000))
    radius = cameras.position().norm(dim=1)
    assert (float(radius.mean()), float(radius.std())) == (pytest.approx(2.0, abs=0.01), pytest.approx(0.1, rel=0.06))
    height = cameras.position()[:, 1] / radius  # uniform on the sphere's area: sin e is uniform
    counts = torch.histc(height, 4, math.sin(math.radians(-30)), 1)
    assert counts.min() > 0.85 * 750
    away = cameras.elevation_rad().rad2deg() < 80
    azimuth = cameras.azimuth_rad().rad2deg()[:3]
    assert [round(float(a)) for a, keep in zip(azimuth, away[:3], strict=True) if keep] == [
        a for a, keep in zip([0, 90, 180], away[:3], strict=True) if keep
    ]
    fov = 2 * torch.atan(1 / cameras.focal[:, 1]).rad2deg()
    assert 30 <= fov.min() < 31
    assert 49 < fov.max() <= 50
    # Turned by 10° about the viewing axis: the right axis leaves the horizon by sin 10°·cos e.
    rotation = cameras.camera_to_world[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(3000, 3, 3), atol=1e-5, rtol=0)
    tilt = rotation[:, 1, 0]
    torch.testing.assert_close(tilt, math.sin(math.radians(10)) * cameras.elevation_rad().cos(), atol=1e-5, rtol=0)


def test_target_jitter_moves_the_point_looked_at():
    still, moved = (
        parse_camera_distribution({"target_jitter": jitter}, "test").sample(0, range(500)) for jitter in (0.0, 0.05)
    )
    shift = moved.position() - still.position()
    torch.testing.assert_close(shift.std(0), torch.full((3,), 0.05), rtol=0.15, atol=0)
    assert (moved.camera_to_world[:, :3, :3] == still.camera_to_world[:, :3, :3]).all()


@pytest.mark.parametrize("name", sorted(CAMERA_DISTRIBUTIONS))
def test_camera_distributions_survive_a_file(name, tmp_path):
    import yaml

    path = tmp_path / "camera distribution.yaml"
    path.write_text(yaml.safe_dump(dump_camera_distribution(CAMERA_DISTRIBUTIONS[name])))
    assert load_camera_distribution(path) == CAMERA_DISTRIBUTIONS[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("radius: [1, 2]", "radius"),
        ("radius: 0.05", "radius: expected values between near 0.1 and far 10.0"),
        ("elevation_deg: {uniform: [0, 100]}", "elevation_deg: expected values in"),
        ("elevation_deg: {uniform: [30, 0]}", "expected the lower bound first"),
        ("elevation_deg: {uniform: [0, 30], normal: [1, 2]}", "expected one of fixed, uniform"),
        ("azimuth_deg: {list: []}", "azimuth_deg.list"),
        ("radius: .nan", "expected finite numbers"),
        ("fov_y_deg: 0", "fov_y_deg: expected values inside"),
        ("elevaton_deg: 3", "elevaton_deg"),
        ("- 1", "expected a mapping"),
        ("{", "cannot be read"),
    ],
)
def test_bad_camera_distributions_are_one_line(text, message, tmp_path):
    path = tmp_path / "camera distribution.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_camera_distribution(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_camera_distributions_names_the_known_ones():
    with pytest.raises(UserError, match=r"--camera: expected one of car, chair.* or a YAML file, got 'boat'"):
        load_camera_distribution("boat")
