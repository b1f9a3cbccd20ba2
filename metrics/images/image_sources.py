"""Images that features are taken of: a dataset's views, a generator's renders, renders of mesh files, and normals.

All sides are taken in one studio (camera distribution, resolution, background, light), so that only the shapes differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_tool.format import pixels
from geometry.mesh import Mesh
from metrics.images.detectors import to_uint8
from metrics.protocols import Protocol
from metrics.sources.folder import FolderSource, Shape, ShapeSource, single
from metrics.sources.network_dataset import GENERATOR_BATCH, NetworkSource
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution, load_camera_distribution
from rendering.deferred import composite, rasterize_mesh, visible_faces, visible_points
from rendering.lighting import Shading, facing
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from sampling.generate import styles

# Where neither a dataset nor the protocol says otherwise.
DEFAULT_CAMERAS, DEFAULT_SIDE_PX = "chair", 256
# Seeds of the cameras: references without stored views get others than the generated shapes.
GENERATED, REFERENCES = 0, 1


@dataclass(frozen=True)
class Studio:
    """How images are taken.

    camera_distribution: where cameras come from. side: of a finished image, px. stored: side at which mesh files are
    rendered before they are averaged down as a dataset's views are, a multiple of `side`. shading, supersample: the
    dataset's. background: gray in [0, 1], sRGB. as_is: mesh files are in world units already; else each is
    centered, its longest side `scale`.
    """

    camera_distribution: CameraDistribution
    side: int
    stored: int
    shading: Shading = "albedo"
    supersample: int = 2
    background: float = 0.0
    as_is: bool = True
    scale: float = 1.0

    @property
    def key(self) -> dict[str, Any]:
        """What a image depends on, as plain values."""
        return {**vars(self), "camera_distribution": repr(self.camera_distribution)}


@dataclass(frozen=True)
class Images:
    """`count` images that are drawn on demand.

    draw(range) -> [B, 3, R, R] uint8. shapes [N]: the row of its source that a image shows. cameras: one a image.
    key: what they depend on, as plain values.
    """

    shapes: Sequence[int]
    cameras: Cameras
    draw: Callable[[range], Tensor]
    key: dict[str, Any]

    def __len__(self) -> int:
        return len(self.shapes)


def make_studio(protocol: Protocol, dataset: Any, generator: Any) -> Studio:
    """The protocol's studio. What it leaves open is the dataset's; the resolution is at most the generator's."""
    assert protocol.images is not None, "make_studio(): the protocol has no images"
    images, header = protocol.images, dataset.header if dataset is not None else None
    renderer = header.renderer if header is not None else {}
    camera_distribution = (
        load_camera_distribution(images.camera)
        if images.camera
        else header.camera_distribution
        if header
        else load_camera_distribution(DEFAULT_CAMERAS)
    )
    stored = header.resolution if header is not None else images.resolution or DEFAULT_SIDE_PX
    side = images.resolution or min(stored, generator.config.data.resolution if generator is not None else stored)
    pixels.divisor(stored, side, f"protocol {protocol.name}")
    return Studio(
        camera_distribution,
        side,
        stored,
        # Without a dataset there are no colors to go by: light shows the shape.
        renderer.get("shading", "albedo" if header is not None else "soft"),
        int(renderer.get("supersample", 2)),
        images.background,
        protocol.normalization == "none",
        float(renderer.get("scale", 1.0)),
    )


def over(rgba: np.ndarray, background: float) -> np.ndarray:
    """Premultiplied uint8 [R, R, 4] over a gray: [R, R, 3]."""
    if background == 0:
        return rgba[..., :3]
    behind = (255 - rgba[..., 3:].astype(np.float32)) * background
    return (rgba[..., :3] + behind).round().clip(0, 255).astype(np.uint8)


