"""STL, binary and text. Corners at equal positions become one vertex; the stored facet normals are not used."""

import re
import struct

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.source_files import SourceFiles, read_bytes
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import SourcePart

HEADER, FACET = 84, 50
NUMBER = rb"[-+0-9.eEinfatyINFATY]+"
VERTEX = re.compile(rb"\bvertex\s+(" + NUMBER + rb")\s+(" + NUMBER + rb")\s+(" + NUMBER + rb")")


def read_stl(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """All solids of the file as one part without color."""
    del textures
    data = read_bytes(files.path)
    triangles = _text(files, data) if _is_text(data) else _binary(files, data)
    if not len(triangles):
        return []
    if not np.isfinite(triangles).all():
        raise files.error("has vertices with NaN or infinite coordinates")
    vertices, ids = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    return [SourcePart(vertices.astype(np.float64), ids.reshape(-1, 3).astype(np.int32))]


def _is_text(data: bytes) -> bool:
    """Text starts with `solid`, but so do many binary headers: if the length matches the count, the file is binary."""
    if len(data) >= HEADER and HEADER + FACET * struct.unpack_from("<I", data, 80)[0] == len(data):
        return False
    return data[:512].lstrip().lower().startswith(b"solid")


def _binary(files: SourceFiles, data: bytes) -> NDArray[np.float32]:
    if len(data) < HEADER:
        raise files.error(f"truncated: {len(data)} bytes, less than an STL header")
    count = struct.unpack_from("<I", data, 80)[0]
    if HEADER + FACET * count > len(data):
        raise files.error(f"truncated: its header declares {count} facets, there are {(len(data) - HEADER) // FACET}")
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return np.frombuffer(data, facet, count, HEADER)["corners"]


def _text(files: SourceFiles, data: bytes) -> NDArray[np.float64]:
    lower = data.lower()
    if not lower.rstrip().rpartition(b"\n")[2].lstrip().startswith(b"endsolid") and b"endsolid" not in lower[-512:]:
        raise files.error("truncated: a text STL that does not end with endsolid")
    found = VERTEX.findall(lower)
    if len(found) != lower.count(b"vertex") or len(found) % 3:
        raise files.error("damaged: a facet does not have three vertices of three numbers")
    try:
        return np.array(found, dtype=np.float64).reshape(-1, 3, 3)
    except ValueError:
        raise files.error("damaged: a vertex does not hold numbers") from None
