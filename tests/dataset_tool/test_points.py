"""Points on surfaces."""

import numpy as np
import pytest

from dataset_tool.render.points import surface_points
from mesh_io.source_mesh import SourceMesh, SourcePart
from torch_utils.errors import UserError

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [5, 0, 3], [5, 1, 0], [9, 9, 9]], float)
# A triangle of area ½, one of area 1½ in the plane x = 5, and one without area.
FACES = np.array([[0, 1, 2], [3, 6, 6], [3, 5, 4]], np.int32)


def mesh(vertices, faces) -> SourceMesh:
    return SourceMesh("test", (SourcePart(np.asarray(vertices, float), np.asarray(faces, np.int32)),))


def test_points_are_uniform_over_the_area():
    points, normals = surface_points(mesh(CORNERS, FACES), 20000, np.random.default_rng(0))
    assert points.dtype == normals.dtype == np.float32
    second = points[:, 0] > 2
    assert second.mean() == pytest.approx(0.75, abs=0.01)
    assert (normals[~second] == [0, 0, 1]).all()
    assert (normals[second] == [1, 0, 0]).all()
    first = points[~second]
    assert first[:, :2].min() >= 0
    assert (first[:, 0] + first[:, 1]).max() <= 1 + 1e-6
    # Uniform over a triangle: the mean is the centroid, and half of the area lies within x + y < 1/√2.
    assert np.abs(first.mean(0) - [1 / 3, 1 / 3, 0]).max() < 0.01
    assert (first[:, 0] + first[:, 1] < 0.5**0.5).mean() == pytest.approx(0.5, abs=0.02)


def test_a_mesh_without_area_is_refused():
    with pytest.raises(UserError, match="no area"):
        surface_points(mesh(CORNERS, FACES[1:2]), 10, np.random.default_rng(0))
