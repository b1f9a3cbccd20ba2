"""RGBA views of one textured shape, made with the project's own rasterizer."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rendering.ambient_occlusion import SkyMaps, sky_maps, sky_visibility
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import linear_to_srgb, srgb_to_linear, straight_alpha
from rendering.deferred import (
    Raster,
    composite,
    composite_image,
    next_layer,
    rasterize_mesh,
    resolve,
    towards_cameras,
    visible_attributes,
    visible_attributes_with_slopes,
    visible_depths,
    visible_faces,
    visible_normals,
)
from rendering.environment_light import EnvironmentLight, reflected_of_views
from rendering.lighting import LIGHTINGS, Lighting, Shading, normal_colors, reflected
from rendering.look import Look
from rendering.textured.scene import Scene
from rendering.textured.textures import sample

# Samples rasterized in one call. This limit bounds the memory to about 200 MB for any number of views. Larger calls are
# slower, because the system then maps their buffers anew each time.
SAMPLES_PER_CALL = 1 << 20
FACES_PER_CALL = 1 << 22
# Layers of transparent surfaces that are composited; deeper ones are omitted.
MAX_LAYERS = 8
ALBEDO = Look()


@dataclass(frozen=True, eq=False)
class RenderedViews:
    """V square views of a shape.

    images [V, R, R, 4] uint8: straight alpha, sRGB. depth [V, R, R] float32: distance along the viewing axis, world
    units, 0 for the background. normals [V, R, R, 3] float16: world axes, towards the camera. surfaces [V, R, R, 2]
    uint8: metallic and roughness, 255 for 1. All but the images are None unless requested.
    """

    images: np.ndarray
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None
    surfaces: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _SceneLook:
    """A look of one scene, on its device. sky: depth maps for ambient occlusion; None turns it off."""

    shading: Shading
    lighting: Lighting
    sky: SkyMaps | None
    environments: tuple[EnvironmentLight, ...] = ()

    def of_views(self, first: int, count: int) -> "_SceneLook":
        """The look of `count` views from the first on."""
        return self if len(self.environments) < 2 else replace(self, environments=self.environments[first:][:count])


@torch.no_grad()
def render_views(
    scene: Scene,
    cameras: Cameras,
    resolution: int,
    look: Look = ALBEDO,
    *,
    supersample: int = 2,
    backend: str = "auto",
    device: torch.device | str = "cpu",
    geometry: bool = False,
) -> RenderedViews:
    """Render the shape through each camera, as many views at once as memory allows.

    geometry: also return depth, normals and surfaces. ValueError for another number of environments than one, or one
    for each view.
    """
    if look.shading == "pbr" and len(look.environments) not in (1, len(cameras)):
        raise ValueError(f"render_views(): expected 1 or {len(cameras)} environments, got {len(look.environments)}")
    scene, cameras = scene.to(device), cameras.to(device)
    sky = sky_maps(scene.mesh, backend=backend) if look.occlusion and look.shading != "albedo" else None
    environments = tuple(environment.to(device) for environment in look.environments)
    whole = _SceneLook(look.shading, LIGHTINGS[look.light], sky, environments)
    samples = (resolution * supersample) ** 2
    faces = max(1, int(scene.mesh.faces.shape[0]))
    chunk = max(1, min(SAMPLES_PER_CALL // samples, FACES_PER_CALL // faces))
    parts = []
    for first in range(0, len(cameras), chunk):
        view, lit = cameras[first : first + chunk], whole.of_views(first, chunk)
        raster = rasterize_mesh(
            scene.mesh,
            view,
            resolution,
            supersample=supersample,
            backend=backend,
            derivatives=bool(scene.pyramids) or any(scene.surface_pyramids),
        )
        if scene.see_through:
            image, rast = _peel(scene, raster, view, lit)
            rgb, mask = composite_image(raster, image, neighbors=scene.neighbors, rast=rast)
        else:
            colors = linear_to_srgb(_lit(base_colors(scene, raster), scene, raster, view, lit))
            rgb, mask = composite(raster, colors, neighbors=scene.neighbors)
        extra = _geometry(scene, raster, view) if geometry else (None, None, None)
        parts.append((straight_alpha(rgb, mask).cpu().numpy(), *extra))
    images, *extras = zip(*parts, strict=True)
    if not geometry:
        return RenderedViews(np.concatenate(images))
    return RenderedViews(np.concatenate(images), *(np.concatenate(extra) for extra in extras))


def base_colors(scene: Scene, raster: Raster) -> Tensor:
    """Linear base color and alpha [P, 4] of the visible samples: factor · vertex color · texture."""
    part = scene.face_part[visible_faces(raster)]
    colors = scene.factors[part]
    if scene.colors is not None:
        colors = colors * visible_attributes(raster, scene.colors)
    if scene.pyramids:
        assert scene.uvs is not None
        uv, slopes = visible_attributes_with_slopes(raster, scene.uvs)
        for index, material in enumerate(scene.materials):
            texture = int(scene.textures[index])
            if texture < 0:
                continue
            one = len(scene.materials) == 1
            rows = torch.arange(len(part), device=part.device) if one else (part == index).nonzero().squeeze(1)
            if len(rows):
                texel = sample(scene.pyramids[texture], uv[rows], slopes[rows], material)
                colors[rows, : texel.shape[1]] *= texel
    return colors


def _lit(base: Tensor, scene: Scene, raster: Raster, cameras: Cameras, look: _SceneLook) -> Tensor:
    """Linear light [P, 3] from the visible samples with linear base colors [P, 3 or 4]."""
    if look.shading == "albedo":
        return base[:, :3]
    if look.shading == "normals":
        return srgb_to_linear(normal_colors(visible_normals(raster, cameras, scene.face_normals)))
    normals = _normals(scene, raster, cameras)
    visibility = None
    if look.sky is not None:
        visibility = sky_visibility(look.sky, visible_attributes(raster, scene.mesh.vertices), normals)
    if look.shading == "soft":
        return reflected(base[:, :3], normals, look.shading, look.lighting, visibility)
    return _reflected_environments(base[:, :3], normals, visibility, scene, raster, cameras, look)


def _reflected_environments(
    base: Tensor,
    normals: Tensor,
    visibility: Tensor | None,
    scene: Scene,
    raster: Raster,
    cameras: Cameras,
    look: _SceneLook,
) -> Tensor:
    """Linear light [P, 3] that metallic-roughness surfaces reflect of the environment of their view, at most 1."""
    positions = visible_attributes(raster, scene.mesh.vertices)
    towards = functional.normalize(towards_cameras(raster, cameras, positions), dim=1)
    metallic, roughness = surface_values(scene, raster).split(1, 1)
    points = ShadingPoints(positions, normals, towards, base, metallic, roughness)
    # The samples of a view are in a row.
    counts = torch.bincount(raster.image_indices, minlength=len(cameras)).tolist()
    return reflected_of_views(points, counts, look.environments, visibility)


def surface_values(scene: Scene, raster: Raster) -> Tensor:
    """Metallic and roughness [P, 2] of the visible samples: factor · texture, linear."""
    part = scene.face_part[visible_faces(raster)]
    values = scene.surface_factors[part]
    if any(scene.surface_pyramids):
        assert scene.uvs is not None
        uv, slopes = visible_attributes_with_slopes(raster, scene.uvs)
        for index, pyramid in enumerate(scene.surface_pyramids):
            rows = (part == index).nonzero().squeeze(1)
            if pyramid is not None and len(rows):
                values[rows] *= sample(pyramid, uv[rows], slopes[rows], scene.materials[index])
    return values


def _normals(scene: Scene, raster: Raster, cameras: Cameras) -> Tensor:
    """Unit normals [P, 3] of the visible samples towards the camera: those of the file, else those of the faces."""
    flat = visible_normals(raster, cameras, scene.face_normals)
    if scene.normals is None:
        return flat
    smooth = functional.normalize(visible_attributes(raster, scene.normals), dim=1)
    usable = scene.smooth[scene.face_part[visible_faces(raster)]] & (smooth.square().sum(1) > 0.5)
    # The face decides which side is seen, because near a silhouette a smooth normal may point away from the camera.
    smooth = torch.where((smooth * flat).sum(1, keepdim=True) < 0, -smooth, smooth)
    return torch.where(usable[:, None], smooth, flat)


def _peel(scene: Scene, raster: Raster, cameras: Cameras, look: _SceneLook) -> tuple[Tensor, Tensor]:
    """Composite the layers of a scene with transparent surfaces from front to back.

    Returns premultiplied sRGB colors and opacity [N, H·S, W·S, 4], and the raster of the first surface at each sample
    that is not cut out.
    """
    shape, factors = raster.rast.shape, scene.factors
    total = factors.new_zeros(shape[0] * shape[1] * shape[2], 4)
    through = factors.new_ones(len(total), 1)
    shown = factors.new_zeros(len(total), 4)
    cutoffs = factors.new_tensor([m.alpha_cutoff if m.alpha_mode == "MASK" else -1.0 for m in scene.materials])
    opaque = torch.tensor([m.alpha_mode == "OPAQUE" for m in scene.materials], device=factors.device)
    layer = raster
    for depth in range(MAX_LAYERS):
        if depth:
            layer = next_layer(layer)
        if not len(layer.pixels):
            break
        colors = base_colors(scene, layer)
        part = scene.face_part[visible_faces(layer)]
        alpha = colors[:, 3:]
        cutoff = cutoffs[part][:, None]
        alpha = torch.where(cutoff >= 0, (alpha >= cutoff).to(alpha.dtype), alpha)
        alpha = torch.where(opaque[part][:, None], torch.ones_like(alpha), alpha)
        lit = _lit(colors, scene, layer, cameras, look)
        pixels = layer.pixels
        weight = through[pixels] * alpha
        total[pixels] += weight * functional.pad(lit, (0, 1), value=1.0)
        through[pixels] *= 1 - alpha
        rast = layer.rast.view(-1, 4)[pixels]
        first = (shown[pixels, 3] == 0) & (alpha[:, 0] > 0)
        shown[pixels[first]] = rast[first]
        if float(through[pixels].max()) < 1 / 512:
            break
    opacity = total[:, 3:]
    colors = linear_to_srgb(total[:, :3] / opacity.clamp(min=1e-6)) * opacity
    return torch.cat([colors, opacity], 1).view(shape), shown.view(shape)


def _geometry(scene: Scene, raster: Raster, cameras: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth, normals, and metallic and roughness, averaged over the covered samples of each pixel."""
    depth = visible_depths(raster, cameras, visible_attributes(raster, scene.mesh.vertices))
    surfaces = surface_values(scene, raster)
    layers = torch.cat([depth, _normals(scene, raster, cameras), surfaces, torch.ones_like(depth)], 1)
    image = layers.new_zeros(raster.rast[..., 0].numel(), layers.shape[1])
    image[raster.pixels] = layers
    image = resolve(image.view(*raster.rast.shape[:3], -1), raster.supersample)
    count = image[..., -1:]
    depth_map = image[..., 0] / count[..., 0].clamp(min=1e-9)
    normals = functional.normalize(image[..., 1:4], dim=-1)
    surface_map = (image[..., 4:6] / count.clamp(min=1e-9) * 255).round().to(torch.uint8)
    return depth_map.cpu().numpy(), normals.to(torch.float16).cpu().numpy(), surface_map.cpu().numpy()
