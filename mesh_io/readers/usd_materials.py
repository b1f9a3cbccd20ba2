"""UsdPreviewSurface materials as `SourceMaterial`."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.color import encode_srgb
from mesh_io.readers.source_files import SourceFiles
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import AlphaMode, SourceMaterial, Wrap

WRAPS: dict[str, Wrap] = {"repeat": "repeat", "mirror": "mirror", "clamp": "clamp", "black": "clamp"}
Bound = tuple[SourceMaterial, str, bool]


@dataclass
class UsdMaterials:
    """Materials of one stage, each read once."""

    files: SourceFiles
    textures: TextureCache
    _built: dict[str, Bound] = field(default_factory=dict)

    def bound_to(self, prim: Any) -> Bound:
        """(material, name of its UV primvar or "", whether it replaces displayColor) of a prim."""
        from pxr import UsdShade

        material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
        if not material:
            return SourceMaterial(), "", False
        path = material.GetPath().pathString
        if path not in self._built:
            self._built[path] = self._build(material, path)
        return self._built[path]

    def _build(self, material: Any, path: str) -> Bound:
        """A UsdPreviewSurface in sRGB; white for any other shader."""
        shader, _, _ = material.ComputeSurfaceSource()
        if not shader or shader.GetIdAttr().Get() != "UsdPreviewSurface":
            self.files.warn(f"material {path!r} has no UsdPreviewSurface; it counts as white")
            return SourceMaterial(path), "", False
        color, texture = _input(shader, "diffuseColor", (0.18, 0.18, 0.18))
        opacity, _ = _input(shader, "opacity", 1.0)
        factor = encode_srgb(np.asarray(color, dtype=np.float64))
        image, name, uv_name, wraps = None, "", "", (WRAPS["repeat"], WRAPS["repeat"])
        if texture is not None:
            factor = encode_srgb(np.asarray(_input(texture, "scale", (1.0,) * 4)[0], dtype=np.float64)[:3])
            image, name, uv_name, wraps = self._texture(texture, path)
            if image is None and self.textures.enabled:
                fallback = _input(texture, "fallback", (1.0, 1.0, 1.0, 1.0))[0]
                factor = encode_srgb(np.asarray(fallback, dtype=np.float64)[:3])
        red, green, blue = factor.tolist()
        alpha = float(opacity) if isinstance(opacity, int | float) else 1.0
        threshold = float(_input(shader, "opacityThreshold", 0.0)[0])
        transparent = alpha < 1 or _connected(shader, "opacity")
        mode: AlphaMode = "OPAQUE" if not transparent else "MASK" if threshold > 0 else "BLEND"
        built = SourceMaterial(
            name=path,
            base_color=(red, green, blue, alpha),
            image=image,
            image_name=name,
            wrap=wraps,
            alpha_mode=mode,
            alpha_cutoff=threshold or 0.5,
            metallic=_number(shader, "metallic"),
            roughness=_number(shader, "roughness"),
        )
        return built, uv_name, True

    def _texture(self, texture: Any, path: str) -> tuple[NDArray[np.uint8] | None, str, str, tuple[Wrap, Wrap]]:
        wraps = (WRAPS.get(str(_input(texture, "wrapS", "")[0]), "repeat"), WRAPS.get(
            str(_input(texture, "wrapT", "")[0]), "repeat"))  # fmt: skip
        _, reader = _input(texture, "st", None)
        uv_name = str(_input(reader, "varname", "st")[0]) if reader is not None else "st"
        asset = _input(texture, "file", None)[0]
        if asset is None:
            self.files.warn(f"a texture of material {path!r} has no file")
            return None, "", uv_name, wraps
        name = PurePosixPath(asset.path.replace("\\", "/")).name
        if "[" in asset.resolvedPath:
            from pxr import Ar

            packed = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath))
            data = bytes(packed.GetBuffer()) if packed else b""
            return self.textures.memory(data, name, path), name, uv_name, wraps
        return self.textures.file(asset.path, path), name, uv_name, wraps


def _input(shader: Any, name: str, default: Any) -> tuple[Any, Any]:
    """(value, None) of a shader's input, or (default, the shader connected to it)."""
    from pxr import UsdShade

    found = shader.GetInput(name)
    if not found:
        return default, None
    for attribute in UsdShade.Utils.GetValueProducingAttributes(found):
        prim = attribute.GetPrim()
        source = UsdShade.Shader(prim)
        if source and prim != shader.GetPrim() and attribute.GetName().startswith("outputs:"):
            return default, source
        value = attribute.Get()
        return (default if value is None else value), None
    return default, None


def _connected(shader: Any, name: str) -> bool:
    return _input(shader, name, None)[1] is not None


def _number(shader: Any, name: str) -> float | None:
    value = _input(shader, name, None)[0]
    return float(value) if isinstance(value, int | float) else None
