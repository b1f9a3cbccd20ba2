"""Transform meshes from the frame of their source to the world: up and front axes, center, scale."""

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
    """The canonical name of an axis that a user wrote as "z", "Y", "−x" or "+Z". UserError for other text."""
    name = text.strip().upper().replace("−", "-")
    name = name if name[:1] in ("+", "-") else f"+{name}"
    if name not in AXES:
        raise UserError(f"axis {text!r}: expected one of {' '.join(AXES)}")
    return name


def parse_front(value: str | float) -> str | float:
    """A front as an axis name, or as the rotation about the up axis in degrees that turns the front to +Z."""
    try:
        degrees = float(value)
    except ValueError:
        return axis_name(str(value))
    if not math.isfinite(degrees):
        raise UserError(f"front {value!r}: expected an axis such as -Z, or a turn in degrees")
    return degrees


def source_axes(up: str | None, front: str | float | None, file_up: str | None = None) -> tuple[str, str | float]:
    """The axes (up, front) of a source, with defaults for None.

    up: `file_up`, the axis given by the mesh file, else +Y. front: +Z, or −Y if Z is up, as in tools with Z up.
    """
    up = axis_name(up or file_up or "+Y")
    return up, parse_front(front) if front is not None else "-Y" if up.endswith("Z") else "+Z"


def orientation(up: str, front: str | float) -> NDArray[np.float64]:
    """The rotation [3, 3] that maps the axes of a source to those of the world: `up` to +Y and `front` to +Z.

    up: "+X" … "-Z". front: an axis perpendicular to it, or degrees: once up is +Y, the rotation about +Y,
    counter-clockwise seen from above, that turns the front to +Z. Raises UserError for a front along the up axis.
    """
    up_axis = np.array(AXES[axis_name(up)])
    front = parse_front(front)
    if isinstance(front, str):
        front_axis = np.array(AXES[front])
        if abs(front_axis @ up_axis) > 0.5:
            raise UserError(f"front {front} and up {up} lie along one axis; name a front at a right angle to it")
        return np.stack([np.cross(up_axis, front_axis), up_axis, front_axis])
    # After the shortest rotation of up to +Y, the front is at the given angle from +Z.
    turned = _turn_about_y(front)
    if axis_name(up) in ("+Y", "-Y"):
        return turned @ orientation(up, "+Z" if axis_name(up) == "+Y" else "-Z")
    return turned @ _shortest_turn(up_axis, np.array(AXES["+Y"]))


def _turn_about_y(degrees: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def _shortest_turn(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation by 90° that maps one coordinate axis to another."""
    third = np.cross(start, end)
    return np.outer(end, start) - np.outer(start, end) + np.outer(third, third)


def normalize(
    mesh: SourceMesh, up: str | None = None, front: str | float | None = None, scale: float = 1.0
) -> tuple[SourceMesh, NDArray[np.float64]]:
    """Transform a mesh to the world: +Y up, front towards +Z, bounding box centered at the origin.

    up, front: axes of the source (see `orientation`); None = the defaults of `source_axes`. scale: longest side of the
    transformed bounding box, world units, in (0, 1].
    Returns (mesh, source_to_world [4, 4] float64), with world = source_to_world @ (x, y, z, 1). The computation is in
    float64 around the center of the box, so files in millimeters or far from the origin keep their precision.
    Raises UserError if the mesh has no extent.
    """
    if not 0 < scale <= 1:
        raise UserError(f"scale {scale}: expected a longest side above 0 and at most 1")
    rotation = orientation(*source_axes(up, front, mesh.up))
    low, high = mesh.bounds()
    center = low / 2 + high / 2
    # Centered before the rotation, so that rounding errors scale with the object and not with its distance.
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
