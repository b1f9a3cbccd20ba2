"""From a generated surface and its texture field to a mesh with a UV atlas, a base color and a normal map.

full surface ─▶ simplify ─▶ unwrap ─▶ each texel's point on the full surface ─▶ colors of the field ─▶ images
                                                                     └─▶ normals against the tangent frame ─▶
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geometry.atlas import Atlas, unwrap
from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from geometry.simplification import MIN_FACES, simplify
from geometry.tangents import vertex_tangents
from torch_utils.ops.interpolate import interpolate
from torch_utils.ops.rasterize import rasterize
from torch_utils.timing import phase

# Points that the color field takes at once: bounds the memory of large textures.
POINTS_PER_CALL = 1 << 18
# Every so many texels along a side, the full surface is matched with the simplified one.
MATCH_STRIDE = 6
# How much a difference of normals weighs against a distance, in world units, when surfaces are matched: the two sides
# of a thin plate are close, but face away from each other.
NORMAL_WEIGHT = 0.1

# Down to this share of the faces, the surfaces are so close that the colors on them agree (51 dB and more on the
# included networks), and only normals need the full one.
CLOSE_SHARE = 0.15
# The full surface is at most so far from the simplified one, as a share of the longest side. What lies farther is
# another part of it.
MAX_DISTANCE = 0.02

# Surface points [P, 3] (world) → sRGB colors [P, 3] in [0, 1], or these with metallic and roughness [P, 5].
ColorField = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Baked:
    """mesh: with UVs, normals and textures. shape: the same without seams. fill: share of the texels in charts."""

    mesh: Mesh
    shape: Mesh
    fill: float


def bake(
    surface: Mesh,
    color_field: ColorField,
    texture_size_px: int = 1024,
    *,
    faces: int | None = None,
    normal_map: bool = False,
) -> Baked:
    """Give a surface UVs, normals and a base-color texture, and a metallic-roughness one if the field emits it.

    surface: a batch of one, on any device. faces: simplify to about so many; None keeps all. Vertex normals are those
    of the full surface. Each texel gets the field's color at its own point; where the simplified surface departs from
    the full one, at the point of the full surface. Texels outside the charts continue the colors of the nearest ones,
    so that filtering and mip maps never read an undefined color.
    normal_map: add the tangents and the texture "normal" [H, W, 3], the full surface's normals in the tangent frame
    (x along u, y upward in the image, z outward; values in [0, 1] for [−1, 1]).
    """
    if len(surface) != 1:
        raise ValueError(f"bake(): expected a batch of one mesh, got {len(surface)}")
    full = surface.detach().to("cpu")
    full = Mesh.single(full.vertices.float(), full.faces, normals=vertex_normals(full).float())
    with phase("simplify"):
        shape, own = simplify(full, faces or max(len(full.faces), MIN_FACES))
    assert full.normals is not None
    with phase("unwrap"):
        atlas = unwrap(shape.vertices, shape.faces, texture_size_px)
    normals = full.normals[own][atlas.vertex_map]
    mesh = Mesh.single(shape.vertices[atlas.vertex_map], atlas.faces, normals=normals, uvs=atlas.uvs)
    with phase("texels on the surface"):
        texels = atlas_points(mesh, texture_size_px)
        share = len(mesh.faces) / len(full.faces)
        if share < CLOSE_SHARE or (normal_map and share < 1):
            texels = _on_full_surface(texels, full, atlas)
    with phase("colors"):
        chunks = [color_field(chunk).detach().float().cpu() for chunk in texels.points.split(POINTS_PER_CALL)]
        values = torch.cat(chunks)
        textures = {"base_color": texels.image(values[:, :3])}
        if values.shape[1] > 3:
            textures["metallic_roughness"] = texels.image(values[:, 3:])
    if normal_map:
        with phase("normal map"):
            mesh = mesh.replace(tangents=vertex_tangents(mesh))
            textures["normal"] = texels.image(_tangent_space(texels, mesh)) / 2 + 0.5
    return Baked(mesh.replace(textures=textures), shape, float(texels.covered.float().mean()))


@dataclass(frozen=True)
class Texels:
    """The texels of a size² image whose centers a chart covers, row-major.

    points, normals [P, 3]: on the surface, world. faces [P] int64: of the mesh. covered [size, size] bool.
    rast [1, size, size, 4]: as `rasterize` returns it.
    """

    points: Tensor
    normals: Tensor
    faces: Tensor
    covered: Tensor
    rast: Tensor

    def image(self, values: Tensor) -> Tensor:
        """Values [P, C] as an image [size, size, C] that continues outside the charts."""
        image = torch.zeros(*self.covered.shape, values.shape[1])
        image[self.covered] = values
        return fill_outside(image, self.covered)


def atlas_points(mesh: Mesh, size_px: int) -> Texels:
    """Surface points and normals under the texel centers of a mesh with UVs and normals."""
    assert mesh.uvs is not None and mesh.normals is not None, "atlas_points(): expected a mesh with UVs and normals"
    rast = _raster(mesh.uvs, torch.zeros(len(mesh.uvs)), mesh.faces, size_px)
    covered = rast[0, ..., 3] > 0
    inside = rast[0][covered]
    points, normals = _at(inside, torch.cat([mesh.vertices, mesh.normals], 1), mesh.faces).split(3, 1)
    return Texels(points, normals, inside[:, 3].long() - 1, covered, rast)


def _at(inside: Tensor, attributes: Tensor, faces: Tensor) -> Tensor:
    """Vertex attributes [V, A] at raster samples [P, 4]: [P, A]. Only texels in charts cost anything."""
    return interpolate(attributes, inside[None, :, None].contiguous(), faces)[0][0, :, 0]


def _raster(uvs: Tensor, depth: Tensor, faces: Tensor, size_px: int) -> Tensor:
    clip = torch.cat([uvs * 2 - 1, depth[:, None], torch.ones(len(uvs), 1)], 1)
    return rasterize(clip, faces, torch.tensor([0, len(faces)]), (size_px, size_px))[0]


def _on_full_surface(texels: Texels, full: Mesh, atlas: Atlas) -> Texels:
    """Texels with the points and normals of the full surface that lie under them, seen along the chart's direction.

    The full surface is drawn into the atlas. Each of its faces belongs to the chart of the nearest texel, and is also
    drawn behind the charts of its neighbors, whose borders it may cross. A texel without such a face keeps its point.
    """
    assert full.normals is not None
    pairs, charts, own = _faces_of_charts(texels, full, atlas)
    corners = full.faces[pairs].long().reshape(-1)
    uvs = atlas.project(full.vertices[corners].double().numpy(), np.repeat(charts, 3))
    depth = torch.from_numpy(np.repeat(np.where(own, -0.5, 0.5), 3)).float()
    triangles = torch.arange(len(corners), dtype=torch.int32).view(-1, 3)
    rast = _raster(torch.from_numpy(uvs).float(), depth, triangles, atlas.size_px)
    inside = rast[0][texels.covered]
    attributes = torch.cat([full.vertices, full.normals], 1)[corners]
    points, normals = _at(inside, attributes, triangles).split(3, 1)
    drawn = inside[:, 3].long() - 1
    same_chart = torch.from_numpy(charts)[drawn.clamp(min=0)] == atlas.labels[texels.faces]
    side = float((full.vertices.amax(0) - full.vertices.amin(0)).max())
    near = (points - texels.points).norm(dim=1) <= MAX_DISTANCE * side
    found = ((drawn >= 0) & same_chart & near)[:, None]
    return replace(
        texels,
        points=torch.where(found, points, texels.points),
        normals=torch.where(found, normals, texels.normals),
    )


def _faces_of_charts(texels: Texels, full: Mesh, atlas: Atlas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of the full surface with a chart each [M], the charts [M], and whether the chart is the face's own [M].

    A vertex belongs to the chart of the nearest texel. A face belongs to that of its first vertex, and is also drawn
    for those of its other vertices and of their neighbors.
    """
    from scipy.spatial import cKDTree  # a fifth of a second that only strongly simplified meshes are worth

    assert full.normals is not None
    sparse = torch.zeros_like(texels.covered)
    sparse[::MATCH_STRIDE, ::MATCH_STRIDE] = True
    kept = sparse[texels.covered]
    samples = torch.cat([texels.points[kept], NORMAL_WEIGHT * texels.normals[kept]], 1).numpy()
    wanted = torch.cat([full.vertices, NORMAL_WEIGHT * full.normals], 1).numpy()
    nearest = cKDTree(samples).query(wanted)[1]
    labels = atlas.labels[texels.faces[kept]].numpy()[nearest]
    count = len(atlas.charts.axes)
    faces = full.faces.long().numpy()
    # Only faces near a border have vertices of several charts, or neighbors that do.
    of_corners = labels[faces]
    mixed = (of_corners != of_corners[:, :1]).any(1)
    at_border = np.zeros(len(labels), bool)
    at_border[faces[mixed]] = True
    rows = np.flatnonzero(at_border[faces].any(1))
    meets = np.unique(faces[rows].reshape(-1, 3, 1) * count + of_corners[rows].reshape(-1, 1, 3))
    vertex, chart = meets // count, meets % count
    corner = faces[rows].reshape(-1)
    first = np.searchsorted(vertex, corner)
    counts = np.searchsorted(vertex, corner, side="right") - first
    index = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    extra = np.unique(np.repeat(np.repeat(rows, 3), counts) * count + chart[index])
    face, other = extra // count, extra % count
    own = of_corners[:, 0]
    foreign = other != own[face]
    every = np.concatenate([np.arange(len(faces)), face[foreign]])
    return every, np.concatenate([own, other[foreign]]), np.arange(len(every)) < len(faces)


