"""Small images of shapes by our own renderer."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh
from metrics.sources.folder import FolderSource, ShapeSource
from metrics.sources.network_dataset import DatasetSource, NetworkSource
from rendering.deferred import composite, rasterize_mesh, visible_faces
from rendering.images import SHEET_AZIMUTH_DEG, orbit_cameras
from rendering.lighting import Shading, linear_to_srgb
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from sampling.generate import styles

SIDE_PX = 160
# What fills a image of the sheets' camera, world units: a longest side, and a diagonal whose sphere is all in sight.
FILLING_SIDE, FILLING_DIAGONAL = 0.72, 0.98
# Clay: the share of light that comes from everywhere, and the direction of the rest (towards the camera's upper left).
AMBIENT = 0.35
LIGHT = (0.35, 0.75, 0.55)
ClayColor = (0.62, 0.66, 0.72)
Thumbnail = NDArray[np.uint8]


@torch.no_grad()
def clay_image(mesh: Mesh, side_px: int = SIDE_PX) -> Thumbnail:
    """One mesh (a batch of one) in flat-shaded clay, scaled to fill the image, transparent around it: RGBA."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    scale = filling_scale((high - low).double().numpy())
    fitted = mesh.replace(vertices=((mesh.vertices - (low + high) / 2) * scale).float())
    raster = rasterize_mesh(fitted, orbit_cameras([SHEET_AZIMUTH_DEG]), side_px, supersample=2)
    corners = fitted.vertices[fitted.faces.long()]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(normals, dim=1)
    direction = torch.tensor(LIGHT) / math.sqrt(sum(c * c for c in LIGHT))
    # Meshes of other systems are wound either way: light both sides.
    strength = AMBIENT + (1 - AMBIENT) * (normals @ direction).abs()
    colors = (strength[:, None] * torch.tensor(ClayColor))[visible_faces(raster)]
    rgb, mask = composite(raster, colors)
    return _rgba(rgb[0], mask[0])


def filling_scale(extent: NDArray[np.float64]) -> float:
    """What a box of this extent [3] is multiplied by to fill a image and be all in sight."""
    side, diagonal = float(extent.max()), float(np.linalg.norm(extent))
    return min(FILLING_SIDE / max(side, 1e-9), FILLING_DIAGONAL / max(diagonal, 1e-9))


def _rgba(premultiplied: Tensor, mask: Tensor) -> Thumbnail:
    return _straight(linear_to_srgb((premultiplied / mask.clamp_min(1e-6)).clamp(0, 1)), mask)


def _straight(color: Tensor, mask: Tensor) -> Thumbnail:
    image = torch.cat([color * (mask > 0), mask]).permute(1, 2, 0)
    return (image * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def thumbnail(source: ShapeSource, row: int, side_px: int = SIDE_PX) -> Thumbnail | None:
    """A image [side, side, 4] of one shape; None if it is empty.

    A network's render, a dataset's view, a mesh file in its own colors, or in clay where it has none.
    """
    if isinstance(source, NetworkSource):
        w_geo, w_tex = styles(source.generator, [source.seed(row)], source.truncation, source.device)
        if bool(source.generator.mesh(w_geo).empty[0]):
            return None
        return _shown(source.generator, w_geo, w_tex, side_px)
    if isinstance(source, DatasetSource):
        return dataset_view(source.dataset, source.ids[row])
    if isinstance(source, FolderSource) and (placed := source.placed(row, 1.0)) is not None and placed.colored:
        low, high = placed.bounds()
        scale = filling_scale(high - low)
        placed = placed.transformed(np.diag([scale, scale, scale, 1.0]))
        shading: Shading = "albedo" if all(part.material.unlit for part in placed.parts) else "soft"
        camera = orbit_cameras([SHEET_AZIMUTH_DEG])
        return render_views(build_scene(placed), camera, side_px, shading=shading).images[0]
    mesh = source.shapes([row])[0].mesh
    return None if mesh is None else clay_image(mesh, side_px)


@torch.no_grad()
def _shown(generator: Any, w_geo: Tensor, w_tex: Tensor, side_px: int) -> Thumbnail:
    camera = orbit_cameras([SHEET_AZIMUTH_DEG]).to(w_geo.device)
    rendered = generator.render(w_geo, w_tex, camera, resolution=side_px)
    rgb, mask = (image[0].float().cpu() for image in (rendered.rgb, rendered.mask))
    # On black the colors are premultiplied by the coverage.
    return _straight(((rgb + 1) / 2 / mask.clamp_min(1e-6)).clamp(0, 1), mask)


def dataset_view(dataset: Any, shape_id: str) -> Thumbnail:
    """The stored view whose azimuth is nearest to that of sample sheets, as stored: RGBA."""
    views = range(dataset.views(shape_id))
    azimuth = dataset.cameras([shape_id] * len(views), list(views)).azimuth_rad()
    distance = torch.cos(azimuth - math.radians(SHEET_AZIMUTH_DEG))
    return dataset.load(shape_id, int(distance.argmax()))
