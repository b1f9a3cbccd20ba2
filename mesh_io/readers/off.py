"""OFF, as text: OFF, COFF, NOFF, STOFF and their mixtures, with or without face colors."""

import re

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.corners import rgba_float, split_vertices
from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.texture_images import TextureCache
from mesh_io.readers.triangulation import triangulate
from mesh_io.source_mesh import SourcePart
from torch_utils.errors import UserError

# ModelNet has files without a space between header and counts: OFF490 518 0.
HEADER = re.compile(r"\s*(ST)?(C)?(N)?(4)?(n)?OFF(?=[\s\d]|$)")


def read_off(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """One part; vertex colors, or face colors where there are none."""
    del textures
    text = re.sub(r"#[^\n]*", "", decode_text(read_bytes(files.path)))
    header = HEADER.match(text)
    if header is None:
        raise files.error("not OFF: it does not begin with an OFF header")
    if text[header.end() : header.end() + 16].split()[:1] == ["BINARY"]:
        raise files.error("a binary OFF file; only text is read, convert it to PLY")
    if header.group(4) or header.group(5):
        raise files.error("OFF with other than three dimensions is not read")
    lines = [line for line in text[header.end() :].splitlines() if line.strip()]
    if not lines:
        return []
    num_vertices, num_faces = _counts(files, lines[0])
    if len(lines) < 1 + num_vertices + num_faces:
        raise files.error(
            f"truncated: {num_vertices} vertices and {num_faces} faces are declared, {len(lines) - 1} lines follow"
        )
    rows = [line.split() for line in lines[1 : 1 + num_vertices]]
    positions, colors = _vertices(files, rows, header.group(2) is not None, header.group(3) is not None)
    return _parts(files, positions, colors, [line.split() for line in lines[1 + num_vertices :][:num_faces]])


def _counts(files: SourceFiles, line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
        raise files.error(f"damaged: {line[:40]!r} is not the numbers of vertices and faces")
    return int(words[0]), int(words[1])


def _vertices(
    files: SourceFiles, rows: list[list[str]], colored: bool, with_normals: bool
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Positions [V, 3] and colors [V, 4]; colors follow the position and the normal, if any."""
    if any(len(row) < 3 for row in rows):
        raise files.error("damaged: a vertex has fewer than three numbers")
    try:
        positions = np.array([row[:3] for row in rows], dtype=np.float64).reshape(-1, 3)
        start = 6 if with_normals else 3
        if not colored or any(len(row) < start + 3 for row in rows):
            return positions, None
        width = 4 if all(len(row) >= start + 4 for row in rows) else 3
        colors = np.array([row[start : start + width] for row in rows], dtype=np.float64)
    except ValueError:
        raise files.error("damaged: a vertex does not hold numbers") from None
    return positions, rgba_float(colors)


def _parts(
    files: SourceFiles, positions: NDArray[np.float64], colors: NDArray[np.float32] | None, rows: list[list[str]]
) -> list[SourcePart]:
    try:
        counts = np.array([int(row[0]) for row in rows], dtype=np.int64)
        if any(len(row) <= count for row, count in zip(rows, counts.tolist(), strict=True)):
            raise files.error("damaged: a face has fewer corners than it declares")
        words = [word for row, count in zip(rows, counts.tolist(), strict=True) for word in row[1 : 1 + count]]
        corners = np.array([int(word) for word in words], dtype=np.int64)
    except UserError:
        raise
    except (ValueError, IndexError, OverflowError):
        raise files.error("damaged: a face is not made of integers") from None
    if len(corners) and (corners.min() < 0 or corners.max() >= len(positions)):
        wrong = corners[(corners < 0) | (corners >= len(positions))][0]
        raise files.error(f"face index {int(wrong)} is out of range: there are {len(positions)} vertices")
    triangles, owner = triangulate(positions, corners, counts)
    faces = corners[triangles].reshape(-1, 3)
    if colors is None:
        face_colors = _face_colors(rows, counts)
        if face_colors is not None and len(faces):
            spread = np.repeat(face_colors[owner][:, None], 3, axis=1)
            old, split, (colors,) = split_vertices(faces, [spread])
            return [SourcePart(positions[old], split, vertex_colors=colors)]
    return [SourcePart(positions, faces.astype(np.int32), vertex_colors=colors)]


def _face_colors(rows: list[list[str]], counts: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """[F, 4] from the numbers after the corners: integers are 0 … 255, others 0 … 1. None if no face has colors."""
    result = np.ones((len(rows), 4), np.float32)
    any_color = False
    for index, (row, count) in enumerate(zip(rows, counts.tolist(), strict=True)):
        words = row[1 + count : 5 + count]
        if len(words) < 3:
            continue
        whole = all(word.lstrip("+-").isdigit() for word in words)
        try:
            values = [float(word) / (255 if whole else 1) for word in words]
        except ValueError:
            continue
        result[index, : len(values)] = values
        any_color = True
    return result if any_color else None
