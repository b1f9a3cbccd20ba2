"""glTF 2.0 containers: JSON, buffers, buffer views and accessors as numpy arrays (glTF 2.0, sections 3.6 and 4)."""

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.source_files import SourceFiles, read_bytes

COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
LARGEST = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535, 5125: 4294967295}  # of the integer types
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
READ_EXTENSIONS = {
    "KHR_draco_mesh_compression",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    "KHR_node_visibility",
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
}
MAX_ELEMENTS = 200_000_000  # of one accessor: a larger count is an error or an attack


@dataclass
class Document:
    """One glTF file: its JSON and its binary data."""

    files: SourceFiles
    json: dict[str, Any]
    binary: bytes | None = None
    _buffers: dict[int, bytes] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes of all buffers that were read so far."""
        return sum(len(data) for data in self._buffers.values())

    def item(self, array: str, index: Any) -> dict[str, Any]:
        """Entry `index` of a top-level array; UserError if there is none."""
        entries = self.json.get(array, [])
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(entries):
            raise self.files.error(f"refers to {array}[{index}], but the file has {len(entries)}")
        return entries[index]

    def buffer(self, index: int) -> bytes:
        """The bytes of a buffer: the GLB chunk, a data URI or another file."""
        if index not in self._buffers:
            entry = self.item("buffers", index)
            uri = entry.get("uri")
            if uri is None:
                if index != 0 or self.binary is None:
                    raise self.files.error(f"buffer {index} has neither a URI nor a binary chunk")
                data = self.binary
            else:
                data = self.uri_bytes(uri, f"buffer {index}")
            if len(data) < int(entry["byteLength"]):
                raise self.files.error(
                    f"truncated: buffer {index} should have {entry['byteLength']} bytes, there are {len(data)}"
                )
            self._buffers[index] = data
        return self._buffers[index]

    def uri_bytes(self, uri: str, what: str) -> bytes:
        """The bytes behind a URI. Nothing is downloaded; files must be in the source folder."""
        if uri.startswith("data:"):
            header, _, payload = uri.partition(",")
            if not header.endswith(";base64"):
                return unquote_to_bytes(payload)
            try:
                return base64.b64decode(payload, validate=False)
            except (binascii.Error, ValueError):
                raise self.files.error(f"{what}: its data URI is not valid base64") from None
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri):
            raise self.files.error(f"{what}: {uri[:60]!r} is not a local file; put it next to the mesh")
        path = self.files.open_named(unquote_to_bytes(uri).decode("utf-8", "replace")) or self.files.open_named(uri)
        if path is None:
            raise self.files.error(f"{what}: {uri!r} is missing")
        return read_bytes(path)

    def view(self, index: int) -> tuple[memoryview, int | None]:
        """Bytes and stride (None = packed) of a buffer view."""
        entry = self.item("bufferViews", index)
        buffer = self.item("buffers", entry["buffer"])
        for name in ("EXT_meshopt_compression", "KHR_meshopt_compression"):
            placeholder = buffer.get("extensions", {}).get(name, {}).get("fallback") and buffer.get("uri") is None
            if name in entry.get("extensions", {}) and placeholder:
                raise self.files.error(f"buffer view {index} is compressed with {name}, which is not read")
        start, length = int(entry.get("byteOffset", 0)), int(entry["byteLength"])
        data = self.buffer(entry["buffer"])
        if start < 0 or length < 0 or start + length > len(data):
            raise self.files.error(f"truncated: buffer view {index} ends at byte {start + length} of {len(data)}")
        return memoryview(data)[start : start + length], entry.get("byteStride")

    def accessor(self, index: int) -> NDArray:
        """Values [count, width] (or [count] for scalars); normalized integers become floats, sparse ones are filled."""
        entry = self.item("accessors", index)
        dtype, width, count = component_type(entry), WIDTHS[entry["type"]], int(entry["count"])
        if not 0 <= count * width <= MAX_ELEMENTS:
            raise self.files.error(f"accessor {index} claims {count} elements")
        if "bufferView" in entry:
            values = self._elements(entry["bufferView"], int(entry.get("byteOffset", 0)), dtype, count, width, index)
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in entry:
            values = self._with_sparse(values, entry["sparse"], dtype, width, index)
        return as_declared(entry, values)

    def _elements(self, view: int, offset: int, dtype: np.dtype, count: int, width: int, accessor: int) -> NDArray:
        data, stride = self.view(view)
        size = dtype.itemsize * width
        stride = int(stride or size)
        if count == 0:
            return np.zeros((0, width), dtype)
        if offset < 0 or stride < size or offset + stride * (count - 1) + size > len(data):
            raise self.files.error(f"truncated: accessor {accessor} reads past the end of buffer view {view}")
        return np.ndarray((count, width), dtype.newbyteorder("<"), data, offset, (stride, dtype.itemsize))

    def _with_sparse(self, base: NDArray, sparse: dict, dtype: np.dtype, width: int, accessor: int) -> NDArray:
        count, where, what = int(sparse["count"]), sparse["indices"], sparse["values"]
        index_type = np.dtype(COMPONENTS[where["componentType"]])
        index = self._elements(where["bufferView"], int(where.get("byteOffset", 0)), index_type, count, 1, accessor)
        values = self._elements(what["bufferView"], int(what.get("byteOffset", 0)), dtype, count, width, accessor)
        if count and int(index.max()) >= len(base):
            raise self.files.error(f"accessor {accessor}: a sparse index is past its {len(base)} elements")
        base = np.array(base)
        base[index[:, 0].astype(np.int64)] = values
        return base


def component_type(entry: dict[str, Any]) -> np.dtype:
    """The type of an accessor's components."""
    return np.dtype(COMPONENTS[entry["componentType"]])


