"""Ambient occlusion against surfaces whose share of sky is known."""

import numpy as np
import pytest
import torch

from geometry.mesh import Mesh
from rendering import ambient_occlusion
from rendering.ambient_occlusion import sky_directions, sky_maps, sky_visibility
from rendering.backends import rasterizer

UP = torch.tensor([[0.0, 1.0, 0.0]])


def quad(corners) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(corners, dtype=torch.float32), torch.tensor([[0, 1, 2], [0, 2, 3]])


def mesh(*quads) -> Mesh:
    vertices = torch.cat([corners for corners, _ in quads])
    faces = torch.cat([faces + 4 * index for index, (_, faces) in enumerate(quads)])
    return Mesh.single(vertices, faces)


FLOOR = quad([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]])
# A wall along the line x = 0, as high and as long as the floor is wide.
WALL = quad([[0, 0, -1], [0, 0, 1], [0, 1, 1], [0, 1, -1]])


def test_directions_are_even():
    directions = sky_directions(64)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(64))
    assert directions.mean(0).norm() < 0.02
    torch.testing.assert_close(directions.T @ directions / 64, torch.eye(3) / 3, atol=0.02, rtol=0)


def test_a_bare_floor_sees_all_of_its_sky_from_both_sides():
    points = torch.tensor([[0.5, 0.0, 0.2], [-0.7, 0.0, 0.0]])
    maps = sky_maps(mesh(FLOOR))
    for sign in (1, -1):
        assert (sky_visibility(maps, points, sign * UP.expand(2, 3)) == 1).all()


def test_a_wall_takes_the_share_that_mathematics_gives():
    """A point at distance d from a wall of height 1 and length 2."""
    maps = sky_maps(mesh(FLOOR, WALL), directions=256, side=128)
    for distance in (0.1, 0.3, 0.6):
        seen = float(sky_visibility(maps, torch.tensor([[distance, 0.0, 0.0]]), UP))
        # Numerically: cosine-weighted directions that meet the wall.
        rng = np.random.default_rng(0)
        radius, angle = np.sqrt(rng.random(200_000)), 2 * np.pi * rng.random(200_000)
        x, z, y = radius * np.cos(angle), radius * np.sin(angle), np.sqrt(np.maximum(1 - radius**2, 1e-12))
        steps = np.where(x < 0, distance / np.maximum(-x, 1e-12), np.inf)
        blocked = (steps * y < 1) & (np.abs(np.where(np.isfinite(steps), steps, 0) * z) < 1) & (x < 0)
        assert seen == pytest.approx(1 - blocked.mean(), abs=0.03), distance


def test_inside_a_closed_box_there_is_no_sky():
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    box = mesh(*[(corners[list(q)], FLOOR[1]) for q in quads])
    assert float(sky_visibility(sky_maps(box), torch.tensor([[0.3, -1.0, 0.1]]), UP)) == 0
    assert float(sky_visibility(sky_maps(box), torch.tensor([[0.3, 1.0, 0.1]]), UP)) == 1


def test_pieces_give_the_same_maps(monkeypatch):
    whole = sky_maps(mesh(FLOOR, WALL), directions=16, side=32).height
    monkeypatch.setattr("rendering.ambient_occlusion.FACES_PER_CALL", 12)
    assert torch.equal(sky_maps(mesh(FLOOR, WALL), directions=16, side=32).height, whole)


def test_the_backend_is_that_of_the_device_of_the_mesh(monkeypatch):
    chosen = []
    monkeypatch.setattr(ambient_occlusion, "rasterizer", lambda *names: chosen.append(names) or rasterizer(*names))
    sky_maps(mesh(FLOOR), directions=1, side=8, backend="reference")
    assert chosen == [("reference", "cpu")]
