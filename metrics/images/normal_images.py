"""Images of surface normals: they show the geometry of a shape and nothing of its colors."""

import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.normals import face_normals
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages, draw_by_shape
from metrics.sources.shape_source import ShapeSource
from rendering.camera import Cameras
from rendering.deferred import composite, rasterize_mesh, visible_normals
from rendering.lighting import normal_colors


def normal_images(source: ShapeSource, images: LazyImages, settings: ImageSettings) -> LazyImages:
    """Images of surface normals, of the same shapes through the same cameras as `images`.

    Color = (normal + 1) / 2 in world axes, with each face's own normal turned towards the camera, on black. A shape
    without a usable surface gives black images.
    """

    def draw(part: range) -> Tensor:
        rows = list(dict.fromkeys(images.shapes[i] for i in part))
        shapes = dict(zip(rows, source.world_shapes(rows, settings), strict=True))

        def draw_one_shape(row: int, seen: Cameras) -> Tensor:
            mesh = shapes[row].mesh
            if mesh is None:
                return torch.zeros(len(seen), 4, settings.side, settings.side, dtype=torch.uint8)
            return draw_normals(mesh, seen, settings.side, settings.supersample)

        return draw_by_shape(images.shapes, images.cameras, part, draw_one_shape)

    key = {"normals of": images.key, "source": source.key, "side": settings.side, "supersample": settings.supersample}
    return LazyImages(images.shapes, images.cameras, draw, key)


@torch.no_grad()
def draw_normals(mesh: Mesh, cameras: Cameras, side: int, supersample: int = 2) -> Tensor:
    """The normals of one mesh as colors on black, with the coverage [N, 4, side, side] uint8."""
    raster = rasterize_mesh(mesh, cameras, side, supersample=supersample)
    normals = visible_normals(raster, cameras, face_normals(mesh))
    rgba = torch.cat(composite(raster, normal_colors(normals)), 1)
    return (rgba * 255).round().clamp(0, 255).to(torch.uint8).cpu()
