"""Deferred rendering, shared by the dataset tool and the generator, so that real and generated images look alike.

    rasterize_mesh ─▶ Raster ─▶ visible_points ─▶ (texture field or texture lookup) ─▶ composite ─▶ rgb, mask

B shapes are seen by N = B·views cameras; image n shows shape n // views. The raster has `supersample` samples along
each side of a pixel. `composite` antialiases colors and coverage together at that resolution and averages them down.
The only host synchronization is for the number of visible samples of each shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from rendering.backends import Rasterizer, rasterizer
from rendering.camera import Cameras
from rendering.lighting import facing
from torch_utils.devices import upload
from torch_utils.ops.face_neighbors import face_neighbors

RgbGradient = Literal["none", "silhouette", "full"]


@dataclass(frozen=True)
class Raster:
    """What the cameras see: N images of B shapes, S = `supersample` samples along each side of a pixel.

    rast [N, H·S, W·S, 4], rast_db [N, H·S, W·S, 4] or None: as `torch_utils/ops/rasterize.py` returns them.
    positions [ΣV·views, 4]: clip space, the vertices of image 0, then of image 1, ...
    faces [ΣF·views, 3] int32: into `positions`. attribute_faces: the same rows, into `mesh.vertices`.
    face_offsets [N + 1] int64, CPU: rows of `faces` of each image.
    pixels [P] int64: flat indices into rast's N·H·S·W·S samples of those that show a surface, ascending.
    point_offsets [B + 1] int64, CPU: shape b owns pixels[point_offsets[b]:point_offsets[b + 1]], all views in order.
    """

    rast: Tensor
    rast_db: Tensor | None
    positions: Tensor
    faces: Tensor
    attribute_faces: Tensor
    face_offsets: Tensor
    mesh: Mesh
    views: int
    supersample: int
    pixels: Tensor
    point_offsets: Tensor
    ops: Rasterizer

    @property
    def resolution(self) -> tuple[int, int]:
        """Height and width of the finished image, px."""
        return self.rast.shape[1] // self.supersample, self.rast.shape[2] // self.supersample

    @property
    def image_indices(self) -> Tensor:
        """The image [P] int64 that each visible sample lies in, which is also the camera that sees it."""
        return self.pixels // (self.rast.shape[1] * self.rast.shape[2])


def rasterize_mesh(
    mesh: Mesh,
    cameras: Cameras,
    resolution: int | tuple[int, int],
    *,
    supersample: int = 1,
    backend: str = "auto",
    derivatives: bool = False,
) -> Raster:
    """Rasterize B shapes, each through len(cameras) / B cameras in a row.

    resolution: side, or (height, width), of the finished image, px. derivatives: also compute the screen-space
    derivatives that mip mapping needs. Gradients reach the vertices, and the cameras if these require gradients.
    """
    if len(mesh) == 0 or len(cameras) == 0 or len(cameras) % len(mesh):
        raise ValueError(f"rasterize_mesh(): expected a multiple of {len(mesh)} cameras, got {len(cameras)}")
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    views = len(cameras) // len(mesh)
    ops = rasterizer(backend, mesh.vertices.device.type)
    positions = cameras.transform_packed(mesh.vertices, mesh.vertex_offsets)
    faces, attribute_faces, face_offsets = _faces_of_views(mesh, views)
    rast, rast_db = ops.rasterize(
        positions, faces, face_offsets, (height * supersample, width * supersample), derivatives=derivatives
    )
    pixels, point_offsets = _visible(rast, len(mesh))
    return Raster(
        rast=rast,
        rast_db=rast_db,
        positions=positions,
        faces=faces,
        attribute_faces=attribute_faces,
        face_offsets=face_offsets,
        mesh=mesh,
        views=views,
        supersample=supersample,
        pixels=pixels,
        point_offsets=point_offsets,
        ops=ops,
    )


def next_layer(raster: Raster) -> Raster:
    """The raster of the surfaces behind those of `raster`, for each sample (depth peeling)."""
    rast, rast_db = raster.ops.rasterize(
        raster.positions,
        raster.faces,
        raster.face_offsets,
        tuple(raster.rast.shape[1:3]),
        derivatives=raster.rast_db is not None,
        previous=raster.rast,
    )
    pixels, point_offsets = _visible(rast, len(raster.mesh))
    return replace(raster, rast=rast, rast_db=rast_db, pixels=pixels, point_offsets=point_offsets)


def _visible(rast: Tensor, shapes: int) -> tuple[Tensor, Tensor]:
    """Flat indices [P] of the covered samples, and the offsets [B + 1] of each shape in them, on the CPU."""
    covered = rast.detach()[..., 3].reshape(shapes, -1) > 0
    counts = covered.sum(1).cpu()  # the one host synchronization
    point_offsets = functional.pad(counts.cumsum(0), (1, 0))
    return torch.nonzero_static(covered.view(-1), size=int(point_offsets[-1])).squeeze(1), point_offsets


def visible_points(raster: Raster, *, gradient: bool = True) -> Tensor:
    """World positions [P, 3] of the visible samples; shape b owns rows point_offsets[b]:point_offsets[b + 1].

    With `gradient`, the points follow the vertices along the viewing ray; without, they are constants.
    """
    if gradient:
        return visible_attributes(raster, raster.mesh.vertices)
    with torch.no_grad():
        return visible_attributes(raster, raster.mesh.vertices)


def visible_attributes(raster: Raster, attributes: Tensor) -> Tensor:
    """Per-vertex attributes [ΣV, A] of the B shapes, interpolated at the visible samples [P, A]."""
    # The visible samples are gathered first, so the background costs nothing.
    rast = _Gather.apply(raster.rast.reshape(-1, 4), raster.pixels)[None, :, None]
    values, _ = raster.ops.interpolate(attributes, rast, raster.attribute_faces)
    return values[0, :, 0]


def visible_attributes_with_slopes(raster: Raster, attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Attributes at the visible samples [P, A] and their derivatives along a sample's width and height [P, A, 2].

    Needs a raster with derivatives. The results have no gradient.
    """
    assert raster.rast_db is not None, "rasterize_mesh(derivatives=True) first"
    with torch.no_grad():
        rast, rast_db = (part.reshape(-1, 4)[raster.pixels][None, :, None] for part in (raster.rast, raster.rast_db))
        values, slopes = raster.ops.interpolate(attributes, rast, raster.attribute_faces, rast_db)
    assert slopes is not None
    return values[0, :, 0], slopes[0, :, 0].view(len(raster.pixels), -1, 2)


