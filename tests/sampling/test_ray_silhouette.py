"""The loss on the rays of wrong pixels: by hand on a sphere, and where its gradient leads."""

import math

import pytest
import torch
from torch.nn import functional

from networks.generator import Generator
from rendering.camera import Cameras, orbit_cameras
from sampling.ray_silhouette import POINTS, ray_silhouette_losses
from tests.training import tiny

SIDE = 33
CAMERAS = orbit_cameras([0.0, 90.0])


@pytest.fixture(scope="module")
def sphere() -> Generator:
    """Samples that are a sphere of radius 0.3 to a thousandth of a cell."""
    torch.manual_seed(1)
    return Generator(tiny.config(geometry={"cells": 8, "sdf_scale": 1e-3})).requires_grad_(False)


def losses(generator: Generator, planes: torch.Tensor, w_geo: torch.Tensor, masks: torch.Tensor, target: torch.Tensor):
    cameras = CAMERAS[[0] * len(masks)]
    return ray_silhouette_losses(generator, planes, w_geo, cameras, masks, target)


def inputs(generator: Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes and styles of shape."""
    w_geo, w_tex = generator.map(*torch.randn(2, count, generator.config.mapping.z_dim))
    return generator.planes(w_geo, w_tex)[0], w_geo


def distance_to_sphere(column: int) -> float:
    """Of the ray of a pixel in the middle row, world units: negative where it passes through."""
    slope = ((column + 0.5) * 2 / SIDE - 1) / float(CAMERAS.focal[0, 0])
    return 1.2 * math.sin(math.atan(slope)) - 0.3


def test_a_pixel_costs_as_much_as_its_ray_is_on_the_wrong_side(sphere: Generator) -> None:
    """A hole in the middle of the sphere, a part to its right, and a sample without mistakes."""
    planes, w_geo = inputs(sphere, 3)
    masks, target = torch.zeros(2, 3, SIDE, SIDE)
    middle, right = SIDE // 2, SIDE - 5
    masks[0, middle, middle] = 1
    target[1, middle, right] = 0.9
    masks[2, middle, middle], target[2, middle, middle] = 0.8, 0.4
    box, cells = sphere.config.geometry.box, 8
    into, past = -distance_to_sphere(middle), distance_to_sphere(right)
    assert into == pytest.approx(0.3) and past > 0.05
    expected = [functional.softplus(torch.tensor(each * cells / box)) / SIDE**2 for each in (into, past)]
    found = losses(sphere, planes, w_geo, masks, target)
    near = box * 3**0.5 / (POINTS - 1) / 2 * cells / box / SIDE**2  # half of what two points of a ray lie apart
    assert found[:2].tolist() == pytest.approx([float(each) for each in expected], abs=near)
    assert found[2] == 0


def test_two_views_of_a_sample_are_averaged(sphere: Generator) -> None:
    planes, w_geo = inputs(sphere, 1)
    masks, target = torch.zeros(2, 2, SIDE, SIDE)
    target[0, 3, 3] = target[1, 3, 3] = 1
    both = ray_silhouette_losses(sphere, planes, w_geo, CAMERAS, masks, target)
    one = losses(sphere, planes, w_geo, masks[:1], target[:1])
    assert both.shape == (1,) and both.tolist() == pytest.approx(one.tolist(), rel=1e-2)


def test_the_gradient_withdraws_what_is_too_much_and_extends_what_is_missing(sphere: Generator) -> None:
    planes, w_geo = inputs(sphere, 2)
    planes = planes.clone().requires_grad_()
    masks, target = torch.zeros(2, 2, SIDE, SIDE)
    middle, right = SIDE // 2, SIDE - 9
    masks[0, middle, middle] = target[1, middle, right] = 1
    losses(sphere, planes, w_geo, masks, target).sum().backward()
    assert planes.grad is not None
    offset = 1.2 * math.tan(math.asin((distance_to_sphere(right) + 0.3) / 1.2))
    points = torch.tensor([[0.0, 0.0, 0.0], [offset, 0.0, 0.0]])
    moved = planes.detach() - 100 * functional.normalize(planes.grad.flatten(1)).view_as(planes)
    ends = torch.arange(3)
    before, after = (sphere.signed_distance(each, w_geo, points, ends) for each in (planes.detach(), moved))
    assert after[0] > before[0] and after[1] < before[1]


def test_a_ray_that_misses_the_box_costs_nothing(sphere: Generator) -> None:
    planes, w_geo = inputs(sphere, 1)
    masks, target = torch.zeros(2, 1, SIDE, SIDE)
    target[0, 0, 0] = 1
    assert losses(sphere, planes, w_geo, masks, target) > 0
    wide = Cameras.orbit(torch.zeros(1), torch.zeros(1), 1.2, math.radians(100))
    assert ray_silhouette_losses(sphere, planes, w_geo, wide, masks, target) == 0
