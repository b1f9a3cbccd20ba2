"""UsdPreviewSurface materials as `SourceMaterial`."""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.color import encode_srgb
from mesh_io.readers.source_files import SourceFiles
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import AlphaMode, SourceMaterial, Wrap

WRAPS: dict[str, Wrap] = {"repeat": "repeat", "mirror": "mirror", "clamp": "clamp", "black": "clamp"}
DISPLAY_COLOR = "displayColor"


@dataclass(frozen=True, eq=False)
class BoundMaterial:
    """A material and the primvars that it reads.

    uvs: name of the texture coordinates. transform [2, 3]: of (u, v, 1), v upward; None = as they are. colors: name of
    the linear colors that it shows; "" for none.
    """

    material: SourceMaterial
    uvs: str = "st"
    transform: NDArray[np.float64] | None = None
    colors: str = DISPLAY_COLOR


@dataclass
class UsdMaterials:
    """Materials of one stage, each read once."""

    files: SourceFiles
    textures: TextureCache
    _built: dict[str, BoundMaterial] = field(default_factory=dict)

    def bound_to(self, prim: Any) -> BoundMaterial:
        """The material of a prim; white, with the prim's own colors, if none is bound."""
        from pxr import UsdShade

        material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
        if not material:
            return BoundMaterial(SourceMaterial())
        path = material.GetPath().pathString
        if path not in self._built:
            self._built[path] = BoundMaterial(SourceMaterial(path))
            with self.files.optional(f"material {path!r} is malformed and counts as white"):
                self._built[path] = self._build(material, path)
        return self._built[path]

    def _build(self, material: Any, path: str) -> BoundMaterial:
        """A UsdPreviewSurface in sRGB; white for any other shader."""
        shader, _, _ = material.ComputeSurfaceSource()
        if not shader or _node(shader) != "UsdPreviewSurface":
            self.files.warn(f"material {path!r} has no UsdPreviewSurface; it counts as white")
            return BoundMaterial(SourceMaterial(path))
        color, source = _input(shader, "diffuseColor", (0.18, 0.18, 0.18))
        opacity, _ = _input(shader, "opacity", 1.0)
        factor = encode_srgb(np.asarray(color, dtype=np.float64))
        image, name, wraps = None, "", (WRAPS["repeat"], WRAPS["repeat"])
        uvs, transform, colors = "st", None, ""
        if source is not None and _node(source) == "UsdUVTexture":
            factor = encode_srgb(np.asarray(_input(source, "scale", (1.0,) * 4)[0], dtype=np.float64)[:3])
            image, name, wraps = self._texture(source, path)
            uvs, transform = _coordinates(source)
            if image is None and self.textures.enabled:
                fallback = _input(source, "fallback", (1.0, 1.0, 1.0, 1.0))[0]
                factor = encode_srgb(np.asarray(fallback, dtype=np.float64)[:3])
        elif source is not None:
            factor = np.ones(3)
            if _node(source) == "UsdPrimvarReader_float3":
                colors = str(_input(source, "varname", DISPLAY_COLOR)[0])
            else:
                self.files.warn(f"the color of material {path!r} comes from {_node(source)}; it counts as white")
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
        return BoundMaterial(built, uvs, transform, colors)

    def _texture(self, texture: Any, path: str) -> tuple[NDArray[np.uint8] | None, str, tuple[Wrap, Wrap]]:
        wraps = (WRAPS.get(str(_input(texture, "wrapS", "")[0]), "repeat"), WRAPS.get(
            str(_input(texture, "wrapT", "")[0]), "repeat"))  # fmt: skip
        asset = _input(texture, "file", None)[0]
        if asset is None:
            self.files.warn(f"a texture of material {path!r} has no file")
            return None, "", wraps
        name = PurePosixPath(asset.path.replace("\\", "/")).name
        if "[" in asset.resolvedPath:
            from pxr import Ar

            packed = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath))
            data = bytes(packed.GetBuffer()) if packed else b""
            return self.textures.memory(data, self._relative(asset.resolvedPath), path), name, wraps
        # A layer in another folder names its textures from there.
        found = asset.resolvedPath and not Path(asset.path).is_absolute()
        return self.textures.file(self._relative(asset.resolvedPath) if found else asset.path, path), name, wraps

    def _relative(self, resolved: str) -> str:
        """A path that USD resolved, as seen from the folder of the file."""
        return Path(os.path.relpath(resolved, self.files.folder)).as_posix()


def _coordinates(texture: Any) -> tuple[str, NDArray[np.float64] | None]:
    """The name of a texture's UV primvar, and what UsdTransform2d nodes do to it: scale, rotate, translate in turn."""
    matrix, moved = np.eye(3), False
    _, node = _input(texture, "st", None)
    while node is not None and _node(node) == "UsdTransform2d":
        scale, shift = _input(node, "scale", (1.0, 1.0))[0], _input(node, "translation", (0.0, 0.0))[0]
        angle = np.radians(float(_input(node, "rotation", 0.0)[0]))
        cosine, sine = np.cos(angle), np.sin(angle)
        own = np.eye(3)
        own[:2] = np.stack([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]]) * (*scale, 1.0)
        matrix, moved = matrix @ own, True
        _, node = _input(node, "in", None)
    name = str(_input(node, "varname", "st")[0]) if node is not None else "st"
    return name, matrix[:2] if moved else None


def _node(shader: Any) -> str:
    return str(shader.GetIdAttr().Get() or "")


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