def visible_faces(raster: Raster) -> Tensor:
    """The face at each visible sample [P] int64: a row of `mesh.faces`, the packed faces of the B shapes."""
    ids = raster.rast.detach().reshape(-1, 4)[raster.pixels, 3].long() - 1
    if raster.views == 1:
        return ids
    shift = _view_shift(raster.mesh.face_offsets, raster.views)
    return ids - upload(shift, ids.device)[raster.image_indices]


def visible_normals(raster: Raster, cameras: Cameras, normals: Tensor) -> Tensor:
    """Unit normals [P, 3] of the faces at the visible samples, world axes, turned towards the cameras.

    normals [ΣF, 3]: `face_normals(raster.mesh)`. They alone have a gradient, because they are constant on a face.
    """
    towards = towards_cameras(raster, cameras, visible_points(raster, gradient=False))
    return facing(normals[visible_faces(raster)], towards)


def towards_cameras(raster: Raster, cameras: Cameras, points: Tensor) -> Tensor:
    """Vectors [P, 3] from the visible samples at `points` [P, 3] to their cameras, world axes and units."""
    return cameras.position().to(points)[raster.image_indices] - points


def visible_depths(raster: Raster, cameras: Cameras, points: Tensor) -> Tensor:
    """Distances [P, 1] of the visible samples at `points` [P, 3] along their viewing axes, world units."""
    pose = cameras.camera_to_world.to(points)[raster.image_indices]
    return -((points - pose[:, :3, 3]) * pose[:, :3, 2]).sum(1, keepdim=True)


