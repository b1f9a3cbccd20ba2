"""An `ExportMesh` as the text of an OBJ file and its MTL."""

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mesh_io.writers.export_mesh import ExportMesh

MATERIAL = "surface"


def material_stem(path: Path) -> str:
    """What the MTL and PNG files of an OBJ are called, without their endings: as the OBJ, where MTL allows that.

    Its words end at spaces, # begins a comment, and a leading dash an option. Other programs may read ASCII alone. A
    name that has to change gets a checksum, so that "a b" and "a_b" in one folder keep their own files.
    """
    clean = re.sub(r"[^A-Za-z0-9_.+=-]", "_", path.stem.lstrip("-")) or "mesh"
    return clean if clean == path.stem else f"{clean}-{zlib.crc32(os.fsencode(path.stem)):08x}"


def obj_text(mesh: ExportMesh, name: str, stem: str) -> str:
    """OBJ text; `stem` names the MTL. uvs are flipped: OBJ has v upward. Nine digits hold a float32 exactly."""
    lines = [f"o {name}"]
    if mesh.base_color is not None:
        lines.insert(0, f"mtllib {stem}.mtl")
    lines.append(_rows("v %.9g %.9g %.9g", mesh.vertices))
    if mesh.uvs is not None:
        lines.append(_rows("vt %.9g %.9g", np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], axis=1)))
    if mesh.normals is not None:
        lines.append(_rows("vn %.7g %.7g %.7g", mesh.normals))
    if mesh.base_color is not None:
        lines.append(f"usemtl {MATERIAL}")
    corner = ["%d"]
    if mesh.uvs is not None or mesh.normals is not None:
        corner = ["%d", "%d" if mesh.uvs is not None else "", *(["%d"] if mesh.normals is not None else [])]
    numbers = np.repeat(mesh.faces.astype(np.int64) + 1, sum(word == "%d" for word in corner), axis=1)
    lines.append(_rows("f " + " ".join(["/".join(corner)] * 3), numbers))
    return "\n".join(lines) + "\n"


def hulls_text(hulls: Sequence[ExportMesh], name: str) -> str:
    """OBJ text of convex hulls, each an object UCX_<name>_<number>."""
    lines, first = [], 1
    for number, hull in enumerate(hulls):
        lines += [f"o UCX_{name}_{number:02d}", _rows("v %.9g %.9g %.9g", hull.vertices)]
        lines.append(_rows("f %d %d %d", hull.faces.astype(np.int64) + first))
        first += len(hull.vertices)
    return "\n".join(lines) + "\n"


def mtl_text(stem: str, mesh: ExportMesh) -> str:
    """MTL text for the texture `<stem>.png`, and `<stem>_normal.png`; white, rough, without highlight."""
    lines = [f"newmtl {MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {stem}.png"]
    if mesh.transparent:
        lines.append(f"map_d {stem}.png")
    if mesh.normal_map is not None:
        lines.append(f"norm {stem}_normal.png")
    return "\n".join(lines) + "\n"


def _rows(form: str, values: NDArray) -> str:
    """One line a row, formatted in one go."""
    return ("\n".join([form] * len(values))) % tuple(values.reshape(-1).tolist())
