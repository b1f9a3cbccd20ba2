"""Wavefront OBJ. One pass sorts the statements; their numbers and corners are parsed in bulk."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.corners import rgba_float
from mesh_io.readers.mtl import ObjMaterials
from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.text_lines import joined_lines, leading_words, parse_numbers, split_words, without_comment
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
STATEMENTS = frozenset(("v", "vt", "vn", "f", "usemtl", "mtllib"))
UNREAD_SURFACES = {"surf": "free-form surfaces (surf)", "call": "another OBJ file (call)"}
PARSED_AT_ONCE = 100_000
SAME_COLOR = 1.5 / 255  # of a channel: two ways of rounding one color
BEYOND = (1 << 31) - 1  # an index that no file has


@dataclass
class Statements:
    """The lines of one keyword, parsed whenever there are many: the texts of a large file are not all held at once."""

    lines: list[str] = field(default_factory=list)
    parsed: list[tuple[NDArray, ...]] = field(default_factory=list)
    before: int = 0

    def __len__(self) -> int:
        return self.before + len(self.lines)

    def keep(self, arrays: tuple[NDArray, ...]) -> None:
        """Replace the lines by what was parsed of them."""
        self.before += len(self.lines)
        self.parsed.append(arrays)
        self.lines.clear()

    def joined(self) -> list[NDArray]:
        """The parsed arrays over all lines. What they are made of is let go."""
        columns: list[list[NDArray]] = [list(column) for column in zip(*self.parsed, strict=True)]
        self.parsed.clear()
        return [np.concatenate(columns.pop(0)) for _ in range(len(columns))]


@dataclass
class ObjContent:
    """The statements of an OBJ file. `face_material` indexes `materials` for every face."""

    files: SourceFiles
    vertices: Statements = field(default_factory=Statements)
    uvs: Statements = field(default_factory=Statements)
    normals: Statements = field(default_factory=Statements)
    faces: Statements = field(default_factory=Statements)
    face_material: list[int] = field(default_factory=list)
    materials: list[str] = field(default_factory=lambda: [""])
    libraries: list[str] = field(default_factory=list)

    def parse(self, at_least: int) -> None:
        """Parse the lines of every keyword that has so many."""
        for statements in (self.vertices, self.uvs, self.normals, self.faces):
            if len(statements.lines) < at_least:
                continue
            if statements is self.vertices:
                statements.keep(_positions(self.files, statements.lines))
            elif statements is self.faces:
                corners = _corners(self.files, statements.lines)
                statements.keep((*corners, np.array(self.face_material, dtype=np.int32)))
                self.face_material.clear()
            else:
                width, keyword = (2, "vt") if statements is self.uvs else (3, "vn")
                statements.keep((_table(self.files, statements.lines, width, keyword),))


@dataclass(frozen=True, eq=False)
class Tables:
    """What faces refer to: positions [V, 3], uvs [T, 2], normals [N, 3], colors [V, 4] and whether a vertex has one."""

    positions: NDArray[np.float64]
    uvs: NDArray[np.float64]
    normals: NDArray[np.float64]
    colors: NDArray[np.float32] | None
    colored: NDArray[np.bool_]


def read_obj(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part per material, in order of first use. v lines may have colors (sRGB values) after x y z."""
    content = _sort_lines(files, decode_text(read_bytes(files.path)))
    positions, colors, colored = content.vertices.joined()
    (uvs,), (normals,) = content.uvs.joined(), content.normals.joined()
    tables = Tables(positions, uvs, normals, _colors(files, colors, colored), colored)
    keys, counts, face_material = content.faces.joined()
    _check_range(files, keys, (len(positions), len(uvs), len(normals)))
    with np.errstate(all="ignore"):
        triangles, owner = triangulate(positions, keys[:, 0], counts, files.warn)
    material_of = face_material[owner]
    plain = bool((counts == 3).all())  # then triangles are the corners as they come
    del counts, owner
    library = ObjMaterials(files, textures)
    for statement in content.libraries:
        library.load(statement)
    parts = [SourcePart(positions, np.zeros((0, 3), np.int32))]  # distinguishes a file of points from an empty one
    single = len(content.materials) == 1 or bool((face_material == face_material[:1]).all())
    for index in face_material[:1].tolist() if single else dict.fromkeys(face_material.tolist()):
        chosen = triangles if single else triangles[material_of == index]
        if len(chosen):
            corners = keys if single and plain else keys[chosen.reshape(-1)]
            parts.append(_part(library, content.materials[index], corners, tables))
    return parts


