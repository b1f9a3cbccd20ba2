"""The generator: latents → styles → planes or volumes → SDF on a grid → mesh → colors at the visible surface."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.schema import Config
from geometry.extraction import ExtractedSurface
from geometry.normals import face_normals, vertex_normals
from networks.backbone import TriPlaneBackbone, plane_features
from networks.geometry_network import GeometryNetwork, PointFeatures
from networks.heads import TextureHead
from networks.layers import compute_dtype
from networks.mapping import Mapping, TextOffset
from networks.triplane_geometry import PlaneFeatures
from networks.volume_backbone import VolumeBackbone
from networks.volume_geometry import VolumeFeatures
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import linear_to_srgb, srgb_to_linear
from rendering.deferred import (
    Raster,
    composite,
    rasterize_mesh,
    towards_cameras,
    visible_attributes,
    visible_normals,
    visible_points,
)
from rendering.environment_light import EnvironmentLight, reflected_of_views
from rendering.lighting import normal_colors
from torch_utils.timing import phase


@dataclass(frozen=True)
class Rendered:
    """Images of a batch: rgb [B·views, 3, H, W] in [−1, 1], mask [B·views, 1, H, W] in [0, 1], and the surfaces."""

    rgb: Tensor
    mask: Tensor
    surface: ExtractedSurface


class Generator(nn.Module):
    """Textured meshes from latents; every size comes from the configuration.

    Planes: `planes(w_geo, w_tex)`; geometry: `mesh(w_geo)`; images: `render(w_geo, w_tex, cameras)`. Nothing in the
    geometry depends on w_tex: the SDF, the vertices and the faces are bit-identical under any w_tex. With
    `geometry.network: volume`, feature volumes [B, 2, C, R, R, R] stand wherever geometry planes do.
    """

    w_average_geo: Tensor
    w_average_tex: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.precision: str = config.training.precision
        mapping, planes = config.mapping, config.backbone
        sizes = (mapping.z_dim, mapping.w_dim, mapping.layers, mapping.lr_multiplier, config.classes)
        self.mapping_geo = Mapping(*sizes)
        self.mapping_tex = Mapping(*sizes)
        text_sizes = (mapping.z_dim, mapping.text_dim, mapping.w_dim)
        self.text_geo = TextOffset(*text_sizes) if mapping.text_dim else None
        self.text_tex = TextOffset(*text_sizes) if mapping.text_dim else None
        # [text_dim]: the text of all styles, where `map` is given none.
        self.text: Tensor | None = None
        self.backbone: TriPlaneBackbone | VolumeBackbone
        features: PointFeatures
        box = config.geometry.box
        if config.geometry.network == "volume":
            self.backbone = VolumeBackbone(planes, config.geometry, mapping.w_dim)
            features = VolumeFeatures(self.backbone.sdf.channels, config.geometry.deformation > 0, box)
        else:
            self.backbone = TriPlaneBackbone(planes, mapping.w_dim, symmetric=config.geometry.symmetric)
            features = PlaneFeatures(planes.plane_channels, box)
        self.geometry = GeometryNetwork(config.geometry, features, mapping.w_dim)
        self.texture_head = TextureHead(config.texture, planes.plane_channels, mapping.w_dim)
        self.num_ws_geo = self.backbone.num_ws_geo + self.geometry.num_ws
        self.num_ws_tex = self.backbone.num_ws_tex + self.texture_head.num_ws
        self.register_buffer("w_average_geo", torch.zeros(mapping.w_dim))
        self.register_buffer("w_average_tex", torch.zeros(mapping.w_dim))

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.w_average_geo.device

    # -- styles ------------------------------------------------------------------------------------------------------

    def map(
        self,
        z_geo: Tensor,
        z_tex: Tensor,
        *,
        truncation: float = 1.0,
        labels: Tensor | None = None,
        text: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Styles from latents [B, z_dim] each: w_geo [B, num_ws_geo, w_dim], w_tex [B, num_ws_tex, w_dim].

        truncation: 1 leaves w alone, 0 gives the running average. labels [B] int64: classes of a conditional network.
        text [B or 1, text_dim]: of a network with text; None: `self.text`, and without one the styles know no text.
        """
        text = self._text(text)
        average = self._average(self.w_average_geo, self.text_geo, text)
        w_geo = self._styles(self.mapping_geo, z_geo, average, truncation, labels, self.text_geo, text)
        w_geo = w_geo[:, None].expand(-1, self.num_ws_geo, -1)
        return w_geo, self.map_texture(z_tex, truncation=truncation, labels=labels, text=text)

    def map_texture(
        self, z_tex: Tensor, *, truncation: float = 1.0, labels: Tensor | None = None, text: Tensor | None = None
    ) -> Tensor:
        """The texture styles of `map` alone: [B, z_dim] → [B, num_ws_tex, w_dim]."""
        text = self._text(text)
        average = self._average(self.w_average_tex, self.text_tex, text)
        w_tex = self._styles(self.mapping_tex, z_tex, average, truncation, labels, self.text_tex, text)
        return w_tex[:, None].expand(-1, self.num_ws_tex, -1)

    def averages(self) -> tuple[Tensor, Tensor]:
        """The styles of shape and texture [w_dim] that truncation leads to: the running averages, with `self.text`
        those of the text.
        """
        text = self._text(None)
        average_geo = self._average(self.w_average_geo, self.text_geo, text)
        average_tex = self._average(self.w_average_tex, self.text_tex, text)
        return average_geo.view(-1), average_tex.view(-1)

    def _text(self, text: Tensor | None) -> Tensor | None:
        if text is not None:
            return text
        return None if self.text is None else self.text[None]

    def _average(self, average: Tensor, offset: TextOffset | None, text: Tensor | None) -> Tensor:
        if text is None or offset is None:
            return average
        return average + offset(average.new_zeros(len(text), self.config.mapping.z_dim), text)

    def _styles(
        self,
        network: Mapping,
        z: Tensor,
        average: Tensor,
        truncation: float,
        labels: Tensor | None,
        offset: TextOffset | None,
        text: Tensor | None,
    ) -> Tensor:
        """Styles [B, w_dim], the same for every slot."""
        condition = None
        if self.config.classes:
            if labels is None:
                raise ValueError(f"map(): expected labels of {self.config.classes} classes, got none")
            condition = functional.one_hot(labels, self.config.classes).float()
        w = network(z, condition)
        if text is not None and offset is not None:
            w = w + offset(z, text.expand(len(z), -1))
        return w if truncation == 1 else average.lerp(w, truncation)

    @torch.no_grad()
    def update_w_average(self, w_geo: Tensor, w_tex: Tensor) -> None:
        """Move the running averages towards the mean of a minibatch of styles [B, …, w_dim] (before mixing)."""
        weight = 1 - self.config.mapping.w_average_beta
        for average, w in ((self.w_average_geo, w_geo), (self.w_average_tex, w_tex)):
            average.lerp_(w.detach().to(average.dtype).flatten(0, -2).mean(0), weight)

    # -- geometry ----------------------------------------------------------------------------------------------------

    def planes(self, w_geo: Tensor, w_tex: Tensor) -> tuple[Tensor, Tensor]:
        """Geometry and texture planes [B, 3, R, R, C], fp32."""
        with phase("planes"):
            slots = self.backbone.num_ws_geo, self.backbone.num_ws_tex
            dtype = compute_dtype(self.precision, self.device)
            return self.backbone(w_geo[:, : slots[0]], w_tex[:, : slots[1]], dtype)

    def features(self, w_geo: Tensor) -> list[Tensor]:
        """The backbone's features [B, C, R', R'] of every resolution; no texture style enters them."""
        return self.backbone.features(w_geo[:, : self.backbone.num_ws_geo], compute_dtype(self.precision, self.device))

    def geometry_planes(self, features: Sequence[Tensor], w_geo: Tensor) -> Tensor:
        """Geometry planes [B, 3, R, R, C], fp32, of `features`."""
        return self.backbone.geometry_planes(features, w_geo[:, : self.backbone.num_ws_geo])

    def texture_planes(self, features: Sequence[Tensor], w_tex: Tensor) -> Tensor:
        """Texture planes [B, 3, R, R, C], fp32, of `features`."""
        return self.backbone.texture_planes(features, w_tex[:, : self.backbone.num_ws_tex])

    def mesh(self, w_geo: Tensor) -> ExtractedSurface:
        """The surfaces of geometry styles [B, num_ws_geo, w_dim]."""
        return self.surface(self.geometry_planes(self.features(w_geo), w_geo), w_geo)

    def surface(self, geometry_planes: Tensor, w_geo: Tensor) -> ExtractedSurface:
        """The surfaces that geometry planes hold under styles w_geo [B, num_ws_geo, w_dim]."""
        return self.geometry(geometry_planes, w_geo[:, self.backbone.num_ws_geo :])

    def signed_distance(self, geometry_planes: Tensor, w_geo: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
        """The SDF [P] at packed points [P, 3], world units; point_offsets [B + 1] on the CPU."""
        field = self.geometry.field(geometry_planes, w_geo[:, self.backbone.num_ws_geo :])
        return field.sdf(points, field.features(points, point_offsets), point_offsets)

    # -- images ----------------------------------------------------------------------------------------------------

    def texture(self, texture_planes: Tensor, w_tex: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
        """Colors [P, 3] in [0, 1], sRGB, of packed points [P, 3], world units; point_offsets [B + 1] on the CPU."""
        return self.materials(texture_planes, w_tex, points, point_offsets)[:, :3]

    def materials(self, texture_planes: Tensor, w_tex: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
        """All that the texture field emits: `texture`, and with `texture.channels: pbr` metallic and roughness.

        [P, 3 or 5] in [0, 1].
        """
        features = plane_features(texture_planes, points, point_offsets, self.config.geometry.box)
        return self.texture_head(features, w_tex[:, self.backbone.num_ws_tex :], point_offsets)

    def render(
        self,
        w_geo: Tensor,
        w_tex: Tensor,
        cameras: Cameras,
        background: float | Tensor = 0.0,
        resolution: int | None = None,
        supersample: int | None = None,
        environments: Sequence[EnvironmentLight] = (),
        planes: tuple[Tensor, Tensor] | None = None,
    ) -> Rendered:
        """Images of B samples by B·views cameras, the cameras of a sample in a row.

        background: sRGB in [0, 1]; a number, [3], [N, 3] or [N, 3, H, W]. resolution: side in pixels; None = that of
        the training images. environments: light of pbr surfaces, one for each image or one for all; without, images
        show base colors. planes: geometry and texture planes in place of those of the styles. Differentiable in the
        styles, the planes and the cameras.
        """
        geometry_planes, texture_planes = self.planes(w_geo, w_tex) if planes is None else planes
        surface = self.surface(geometry_planes, w_geo)
        raster = self._raster(surface, cameras, resolution, supersample)
        mode = self.config.rendering.color_gradient
        with phase("raster"):
            points = visible_points(raster, gradient=mode == "full")
        with phase("texture"):
            values = self.materials(texture_planes, w_tex, points, raster.point_offsets)
            colors = values[:, :3]
        if environments and values.shape[1] > 3:
            with phase("light"):
                colors = lit_colors(raster, cameras, points, values, environments, mode == "full")
        with phase("composite"):
            rgb, mask = composite(raster, colors, background, color_gradient=mode)
        return Rendered(rgb * 2 - 1, mask, surface)

    def render_normals(
        self, w_geo: Tensor, cameras: Cameras, resolution: int | None = None, supersample: int | None = None
    ) -> Rendered:
        """Images of `render` that show the normals of the faces (`normal_colors`) on black instead of colors."""
        surface = self.mesh(w_geo)
        raster = self._raster(surface, cameras, resolution, supersample)
        with phase("composite"):
            normals = visible_normals(raster, cameras, face_normals(surface.mesh))
            rgb, mask = composite(raster, normal_colors(normals))
        return Rendered(rgb * 2 - 1, mask, surface)

    def _raster(
        self, surface: ExtractedSurface, cameras: Cameras, resolution: int | None, supersample: int | None
    ) -> Raster:
        config = self.config
        with phase("raster"):
            return rasterize_mesh(
                surface.mesh,
                cameras,
                config.data.resolution if resolution is None else resolution,
                supersample=config.rendering.supersample if supersample is None else supersample,
                backend=config.rendering.backend,
            )

    # -- parameters --------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, by group, to freeze groups or to give each its own learning rate.

        mapping_geo, mapping_tex, backbone.trunk (empty with the volume network), backbone.geometry, backbone.texture,
        sdf, deformation (empty where it is off), texture; cube_weights with FlexiCubes.
        """
        groups: dict[str, list[nn.Parameter]] = {
            "mapping_geo": list(self.mapping_geo.parameters()),
            "mapping_tex": list(self.mapping_tex.parameters()),
            "backbone.trunk": [],
            "backbone.geometry": [],
            "backbone.texture": [],
            "sdf": list(self.geometry.sdf.parameters()),
            "deformation": [] if self.geometry.deformation is None else list(self.geometry.deformation.parameters()),
            "texture": list(self.texture_head.parameters()),
        }
        if self.geometry.weights is not None:
            groups["cube_weights"] = list(self.geometry.weights.parameters())
        for name, offset in (("mapping_geo", self.text_geo), ("mapping_tex", self.text_tex)):
            groups[name] += [] if offset is None else list(offset.parameters())
        for name, parameter in self.backbone.named_parameters():
            groups[f"backbone.{_group_of(name)}"].append(parameter)
        return groups

    def texture_parameters(self) -> dict[str, nn.Parameter]:
        """What only the texture depends on, by name: the texture mapping, the texture planes and the texture head."""
        groups = self.parameter_groups()
        own = {id(parameter) for part in ("mapping_tex", "backbone.texture", "texture") for parameter in groups[part]}
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in own}

    def geometry_parameters(self) -> dict[str, nn.Parameter]:
        """All that the shapes depend on, by name: the parameters that are not `texture_parameters`."""
        texture = self.texture_parameters()
        return {name: parameter for name, parameter in self.named_parameters() if name not in texture}


def lit_colors(
    raster: Raster,
    cameras: Cameras,
    points: Tensor,
    values: Tensor,
    environments: Sequence[EnvironmentLight],
    gradient: bool,
) -> Tensor:
    """sRGB colors [P, 3] of the visible samples at points [P, 3] with base color, metallic and roughness [P, 5].

    The light is as in `dataset render --shading pbr`. gradient: whether it reaches the vertices through their normals.
    """
    normals = vertex_normals(raster.mesh if gradient else raster.mesh.detach())
    normals = visible_attributes(raster, normals)
    # One image of each shape needs no further synchronization with the host.
    one, images = raster.views == 1, raster.image_indices
    counts = raster.point_offsets.diff() if one else torch.bincount(images, minlength=len(cameras))
    base, metallic, roughness = values.split((3, 1, 1), 1)
    surface = ShadingPoints(
        points, normals, towards_cameras(raster, cameras, points), srgb_to_linear(base), metallic, roughness
    )
    return linear_to_srgb(reflected_of_views(surface, counts.tolist(), environments))


def _group_of(name: str) -> str:
    """The group of a backbone's parameter."""
    if ".to_texture." in name or name.startswith("texture."):
        return "texture"
    return "geometry" if ".to_geometry." in name or name.startswith(("sdf.", "deformation.")) else "trunk"
