"""From a source's own frame to the world's: up and front axes, centering, scale."""

import math

import numpy as np
from numpy.typing import NDArray

from mesh_io.source_mesh import SourceMesh
from torch_utils.errors import UserError

AXES = {
    "+X": (1.0, 0.0, 0.0),
    "-X": (-1.0, 0.0, 0.0),
    "+Y": (0.0, 1.0, 0.0),
    "-Y": (0.0, -1.0, 0.0),
    "+Z": (0.0, 0.0, 1.0),
    "-Z": (0.0, 0.0, -1.0),
}


def axis_name(text: str) -> str:
    """An axis as written by a user ("z", "Y", "−x", "+Z") in its one form; UserError naming the six otherwise."""
    name = text.strip().upper().replace("−", "-")
    name = name if name[:1] in ("+", "-") else f"+{name}"
    if name not in AXES:
        raise UserError(f"axis {text!r}: expected one of {' '.join(AXES)}")
    return name


def parse_front(value: str | float) -> str | float:
    """A front as an axis name or, for a number, the turn about the up axis in degrees that brings it to +Z."""
    try:
        degrees = float(value)
    except ValueError:
        return axis_name(str(value))
    if not math.isfinite(degrees):
        raise UserError(f"front {value!r}: expected an axis such as -Z, or a turn in degrees")
    return degrees


def source_axes(up: str | None, front: str | float | None, file_up: str | None = None) -> tuple[str, str | float]:
    """The axes of a source where they may be left open: (up, front).

    up None: `file_up`, which the mesh file itself says, else +Y. front None: +Z, or −Y where Z is up (as modelers with
    Z up have it).
    """
    up = axis_name(up or file_up or "+Y")
    return up, parse_front(front) if front is not None else "-Y" if up.endswith("Z") else "+Z"


def orientation(up: str, front: str | float) -> NDArray[np.float64]:
    """[3, 3] rotation that takes a source's axes to the world's: `up` to +Y and `front` to +Z.

    up: "+X" … "-Z". front: an axis at a right angle to it, or degrees: the turn about +Y, counter-clockwise seen from
    above, that brings the front to +Z once up is +Y. Raises UserError for a front along the up axis.
    """
    up_axis = np.array(AXES[axis_name(up)])
    front = parse_front(front)
    if isinstance(front, str):
        front_axis = np.array(AXES[front])
        if abs(front_axis @ up_axis) > 0.5:
            raise UserError(f"front {front} and up {up} lie along one axis; name a front at a right angle to it")
        return np.stack([np.cross(up_axis, front_axis), up_axis, front_axis])
    # With up turned to +Y by the shortest turn, the front is the given angle away from +Z.
    turned = _turn_about_y(front)
    if axis_name(up) in ("+Y", "-Y"):
        return turned @ orientation(up, "+Z" if axis_name(up) == "+Y" else "-Z")
    return turned @ _shortest_turn(up_axis, np.array(AXES["+Y"]))


def _turn_about_y(degrees: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def _shortest_turn(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quarter turn that takes one coordinate axis to another."""
    third = np.cross(start, end)
    return np.outer(end, start) - np.outer(start, end) + np.outer(third, third)


def normalize(
    mesh: SourceMesh, up: str | None = None, front: str | float | None = None, scale: float = 1.0
) -> tuple[SourceMesh, NDArray[np.float64]]:
    """The mesh in the world's convention, and the affine map that took it there.

    up, front: the source's axes (see `orientation`); None = as the file says (see `source_axes`). scale: length of the
    longest side of the box afterwards, in world units, in (0, 1]. The result has +Y up, its front towards +Z and its
    box centered at the origin.
    Returns (mesh, source_to_world [4, 4] float64, column vectors): world = source_to_world @ (x, y, z, 1). All of it is
    computed in float64 around the box's center, so files in millimeters or far from the origin lose nothing.
    Raises UserError where the mesh has no extent.
    """
    if not 0 < scale <= 1:
        raise UserError(f"scale {scale}: expected a longest side above 0 and at most 1")
    rotation = orientation(*source_axes(up, front, mesh.up))
    low, high = mesh.bounds()
    center = low / 2 + high / 2
    # Centered before it is turned: the turn then rounds at the size of the object, not at its distance.
    turned = mesh.transformed(_affine(np.eye(3), -center)).transformed(_affine(rotation, np.zeros(3)))
    low, high = turned.bounds()
    longest = float((high - low).max())
    if not longest > 0:
        raise UserError(f"{mesh.path}: has no extent, all its vertices lie in one point")
    factor = scale / longest
    shift = -(low / 2 + high / 2) * factor
    world = turned.transformed(_affine(np.eye(3) * factor, shift))
    return world, _affine(rotation * factor, shift - rotation @ center * factor)


def _affine(linear: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, shift
    return matrix
