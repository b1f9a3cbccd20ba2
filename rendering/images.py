"""Images for people: lit shapes on a light background, and image grids."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from rendering.ambient_occlusion import sky_maps, sky_visibility
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import linear_to_srgb, srgb_to_linear
from rendering.deferred import composite, rasterize_mesh, towards_cameras, visible_attributes, visible_points
from rendering.ground_shadow import ground_shadow
from rendering.lighting import Shading, Vector, irradiance, sheen
from rendering.procedural_light import preview_environment
from rendering.tone_mapping import display_colors
from torch_utils.files import replacing

# A warm light gray, sRGB. Both dark and white shapes stand out from it.
LIGHT_BACKGROUND: Vector = (0.945, 0.94, 0.93)
BLACK_BACKGROUND: Vector = (0.0, 0.0, 0.0)
# Brightens the studio light, which was designed for white shapes.
EXPOSURE = 1.1
# Small images of smooth shapes need fewer directions for ambient occlusion than a dataset.
SKY_DIRECTIONS = 24
SKY_MAP_SIDE = 128

# sRGB colors [P, 3] in [0, 1] of packed surface points [P, 3], world units; point_offsets [B + 1] on the CPU. Metallic
# and roughness may follow: [P, 5].
ColorsAt = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def preview_images(
    mesh: Mesh,
    colors_at: ColorsAt,
    cameras: Cameras,
    resolution: int,
    *,
    shading: Shading = "soft",
    background: Vector = LIGHT_BACKGROUND,
    supersample: int = 2,
    backend: str = "auto",
) -> np.ndarray:
    """Images [N, R, R, 3] uint8 of B shapes through N = B·views cameras, those of one shape in a row.

    shading: see `shaded_views`; lit shapes ("soft") cast a faint shadow on the ground. background: sRGB in [0, 1].
    """
    rgb, mask = shaded_views(
        mesh, colors_at, cameras, resolution, shading=shading, supersample=supersample, backend=backend
    )
    if shading == "soft":
        image = rgb + (1 - mask) * shadowed_background(mesh, cameras, resolution, background, backend)
    else:
        image = over_background(rgb, mask, background)
    return to_uint8(image * 2 - 1)


def shadowed_background(
    mesh: Mesh, cameras: Cameras, resolution: int, background: Vector, backend: str = "auto"
) -> Tensor:
    """One color with the soft shadows of B shapes on the ground, sRGB [N, 3, R, R]."""
    views = len(cameras) // len(mesh)
    shadows = [
        ground_shadow(mesh[index], cameras[index * views : (index + 1) * views], resolution, backend=backend)
        for index in range(len(mesh))
    ]
    color = srgb_to_linear(mesh.vertices.new_tensor(background)).view(1, 3, 1, 1)
    return linear_to_srgb(color * (1 - torch.cat(shadows)))


@torch.no_grad()
def shaded_views(
    mesh: Mesh,
    colors_at: ColorsAt,
    cameras: Cameras,
    resolution: int,
    *,
    shading: Shading = "soft",
    supersample: int = 2,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Premultiplied sRGB [N, 3, R, R] and coverage [N, 1, R, R] of B closed shapes, both in [0, 1].

    shading: "soft" adds light and ambient occlusion: the studio light, or the room of previews where the surface has
    metallic and roughness. "albedo" shows the colors as they are, which is right for networks trained on lit views.
    """
    raster = rasterize_mesh(mesh, cameras, resolution, supersample=supersample, backend=backend)
    points = visible_points(raster, gradient=False)
    values = colors_at(points, raster.point_offsets)
    colors = values[:, :3]
    if shading == "soft":
        normals = vertex_normals(mesh)
        visibility = vertex_sky_visibility(mesh, normals, backend)
        seen = visible_attributes(raster, torch.cat([normals, visibility], 1))
        normals, visibility = functional.normalize(seen[:, :3], dim=1), seen[:, 3:]
        towards = functional.normalize(towards_cameras(raster, cameras, points), dim=1)
        if values.shape[1] > 3:
            base, metallic, roughness = srgb_to_linear(colors), values[:, 3:4], values[:, 4:]
            surface = ShadingPoints(points, normals, towards, base, metallic, roughness)
            light = preview_environment().to(points.device).reflected(surface, visibility)
        else:
            light = srgb_to_linear(colors) * irradiance(normals, visibility=visibility)
            light = light + sheen(normals, towards, visibility=visibility)
        colors = display_colors(light, "soft", EXPOSURE)
    return composite(raster, colors)


def vertex_sky_visibility(mesh: Mesh, normals: Tensor, backend: str = "auto") -> Tensor:
    """Unblocked share [ΣV, 1] of the hemisphere at the vertices of a packed batch with unit normals [ΣV, 3]."""
    shares = []
    for index, own in enumerate(normals.split(mesh.vertex_offsets.diff().tolist())):
        shape = mesh[index]
        maps = sky_maps(shape, directions=SKY_DIRECTIONS, side=SKY_MAP_SIDE, backend=backend)
        shares.append(sky_visibility(maps, shape.vertices, own))
    return torch.cat(shares)


def over_background(rgb: Tensor, mask: Tensor, background: Vector = LIGHT_BACKGROUND) -> Tensor:
    """Premultiplied sRGB [N, 3, H, W] with coverage [N, 1, H, W], composited over one color; all in [0, 1]."""
    return rgb + (1 - mask) * rgb.new_tensor(background)[:, None, None]


def show_views(views: Tensor, background: Vector = LIGHT_BACKGROUND) -> np.ndarray:
    """Real views [N, 4, H, W] (RGB over black in [−1, 1], mask in [0, 1]) over one sRGB color: uint8 [N, H, W, 3]."""
    return to_uint8(over_background(views[:, :3] / 2 + 0.5, views[:, 3:], background) * 2 - 1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Images [N, 3, H, W] in [−1, 1] as uint8 [N, H, W, 3]."""
    scaled = (images.detach().float() * 127.5 + 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def image_grid(images: np.ndarray, columns: int | None = None, gap_px: int = 0, background: int = 255) -> np.ndarray:
    """Tile images [N, H, W, C] row by row into one [H', W', C]; by default as square as possible."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiled = np.full(
        (rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px, channels), background, images.dtype
    )
    for i, image in enumerate(images):
        y, x = (i // columns) * (height + gap_px), (i % columns) * (width + gap_px)
        tiled[y : y + height, x : x + width] = image
    return tiled


def save_png(path: Path, image: np.ndarray) -> None:
    """Write an image [H, W, 3 or 4] uint8. Readers never see a partial file."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