def _sort_lines(files: SourceFiles, text: str) -> ObjContent:
    """The lines by their keyword; indices of faces that count from the end are made absolute."""
    content = ObjContent(files)
    material, ids = 0, {"": 0}
    vertices, uvs, normals, faces = content.vertices, content.uvs, content.normals, content.faces
    for block in joined_lines(text):
        for line in block:
            keyword, _, rest = line.partition(" ")
            if keyword not in STATEMENTS:
                keyword, rest = _statement(files, line)
            if keyword == "f":
                if "#" in rest:
                    rest = rest.partition("#")[0]
                if "-" in rest:
                    rest = _absolute(files, rest, (len(vertices), len(uvs), len(normals)))
                faces.lines.append(rest)
                content.face_material.append(material)
            elif keyword in ("v", "vt", "vn"):
                statements = vertices if keyword == "v" else uvs if keyword == "vt" else normals
                statements.lines.append(without_comment(rest) if "#" in rest else rest)
            elif keyword == "usemtl":
                name = rest.strip()
                if name not in ids:
                    ids[name] = len(content.materials)
                    content.materials.append(name)
                material = ids[name]
            elif keyword == "mtllib":
                content.libraries.append(rest.strip())
        content.parse(at_least=PARSED_AT_ONCE)
    content.parse(at_least=0)
    return content


def _statement(files: SourceFiles, line: str) -> tuple[str, str]:
    """Keyword and rest of a line that is indented, has a tab or capitals, is a comment, or is not read."""
    words = line.split(None, 1)
    keyword = words[0].lower() if words else ""
    if keyword in UNREAD_SURFACES:
        raise files.error(f"has {UNREAD_SURFACES[keyword]}, which is not read; export it as polygons")
    return ("f" if keyword == "fo" else keyword), words[1] if len(words) > 1 else ""


def _absolute(files: SourceFiles, rest: str, counts: tuple[int, int, int]) -> str:
    """A face with negative indices (−1 = the newest so far) made absolute."""
    result = []
    for word in rest.split():
        indices = word.split("/")
        for place, index in enumerate(indices[:3]):
            if index.startswith("-"):
                value = counts[place] + 1 + _index(files, index, place)
                if value < 1 and place == 0:
                    raise files.error(f"face index {index} is out of range: there are {counts[place]} so far")
                indices[place] = str(value if value >= 1 else BEYOND)
        result.append("/".join(indices))
    return " ".join(result)


def _index(files: SourceFiles, word: str, place: int) -> int:
    """The index of a vertex (place 0), texture coordinate or normal; only that of a vertex has to be an integer."""
    try:
        value = int(word)
    except ValueError:
        if place == 0:
            raise files.error(f"face corner {word[:40]!r} is not made of integers") from None
        return BEYOND
    if abs(value) < BEYOND:
        return value
    if place == 0:
        raise files.error(f"face index {word[:40]} is far out of range")
    return BEYOND