def _stacked(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def dataset_images(dataset: Any, split: str, count: int, studio: Studio) -> Images:
    """At most `count` stored views of a split, spread evenly over all of its views."""
    ids = dataset.splits[split]
    every = [(row, view) for row, shape_id in enumerate(ids) for view in range(dataset.views(shape_id))]
    step = max(1.0, len(every) / count)
    chosen = [every[int(i * step)] for i in range(min(count, len(every)))]

    def draw(part: range) -> Tensor:
        shown = [chosen[i] for i in part]
        images = [dataset.load_premultiplied(ids[row], view, studio.side) for row, view in shown]
        return _stacked([over(image, studio.background) for image in images])

    cameras = dataset.cameras([ids[row] for row, _ in chosen], [view for _, view in chosen])
    key = {"dataset": dataset.hash(), "split": split, "count": len(chosen), "side": studio.side}
    return Images([row for row, _ in chosen], cameras, draw, key | {"background": studio.background})


def generated_images(source: NetworkSource, count: int, truncation: float, studio: Studio) -> Images:
    """Renders of `count` seeds from source.first_seed on, one view a latent."""
    cameras = studio.camera_distribution.sample(GENERATED, range(count))

    @torch.no_grad()
    def draw(part: range) -> Tensor:
        images = []
        for start in range(part.start, part.stop, GENERATOR_BATCH):
            rows = range(start, min(start + GENERATOR_BATCH, part.stop))
            w_geo, w_tex = styles(source.generator, [source.seed(row) for row in rows], truncation, source.device)
            seen = cameras[slice(rows.start, rows.stop)].to(source.device)
            shown = source.generator.render(w_geo, w_tex, seen, studio.background, resolution=studio.side)
            images.append(to_uint8(shown.rgb).cpu())
        return torch.cat(images)

    key = {"network": source.sha256, "psi": truncation, "first": source.first_seed, "studio": studio.key}
    return Images(range(count), cameras, draw, key)


def folder_images(
    source: FolderSource, rows: Sequence[int], count: int, studio: Studio, seed: int = GENERATED
) -> Images:
    """Renders of mesh files with their own materials: image i shows file i·n // count of the n files in `rows`,
    through its own camera. A file without a usable surface gives images of nothing.
    """
    shapes = [rows[i * len(rows) // count] for i in range(count)]
    cameras = studio.camera_distribution.sample(seed, range(count))

    def of_one_shape(row: int, seen: Cameras) -> Tensor:
        placed = source.placed(row, None if studio.as_is else studio.scale)
        if placed is None:
            return torch.full((len(seen), 3, studio.side, studio.side), round(255 * studio.background)).to(torch.uint8)
        unlit = all(part.material.unlit for part in placed.parts)
        shading: Shading = "albedo" if unlit else studio.shading
        scene = build_scene(placed)
        images = render_views(scene, seen, studio.stored, supersample=studio.supersample, shading=shading).images
        factor = studio.stored // studio.side
        return _stacked([over(pixels.premultiplied(image, factor), studio.background) for image in images])

    key = {"folder": source.key, "rows": list(rows), "count": count, "seed": seed, "studio": studio.key}
    return Images(shapes, cameras, lambda part: _by_shape(shapes, cameras, part, of_one_shape), key)


def _by_shape(shapes: Sequence[int], cameras: Cameras, part: range, draw: Callable[[int, Cameras], Tensor]) -> Tensor:
    """The images of `part`, drawn together for neighbors that show one shape."""
    return torch.cat(
        [draw(row, cameras[list(indices)]) for row, indices in groupby(part, key=lambda index: shapes[index])]
    )


def normal_images(source: ShapeSource, images: Images, studio: Studio) -> Images:
    """Images of surface normals, of the shapes and through the cameras of `images`.

    Color = (normal + 1) / 2, world axes, each face's own normal turned towards the camera, on black. A shape without a
    usable surface gives a image of nothing.
    """

    def draw(part: range) -> Tensor:
        rows = list(dict.fromkeys(images.shapes[i] for i in part))
        shapes = dict(zip(rows, _placed_shapes(source, rows, studio), strict=True))

        def of_one_shape(row: int, seen: Cameras) -> Tensor:
            mesh = shapes[row].mesh
            if mesh is None:
                return torch.zeros(len(seen), 3, studio.side, studio.side, dtype=torch.uint8)
            return draw_normals(mesh, seen, studio.side, studio.supersample)

        return _by_shape(images.shapes, images.cameras, part, of_one_shape)

    key = {"normals of": images.key, "source": source.key, "side": studio.side, "supersample": studio.supersample}
    return Images(images.shapes, images.cameras, draw, key)


def _placed_shapes(source: ShapeSource, rows: Sequence[int], studio: Studio) -> list[Shape]:
    """Shapes in world units."""
    if studio.as_is or not isinstance(source, FolderSource):
        return source.shapes(rows)
    placed = [source.placed(row, studio.scale) for row in rows]
    return [Shape(None, "no usable surface") if mesh is None else single(mesh) for mesh in placed]


@torch.no_grad()
def draw_normals(mesh: Mesh, cameras: Cameras, side: int, supersample: int = 2) -> Tensor:
    """Normals of one mesh as colors on black [N, 3, side, side] uint8."""
    raster = rasterize_mesh(mesh, cameras, side, supersample=supersample)
    corners = mesh.vertices[mesh.faces.long()].double()
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(normals, dim=1, eps=1e-300).to(mesh.vertices.dtype)
    samples = raster.rast.shape[1] * raster.rast.shape[2]
    eyes = cameras.position().to(mesh.vertices)[raster.pixels // samples]
    shown = facing(normals[visible_faces(raster)], visible_points(raster, gradient=False), eyes)
    rgb, _ = composite(raster, (shown + 1) / 2)
    return (rgb * 255).round().clamp(0, 255).to(torch.uint8).cpu()
