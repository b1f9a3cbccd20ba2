"""Small mesh files, made by the tests that read them."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COMPONENTS = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
ELEMENT_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
SQUARE_FACES = np.array([0, 1, 2, 0, 2, 3], np.uint16)


class Gltf:
    """A glTF file under construction: accessors first, then meshes and nodes, then `save`."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": []}

    def view(self, data: bytes, **extra: Any) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **extra}
        self.data += data
        self.json["bufferViews"].append(entry)
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: Any, normalized: bool = False, **extra: Any) -> int:
        values = np.asarray(values)
        width = 1 if values.ndim == 1 else values.shape[1]
        entry = {
            "bufferView": self.view(values.tobytes()),
            "componentType": COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": ELEMENT_TYPES[width],
            **extra,
        }
        if normalized:
            entry["normalized"] = True
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    def primitive(self, positions: Any = SQUARE, indices: Any = SQUARE_FACES, **extra: Any) -> dict[str, Any]:
        """A primitive; keywords in capitals are further attributes (arrays), others are copied as they are."""
        attributes = {"POSITION": self.accessor(positions)}
        for name in [key for key in extra if key.isupper() or key[:1].isupper()]:
            value = extra.pop(name)
            attributes[name] = value if isinstance(value, int) else self.accessor(value)
        entry = {"attributes": attributes, **extra}
        if indices is not None:
            entry["indices"] = self.accessor(np.asarray(indices))
        return entry

    def scene(self, *primitives: dict[str, Any], nodes: list[dict] | None = None, **extra: Any) -> "Gltf":
        """One mesh of the primitives in one node, or the given nodes (the first is the root)."""
        self.json |= {
            "meshes": [{"primitives": list(primitives)}],
            "nodes": nodes or [{"mesh": 0}],
            "scenes": [{"nodes": [0]}],
            "scene": 0,
            **extra,
        }
        return self

    def texture(self, image: dict[str, Any], **sampler: Any) -> "Gltf":
        """One texture of one image entry, e.g. {"uri": "a.png"}."""
        self.json |= {"textures": [{"source": 0}], "images": [image]}
        if sampler:
            self.json["samplers"] = [sampler]
            self.json["textures"][0]["sampler"] = 0
        return self

    def save(self, path: Path, buffer_uri: str | None = None) -> Path:
        """Write .glb (binary chunk) or .gltf (data URI, or a .bin next to it under `buffer_uri`)."""
        buffer: dict[str, Any] = {"byteLength": len(self.data)}
        if path.suffix == ".glb":
            self.json["buffers"] = [buffer]
            path.write_bytes(glb(json.dumps(self.json).encode(), bytes(self.data)))
            return path
        if buffer_uri is None:
            buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        else:
            buffer["uri"] = buffer_uri
        self.json["buffers"] = [buffer]
        path.write_text(json.dumps(self.json))
        return path


def glb(text: bytes, binary: bytes, version: int = 2) -> bytes:
    """A GLB container with a JSON and a binary chunk."""
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", version, 12 + len(body)) + body


def color_square() -> np.ndarray:
    """[2, 2, 3] uint8: red, green above blue, white."""
    return np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)


def save_image(path: Path, image: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color_square() if image is None else image).save(path)
    return path


def obj_square(path: Path, mtl: str | None = None, **replacements: str) -> Path:
    """A textured square as OBJ, with `mtl` as the text of its MTL."""
    text = (
        "mtllib square.mtl\n"
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl paint\nf 1/1 2/2 3/3 4/4\n"
    )
    for old, new in replacements.items():
        text = text.replace(old.replace("_", " "), new)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if mtl is not None:
        (path.parent / "square.mtl").write_text(mtl)
    return path
