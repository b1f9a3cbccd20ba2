"""A `Surface` as the text of an OBJ file and its MTL."""

import numpy as np
from numpy.typing import NDArray

from geometry.mesh_io.writer import Surface

MATERIAL = "surface"


def obj_text(surface: Surface, name: str, stem: str) -> str:
    """OBJ text; `stem` names the MTL. uvs are flipped: OBJ has v upward."""
    lines = [f"o {name}"]
    if surface.base_colour is not None:
        lines.insert(0, f"mtllib {stem}.mtl")
    lines.append(_rows("v {} {} {}", surface.vertices))
    if surface.uvs is not None:
        lines.append(_rows("vt {} {}", np.stack([surface.uvs[:, 0], 1 - surface.uvs[:, 1]], axis=1)))
    if surface.normals is not None:
        lines.append(_rows("vn {} {} {}", surface.normals))
    if surface.base_colour is not None:
        lines.append(f"usemtl {MATERIAL}")
    corner = "{0}"
    if surface.uvs is not None or surface.normals is not None:
        corner += "/" + ("{0}" if surface.uvs is not None else "") + ("/{0}" if surface.normals is not None else "")
    faces = (surface.faces.astype(np.int64) + 1).tolist()
    written = [corner.format(index) for index in range(len(surface.vertices) + 1)]
    lines.append("\n".join([f"f {written[a]} {written[b]} {written[c]}" for a, b, c in faces]))
    return "\n".join(lines) + "\n"


def mtl_text(stem: str, transparent: bool) -> str:
    """MTL text for the texture `<stem>.png`; white, rough, without highlight."""
    lines = [f"newmtl {MATERIAL}", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {stem}.png"]
    if transparent:
        lines.append(f"map_d {stem}.png")
    return "\n".join(lines) + "\n"


def _rows(form: str, values: NDArray[np.float32]) -> str:
    """One line a row; repr of a float32 is the shortest text that reads back as the same number."""
    return "\n".join([form.format(*[str(number) for number in row]) for row in np.asarray(values, np.float32)])
