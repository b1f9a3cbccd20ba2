"""What must stay of a glTF file that gets other materials."""

import struct
from pathlib import Path

import numpy as np

from mesh_io.readers.gltf_document import open_document
from mesh_io.readers.source_files import SourceFiles


def geometry_bytes(path: Path) -> dict[str, bytes]:
    """The bytes of every accessor's elements, and the JSON of all that is not appearance, of a glTF file.

    For checks that a file kept its geometry: positions, normals, UVs, joints, weights, morph targets, animations, node
    tree and skins.
    """
    document = open_document(SourceFiles(path))
    found = {}
    for index, entry in enumerate(document.json.get("accessors", [])):
        parts = [bytes(np.ascontiguousarray(document.accessor(index)).tobytes())]
        found[f"accessor {index}"] = b"".join([*parts, struct.pack("<q", int(entry["count"]))])
    for name in ("nodes", "skins", "animations", "scenes", "scene", "meshes", "cameras"):
        found[name] = repr(document.json.get(name)).encode()
    return found
