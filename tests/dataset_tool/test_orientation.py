"""Axes, centering and scale: every source ends in the world's convention, and the way back is recorded."""

import itertools

import numpy as np
import pytest

from dataset_tool.sources.orientation import AXES, axis_name, normalize, orientation, parse_front, source_axes
from mesh_io.source_mesh import SourceMesh, SourcePart
from torch_utils.errors import UserError

# A box 4 × 2 × 1 with a nose on its +X side, so that no turn or mirror leaves it as it is.
CORNERS = np.array(list(itertools.product([0, 4], [0, 2], [0, 1])), float)
NOSE = np.array([[6.0, 0.5, 0.25]])
FACES = np.array([[0, 1, 2], [5, 6, 8], [3, 7, 8], [0, 4, 8]], np.int32)


def mesh(tmp_path, matrix=None, up=None):
    vertices = np.concatenate([CORNERS, NOSE])
    if matrix is not None:
        vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    normals = np.tile(np.float32([1, 0, 0]), (9, 1))
    return SourceMesh(tmp_path / "a.obj", (SourcePart(vertices, FACES, normals=normals),), (), up)


@pytest.mark.parametrize(("up", "front"), list(itertools.permutations(AXES, 2)))
def test_every_pair_of_axes(up, front):
    if up[1] == front[1]:
        with pytest.raises(UserError, match="lie along one axis"):
            orientation(up, front)
        return
    rotation = orientation(up, front)
    np.testing.assert_array_equal(rotation @ AXES[up], [0, 1, 0])
    np.testing.assert_array_equal(rotation @ AXES[front], [0, 0, 1])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("up", AXES)
def test_a_turn_in_degrees_is_about_the_up_axis(up):
    still, quarter = orientation(up, 0), orientation(up, "90")
    np.testing.assert_allclose(quarter @ AXES[up], [0, 1, 0], atol=1e-15)
    # A quarter turn brings what lay at +X (after up is up) to −Z, and what lay at −X to +Z.
    np.testing.assert_allclose(quarter @ still.T @ [-1, 0, 0], [0, 0, 1], atol=1e-15)


def test_axes_and_turns_agree():
    """ShapeNet v1 faces +X: a turn of −90°; v2 faces −Z: a half turn."""
    np.testing.assert_allclose(orientation("+Y", "+X"), orientation("+Y", -90), atol=1e-15)
    np.testing.assert_allclose(orientation("+Y", "-Z"), orientation("+Y", 180), atol=1e-15)
    np.testing.assert_allclose(orientation("+Z", "-Y"), orientation("+Z", 0), atol=1e-15)


def test_normalized_mesh_and_the_way_there(tmp_path):
    source = mesh(tmp_path)
    world, matrix = normalize(source, "+Y", "+X", 0.9)
    np.testing.assert_allclose(world.bounds().sum(0), 0, atol=1e-15)
    np.testing.assert_allclose(np.diff(world.bounds(), axis=0)[0], [0.15, 0.3, 0.9])
    part = world.parts[0]
    assert part.vertices[:, 2].argmax() == 8  # the nose looks towards +Z
    np.testing.assert_allclose(part.normals, np.tile([0, 0, 1], (9, 1)), atol=1e-7)
    homogeneous = np.concatenate([source.parts[0].vertices, np.ones((9, 1))], 1)
    np.testing.assert_allclose((homogeneous @ matrix.T)[:, :3], part.vertices, atol=1e-15)
    back = world.transformed(np.linalg.inv(matrix)).parts[0]
    np.testing.assert_allclose(back.vertices, source.parts[0].vertices, atol=1e-12)
    np.testing.assert_array_equal(back.faces, FACES)


@pytest.mark.parametrize(("unit", "offset"), [(1e6, 0), (1e-6, 0), (1, 1e5), (1e-3, 1e4), (1e6, 1e9)])
def test_units_and_offsets_do_not_matter(tmp_path, unit, offset):
    matrix = np.eye(4) * unit
    matrix[:3, 3] = [offset, -offset, offset / 3]
    expected, _ = normalize(mesh(tmp_path), "+Y", "-Z", 1.0)
    found, to_world = normalize(mesh(tmp_path, matrix), "+Y", "-Z", 1.0)
    # What is left is the rounding of float64 at the offset's size.
    tolerance = 4e-16 * max(1, offset / unit) + 1e-14
    np.testing.assert_allclose(found.parts[0].vertices, expected.parts[0].vertices, atol=tolerance)
    assert to_world.dtype == np.float64


def test_axes_left_open_follow_the_file(tmp_path):
    assert source_axes(None, None) == ("+Y", "+Z")
    assert source_axes(None, None, "+Z") == ("+Z", "-Y")
    assert source_axes("y", None, "+Z") == ("+Y", "+Z")
    assert source_axes("+Z", "x", "+Y") == ("+Z", "+X")
    world, _ = normalize(mesh(tmp_path, up="+Z"))
    np.testing.assert_allclose(np.diff(world.bounds(), axis=0)[0] * 6, [6, 1, 2])
    world, _ = normalize(mesh(tmp_path, up="+Z"), "+Y")
    np.testing.assert_allclose(np.diff(world.bounds(), axis=0)[0] * 6, [6, 2, 1])


def test_words_of_users():
    assert [axis_name(word) for word in ("z", " -y", "+X", "−Z")] == ["+Z", "-Y", "+X", "-Z"]
    assert parse_front("-z") == "-Z" and parse_front("180") == 180.0 and parse_front(-90) == -90.0
    with pytest.raises(UserError, match=r"axis 'up': expected one of \+X -X"):
        axis_name("up")
    with pytest.raises(UserError, match="front 'nan'"):
        parse_front("nan")


def test_what_cannot_be_normalized(tmp_path):
    with pytest.raises(UserError, match=r"a\.obj: has no extent"):
        normalize(mesh(tmp_path, np.zeros((4, 4))))
    for scale in (0, -1, 1.5, float("nan")):
        with pytest.raises(UserError, match="scale"):
            normalize(mesh(tmp_path), scale=scale)
