"""OFF, as text: OFF, COFF, NOFF, STOFF and their mixtures, with or without face colors."""

import re

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.corners import rgba_float, split_vertices
from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.text_lines import leading_words, line_blocks, parse_numbers, split_words, without_comment
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import triangulate
from mesh_io.source_mesh import SourcePart

# ModelNet has files without a space between header and counts: OFF490 518 0.
HEADER = re.compile(r"(ST)?(C)?(N)?(4)?(n)?OFF(?=[\s\d]|$)")


def read_off(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part; vertex colors, or face colors where there are none."""
    del textures
    lines = []
    for block in line_blocks(decode_text(read_bytes(files.path))):
        lines += [text for line in block if (text := without_comment(line).strip(" \t\0\f\v"))]
    header = HEADER.match(lines[0]) if lines else None
    if header is None:
        raise files.error("not OFF: it does not begin with an OFF header")
    first = lines[0][header.end() :]
    if first.split()[:1] == ["BINARY"]:
        raise files.error("a binary OFF file; only text is read, convert it to PLY")
    if header.group(4) or header.group(5):
        raise files.error("OFF with other than three dimensions is not read")
    lines = ([first] if first.strip() else []) + lines[1:]
    if not lines:
        return []
    num_vertices, num_faces = _counts(files, lines[0])
    if len(lines) - 1 != num_vertices + num_faces:
        cause = "truncated" if len(lines) - 1 < num_vertices + num_faces else "damaged"
        raise files.error(
            f"{cause}: {num_vertices} vertices and {num_faces} faces are declared, {len(lines) - 1} lines follow"
        )
    has_uvs, has_colors, has_normals = (header.group(number) is not None for number in (1, 2, 3))
    positions, colors = _vertices(
        files, lines[1 : 1 + num_vertices], 6 if has_normals else 3, has_colors, 2 if has_uvs else 0
    )
    return _parts(files, positions, colors, lines[1 + num_vertices :])


def _counts(files: SourceFiles, line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
        raise files.error(f"damaged: {line[:40]!r} is not the numbers of vertices and faces")
    return int(words[0]), int(words[1])


def _vertices(
    files: SourceFiles, lines: list[str], color_start: int, colored: bool, uv_width: int
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Positions [V, 3] and colors [V, 4], white where a vertex has none; None if no vertex has one."""
    words, counts = split_words(lines)
    if len(counts) and counts.min() < 3:
        raise files.error("damaged: a vertex has fewer than three numbers")
    positions, wrong = parse_numbers(leading_words(words, counts, 3))
    if wrong is not None:
        raise files.error(f"damaged: a vertex does not hold numbers ({wrong[:40]!r})")
    rows = [line.split()[color_start:] for line in lines] if colored else [[] for _ in lines]
    rows = [row[: len(row) - uv_width] if uv_width else row for row in rows]
    return positions.reshape(-1, 3), _colors(files, rows, "vertices")


def _parts(
    files: SourceFiles, positions: NDArray[np.float64], colors: NDArray[np.float32] | None, lines: list[str]
) -> list[SourcePart]:
    words, widths = split_words(lines)
    starts = np.cumsum(widths) - widths
    if not all(words[start].isdigit() for start in starts.tolist()):
        raise files.error("damaged: a face is not made of integers")
    counts = np.array([min(int(words[start]), len(words)) for start in starts.tolist()], dtype=np.int64)
    if (widths <= counts).any():
        raise files.error("damaged: a face has fewer corners than it declares")
    chosen = np.repeat(starts + 1 - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    values, wrong = parse_numbers([words[place] for place in chosen.tolist()])
    if wrong is not None or not (values == np.floor(values)).all():
        raise files.error("damaged: a face is not made of integers")
    if len(values) and (values.min() < 0 or values.max() >= len(positions)):
        first = values[(values < 0) | (values >= len(positions))][0]
        raise files.error(f"face index {first:.0f} is out of range: there are {len(positions)} vertices")
    corners = values.astype(np.int64)
    triangles, owner = triangulate(positions, corners, counts)
    faces = corners[triangles].reshape(-1, 3)
    if colors is None and len(faces):
        rows = [words[start + 1 + count : start + width] for start, count, width in zip(
            starts.tolist(), counts.tolist(), widths.tolist(), strict=True)]  # fmt: skip
        face_colors = _colors(files, rows, "faces")
        if face_colors is not None:
            spread = np.repeat(face_colors[owner][:, None], 3, axis=1)
            old, split, (colors,) = split_vertices(faces, [spread])
            return [SourcePart(positions[old], split, vertex_colors=colors)]
    return [SourcePart(positions, faces.astype(np.int32), vertex_colors=colors)]


def _colors(files: SourceFiles, rows: list[list[str]], what: str) -> NDArray[np.float32] | None:
    """Colors [N, 4] of rows of three or four numbers, white where a row is shorter; None if all are."""
    given = np.array([len(row) >= 3 for row in rows], dtype=bool)
    if not given.any():
        return None
    width = 4 if all(len(row) >= 4 for row in rows if len(row) >= 3) else 3
    values, wrong = parse_numbers([word for row in rows if len(row) >= 3 for word in row[:width]])
    if wrong is not None:
        files.warn(f"a color of the {what} holds {wrong[:40]!r}, which is not a number")
    rgba = np.ones((len(rows), 4), np.float32)
    rgba[given] = rgba_float(values.reshape(-1, width))
    if not given.all():
        files.warn(f"{int((~given).sum())} of {len(rows)} {what} have no color; they count as white")
    return rgba