def _tangent_space(texels: Texels, mesh: Mesh) -> Tensor:
    """The normals [P, 3] in the frame that a renderer interpolates: its inverse, so that shading gives them back."""
    assert mesh.normals is not None and mesh.tangents is not None
    frame = _at(texels.rast[0][texels.covered], torch.cat([mesh.normals, mesh.tangents], 1), mesh.faces)
    n, t, w = frame.split([3, 3, 1], 1)
    b = w * torch.linalg.cross(n, t)
    # Cramer's rule for x·t + y·b + z·n = normal; the length is free, so the determinant's sign is all that matters.
    wanted = texels.normals
    solved = torch.stack(
        [(wanted * torch.linalg.cross(x, y)).sum(1) for x, y in ((b, n), (n, t), (t, b))], 1
    ) * torch.sign((t * torch.linalg.cross(b, n)).sum(1, keepdim=True))
    solved = functional.normalize(solved, dim=1)
    # A normal that leaves the hemisphere of the surface would be black in some renderers.
    return functional.normalize(torch.cat([solved[:, :2], solved[:, 2:].clamp(min=0.05)], 1), dim=1)


def fill_outside(image: Tensor, covered: Tensor) -> Tensor:
    """Continue an image [H, W, C] outside the covered texels [H, W], by averages of ever larger blocks.

    Pull and push (Gortler et al. 1996, "The lumigraph", section 3.4): a block's value is the mean of its known texels,
    and an unknown texel takes that of the smallest block around it that has one.
    """
    if bool(covered.all()) or not bool(covered.any()):
        return image
    value, weight = image.permute(2, 0, 1)[None], covered.to(image.dtype)[None, None]
    levels = [(value, weight)]
    while weight.shape[-1] * weight.shape[-2] > 1:
        sums = functional.avg_pool2d(value * weight, 2, ceil_mode=True)
        weight = functional.avg_pool2d(weight, 2, ceil_mode=True)
        value, weight = sums / weight.clamp(min=1e-12), (weight > 0).to(image.dtype)
        levels.append((value, weight))
    filled = levels[-1][0]
    for value, weight in reversed(levels[:-1]):
        coarse = filled.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : value.shape[2], : value.shape[3]]
        filled = torch.where(weight > 0, value, coarse)
    return filled[0].permute(1, 2, 0).contiguous()
