"""Binary PLY: meshes with vertex colors, and Gaussian splats in the layout that splat viewers read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.writers.export_mesh import ExportMesh

# The constant of degree 0 of the spherical harmonics: color = 0.5 + SH0 · f_dc.
SH0 = 0.28209479177387814
# Opacity of a splat, and its thickness as a share of its radius.
OPACITY, THICKNESS = 0.995, 0.05


def ply_bytes(mesh: ExportMesh, colors: NDArray[np.uint8] | None, about: Mapping[str, Any] | None = None) -> bytes:
    """The file's bytes. colors [V, 3]: sRGB of the vertices. about: values for the comments of the header."""
    columns: dict[str, NDArray] = {name: mesh.vertices[:, axis] for axis, name in enumerate("xyz")}
    if mesh.normals is not None:
        columns |= {f"n{name}": mesh.normals[:, axis] for axis, name in enumerate("xyz")}
    if colors is not None:
        columns |= {name: colors[:, channel] for channel, name in enumerate(("red", "green", "blue"))}
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    lines = [*_header(columns, len(mesh.vertices), about), f"element face {len(faces)}"]
    lines += ["property list uchar int vertex_indices", "end_header"]
    return _text(lines) + _table(columns) + faces.tobytes()


def splat_bytes(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    colors: NDArray[np.float32],
    radius: float,
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """Flat Gaussian splats on a surface, as Kerbl et al. 2023 write them (degree 0).

    points [P, 3]; normals [P, 3] unit; colors [P, 3] sRGB in [0, 1]; radius: standard deviation along the surface,
    units of the points.
    """
    columns: dict[str, NDArray] = {name: points[:, axis] for axis, name in enumerate("xyz")}
    columns |= {f"n{name}": normals[:, axis] for axis, name in enumerate("xyz")}
    columns |= {f"f_dc_{channel}": (colors[:, channel] - 0.5) / SH0 for channel in range(3)}
    columns["opacity"] = np.full(len(points), np.log(OPACITY / (1 - OPACITY)))
    for axis, size in enumerate((radius, radius, radius * THICKNESS)):
        columns[f"scale_{axis}"] = np.full(len(points), np.log(size))
    columns |= {f"rot_{part}": values for part, values in enumerate(_towards(normals).T)}
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    return _text([*_header(columns, len(points), about), "end_header"]) + _table(columns)


def _towards(normals: NDArray[np.float32]) -> NDArray[np.float64]:
    """Unit quaternions (w, x, y, z) [P, 4] that turn +Z to the normals: half way between the two."""
    normals = normals.astype(np.float64)
    quaternions = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))], 1)
    length = np.linalg.norm(quaternions, axis=1, keepdims=True)
    return np.where(length > 1e-6, quaternions / np.maximum(length, 1e-6), [[0.0, 1.0, 0.0, 0.0]])


def _header(columns: Mapping[str, NDArray], count: int, about: Mapping[str, Any] | None) -> list[str]:
    comments = [f"comment {key} {' '.join(str(value).split())}" for key, value in (about or {}).items()]
    names = {np.dtype(np.uint8): "uchar"}
    properties = [f"property {names.get(values.dtype, 'float')} {name}" for name, values in columns.items()]
    return ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {count}", *properties]


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("ascii", "replace")


def _table(columns: Mapping[str, NDArray]) -> bytes:
    types = {np.dtype(np.uint8): "u1"}
    table = np.zeros(
        len(next(iter(columns.values()))), [(name, types.get(v.dtype, "<f4")) for name, v in columns.items()]
    )
    for name, values in columns.items():
        table[name] = values
    return table.tobytes()
