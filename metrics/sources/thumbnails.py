"""Thumbnails of shapes for the report's galleries: RGBA uint8 [H, W, 4]."""

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dataset_tool.dataset import ViewDataset
from geometry.mesh import Mesh
from geometry.normals import face_normals
from mesh_io.source_mesh import SourceMesh
from networks.generator import Generator
from rendering.camera import GRID_AZIMUTH_DEG, orbit_cameras
from rendering.color import linear_to_srgb
from rendering.deferred import composite, rasterize_mesh, visible_faces
from rendering.images import shaded_views
from rendering.lighting import Shading
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views

# Sizes that fill an image of the camera of image grids, world units: the longest side of the box and its diagonal.
FILLING_SIDE, FILLING_DIAGONAL = 0.72, 0.98
# Clay: the share of ambient light, and the direction of the other light, from the upper left of the camera.
AMBIENT = 0.35
LIGHT = (0.35, 0.75, 0.55)
CLAY_COLOR = (0.62, 0.66, 0.72)
Thumbnail = NDArray[np.uint8]


@torch.no_grad()
def clay_image(mesh: Mesh, side_px: int) -> Thumbnail:
    """One mesh (a batch of one) in flat-shaded clay, scaled to fill the image, transparent around it: RGBA."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    scale = filling_scale((high - low).double().numpy())
    fitted = mesh.replace(vertices=((mesh.vertices - (low + high) / 2) * scale).float())
    raster = rasterize_mesh(fitted, orbit_cameras([GRID_AZIMUTH_DEG]), side_px, supersample=2)
    direction = torch.tensor(LIGHT) / math.sqrt(sum(c * c for c in LIGHT))
    # The faces of foreign meshes may be wound either way, so both sides are lit.
    strength = AMBIENT + (1 - AMBIENT) * (face_normals(fitted) @ direction).abs()
    colors = (strength[:, None] * torch.tensor(CLAY_COLOR))[visible_faces(raster)]
    rgb, mask = composite(raster, colors)
    return _rgba(rgb[0], mask[0])


def filling_scale(extent: NDArray[np.float64]) -> float:
    """The scale at which a box of this extent [3] fills an image and is entirely visible."""
    side, diagonal = float(extent.max()), float(np.linalg.norm(extent))
    return min(FILLING_SIDE / max(side, 1e-9), FILLING_DIAGONAL / max(diagonal, 1e-9))


def _rgba(premultiplied: Tensor, mask: Tensor) -> Thumbnail:
    return _straight(linear_to_srgb((premultiplied / mask.clamp_min(1e-6)).clamp(0, 1)), mask)


def _straight(color: Tensor, mask: Tensor) -> Thumbnail:
    image = torch.cat([color * (mask > 0), mask]).permute(1, 2, 0)
    return (image * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def colored_image(mesh: SourceMesh, side_px: int) -> Thumbnail:
    """A mesh file, centered at the origin, in its own materials and scaled to fill the image: RGBA."""
    low, high = mesh.bounds()
    scale = filling_scale(high - low)
    fitted = mesh.transformed(np.diag([scale, scale, scale, 1.0]))
    shading: Shading = "albedo" if all(part.material.unlit for part in fitted.parts) else "soft"
    camera = orbit_cameras([GRID_AZIMUTH_DEG])
    return render_views(build_scene(fitted), camera, side_px, Look(shading)).images[0]


@torch.no_grad()
def network_image(
    generator: Generator, w_geo: Tensor, w_tex: Tensor, side_px: int, shading: Shading
) -> Thumbnail | None:
    """A sample of styles w_geo, w_tex (a batch of one), shaded as in image grids: RGBA; None if it has no surface."""
    geometry_planes, texture_planes = generator.planes(w_geo, w_tex)
    surface = generator.surface(geometry_planes, w_geo)
    if bool(surface.empty[0]):
        return None
    rgb, mask = shaded_views(
        surface.mesh,
        partial(generator.materials, texture_planes, w_tex),
        orbit_cameras([GRID_AZIMUTH_DEG]).to(w_geo.device),
        side_px,
        shading=shading,
        supersample=generator.config.rendering.supersample,
        backend=generator.config.rendering.backend,
    )
    color, coverage = rgb[0].float().cpu(), mask[0].float().cpu()
    return _straight((color / coverage.clamp_min(1e-6)).clamp(0, 1), coverage)


def stored_view(dataset: ViewDataset, shape_id: str) -> Thumbnail:
    """The view of a dataset's shape whose azimuth is nearest to that of image grids, as stored: RGBA."""
    views = range(dataset.views(shape_id))
    azimuth = dataset.cameras([shape_id] * len(views), list(views)).azimuth_rad()
    distance = torch.cos(azimuth - math.radians(GRID_AZIMUTH_DEG))
    return dataset.load(shape_id, int(distance.argmax()))
