"""An `ExportMesh` as the bytes of a GLB file (glTF 2.0, sections 3 and 4.4)."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.writers.export_mesh import ExportMesh, ImageFormat, image_bytes

FLOAT, UINT32, UINT16 = 5126, 5125, 5123
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP = 9729, 9987, 33071
DRACO = "KHR_draco_mesh_compression"
# Positions to 1/16,384 of the box.
DRACO_BITS = 14


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


def glb_bytes(
    mesh: ExportMesh,
    *,
    unlit: bool,
    name: str,
    image_format: ImageFormat = "png",
    draco: bool = False,
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """The file's bytes: one node, one mesh, one material, textures inside.

    image_format "webp": EXT_texture_webp, lossless. draco: KHR_draco_mesh_compression. about: JSON values for the
    `extras` of the asset and of the node, where Blender shows them as custom properties; its "license" is repeated as
    the asset's copyright.
    """
    chunk = Chunk()
    primitive = _draco_primitive(chunk, mesh) if draco else _primitive(chunk, mesh)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "TetraGAN"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [{**primitive, "material": 0}]}],
    }
    if about:
        document["asset"]["extras"] = document["nodes"][0]["extras"] = dict(about)
        if "license" in about:
            document["asset"]["copyright"] = str(about["license"])
    images: list[dict[str, Any]] = []
    document["materials"] = [_material(chunk, mesh, unlit, images, name, image_format)]
    if images:
        document["textures"] = [_texture(index, image_format) for index in range(len(images))]
        document["images"] = images
        document["samplers"] = [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP, "wrapT": CLAMP}
        ]
    used = [
        *(["KHR_materials_unlit"] if unlit else []),
        *(["EXT_texture_webp"] if images and image_format == "webp" else []),
        *([DRACO] if draco else []),
    ]
    if used:
        document["extensionsUsed"] = used
    # A viewer without these would show nothing, or no texture.
    if required := [extension for extension in used if extension != "KHR_materials_unlit"]:
        document["extensionsRequired"] = required
    chunk.data += b"\0" * (-len(chunk.data) % 4)
    document["bufferViews"], document["accessors"] = chunk.views, chunk.accessors
    document["buffers"] = [{"byteLength": len(chunk.data)}]
    return container(document, bytes(chunk.data))


def _primitive(chunk: Chunk, mesh: ExportMesh) -> dict[str, Any]:
    """The primitive, without its material; its numbers are appended to the chunk."""
    attributes = {"POSITION": chunk.accessor(mesh.vertices, "VEC3", FLOAT, ARRAY_BUFFER, bounds=True)}
    if mesh.normals is not None:
        attributes["NORMAL"] = chunk.accessor(mesh.normals, "VEC3", FLOAT, ARRAY_BUFFER)
    if mesh.tangents is not None:
        attributes["TANGENT"] = chunk.accessor(mesh.tangents, "VEC4", FLOAT, ARRAY_BUFFER)
    if mesh.uvs is not None and mesh.textured:
        attributes["TEXCOORD_0"] = chunk.accessor(mesh.uvs, "VEC2", FLOAT, ARRAY_BUFFER)
    flat = mesh.faces.reshape(-1)
    # 65535 itself is the primitive restart value and not allowed as an index.
    small = len(mesh.vertices) <= 65535
    indices = chunk.accessor(
        flat.astype(np.uint16) if small else flat, "SCALAR", UINT16 if small else UINT32, ELEMENT_ARRAY_BUFFER
    )
    return {"attributes": attributes, "indices": indices}


def _draco_primitive(chunk: Chunk, mesh: ExportMesh) -> dict[str, Any]:
    """The primitive compressed by Draco. Tangents are left out: glTF viewers derive the same ones."""
    import DracoPy

    uvs = mesh.uvs if mesh.uvs is not None and mesh.textured else None
    data = DracoPy.encode(
        mesh.vertices,
        mesh.faces,
        quantization_bits=DRACO_BITS,
        compression_level=7,
        preserve_order=False,
        tex_coord=None if uvs is None else uvs.astype(np.float64),
        normals=None if mesh.normals is None else mesh.normals.astype(np.float64),
    )
    decoded = DracoPy.decode(data)
    names = {0: "POSITION", 1: "NORMAL", 3: "TEXCOORD_0"}  # Draco's attribute types
    ids = {names[each["attribute_type"]]: each["unique_id"] for each in decoded.attributes}
    shapes = {"POSITION": "VEC3", "NORMAL": "VEC3", "TEXCOORD_0": "VEC2"}
    attributes = {}
    for name in ids:
        entry: dict[str, Any] = {"componentType": FLOAT, "count": len(decoded.points), "type": shapes[name]}
        if name == "POSITION":
            points = np.asarray(decoded.points, np.float32)
            entry["min"], entry["max"] = points.min(0).tolist(), points.max(0).tolist()
        chunk.accessors.append(entry)
        attributes[name] = len(chunk.accessors) - 1
    chunk.accessors.append({"componentType": UINT32, "count": int(decoded.faces.size), "type": "SCALAR"})
    extension = {"bufferView": chunk.view(data), "attributes": ids}
    return {"attributes": attributes, "indices": len(chunk.accessors) - 1, "extensions": {DRACO: extension}}


def _texture(index: int, image_format: ImageFormat) -> dict[str, Any]:
    if image_format == "webp":
        return {"sampler": 0, "extensions": {"EXT_texture_webp": {"source": index}}}
    return {"source": index, "sampler": 0}


def _material(
    chunk: Chunk,
    mesh: ExportMesh,
    unlit: bool,
    images: list[dict[str, Any]],
    name: str,
    image_format: ImageFormat,
) -> dict[str, Any]:
    """The material; its images are appended to the chunk and to `images`."""

    def texture(name: str, image: NDArray[np.uint8]) -> dict[str, int]:
        data = image_bytes(image, image_format)
        images.append({"name": name, "mimeType": f"image/{image_format}", "bufferView": chunk.view(data)})
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
    material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": rough}
    if mesh.normal_map is not None and not unlit:
        material["normalTexture"] = texture("normal", mesh.normal_map)
    if mesh.transparent:
        material["alphaMode"] = "BLEND"
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
    return material


def container(document: dict[str, Any], binary: bytes) -> bytes:
    """The bytes of a GLB file from its JSON and its binary chunk (glTF 2.0, section 4.4)."""
    # What UTF-8 cannot express, such as undecodable file names, becomes an escape of JSON.
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
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