def composite(
    raster: Raster,
    colors: Tensor,
    background: float | Tensor = 0.0,
    *,
    color_gradient: RgbGradient = "full",
    neighbors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Images from the colors of the visible samples.

    colors [P, C] in any unit. background: a number, [C], [N, C] or [N, C, H, W] in the same unit. neighbors:
    `face_neighbors(mesh.faces)`, if the caller has it already.
    Returns rgb [N, C, H, W] and mask [N, 1, H, W], the coverage of each pixel in [0, 1]. Both are antialiased and
    averaged down, and the colors are composited with this coverage.

    Gradients always reach the colors, and the vertices through the mask. They reach the vertices through the coverage
    of RGB, too, unless `color_gradient` is "none". "full" and "silhouette" are the same here; they differ in the points
    for which the caller computes the colors (see `visible_points`).
    """
    count, height, width = raster.rast.shape[:3]
    dtype = raster.rast.dtype
    layers = torch.cat([colors.to(dtype), colors.new_ones(len(colors), 1, dtype=dtype)], 1)
    image = _Scatter.apply(layers, raster.pixels, count * height * width).view(count, height, width, -1)
    return composite_image(raster, image, background, color_gradient=color_gradient, neighbors=neighbors)


def composite_image(
    raster: Raster,
    image: Tensor,
    background: float | Tensor = 0.0,
    *,
    color_gradient: RgbGradient = "full",
    neighbors: Tensor | None = None,
    rast: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`composite` for samples that may be transparent.

    image [N, H·S, W·S, C + 1]: premultiplied colors and opacity of every sample. rast: the layer whose silhouettes are
    antialiased; by default the front layer, `raster.rast`.
    """
    if neighbors is None:
        neighbors = face_neighbors(raster.mesh.faces)
    neighbors = _neighbors_of_views(neighbors, raster.mesh, raster.views)
    rast = (raster.rast if rast is None else rast).detach()
    positions, faces = raster.positions, raster.faces
    if color_gradient == "none" and positions.requires_grad:
        smooth = raster.ops.antialias(image, rast, positions.detach(), faces, neighbors)
        coverage = raster.ops.antialias(image[..., -1:].detach(), rast, positions, faces, neighbors)
        coverage = resolve(coverage, raster.supersample)
        smooth = resolve(smooth, raster.supersample)
    else:
        smooth = resolve(raster.ops.antialias(image, rast, positions, faces, neighbors), raster.supersample)
        coverage = smooth[..., -1:].contiguous()
    return _over(smooth, background).permute(0, 3, 1, 2), coverage.permute(0, 3, 1, 2)


def resolve(image: Tensor, supersample: int) -> Tensor:
    """Average blocks of supersample × supersample samples: [N, H·S, W·S, C] → [N, H, W, C]."""
    return image if supersample == 1 else _Resolve.apply(image, supersample)


def _over(layers: Tensor, background: float | Tensor) -> Tensor:
    """Premultiplied colors and coverage [N, H, W, C + 1] over a background: [N, H, W, C]."""
    color = layers[..., :-1]
    if isinstance(background, float | int):
        return color.contiguous() if background == 0 else color + (1 - layers[..., -1:]) * background
    if background.dim() == 4:
        background = background.permute(0, 2, 3, 1)
    elif background.dim() == 2:
        background = background[:, None, None]
    return color + (1 - layers[..., -1:]) * background.to(layers)


def _view_shift(offsets: Tensor, views: int) -> Tensor:
    """The difference [N] between a row of a packed batch and the same row of image n, if each shape has `views` copies.

    Image b·views + j starts at offsets[b]·views + j·count_b; the shape itself starts at offsets[b].
    """
    image = torch.arange((offsets.shape[0] - 1) * views)
    shape = image // views
    return offsets[shape] * (views - 1) + (image % views) * offsets.diff()[shape]


def _repeat_faces(rows: Tensor, mesh: Mesh, views: int) -> Tensor:
    """Per-face rows [ΣF, 3], those of each shape repeated `views` times."""
    return torch.cat([part.repeat(views, 1) for part in rows.split(mesh.face_offsets.diff().tolist())])


def _per_face(shift: Tensor, mesh: Mesh, views: int) -> Tensor:
    """A number for each image [N], expanded to its faces [ΣF·views, 1] int32."""
    counts = mesh.face_offsets.diff().repeat_interleave(views)
    device, total = mesh.faces.device, mesh.faces.shape[0] * views  # a known total avoids a host synchronization
    shift = upload(shift.to(torch.int32), device)
    return torch.repeat_interleave(shift, upload(counts, device), output_size=total)[:, None]


def _faces_of_views(mesh: Mesh, views: int) -> tuple[Tensor, Tensor, Tensor]:
    """Faces of all images, as ids of the copied vertices and as ids of the mesh's vertices, and offsets [N + 1]."""
    if views == 1:
        return mesh.faces, mesh.faces, mesh.face_offsets
    own = _repeat_faces(mesh.faces, mesh, views)
    counts = mesh.face_offsets.diff().repeat_interleave(views)
    copied = own + _per_face(_view_shift(mesh.vertex_offsets, views), mesh, views)
    return copied, own, functional.pad(counts.cumsum(0), (1, 0))


def _neighbors_of_views(neighbors: Tensor, mesh: Mesh, views: int) -> Tensor:
    """`face_neighbors(mesh.faces)` for the faces of all images."""
    if views == 1:
        return neighbors
    repeated = _repeat_faces(neighbors, mesh, views)
    shifted = repeated + _per_face(_view_shift(mesh.face_offsets, views), mesh, views)
    return torch.where(repeated < 0, repeated, shifted)


class _Gather(torch.autograd.Function):
    """Rows of a table at unique indices. The backward pass writes rows instead of adding them up."""

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = table.shape[0]
        return table.index_select(0, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        return _Scatter.apply(grad, index, ctx.rows), None


class _Scatter(torch.autograd.Function):
    """A table of zeros with rows written to unique indices. The backward pass reads these rows."""

    @staticmethod
    def forward(ctx, values: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        return values.new_zeros(rows, values.shape[1]).index_copy_(0, index, values)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        return _Gather.apply(grad, index), None, None


class _Resolve(torch.autograd.Function):
    """Average over blocks, computed with additions of whole rows, which is the fastest access pattern."""

    @staticmethod
    def forward(ctx, image: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        count, height, width, channels = image.shape
        rows = image.reshape(count, height // factor, factor, width * channels).unbind(2)
        pixels = _sum(rows).view(count, height // factor, width // factor, factor, channels).unbind(3)
        return _sum(pixels).mul_(1 / factor**2)

    @staticmethod
    def backward(ctx, grad: Tensor):
        factor = ctx.factor
        count, height, width, channels = grad.shape
        rows = torch.cat([grad / factor**2] * factor, 3).view(count, height, 1, width * factor * channels)
        return torch.cat([rows] * factor, 2).view(count, height * factor, width * factor, channels), None


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum of at least two tensors, as a new tensor."""
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total.add_(part)
    return total
