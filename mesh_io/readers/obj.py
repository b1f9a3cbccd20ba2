"""Wavefront OBJ. One pass sorts the lines; numbers and corners are then parsed in bulk."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.mtl import ObjMaterials
from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import triangulate
from mesh_io.source_mesh import SourcePart

# Forms of corners, and the columns (v, vt, vn) that each fills. Nearly all files use one form throughout.
CORNER_FORMS = (
    (re.compile(r"(?:\d++ )*+", re.ASCII), [0]),
    (re.compile(r"(?:\d++/\d++ )*+", re.ASCII), [0, 1]),
    (re.compile(r"(?:\d++//\d++ )*+", re.ASCII), [0, 2]),
    (re.compile(r"(?:\d++/\d++/\d++ )*+", re.ASCII), [0, 1, 2]),
)


@dataclass
class ObjLines:
    """The statements of an OBJ file, without their keywords. `face_material` indexes `materials` for every face."""

    vertices: list[str] = field(default_factory=list)
    uvs: list[str] = field(default_factory=list)
    normals: list[str] = field(default_factory=list)
    faces: list[str] = field(default_factory=list)
    face_material: list[int] = field(default_factory=list)
    materials: list[str] = field(default_factory=lambda: [""])
    libraries: list[str] = field(default_factory=list)


def read_obj(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part per material, in order of first use. v lines may have colors (sRGB values) after x y z."""
    lines = _sort_lines(files, decode_text(read_bytes(files.path)))
    positions, colors = _positions(files, lines.vertices)
    uvs = _table(files, lines.uvs, 2, "vt")
    normals = _table(files, lines.normals, 3, "vn")
    keys, counts = _corners(files, lines.faces)
    _check_range(files, keys, (len(positions), len(uvs), len(normals)))
    with np.errstate(all="ignore"):
        triangles, owner = triangulate(positions, keys[:, 0], counts)
    material_of = np.array(lines.face_material)[owner]
    library = ObjMaterials(files, textures)
    for statement in lines.libraries:
        library.load(statement)
    parts = [SourcePart(positions, np.zeros((0, 3), np.int32))]  # distinguishes a file of points from an empty one
    for index in dict.fromkeys(lines.face_material):
        chosen = triangles[material_of == index]
        if len(chosen):
            parts.append(_part(library, lines.materials[index], keys[chosen], positions, colors, uvs, normals))
    return parts


def _sort_lines(files: SourceFiles, text: str) -> ObjLines:
    if "\\" in text:
        text = re.sub(r"\\[ \t]*\r?\n", " ", text)
    if "\t" in text:
        text = text.replace("\t", " ")
    lines = ObjLines()
    material, ids = 0, {"": 0}
    vertices, uvs, normals, faces = lines.vertices, lines.uvs, lines.normals, lines.faces
    for line in text.splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "":  # a blank line, or an indented statement
            keyword, _, rest = line.lstrip().partition(" ")
        if keyword == "f":
            if "#" in rest:
                rest = rest.partition("#")[0]
            if "-" in rest:
                rest = _absolute(files, rest, (len(vertices), len(uvs), len(normals)))
            faces.append(rest)
            lines.face_material.append(material)
        elif keyword == "v":
            vertices.append(rest)
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


def _absolute(files: SourceFiles, rest: str, counts: tuple[int, int, int]) -> str:
    """A face with negative indices (−1 = the newest so far) made absolute."""
    result = []
    for word in rest.split():
        indices = word.split("/")
        for place, index in enumerate(indices[:3]):
            if index.startswith("-"):
                value = counts[place] + 1 + _integer(files, index)
                if value < 1:
                    raise files.error(f"face index {index} is out of range: there are {counts[place]} so far")
                indices[place] = str(value)
        result.append("/".join(indices))
    return " ".join(result)