def as_declared(entry: dict[str, Any], values: NDArray) -> NDArray:
    """Values [count, width] as their accessor declares them, whether it holds them itself or an extension decoded them.

    They get its component type; normalized integers become floats in [−1, 1]; a width of 1 gives [count].
    """
    dtype = component_type(entry)
    if values.dtype.newbyteorder("=") != dtype:
        values = values.astype(dtype)
    if entry.get("normalized") and dtype.kind in "iu":
        values = np.maximum(values.astype(np.float32) / LARGEST[entry["componentType"]], -1)
    return values[:, 0] if values.shape[1:] == (1,) else values


def open_document(files: SourceFiles) -> Document:
    """The document of a .glb or .gltf file, by content; UserError for glTF 1.0 and unreadable required extensions."""
    data = read_bytes(files.path)
    if data[:4] == b"glTF":
        document = _open_binary(files, data)
    else:
        document = Document(files, _parse_json(files, data))
    version = str(document.json.get("asset", {}).get("version", "2.0"))
    if not version.startswith("2"):
        raise _old_version(files, version)
    unread = sorted(set(document.json.get("extensionsRequired", [])) - READ_EXTENSIONS)
    unread = [name for name in unread if not name.startswith("KHR_materials_")]
    if unread:
        raise files.error(f"needs the glTF extension {', '.join(unread)}, which is not read; export without it")
    return document


def _open_binary(files: SourceFiles, data: bytes) -> Document:
    if len(data) < 20:
        raise files.error(f"truncated: {len(data)} bytes, less than a GLB header")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise _old_version(files, str(version))
    if length > len(data):
        raise files.error(f"truncated: the header says {length} bytes, there are {len(data)}")
    if length < 20:
        raise files.error(f"damaged GLB: its header says {length} bytes, there are {len(data)}")
    chunks: dict[bytes, bytes] = {}
    position = 12
    while position + 8 <= length:
        size, name = struct.unpack_from("<I4s", data, position)
        if position + 8 + size > length:
            raise files.error(f"truncated: a chunk ends at byte {position + 8 + size} of {length}")
        chunks.setdefault(name, data[position + 8 : position + 8 + size])
        position += 8 + size
    if b"JSON" not in chunks:
        raise files.error("damaged GLB: it has no JSON chunk")
    return Document(files, _parse_json(files, chunks[b"JSON"]), chunks.get(b"BIN\0"))


def _parse_json(files: SourceFiles, data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data.rstrip(b"\0 \t\r\n"))  # some exporters pad the chunk with NUL instead of spaces
    except (ValueError, RecursionError) as error:
        raise files.error(f"not glTF, or damaged: its JSON does not parse ({str(error)[:80]})") from None
    if not isinstance(parsed, dict):
        raise files.error("not glTF: its JSON is not an object")
    return parsed


def _old_version(files: SourceFiles, version: str) -> Exception:
    return files.error(f"glTF version {version}, only 2.0 is read; convert it, e.g. by importing it into Blender 2.7x")
