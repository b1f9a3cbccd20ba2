"""What each sample of posed images of a mesh shows: computed once, because the geometry does not change."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import linear_to_srgb, srgb_to_linear
from rendering.deferred import (
    Raster,
    composite,
    rasterize_mesh,
    visible_attributes,
    visible_attributes_with_slopes,
    visible_faces,
)
from rendering.environment_light import EnvironmentLight
from torch_utils.ops.texture import texture
from training.mesh_texture.target import TextureTarget

SUPERSAMPLE = 2


@dataclass(frozen=True, eq=False)
class View:
    """What the samples of one image show: P visible ones.

    faces [P]: rows of the mesh's. uv [P, 2] and its slopes [P, 2, 2] along a sample's width and height. rows: for each
    texture, the samples that show it. neighbors: as of the target. position, normal, towards_eye [P, 3]: world.
    """

    raster: Raster
    uv: Tensor
    slopes: Tensor
    rows: tuple[Tensor, ...]
    neighbors: Tensor | None
    position: Tensor
    normal: Tensor
    towards_eye: Tensor


def prepare_view(target: TextureTarget, camera: Cameras, resolution: int, supersample: int = SUPERSAMPLE) -> View:
    """The samples of one camera (a batch of one)."""
    mesh = target.mesh
    assert mesh.uvs is not None and mesh.normals is not None
    raster = rasterize_mesh(mesh, camera, resolution, supersample=supersample, derivatives=True)
    uv, slopes = visible_attributes_with_slopes(raster, mesh.uvs)
    position, normal = visible_attributes(raster, torch.cat([mesh.vertices, mesh.normals], 1)).split(3, 1)
    towards = functional.normalize(camera.position() - position, dim=1)
    normal = functional.normalize(normal, dim=1)
    # Seen from behind, an open surface shows its other side.
    normal = torch.where((normal * towards).sum(1, keepdim=True) < 0, -normal, normal)
    textures = target.face_texture[visible_faces(raster)]
    rows = tuple((textures == number).nonzero().squeeze(1) for number in range(len(target.materials)))
    return View(raster, uv, slopes, rows, target.neighbors, position, normal, towards)


def look_up(maps: list[Tensor], view: View) -> Tensor:
    """Values [P, C] of the maps [S, S, C] at the samples of a view, mip-mapped."""
    values = view.uv.new_zeros(len(view.uv), maps[0].shape[-1])
    for rows, image in zip(view.rows, maps, strict=True):
        if len(rows):
            slopes = view.slopes[rows].reshape(1, -1, 1, 4)
            uv = view.uv[rows][None, :, None]
            seen = texture(image[None], uv, slopes, filter="trilinear", boundary="wrap")[0, :, 0]
            values = values.index_copy(0, rows, seen)
    return values


def shown(values: Tensor, view: View, light: EnvironmentLight | None) -> Tensor:
    """sRGB colors [P, 3] of surface values [P, 3 or 5]: sRGB base color, and metallic and roughness under a light."""
    if light is None:
        return values[:, :3]
    base, metallic, roughness = values.split((3, 1, 1), 1)
    points = ShadingPoints(view.position, view.normal, view.towards_eye, srgb_to_linear(base), metallic, roughness)
    return linear_to_srgb(light.reflected(points))


def drawn_image(values: Tensor, view: View, light: EnvironmentLight | None = None) -> tuple[Tensor, Tensor]:
    """Image [1, 3, H, W], sRGB over black, and coverage [1, 1, H, W] of surface values [P, 3 or 5]."""
    return composite(view.raster, shown(values, view, light), neighbors=view.neighbors)


def extent(mesh: Mesh) -> float:
    """Longest side of a mesh's bounding box."""
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())
