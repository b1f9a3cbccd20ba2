"""`ExportMesh`: one mesh as the arrays that the writers put into files."""

import io
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.source_mesh import unit_rows

BASE_COLOR, METALLIC_ROUGHNESS, NORMAL = "base_color", "metallic_roughness", "normal"
ImageFormat = Literal["png", "webp"]
# Smooth textures hardly shrink further beyond this level of zlib, which takes a third of the time of level 6.
PNG_LEVEL = 3


@dataclass(frozen=True)
class ExportMesh:
    """A mesh ready to be written, as numpy arrays.

    vertices [V, 3] float32; faces [F, 3] uint32, none collapsed; normals [V, 3] float32 of unit length; uvs [V, 2]
    float32, origin top left; base_color [H, W, 3 or 4] and metallic_roughness [H, W, 2] uint8; normal_map [H, W, 3]
    uint8 and tangents [V, 4] float32 of unit length with the handedness ±1.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]
    normals: NDArray[np.float32] | None
    uvs: NDArray[np.float32] | None
    base_color: NDArray[np.uint8] | None
    metallic_roughness: NDArray[np.uint8] | None
    normal_map: NDArray[np.uint8] | None = None
    tangents: NDArray[np.float32] | None = None

    @property
    def textured(self) -> bool:
        """Whether there is any texture."""
        return any(image is not None for image in (self.base_color, self.metallic_roughness, self.normal_map))

    @property
    def transparent(self) -> bool:
        """Whether the base color has an alpha below one anywhere."""
        image = self.base_color
        return image is not None and image.shape[2] == 4 and bool((image[..., 3] < 255).any())


def export_mesh(mesh: Mesh, caller: str) -> ExportMesh:
    """The arrays to write, without collapsed faces and unused vertices; NaN in uvs, normals and textures becomes 0.

    mesh: a batch of one. caller: the function that error messages name. Raises ValueError for another batch size, no
    faces, vertices that are not finite, a texture of another shape, or a texture without uvs.
    """
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
    metallic_roughness = _texture(mesh, METALLIC_ROUGHNESS, (2,), uvs, caller)
    normal_map = _texture(mesh, NORMAL, (3,), uvs, caller)
    tangents = None
    if mesh.tangents is not None and normal_map is not None and normals is not None:
        tangents = np.nan_to_num(_array(mesh.tangents, np.float32)[used])
        tangents[:, :3] = unit_rows(tangents[:, :3].astype(np.float64))
    triangles = flat.reshape(-1, 3).astype(np.uint32)
    return ExportMesh(vertices, triangles, normals, uvs, base_color, metallic_roughness, normal_map, tangents)


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
    """The PNG file of an image [H, W, 3 or 4] uint8."""
    return image_bytes(image, "png")


def image_bytes(image: NDArray[np.uint8], image_format: ImageFormat) -> bytes:
    """The PNG file, or the lossless WebP file, of an image [H, W, 3 or 4] uint8."""
    stream = io.BytesIO()
    encoder = Image.fromarray(np.ascontiguousarray(image))
    if image_format == "webp":
        encoder.save(stream, "WEBP", lossless=True, quality=50, method=2)
    else:
        encoder.save(stream, "PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def identifier(name: str) -> str:
    """`name` as an identifier of OBJ and USD: ASCII letters, digits and underscores, not starting with a digit."""
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name) or "mesh"
    return f"_{clean}" if clean[0].isdigit() else clean
