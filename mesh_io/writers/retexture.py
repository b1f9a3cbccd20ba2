"""New textures for an existing glTF file. Everything else, from vertices and UVs to skins, stays bit for bit."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.gltf_document import Document, open_document
from mesh_io.readers.source_files import SourceFiles
from mesh_io.writers.export_mesh import png_bytes
from mesh_io.writers.glb import LINEAR, LINEAR_MIPMAP_LINEAR, container
from torch_utils.errors import UserError

GLOSS = "KHR_materials_pbrSpecularGlossiness"
WRAP_NAMES = ("wrapS", "wrapT")
MIME_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, eq=False)
class MaterialTextures:
    """Textures of one material. base_color [H, W, 3 or 4] uint8, sRGB. metallic_roughness [H, W, 2] uint8, linear."""

    base_color: NDArray[np.uint8]
    metallic_roughness: NDArray[np.uint8] | None = None


def retextured_glb(path: Path, textures: Mapping[int, MaterialTextures]) -> bytes:
    """The bytes of a GLB: the file at `path`, with new textures for some of its materials, by their number.

    A .glb keeps its binary chunk as the first bytes of the new one; the buffers of a .gltf are joined, one after the
    other. Images that no material uses any more stay in the file. A new texture takes the UV set, the transform and the
    wrapping of the material's former base color. UserError if the file cannot be read, or a material is missing.
    """
    document = open_document(SourceFiles(path))
    values = copy.deepcopy(document.json)
    data = _joined_buffers(document, values)
    for number, own in sorted(textures.items()):
        material = _entry(values, "materials", number, path)
        metal = _metallic_roughness(material)
        place = _place(metal.get("baseColorTexture"))
        sampler = _sampler(values, document, metal.get("baseColorTexture"))
        alpha = metal.get("baseColorFactor", [1.0] * 4)[3]
        metal["baseColorTexture"] = {"index": _texture(values, data, own.base_color, sampler), **place}
        metal["baseColorFactor"] = [1.0, 1.0, 1.0, alpha]
        if own.metallic_roughness is not None:
            packed = np.full((*own.metallic_roughness.shape[:2], 3), 255, np.uint8)
            packed[..., 1], packed[..., 2] = own.metallic_roughness[..., 1], own.metallic_roughness[..., 0]
            metal["metallicRoughnessTexture"] = {"index": _texture(values, data, packed, sampler), **place}
            metal["metallicFactor"] = metal["roughnessFactor"] = 1.0
    if not any(GLOSS in material.get("extensions", {}) for material in values.get("materials", [])):
        for name in ("extensionsUsed", "extensionsRequired"):
            if left := [each for each in values.pop(name, []) if each != GLOSS]:
                values[name] = left
    data += b"\0" * (-len(data) % 4)
    values["buffers"] = [{"byteLength": len(data)}]
    return container(values, bytes(data))


def _metallic_roughness(material: dict[str, Any]) -> dict[str, Any]:
    """A material's metallic-roughness model. One of specular and glossiness, which would hide it, is converted."""
    metal = material.setdefault("pbrMetallicRoughness", {})
    gloss = material.get("extensions", {}).pop(GLOSS, None)
    if gloss is not None:
        metal.clear()
        metal |= {"metallicFactor": 0.0, "roughnessFactor": 1.0 - float(gloss.get("glossinessFactor", 1.0))}
        if "diffuseFactor" in gloss:
            metal["baseColorFactor"] = gloss["diffuseFactor"]
        if "diffuseTexture" in gloss:
            metal["baseColorTexture"] = gloss["diffuseTexture"]
    return metal


def _joined_buffers(document: Document, values: dict[str, Any]) -> bytearray:
    """All buffers as one; the views move along. Images in files of their own are taken in."""
    data = bytearray()
    starts = []
    for index in range(len(values.get("buffers", []))):
        data += b"\0" * (-len(data) % 4)
        starts.append(len(data))
        data += document.buffer(index)
    for view in values.get("bufferViews", []):
        view["byteOffset"] = starts[view["buffer"]] + int(view.get("byteOffset", 0))
        view["buffer"] = 0
    for image in values.get("images", []):
        uri = image.get("uri")
        if uri is not None and not uri.startswith("data:"):
            image["bufferView"] = _view(values, data, document.uri_bytes(uri, "an image"))
            image["mimeType"] = MIME_TYPES.get(uri.lower().rpartition(".")[2], "image/png")
            del image["uri"]
    return data


def _entry(values: dict[str, Any], array: str, number: int, path: Path) -> dict[str, Any]:
    entries = values.get(array, [])
    if not 0 <= number < len(entries):
        raise UserError(f"{path}: has no {array}[{number}]")
    return entries[number]


def _place(former: dict[str, Any] | None) -> dict[str, Any]:
    """UV set and transform of a textureInfo."""
    if former is None:
        return {}
    kept = {key: former[key] for key in ("texCoord",) if key in former}
    transform = former.get("extensions", {}).get("KHR_texture_transform")
    return kept | ({"extensions": {"KHR_texture_transform": transform}} if transform is not None else {})


def _sampler(values: dict[str, Any], document: Document, former: dict[str, Any] | None) -> int:
    """A sampler with linear filters that wraps as the former texture does."""
    wraps: dict[str, Any] = {}
    if former is not None:
        texture = document.item("textures", former["index"])
        old = document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wraps = {name: old[name] for name in WRAP_NAMES if name in old}
    samplers = values.setdefault("samplers", [])
    wanted = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, **wraps}
    if wanted not in samplers:
        samplers.append(wanted)
    return samplers.index(wanted)


def _texture(values: dict[str, Any], data: bytearray, image: NDArray[np.uint8], sampler: int) -> int:
    images, textures = values.setdefault("images", []), values.setdefault("textures", [])
    images.append({"mimeType": "image/png", "bufferView": _view(values, data, png_bytes(image))})
    textures.append({"source": len(images) - 1, "sampler": sampler})
    return len(textures) - 1


def _view(values: dict[str, Any], data: bytearray, content: bytes) -> int:
    data += b"\0" * (-len(data) % 4)
    views = values.setdefault("bufferViews", [])
    views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(content)})
    data += content
    return len(views) - 1
