"""A soft shadow on the plane through the lowest point of a shape, for images that people look at."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from rendering.backends import rasterizer
from rendering.camera import Cameras

MAP_SIDE = 96
# Two layers: (height above the ground at which the shadow fades to 1/e, standard deviation of its blur, strength).
# Surfaces near the ground cast a dark, narrow shadow, higher ones a faint, wide shadow. World units.
LAYERS = ((0.03, 0.02, 0.6), (0.35, 0.06, 0.55))


def ground_shadow(mesh: Mesh, cameras: Cameras, resolution: int, *, backend: str = "auto") -> Tensor:
    """Share [N, 1, R, R] in [0, 1] of the light that the ground at each pixel lacks.

    mesh: a batch of one. A camera below the ground sees no shadow.
    """
    ground = float(mesh.vertices[:, 1].min())
    shadow, radius = _shadow_map(mesh, ground, backend)
    points, seen = _ground_points(cameras.to(mesh.vertices.device), ground, resolution)
    share = functional.grid_sample(
        shadow.expand(len(cameras), -1, -1, -1), points / radius, align_corners=False, padding_mode="zeros"
    )
    return share * seen


def _shadow_map(mesh: Mesh, ground: float, backend: str) -> tuple[Tensor, float]:
    """The shadow [1, 1, S, S] over x (width) and z (height) in [−radius, radius], and that radius, world units."""
    x, y, z = mesh.vertices.unbind(1)
    margin = 3 * max(blur for _, blur, _ in LAYERS)
    radius = float(torch.maximum(x.abs(), z.abs()).max()) + margin
    height_scale = max(float(y.max()) - ground, 1e-6)
    # The view is from below, so the lowest surface is the nearest.
    depth = (y - ground) / height_scale
    clip = torch.stack([x / radius, z / radius, depth, torch.ones_like(x)], 1)
    rast, _ = rasterizer(backend, mesh.vertices.device.type).rasterize(
        clip, mesh.faces, mesh.face_offsets, (MAP_SIDE, MAP_SIDE)
    )
    height = torch.where(rast[..., 3] > 0, rast[..., 2] * height_scale, math.inf)[:, None]
    light = torch.ones_like(height)
    for fade, blur, strength in LAYERS:
        light = light * (1 - strength * _blurred(torch.exp(-height / fade), blur * MAP_SIDE / (2 * radius)))
    return 1 - light, radius


def _blurred(image: Tensor, std_px: float) -> Tensor:
    """Gaussian blur of [1, 1, S, S], with zeros outside."""
    reach = math.ceil(3 * std_px)
    offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / std_px).square())
    kernel = kernel / kernel.sum()
    image = functional.conv2d(image, kernel.view(1, 1, 1, -1), padding=(0, reach))
    return functional.conv2d(image, kernel.view(1, 1, -1, 1), padding=(reach, 0))


def _ground_points(cameras: Cameras, ground: float, resolution: int) -> tuple[Tensor, Tensor]:
    """Points (x, z) [N, R, R, 2] where the pixels' rays meet the plane y = ground, and whether they do [N, 1, R, R]."""
    dtype, device = cameras.focal.dtype, cameras.focal.device
    line = (torch.arange(resolution, device=device, dtype=dtype) + 0.5) * (2 / resolution) - 1
    row, column = torch.meshgrid(line, line, indexing="ij")
    rays = cameras.ray_directions(torch.stack([column, row], -1).expand(len(cameras), -1, -1, -1))
    eyes = cameras.position()[:, None, None]
    distance = (ground - eyes[..., 1:2]) / rays[..., 1:2]
    seen = ((distance > 0) & torch.isfinite(distance) & (eyes[..., 1:2] > ground)).to(rays.dtype)
    points = torch.where(seen > 0, eyes + distance * rays, torch.zeros_like(rays))
    return points[..., [0, 2]], seen.permute(0, 3, 1, 2)