def _corners(files: SourceFiles, faces: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Corners [ΣN, 3] = 0-based (v, vt, vn), −1 if absent, and the corners of each face [G].

    Faces with fewer than three corners stay in the list; triangulation skips them.
    """
    words, counts = split_words(faces)
    text = " ".join(words) + " "
    for pattern, columns in CORNER_FORMS:
        if pattern.fullmatch(text):
            values = np.fromstring(text.replace("/", " "), dtype=np.int64, sep=" ").reshape(-1, len(columns))
            keys = np.full((len(values), 3), -1, np.int32)
            keys[:, columns] = np.minimum(values, BEYOND) - 1
            return keys, counts
    # Mixed or unusual forms (a/b/, one face with uvs and one without): each distinct word once.
    ids: dict[str, int] = {}
    flat = np.fromiter((ids.setdefault(word, len(ids)) for word in words), dtype=np.int64, count=len(words))
    distinct = [
        [_index(files, index or "0", place) for place, index in enumerate([*word.split("/"), "", ""][:3])]
        for word in ids
    ]
    return (np.array(distinct, dtype=np.int64).reshape(-1, 3) - 1).astype(np.int32)[flat], counts


def _check_range(files: SourceFiles, keys: NDArray[np.int32], counts: tuple[int, int, int]) -> None:
    """UserError for vertices that are not there. The other indices are not needed: they become −1, with a note."""
    for column, (name, count) in enumerate(zip(("vertex", "texture", "normal"), counts, strict=True)):
        column_keys = keys[:, column]
        wrong = (column_keys < (0 if column == 0 else -1)) | (column_keys >= count)
        if not wrong.any():
            continue
        first = int(column_keys[wrong][0]) + 1
        if column == 0:
            named = f"{first} is" if first < BEYOND else "beyond 2,147,483,646 is far"
            raise files.error(f"{name} index {named} out of range: there are {count}")
        named = f"{name} index {first}" if first < BEYOND else f"a {name} index that is not there"
        files.warn(f"{int(wrong.sum())} face corners name {named}, there are {count}; these corners are read without")
        column_keys[wrong] = -1


def _positions(
    files: SourceFiles, lines: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
    """Positions [V, 3], colors [V, 3] (NaN where there are none), and which v lines have six numbers [V]."""
    words, counts = split_words(lines)
    if len(counts) and counts.min() < 3:
        raise files.error(f"a v line has {counts.min()} numbers, expected at least 3")
    positions, wrong = parse_numbers(leading_words(words, counts, 3))
    if wrong is not None:
        raise files.error(f"a v line does not hold numbers ({wrong[:40]!r})")
    colored = counts >= 6
    colors = np.full((len(lines), 3), np.nan, np.float32)
    if colored.any():
        chosen = [line for line, color in zip(lines, colored.tolist(), strict=True) if color]
        colors[colored] = _floats(files, *split_words(chosen), 6, "v")[:, 3:]
    return positions.reshape(-1, 3), colors, colored


def _table(files: SourceFiles, lines: list[str], width: int, name: str) -> NDArray[np.float64]:
    """Rows [N, width]; missing trailing numbers are 0 (a one-dimensional vt)."""
    words, counts = split_words(lines)
    if len(counts) and counts.min() < width:
        words, counts = split_words([f"{line} 0 0 0" for line in lines])
    return _floats(files, words, counts, width, name)


def _floats(
    files: SourceFiles, words: list[str], counts: NDArray[np.int64], width: int, name: str
) -> NDArray[np.float64]:
    """The first `width` numbers of every line [N, width]; NaN, with a note, for a word that is not a number."""
    values, wrong = parse_numbers(leading_words(words, counts, width))
    if wrong is not None:
        files.warn(f"a {name} line holds {wrong[:40]!r}, which is not a number")
    return values.reshape(-1, width)


def _colors(files: SourceFiles, colors: NDArray[np.float32], colored: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """sRGB colors [V, 4], white where a vertex has none, or None if no vertex has one."""
    if not colored.any():
        return None
    rgba = rgba_float(colors)
    if not colored.all():
        files.warn(f"{int((~colored).sum())} of {len(colored)} vertices have no color; they count as white")
        rgba[~colored] = 1
    return rgba


def _part(library: ObjMaterials, name: str, corners: NDArray[np.int32], tables: Tables) -> SourcePart:
    """The part of one material: a vertex for every distinct (v, vt, vn) that its triangles use."""
    key, faces = _distinct(corners)
    material, layout = library.material(name)
    uvs = normals = colors = None
    with_uv, with_normal = key[:, 1] >= 0, key[:, 2] >= 0
    if with_uv.any():
        uvs = np.where(with_uv[:, None], tables.uvs[key[:, 1]], 0)
        if layout is not None:
            uvs = uvs * layout.scale + layout.offset
        uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)
    if with_normal.any():
        normals = np.where(with_normal[:, None], tables.normals[key[:, 2]], np.nan).astype(np.float32)
    if tables.colors is not None:
        colors = tables.colors[key[:, 0]]
        given = colors[tables.colored[key[:, 0]], :3]
        # One color written both as Kd and at the vertices would count twice.
        if material.image is None and (np.abs(given - material.base_color[:3]) <= SAME_COLOR).all():
            colors = None
    return SourcePart(
        vertices=tables.positions[key[:, 0]],
        faces=faces.reshape(-1, 3),
        material=material,
        uvs=uvs,
        vertex_colors=colors,
        normals=normals,
        name=name,
    )


def _distinct(corners: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct rows of (v, vt, vn) [K, 3] and each corner's row.

    As `np.unique` with its index and inverse, in half the memory.
    """
    spans = (corners.max(0).astype(np.int64) + 2).tolist()
    packed = _packed(corners[:, 0], corners[:, 1], spans[1])
    if spans[0] * spans[1] * spans[2] >= 1 << 62:
        packed = np.unique(packed, return_inverse=True)[1]
    packed = _packed(packed, corners[:, 2], spans[2], shift=0)
    order = np.argsort(packed, kind="stable")
    packed = packed[order]
    new = np.ones(len(packed), bool)
    np.not_equal(packed[1:], packed[:-1], out=new[1:])
    del packed
    inverse = np.empty(len(order), np.int32)
    inverse[order] = np.cumsum(new, dtype=np.int32) - 1
    return corners[order[new]], inverse


def _packed(high: NDArray, low: NDArray[np.int32], span: int, shift: int = 1) -> NDArray[np.int64]:
    """(high + shift) · span + low + 1, without intermediate copies."""
    packed = high.astype(np.int64)
    packed += shift
    packed *= span
    packed += low
    packed += 1
    return packed
