"""An `ExportMesh` as the bytes of a GLB file (glTF 2.0, sections 3 and 4.4)."""

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.writers.export_mesh import ExportMesh, png_bytes

FLOAT, UINT32, UINT16 = 5126, 5125, 5123
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP = 9729, 9987, 33071


class Chunk:
    """The binary chunk under construction, with the accessors and views that describe it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes at a multiple of four; returns the buffer view's index."""
        self.data += b"\0" * (-len(self.data) % 4)
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        self.data += data
        self.views.append(entry)
        return len(self.views) - 1

    def accessor(self, values: NDArray, element: str, component: int, target: int, bounds: bool = False) -> int:
        """Append values [N] or [N, width] with their accessor; returns its index."""
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        entry: dict[str, Any] = {
            "bufferView": self.view(little.tobytes(), target),
            "componentType": component,
            "count": len(values),
            "type": element,
        }
        if bounds:
            # From the stored float32 values: the validator compares them exactly.
            entry["min"], entry["max"] = values.min(0).tolist(), values.max(0).tolist()
        self.accessors.append(entry)
        return len(self.accessors) - 1


def glb_bytes(mesh: ExportMesh, *, unlit: bool, name: str) -> bytes:
    """The file's bytes: one node, one mesh, one material, textures inside."""
    chunk = Chunk()
    attributes = {"POSITION": chunk.accessor(mesh.vertices, "VEC3", FLOAT, ARRAY_BUFFER, bounds=True)}
    if mesh.normals is not None:
        attributes["NORMAL"] = chunk.accessor(mesh.normals, "VEC3", FLOAT, ARRAY_BUFFER)
    textured = mesh.base_color is not None or mesh.metallic_roughness is not None
    if mesh.uvs is not None and textured:
        attributes["TEXCOORD_0"] = chunk.accessor(mesh.uvs, "VEC2", FLOAT, ARRAY_BUFFER)
    flat = mesh.faces.reshape(-1)
    # 65535 itself is the primitive restart value and not allowed as an index.
    small = len(mesh.vertices) <= 65535
    indices = chunk.accessor(
        flat.astype(np.uint16) if small else flat, "SCALAR", UINT16 if small else UINT32, ELEMENT_ARRAY_BUFFER
    )
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "TetraGAN"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
    }
    images: list[dict[str, Any]] = []
    document["materials"] = [_material(chunk, mesh, unlit, images)]
    if images:
        document["textures"] = [{"source": index, "sampler": 0} for index in range(len(images))]
        document["images"] = images
        document["samplers"] = [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP, "wrapT": CLAMP}
        ]
    if unlit:
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    chunk.data += b"\0" * (-len(chunk.data) % 4)
    document["bufferViews"], document["accessors"] = chunk.views, chunk.accessors
    document["buffers"] = [{"byteLength": len(chunk.data)}]
    return _container(document, bytes(chunk.data))


def _material(chunk: Chunk, mesh: ExportMesh, unlit: bool, images: list[dict[str, Any]]) -> dict[str, Any]:
    """The material; its images are appended to the chunk and to `images`."""

    def texture(name: str, image: NDArray[np.uint8]) -> dict[str, int]:
        images.append({"name": name, "mimeType": "image/png", "bufferView": chunk.view(png_bytes(image))})
        return {"index": len(images) - 1}

    rough: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if mesh.base_color is not None:
        rough["baseColorTexture"] = texture("base_color", mesh.base_color)
    if mesh.metallic_roughness is not None and not unlit:
        # glTF: roughness in green, metallic in blue; red is left at one (no occlusion).
        packed = np.full((*mesh.metallic_roughness.shape[:2], 3), 255, np.uint8)
        packed[..., 1], packed[..., 2] = mesh.metallic_roughness[..., 1], mesh.metallic_roughness[..., 0]
        rough["metallicRoughnessTexture"] = texture("metallic_roughness", packed)
        rough["metallicFactor"] = 1.0
    material: dict[str, Any] = {"name": "surface", "pbrMetallicRoughness": rough}
    if mesh.transparent:
        material["alphaMode"] = "BLEND"
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
    return material


def _container(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, length),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\0"),
            binary,
        ]
    )
