"""Wavefront OBJ. Lines are sorted in one pass; numbers and corners are then parsed in bulk."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geometry.mesh_io.files import SourceFiles, decode_text, read_bytes
from geometry.mesh_io.images import TextureCache
from geometry.mesh_io.mtl import ObjMaterials
from geometry.mesh_io.polygons import triangulate
from geometry.mesh_io.source import Part


@dataclass
class ObjLines:
    """The statements of an OBJ file. `faces` are the words after `f`; `face_material` indexes `materials`."""

    vertices: list[str] = field(default_factory=list)
    uvs: list[str] = field(default_factory=list)
    normals: list[str] = field(default_factory=list)
    faces: list[list[str]] = field(default_factory=list)
    face_material: list[int] = field(default_factory=list)
    materials: list[str] = field(default_factory=lambda: [""])
    libraries: list[str] = field(default_factory=list)


def read_obj(files: SourceFiles, textures: TextureCache) -> list[Part]:
    """One part a material, in order of first use. v may carry colours (sRGB values) after x y z."""
    lines = _sort_lines(files, decode_text(read_bytes(files.path)))
    if not lines.faces:
        # Vertices alone still tell "only points" from an empty file.
        return [Part(np.zeros((len(lines.vertices), 3)), np.zeros((0, 3), np.int32))]
    positions, colours = _positions(files, lines.vertices)
    uvs = _table(files, lines.uvs, 2, "vt")
    normals = _table(files, lines.normals, 3, "vn")
    corner_ids, keys = _corners(files, lines.faces)
    _check_range(files, keys, (len(positions), len(uvs), len(normals)))
    counts = np.array([len(words) for words in lines.faces], dtype=np.int64)
    with np.errstate(all="ignore"):
        triangles, owner = triangulate(positions, keys[corner_ids, 0], counts)
    corners = corner_ids[triangles]
    material_of = np.array(lines.face_material)[owner]
    library = ObjMaterials(files, textures)
    for statement in lines.libraries:
        library.load(statement)
    return [
        _part(library, lines.materials[index], corners[material_of == index], keys, positions, colours, uvs, normals)
        for index in dict.fromkeys(lines.face_material)
    ]


def _sort_lines(files: SourceFiles, text: str) -> ObjLines:
    lines = ObjLines()
    if "\\" in text:
        text = re.sub(r"\\[ \t]*\r?\n", " ", text)
    material, ids = 0, {"": 0}
    vertices, uvs, normals, faces, face_material = (
        lines.vertices, lines.uvs, lines.normals, lines.faces, lines.face_material,
    )  # fmt: skip
    for line in text.splitlines():
        keyword, _, rest = line.replace("\t", " ").strip().partition(" ")
        if keyword == "v":
            vertices.append(rest)
        elif keyword == "f":
            words = rest.split("#")[0].split()
            if "-" in rest:
                words = _absolute(files, words, (len(vertices), len(uvs), len(normals)))
            if len(words) >= 3:
                faces.append(words)
                face_material.append(material)
        elif keyword == "vt":
            uvs.append(rest)
        elif keyword == "vn":
            normals.append(rest)
        elif keyword == "usemtl":
            name = rest.strip()
            if name not in ids:
                ids[name] = len(lines.materials)
                lines.materials.append(name)
            material = ids[name]
        elif keyword == "mtllib":
            lines.libraries.append(rest.strip())
    return lines


def _absolute(files: SourceFiles, words: list[str], counts: tuple[int, int, int]) -> list[str]:
    """Face words with negative indices (−1 = the newest so far) made absolute."""
    result = []
    for word in words:
        indices = word.split("/")
        for place, index in enumerate(indices[:3]):
            if index.startswith("-"):
                value = counts[place] + 1 + _integer(files, index)
                if value < 1:
                    raise files.error(f"face index {index} is out of range: there are {counts[place]} so far")
                indices[place] = str(value)
        result.append("/".join(indices))
    return result


def _integer(files: SourceFiles, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise files.error(f"face corner {word[:40]!r} is not made of whole numbers") from None


def _corners(files: SourceFiles, faces: list[list[str]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each corner's id [ΣN] and what the ids mean: keys [K, 3] = 0-based (v, vt, vn), −1 where there is none."""
    ids: dict[str, int] = {}
    flat = np.fromiter(
        (ids.setdefault(word, len(ids)) for words in faces for word in words),
        dtype=np.int64,
        count=sum(map(len, faces)),
    )
    words = list(ids)
    if not any("/" in word for word in words):
        joined = "/0/0 ".join(words) + "/0/0"
    else:
        joined = " ".join(_three(word) for word in words)
    try:
        values = np.array(joined.replace("/", " ").split(), dtype=np.float64)
    except ValueError:
        for word in words:
            for index in word.split("/"):
                _integer(files, index or "0")
        raise
    if len(values) != 3 * len(words) or not (np.abs(values) < 2**52).all() or (values != np.floor(values)).any():
        raise files.error("a face corner is not made of whole numbers")
    return flat, values.astype(np.int64).reshape(-1, 3) - 1


