"""OFF, as text: OFF, COFF, NOFF, STOFF and their mixtures, with or without face colors."""

import re

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.corners import rgba_float, split_vertices
from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.text_lines import (
    BLANK,
    leading_words,
    line_blocks,
    parse_numbers,
    split_words,
    taken_lines,
    without_comment,
)
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import triangulate
from mesh_io.source_mesh import SourcePart

# ModelNet has files without a space between header and counts: OFF490 518 0.
HEADER = re.compile(r"(ST)?(C)?(N)?(4)?(n)?OFF(?=[\s\d]|$)")


def read_off(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part; vertex colors, or face colors where there are none."""
    del textures
    blocks = line_blocks(decode_text(read_bytes(files.path)))
    rows = (text for block in blocks for line in block if (text := without_comment(line).strip(BLANK)))
    first = next(rows, "")
    header = HEADER.match(first)
    if header is None:
        raise files.error("not OFF: it does not begin with an OFF header")
    rest = first[header.end() :]
    if rest.split()[:1] == ["BINARY"]:
        raise files.error("a binary OFF file; only text is read, convert it to PLY")
    if header.group(4) or header.group(5):
        raise files.error("OFF with other than three dimensions is not read")
    counts = rest if rest.strip() else next(rows, "")
    if not counts:
        return []
    num_vertices, num_faces = _counts(files, counts)
    has_uvs, has_colors, has_normals = (header.group(number) is not None for number in (1, 2, 3))
    color_start, uv_width = 6 if has_normals else 3, 2 if has_uvs else 0
    tables = [
        _vertices(files, lines, color_start if has_colors else None, uv_width)
        for lines in taken_lines(rows, num_vertices)
    ]
    faces = [_faces(files, lines) for lines in taken_lines(rows, num_faces)]
    found = sum(len(table[0]) for table in tables) + sum(len(face[0]) for face in faces) + sum(1 for _ in rows)
    if found != num_vertices + num_faces:
        cause = "truncated" if found < num_vertices + num_faces else "damaged"
        raise files.error(f"{cause}: {num_vertices} vertices and {num_faces} faces are declared, {found} lines follow")
    positions = np.concatenate([np.zeros((0, 3)), *(table[0] for table in tables)])
    colors = _joined_colors(files, [table[1] for table in tables], "vertices")
    return _parts(files, positions, colors, faces)


def _counts(files: SourceFiles, line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
        raise files.error(f"damaged: {line[:40]!r} is not the numbers of vertices and faces")
    return int(words[0]), int(words[1])


def _vertices(
    files: SourceFiles, lines: list[str], color_start: int | None, uv_width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions [V, 3] and colors [V, 4], as they stand in the file, NaN where there is none."""
    words, counts = split_words(lines)
    if len(counts) and counts.min() < 3:
        raise files.error("damaged: a vertex has fewer than three numbers")
    positions, wrong = parse_numbers(leading_words(words, counts, 3))
    if wrong is not None:
        raise files.error(f"damaged: a vertex does not hold numbers ({wrong[:40]!r})")
    if color_start is None:
        return positions.reshape(-1, 3), np.full((len(lines), 4), np.nan)
    rows = [line.split()[color_start:] for line in lines]
    return positions.reshape(-1, 3), _colors(files, [row[: len(row) - uv_width] for row in rows], "vertices")


def _faces(files: SourceFiles, lines: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Corners of each face [F], their vertices [ΣN], and colors [F, 4] as they stand in the file, NaN where none."""
    words, widths = split_words(lines)
    starts = (np.cumsum(widths) - widths).tolist()
    if not all(words[start].isdigit() for start in starts):
        raise files.error("damaged: a face is not made of integers")
    counts = np.array([min(int(words[start][:18]), len(words)) for start in starts], dtype=np.int64)
    if (widths <= counts).any():
        raise files.error("damaged: a face has fewer corners than it declares")
    begins = np.cumsum(widths) - widths + 1
    chosen = np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    values, wrong = parse_numbers([words[place] for place in chosen.tolist()])
    if wrong is not None or not (values == np.floor(values)).all():
        raise files.error("damaged: a face is not made of integers")
    if (widths < counts + 4).all():
        if (widths > counts + 1).any():
            files.warn("colors of faces that are numbers of a color map are not read")
        return counts, values, np.full((len(lines), 4), np.nan)
    ends = zip((begins + counts).tolist(), (begins - 1 + widths).tolist(), strict=True)
    return counts, values, _colors(files, [words[begin:end] for begin, end in ends], "faces")


def _parts(
    files: SourceFiles,
    positions: NDArray[np.float64],
    colors: NDArray[np.float32] | None,
    faces: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]],
) -> list[SourcePart]:
    counts = np.concatenate([np.zeros(0, np.int64), *(face[0] for face in faces)])
    values = np.concatenate([np.zeros(0), *(face[1] for face in faces)])
    wrong = values[~((values >= 0) & (values < len(positions)))]
    if len(wrong):
        raise files.error(f"face index {wrong[0]:.0f} is out of range: there are {len(positions)} vertices")
    corners = values.astype(np.int64)
    triangles, owner = triangulate(positions, corners, counts, files.warn)
    indices = corners[triangles].reshape(-1, 3)
    if colors is None and len(indices):
        face_colors = _joined_colors(files, [face[2] for face in faces], "faces")
        if face_colors is not None:
            spread = np.repeat(face_colors[owner][:, None], 3, axis=1)
            old, split, (colors,) = split_vertices(indices, [spread])
            return [SourcePart(positions[old], split, vertex_colors=colors)]
    return [SourcePart(positions, indices.astype(np.int32), vertex_colors=colors)]


def _colors(files: SourceFiles, rows: list[list[str]], what: str) -> NDArray[np.float64]:
    """Colors [N, 4] of rows of three or four numbers, as they stand; NaN for a shorter row, and for absent alpha."""
    colors = np.full((len(rows), 4), np.nan)
    given = np.array([len(row) >= 3 for row in rows], dtype=bool)
    full = [[*row, "nan"][:4] for row in rows if len(row) >= 3]
    values, wrong = parse_numbers([word for row in full for word in row])
    if wrong is not None:
        files.warn(f"a color of the {what} holds {wrong[:40]!r}, which is not a number")
    # A color that is not a number becomes infinite: it is given, and counts as white in the clean-up.
    colors[given] = _same_range(full, values.reshape(-1, 4))
    bad = given & np.isnan(colors[:, :3]).any(1)
    colors[bad, :3] = np.inf
    return colors


def _same_range(rows: list[list[str]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values [N, 4]; if some colors are integers of 0 … 255 and others floats of 0 … 1, all as 0 … 255."""
    floats = np.array(["." in "".join(row[:3]) for row in rows], dtype=bool)
    largest = np.max(values[:, :3], axis=1, initial=0, where=np.isfinite(values[:, :3]))
    if floats.any() and (largest[floats] <= 1).all() and (largest[~floats] > 1.5).any():
        values[floats] *= 255
    return values


def _joined_colors(files: SourceFiles, pieces: list[NDArray[np.float64]], what: str) -> NDArray[np.float32] | None:
    """sRGB colors [N, 4] of all rows, white where a row has none; None if no row has one."""
    colors = np.concatenate([np.zeros((0, 4)), *pieces])
    given = ~np.isnan(colors[:, 0])
    if not given.any():
        return None
    alpha = ~np.isnan(colors[:, 3])
    rgba = np.ones((len(colors), 4), np.float32)
    rgba[given] = rgba_float(np.where(np.isnan(colors[given]), np.inf, colors[given]))
    rgba[~alpha, 3] = 1
    rgba[np.isinf(rgba)] = np.nan
    if not given.all():
        files.warn(f"{int((~given).sum())} of {len(colors)} {what} have no color; they count as white")
    return rgba