def _integer(files: SourceFiles, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise files.error(f"face corner {word[:40]!r} is not made of integers") from None


def _corners(files: SourceFiles, faces: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners [ΣN, 3] = 0-based (v, vt, vn), −1 if absent, and the corners of each face [G].

    Faces with fewer than three corners stay in the list; triangulation skips them.
    """
    words, counts = _words(faces)
    text = " ".join(words) + " "
    for pattern, columns in CORNER_FORMS:
        if pattern.fullmatch(text):
            values = np.fromstring(text.replace("/", " "), dtype=np.int64, sep=" ").reshape(-1, len(columns))
            keys = np.zeros((len(values), 3), np.int64)
            keys[:, columns] = values
            return keys - 1, counts
    # Mixed or unusual forms (a/b/, one face with uvs and one without): each distinct word once.
    ids: dict[str, int] = {}
    flat = np.fromiter((ids.setdefault(word, len(ids)) for word in words), dtype=np.int64, count=len(words))
    distinct = [[_integer(files, index or "0") for index in [*word.split("/"), "", ""][:3]] for word in ids]
    if any(abs(index) >= 2**52 for row in distinct for index in row):
        raise files.error("a face index is far out of range")
    return np.array(distinct, dtype=np.int64).reshape(-1, 3)[flat] - 1, counts


def _words(lines: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """All words of `lines`, and the number of words in each line."""
    words = " ".join(lines).split()
    spaces = lines[0].count(" ") if lines else 0
    # Lines with n spaces have at most n + 1 words; if the total reaches that, every line has n + 1.
    if len(words) == len(lines) * (spaces + 1) and all(line.count(" ") == spaces for line in lines):
        return words, np.full(len(lines), spaces + 1, np.int64)
    return words, np.array([len(line.split()) for line in lines], dtype=np.int64)


def _check_range(files: SourceFiles, keys: NDArray[np.int64], counts: tuple[int, int, int]) -> None:
    for column, (name, count) in enumerate(zip(("vertex", "texture", "normal"), counts, strict=True)):
        column_keys = keys[:, column]
        low = 0 if column == 0 else -1
        wrong = column_keys[(column_keys < low) | (column_keys >= count)]
        if len(wrong):
            raise files.error(f"{name} index {int(wrong[0]) + 1} is out of range: there are {count}")


def _positions(files: SourceFiles, lines: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Positions [V, 3] and, if every v has six numbers or more, colors [V, 3]."""
    words, counts = _words(lines)
    if len(counts) and counts.min() < 3:
        raise files.error(f"a v line has {counts.min()} numbers, expected at least 3")
    width = 6 if len(counts) and counts.min() >= 6 else 3
    values = _floats(files, words, counts, width, "v")
    return values[:, :3], values[:, 3:] if width == 6 else None


def _table(files: SourceFiles, lines: list[str], width: int, name: str) -> NDArray[np.float64]:
    """Rows [N, width]; missing trailing numbers are 0 (a one-dimensional vt)."""
    words, counts = _words(lines)
    if len(counts) and counts.min() < width:
        words, counts = _words([f"{line} 0 0 0" for line in lines])
    return _floats(files, words, counts, width, name)


def _floats(
    files: SourceFiles, words: list[str], counts: NDArray[np.int64], width: int, name: str
) -> NDArray[np.float64]:
    """The first `width` numbers of every line [N, width]."""
    if len(counts) and (counts == counts[0]).all():
        chosen = words if counts[0] == width else [words[i] for i in _first_words(counts, width)]
    else:
        chosen = [words[i] for i in _first_words(counts, width)]
    try:
        return np.array(chosen, dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise files.error(f"a {name} line does not hold numbers ({error})") from None


def _first_words(counts: NDArray[np.int64], width: int) -> list[int]:
    starts = np.cumsum(counts) - counts
    return (starts[:, None] + np.arange(width)).reshape(-1).tolist()


def _part(
    library: ObjMaterials,
    name: str,
    corners: NDArray[np.int64],
    positions: NDArray[np.float64],
    colors: NDArray[np.float64] | None,
    uvs: NDArray[np.float64],
    normals: NDArray[np.float64],
) -> SourcePart:
    """The part of one material: a vertex for every distinct (v, vt, vn) that its triangles use."""
    key, faces = _distinct(corners.reshape(-1, 3))
    material, layout = library.material(name)
    part_uvs = None
    if len(uvs) and (key[:, 1] >= 0).any():
        part_uvs = np.where(key[:, 1:2] >= 0, uvs[key[:, 1]], 0)
        if layout is not None:
            part_uvs = part_uvs * layout.scale + layout.offset
        part_uvs = np.stack([part_uvs[:, 0], 1 - part_uvs[:, 1]], axis=1).astype(np.float32)
    has_normals = len(normals) > 0 and bool((key[:, 2] >= 0).all())
    return SourcePart(
        vertices=positions[key[:, 0]],
        faces=faces.reshape(-1, 3).astype(np.int32),
        material=material,
        uvs=part_uvs,
        vertex_colors=None if colors is None else _rgba(colors[key[:, 0]]),
        normals=normals[key[:, 2]].astype(np.float32) if has_normals else None,
        name=name,
    )


def _distinct(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows of (v, vt, vn) [K, 3] and each corner's row."""
    _, uv_span, normal_span = (corners.max(0) + 2).tolist()
    packed = ((corners[:, 0] + 1) * uv_span + corners[:, 1] + 1) * normal_span + corners[:, 2] + 1
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return corners[first], inverse


def _rgba(colors: NDArray[np.float64]) -> NDArray[np.float32]:
    """OBJ vertex colors are sRGB values, written as 0 … 1 or, by some tools, as 0 … 255."""
    scale = 255.0 if np.nanmax(colors, initial=0) > 1.5 else 1.0
    return np.concatenate([colors / scale, np.ones((len(colors), 1))], axis=1).astype(np.float32)
