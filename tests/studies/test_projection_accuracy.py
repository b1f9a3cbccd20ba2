"""The study of projection: the angle between cameras, and the lines of its table."""

import math

import pytest
import torch

from rendering.camera import Cameras
from studies.projection_accuracy import Found, angle_deg, found_row, mean_row


def camera(azimuth_deg: float, elevation_deg: float, radius: float = 1.2) -> Cameras:
    angles = torch.deg2rad(torch.tensor([[azimuth_deg, elevation_deg]]))
    return Cameras.orbit(angles[:, 0], angles[:, 1], radius, 0.8)


def test_the_angle_is_that_between_directions() -> None:
    assert angle_deg(camera(10, 20), camera(10, 20, 3.0)) == pytest.approx(0, abs=1e-2)
    assert angle_deg(camera(0, 0), camera(358, 0)) == pytest.approx(2, abs=1e-2)
    assert angle_deg(camera(0, 60), camera(180, 60)) == pytest.approx(60, abs=1e-2)
    # Two directions at elevation e, a quarter turn apart, have the cosine sin² e.
    assert angle_deg(camera(0, 30), camera(90, 30)) == pytest.approx(math.degrees(math.acos(0.25)), abs=1e-2)


def test_the_table_counts_cameras_that_are_near() -> None:
    found = [Found(1, 0.9, 20.0, 5.0, 10.0), Found(2, 1.0, 30.0, 5.1, 30.0)]
    assert found_row(found[0]) == "| 1 | 0.900 | 20.0 | 5.0 | 10 |"
    assert mean_row(found) == "| mean | 0.950 | 25.0 | 1 of 2 within 5° | 20 |"
