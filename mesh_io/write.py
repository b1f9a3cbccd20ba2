"""Writing a mesh: GLB, OBJ with MTL and PNG, USDZ. Files appear whole or not at all."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.source_mesh import unit_rows
from torch_utils.errors import UserError
from torch_utils.files import replacing

BASE_COLOR, METALLIC_ROUGHNESS = "base_color", "metallic_roughness"


@dataclass(frozen=True)
class Surface:
    """A mesh ready to be written, as numpy arrays.

    vertices [V, 3] float32; faces [F, 3] uint32, none collapsed; normals [V, 3] float32 of unit length; uvs [V, 2]
    float32, origin top left; base_color [H, W, 3 or 4] and metallic_roughness [H, W, 2] uint8.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]
    normals: NDArray[np.float32] | None
    uvs: NDArray[np.float32] | None
    base_color: NDArray[np.uint8] | None
    metallic_roughness: NDArray[np.uint8] | None

    @property
    def transparent(self) -> bool:
        """Whether the base color has an alpha below one anywhere."""
        image = self.base_color
        return image is not None and image.shape[2] == 4 and bool((image[..., 3] < 255).any())


def write_glb(path: Path | str, mesh: Mesh, *, unlit: bool = False, name: str | None = None) -> None:
    """Write one mesh as a GLB (glTF 2.0) that Blender, Unreal and web pages open.

    mesh: a batch of one. Written are `vertices`, `faces`, and where present `normals`, `uvs`, and the textures
    "base_color" [H, W, 3 or 4] (sRGB values in [0, 1]) and "metallic_roughness" [H, W, 2] (metallic, roughness in
    [0, 1]); textures need uvs. Without the latter the material is rough and not metallic.
    unlit: add KHR_materials_unlit, for textures that hold shaded colors. name: of the node; default the file's stem.
    Raises ValueError for a batch or an empty mesh, UserError where the file cannot be written.
    """
    from mesh_io.writers.glb import glb_bytes

    path = Path(path)
    _write([(path, glb_bytes(surface_of(mesh, "write_glb"), unlit=unlit, name=name or path.stem))])


def write_obj(path: Path | str, mesh: Mesh, *, name: str | None = None) -> None:
    """Write one mesh as OBJ, with `<stem>.mtl` and `<stem>.png` beside it where it has a base color.

    The same mesh as for `write_glb`; OBJ has its v axis upward, so v is flipped here, and no metallic-roughness map.
    The OBJ itself appears last: where it is, its material and texture are.
    """
    from mesh_io.writers.obj import mtl_text, obj_text

    path = Path(path)
    surface = surface_of(mesh, "write_obj")
    stem = safe_name(path.stem)
    files = []
    if surface.base_color is not None:
        # MTL separates words by spaces, so the files beside the OBJ get a name without any.
        files.append((path.with_name(f"{stem}.png"), png_bytes(surface.base_color)))
        files.append((path.with_name(f"{stem}.mtl"), mtl_text(stem, surface.transparent).encode()))
    files.append((path, obj_text(surface, safe_name(name or path.stem), stem).encode()))
    _write(files)


def write_usdz(path: Path | str, mesh: Mesh, *, name: str | None = None) -> None:
    """Write one mesh as USDZ with a UsdPreviewSurface material; needs usd-core (UserError without it)."""
    from mesh_io.writers.usdz import usdz_bytes

    path = Path(path)
    _write([(path, usdz_bytes(surface_of(mesh, "write_usdz"), safe_name(name or path.stem)))])


def surface_of(mesh: Mesh, caller: str) -> Surface:
    """The arrays to write, checked: one mesh, finite, with faces; collapsed faces and unused vertices are left out."""
    if len(mesh) != 1:
        raise ValueError(f"{caller}(): expected a batch of 1 mesh, got {len(mesh)}; index the batch first")
    vertices = _array(mesh.vertices, np.float32)
    faces = _array(mesh.faces, np.int64)
    collapsed = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 2] == faces[:, 0])
    faces = faces[~collapsed]
    if not len(faces):
        raise ValueError(f"{caller}(): expected a mesh with faces, got none")
    used, flat = np.unique(faces, return_inverse=True)
    vertices = vertices[used]
    if not np.isfinite(vertices).all():
        raise ValueError(f"{caller}(): expected finite vertices, got NaN or infinite ones")
    uvs = None if mesh.uvs is None else np.nan_to_num(_array(mesh.uvs, np.float32)[used])
    normals = None
    if mesh.normals is not None:
        normals = unit_rows(np.nan_to_num(_array(mesh.normals, np.float64)[used]))
    base_color = _texture(mesh, BASE_COLOR, (3, 4), uvs, caller)
    surfaces = _texture(mesh, METALLIC_ROUGHNESS, (2,), uvs, caller)
    return Surface(vertices, flat.reshape(-1, 3).astype(np.uint32), normals, uvs, base_color, surfaces)


def _array(tensor: Tensor, dtype: type) -> NDArray:
    return tensor.detach().cpu().to(torch.float64 if tensor.is_floating_point() else torch.int64).numpy().astype(dtype)


def _texture(mesh: Mesh, key: str, channels: tuple[int, ...], uvs: NDArray | None, caller: str) -> NDArray | None:
    texture = mesh.textures.get(key)
    if texture is None:
        return None
    if texture.ndim != 3 or texture.shape[2] not in channels:
        wanted = " or ".join(map(str, channels))
        raise ValueError(f"{caller}(): expected texture {key!r} [H, W, {wanted}], got {tuple(texture.shape)}")
    if uvs is None:
        raise ValueError(f"{caller}(): expected uvs for texture {key!r}, got none")
    values = np.nan_to_num(texture.detach().cpu().float().numpy())
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """[H, W, 3 or 4] uint8 as PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def safe_name(name: str) -> str:
    """`name` with letters, digits and underscores only, starting with a letter or underscore."""
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name) or "mesh"
    return f"_{clean}" if clean[0].isdigit() else clean


def _write(files: Iterable[tuple[Path, bytes]]) -> None:
    for path, data in files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