def _three(word: str) -> str:
    """v, v/t, v//n, v/t/n and forms with trailing slashes as v/t/n, 0 where there is none."""
    parts = [part or "0" for part in word.split("/")[:3]]
    return "/".join(parts + ["0"] * (3 - len(parts)))


def _check_range(files: SourceFiles, keys: NDArray[np.int64], counts: tuple[int, int, int]) -> None:
    for column, (name, count) in enumerate(zip(("vertex", "texture", "normal"), counts, strict=True)):
        column_keys = keys[:, column]
        low = 0 if column == 0 else -1
        wrong = column_keys[(column_keys < low) | (column_keys >= count)]
        if len(wrong):
            raise files.error(f"{name} index {int(wrong[0]) + 1} is out of range: there are {count}")


def _positions(files: SourceFiles, lines: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Positions [V, 3] and, where every v has six numbers or more, colours [V, 3]."""
    words = [line.split() for line in lines]
    widths = {len(row) for row in words}
    if widths and min(widths) < 3:
        raise files.error(f"a v line has {min(widths)} numbers, expected at least 3")
    width = 6 if widths and min(widths) >= 6 else 3
    if widths != {width}:
        words = [row[:width] for row in words]
    values = _floats(files, words, width, "v")
    return values[:, :3], values[:, 3:] if width == 6 else None


def _table(files: SourceFiles, lines: list[str], width: int, name: str) -> NDArray[np.float64]:
    """Rows [N, width]; missing trailing numbers are 0 (a one-dimensional vt)."""
    words = [(line.split() + ["0"] * width)[:width] for line in lines]
    return _floats(files, words, width, name)


def _floats(files: SourceFiles, words: list[list[str]], width: int, name: str) -> NDArray[np.float64]:
    try:
        return np.array([word for row in words for word in row], dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise files.error(f"a {name} line holds no number ({error})") from None


def _part(
    library: ObjMaterials,
    name: str,
    corners: NDArray[np.int64],
    keys: NDArray[np.int64],
    positions: NDArray[np.float64],
    colours: NDArray[np.float64] | None,
    uvs: NDArray[np.float64],
    normals: NDArray[np.float64],
) -> Part:
    """The part of one material: a vertex for every distinct (v, vt, vn) that its triangles use."""
    used, faces = np.unique(corners, return_inverse=True)
    key = keys[used]
    material, layout = library.material(name)
    part_uvs = None
    if len(uvs) and (key[:, 1] >= 0).any():
        part_uvs = np.where(key[:, 1:2] >= 0, uvs[key[:, 1]], 0)
        if layout is not None:
            part_uvs = part_uvs * layout.scale + layout.offset
        part_uvs = np.stack([part_uvs[:, 0], 1 - part_uvs[:, 1]], axis=1).astype(np.float32)
    has_normals = len(normals) > 0 and bool((key[:, 2] >= 0).all())
    return Part(
        vertices=positions[key[:, 0]],
        faces=faces.reshape(-1, 3).astype(np.int32),
        material=material,
        uvs=part_uvs,
        vertex_colours=None if colours is None else _rgba(colours[key[:, 0]]),
        normals=normals[key[:, 2]].astype(np.float32) if has_normals else None,
        name=name,
    )


def _rgba(colours: NDArray[np.float64]) -> NDArray[np.float32]:
    """OBJ vertex colours are sRGB values, written as 0 … 1 or, by some tools, as 0 … 255."""
    scale = 255.0 if np.nanmax(colours, initial=0) > 1.5 else 1.0
    return np.concatenate([colours / scale, np.ones((len(colours), 1))], axis=1).astype(np.float32)
