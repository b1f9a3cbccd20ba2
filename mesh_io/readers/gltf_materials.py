"""glTF materials and textures as `SourceMaterial`, with colors converted from linear to sRGB values."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.color import encode_srgb_rgba
from mesh_io.readers.gltf_document import Document
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import SourceMaterial, Wrap

WRAPS: dict[int, Wrap] = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
NEAREST = 9728


@dataclass(frozen=True)
class TextureUse:
    """How a material samples its base color image: the UV set and a 2×3 transform of (u, v, 1)."""

    uv_set: int = 0
    transform: NDArray[np.float64] | None = None


@dataclass
class MaterialReader:
    """Materials of one document, each built once, textures decoded once."""

    document: Document
    textures: TextureCache
    _built: dict[int | None, tuple[SourceMaterial, TextureUse]] = field(default_factory=dict)

    def material(self, index: int | None) -> tuple[SourceMaterial, TextureUse]:
        """Material `index` (None = glTF's default: white) and how it uses UVs. A malformed one counts as white."""
        if index not in self._built:
            self._built[index] = SourceMaterial(name="" if index is None else str(index)), TextureUse()
            with self.document.files.optional(f"material {index} is malformed and counts as white"):
                entry = {} if index is None else self.document.item("materials", index)
                built, use = self._build(entry, str(entry.get("name", "" if index is None else index)))
                self._built[index] = replace(built, index=index), use
        return self._built[index]

    def _build(self, entry: dict[str, Any], name: str) -> tuple[SourceMaterial, TextureUse]:
        """A material of the metallic-roughness or the specular-glossiness model. Its base color becomes sRGB.

        A texture that cannot be read is left out with a warning. UserError for a base color that is not four numbers.
        """
        extensions = entry.get("extensions", {})
        metal = entry.get("pbrMetallicRoughness", {})
        gloss = extensions.get("KHR_materials_pbrSpecularGlossiness")
        if gloss is not None:
            factor, texture = gloss.get("diffuseFactor"), gloss.get("diffuseTexture")
            metallic, roughness = 0.0, 1.0 - float(gloss.get("glossinessFactor", 1.0))
        else:
            factor, texture = metal.get("baseColorFactor"), metal.get("baseColorTexture")
            metallic, roughness = metal.get("metallicFactor"), metal.get("roughnessFactor")
        linear = np.ones(4) if factor is None else np.asarray(factor, dtype=np.float64)
        if linear.shape != (4,) or not np.isfinite(linear).all():
            raise self.document.files.error(f"material {name!r}: its base color factor is not four numbers")
        red, green, blue, alpha = encode_srgb_rgba(linear).tolist()
        image, image_name, wrap, nearest = None, "", WRAPS[10497], False
        wraps = (wrap, wrap)
        use = TextureUse()
        if texture is not None:
            with self.document.files.optional(f"a texture of material {name!r} is not read"):
                use = texture_use(texture)
                image, image_name, wraps, nearest = self._image(texture["index"], name)
        surface_image = None
        if self.textures.surfaces and gloss is None and "metallicRoughnessTexture" in metal:
            with self.document.files.optional(f"a texture of material {name!r} is not read"):
                surface_image, use = self._surface_image(metal, use, name)
        material = SourceMaterial(
            name=name,
            base_color=(red, green, blue, alpha),
            image=image,
            image_name=image_name,
            wrap=wraps,
            nearest=nearest,
            alpha_mode=entry.get("alphaMode", "OPAQUE"),
            alpha_cutoff=float(entry.get("alphaCutoff", 0.5)),
            metallic=None if metallic is None else float(metallic),
            roughness=None if roughness is None else float(roughness),
            surface_image=surface_image,
            unlit="KHR_materials_unlit" in extensions,
        )
        return material, use

    def _surface_image(
        self, metal: dict[str, Any], use: TextureUse, name: str
    ) -> tuple[NDArray[np.uint8] | None, TextureUse]:
        """The metallic-roughness texture, and the UVs that it shares with the base color."""
        own = texture_use(metal["metallicRoughnessTexture"])
        same = own.uv_set == use.uv_set and np.array_equal(_matrix(own), _matrix(use))
        if "baseColorTexture" in metal and not same:
            self.document.files.warn(f"the metallic-roughness texture of material {name!r} has its own UVs; not read")
            return None, use
        return self._image(metal["metallicRoughnessTexture"]["index"], name)[0], own

    def _image(self, index: int, material: str) -> tuple[NDArray[np.uint8] | None, str, tuple[Wrap, Wrap], bool]:
        texture = self.document.item("textures", index)
        sampler = self.document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wraps = (WRAPS.get(sampler.get("wrapS", 10497), "repeat"), WRAPS.get(sampler.get("wrapT", 10497), "repeat"))
        nearest = sampler.get("magFilter") == NEAREST
        source = texture.get("extensions", {}).get("EXT_texture_webp", {}).get("source", texture.get("source"))
        if source is None:
            cause = ", ".join(texture.get("extensions", {})) or "no source"
            self.document.files.warn(f"texture {index} of material {material!r} cannot be read ({cause})")
            return None, "", wraps, nearest
        image, name = self._decode(source, material)
        return image, name, wraps, nearest

    def _decode(self, source: int, material: str) -> tuple[NDArray[np.uint8] | None, str]:
        if not self.textures.enabled:
            return None, ""
        entry = self.document.item("images", source)
        uri = entry.get("uri")
        if uri is None:
            data, _ = self.document.view(entry["bufferView"])
            name = str(entry.get("name") or f"image {source}")
            return self.textures.memory(bytes(data), f"{name}#{source}", material), name
        if uri.startswith("data:"):
            name = str(entry.get("name") or f"image {source}")
            return self.textures.memory(self.document.uri_bytes(uri, name), f"{name}#{source}", material), name
        return self.textures.file(uri, material), uri


def _matrix(use: TextureUse) -> NDArray[np.float64]:
    return np.eye(2, 3) if use.transform is None else use.transform


def texture_use(info: dict[str, Any]) -> TextureUse:
    """UV set and transform of a textureInfo: KHR_texture_transform is offset · rotation · scale, in that order."""
    uv_set = int(info.get("texCoord", 0))
    extension = info.get("extensions", {}).get("KHR_texture_transform")
    if extension is None:
        return TextureUse(uv_set)
    angle = float(extension.get("rotation", 0.0))
    (offset_u, offset_v), (scale_u, scale_v) = extension.get("offset", (0, 0)), extension.get("scale", (1, 1))
    cosine, sine = np.cos(angle), np.sin(angle)
    transform = np.array(
        [[cosine * scale_u, sine * scale_v, offset_u], [-sine * scale_u, cosine * scale_v, offset_v]], dtype=np.float64
    )
    return TextureUse(int(extension.get("texCoord", uv_set)), transform)
