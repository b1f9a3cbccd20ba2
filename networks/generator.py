"""The generator: latents → styles → tri-planes → SDF on a tetrahedral grid → mesh → colors at the visible surface."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.schema import Config
from geometry.extraction import Surface, build_surface, find_surface
from geometry.mesh import Mesh
from geometry.regularizers import repair_loss
from geometry.tet_grid import TetGrid, flipped_share, tet_grid_on
from networks.backbone import TriPlaneBackbone
from networks.heads import GeometryHeads, TextureHead
from networks.lattice import is_separable, lattice_head
from networks.layers import compute_dtype
from networks.mapping import Mapping
from rendering.camera import Cameras
from rendering.deferred import composite, rasterize_mesh, visible_points
from torch_utils.ops.triplane_sample import triplane_sample
from torch_utils.timing import phase


@dataclass(frozen=True)
class GeneratedMesh:
    """A batch of extracted surfaces and what the losses need.

    mesh: packed, world units. sdf_a, sdf_b [ΣV]: SDF at the two ends of every mesh vertex's grid edge, with gradient.
    empty [B] bool: samples that had no surface and were given one. repair_loss: scalar, world units, that leads such
    samples back: a mean over `replaced` [] grid vertices (0 where there are none).
    """

    mesh: Mesh
    sdf_a: Tensor
    sdf_b: Tensor
    empty: Tensor
    repair_loss: Tensor
    replaced: Tensor


@dataclass(frozen=True)
class Rendered:
    """Images of a batch: rgb [B·views, 3, H, W] in [−1, 1], mask [B·views, 1, H, W] in [0, 1], and what they show."""

    rgb: Tensor
    mask: Tensor
    surface: GeneratedMesh


class Generator(nn.Module):
    """Textured meshes from latents; every size comes from the configuration.

    Planes: `planes(w_geo, w_tex)`; geometry: `mesh(w_geo)`; images: `render(w_geo, w_tex, cameras)`. Nothing in the
    geometry depends on w_tex: the SDF, the vertices and the faces are bit-identical under any w_tex.
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
        self.backbone = TriPlaneBackbone(planes, mapping.w_dim)
        self.geometry = GeometryHeads(config.geometry, planes.plane_channels, mapping.w_dim)
        self.texture_head = TextureHead(config.texture, planes.plane_channels, mapping.w_dim)
        self.num_ws_geo = self.backbone.num_ws_geo + self.geometry.num_ws
        self.num_ws_tex = self.backbone.num_ws_tex + self.texture_head.num_ws
        self.register_buffer("w_average_geo", torch.zeros(mapping.w_dim))
        self.register_buffer("w_average_tex", torch.zeros(mapping.w_dim))

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.w_average_geo.device

    @property
    def grid(self) -> TetGrid:
        """The tetrahedral grid on the network's device."""
        geometry = self.config.geometry
        return tet_grid_on(geometry.tet_grid, geometry.cells, geometry.box, self.device)

    # -- styles ------------------------------------------------------------------------------------------------------

    def map(
        self, z_geo: Tensor, z_tex: Tensor, *, truncation: float = 1.0, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Styles from latents [B, z_dim] each: w_geo [B, num_ws_geo, w_dim], w_tex [B, num_ws_tex, w_dim].

        truncation: 1 leaves w alone, 0 gives the running average. labels [B] int64: classes of a conditional network.
        """
        condition = None
        if self.config.classes:
            if labels is None:
                raise ValueError(f"map(): expected labels of {self.config.classes} classes, got none")
            condition = functional.one_hot(labels, self.config.classes).float()
        styles = []
        for network, z, average, slots in (
            (self.mapping_geo, z_geo, self.w_average_geo, self.num_ws_geo),
            (self.mapping_tex, z_tex, self.w_average_tex, self.num_ws_tex),
        ):
            w = network(z, condition)
            if truncation != 1:
                w = average.lerp(w, truncation)
            styles.append(w[:, None].expand(-1, slots, -1))
        return styles[0], styles[1]

    @torch.no_grad()
    def update_w_average(self, w_geo: Tensor, w_tex: Tensor) -> None:
        """Move the running averages towards the mean of a minibatch of styles [B, …, w_dim] (before mixing)."""
        weight = 1 - self.config.mapping.w_average_beta
        for average, w in ((self.w_average_geo, w_geo), (self.w_average_tex, w_tex)):
            average.lerp_(w.detach().float().flatten(0, -2).mean(0), weight)

    # -- geometry ----------------------------------------------------------------------------------------------------

    def planes(self, w_geo: Tensor, w_tex: Tensor) -> tuple[Tensor, Tensor]:
        """Geometry and texture planes [B, 3, R, R, C], fp32."""
        dtype = compute_dtype(self.precision, self.device)
        with phase("planes"):
            slots = self.backbone.num_ws_geo, self.backbone.num_ws_tex
            return self.backbone(w_geo[:, : slots[0]], w_tex[:, : slots[1]], dtype)

    def mesh(self, w_geo: Tensor, w_tex: Tensor | None = None) -> GeneratedMesh:
        """The surfaces of a batch of geometry styles [B, num_ws_geo, w_dim]. w_tex changes nothing in them."""
        if w_tex is None:
            w_tex = self.w_average_tex.expand(w_geo.shape[0], self.num_ws_tex, -1)
        return self.surface(self.planes(w_geo, w_tex)[0], w_geo)

    def surface(self, geometry_planes: Tensor, w_geo: Tensor) -> GeneratedMesh:
        """The surfaces that geometry planes hold.

        The whole grid is evaluated without gradient; where edges cross the surface, their ends are evaluated again
        with gradient. The values of the first evaluation stay in use, so rounding cannot turn a sign.
        """
        grid = self.grid
        w = w_geo[:, self.backbone.num_ws_geo :]
        with phase("SDF of the grid"):
            dense = self.sdf_grid(geometry_planes, w_geo)
        with phase("extraction"):
            found = find_surface(dense, grid, join=self.config.geometry.connect_components)
        with phase("SDF at the surface"):
            points = grid.positions[found.active % grid.num_vertices]
            features = self._features(geometry_planes, points, found.active_offsets)
            sdf = self._sdf(points, self.geometry.sdf(features, w, found.active_offsets))
            deformation = self._deformation(features, w, found.active_offsets)
        with phase("extraction"):
            surface: Surface = build_surface(found, grid, sdf, deformation)
        repair = repair_loss(sdf, found.values, found.replaced)
        return GeneratedMesh(surface.mesh, surface.sdf_a, surface.sdf_b, surface.empty, repair, found.replaced.sum())

    @torch.no_grad()
    def sdf_grid(self, geometry_planes: Tensor, w_geo: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V], no gradient: by lattice blocks where the head allows it, else densely."""
        w = w_geo[:, self.backbone.num_ws_geo :]
        if not is_separable(self.geometry.sdf):
            return self.sdf_dense(geometry_planes, w_geo)
        network = lattice_head(geometry_planes, self.geometry.sdf, w, self.grid, self.config.geometry.box)
        return self._sdf(self.grid.positions, network)

    def sdf_dense(self, geometry_planes: Tensor, w_geo: Tensor) -> Tensor:
        """SDF at every grid vertex [B, V] by plane look-ups, with gradient: the plain form of `sdf_grid`."""
        points, features, offsets = self._dense_features(geometry_planes)
        network = self.geometry.sdf(features, w_geo[:, self.backbone.num_ws_geo :], offsets)
        return self._sdf(points, network).view(geometry_planes.shape[0], -1)

    @torch.no_grad()
    def flipped_share(self, geometry_planes: Tensor, w_geo: Tensor) -> Tensor:
        """Share of tetrahedra that the deformation turns over [B]; always 0 for a deformation of up to 0.2 cell."""
        points, features, offsets = self._dense_features(geometry_planes)
        deformation = self._deformation(features, w_geo[:, self.backbone.num_ws_geo :], offsets)
        if deformation is None:
            return torch.zeros(geometry_planes.shape[0], device=self.device)
        return flipped_share(self.grid, (points + deformation).view(geometry_planes.shape[0], -1, 3))

    def _dense_features(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, count = planes.shape[0], self.grid.num_vertices
        points = self.grid.positions.repeat(batch, 1)
        offsets = torch.arange(batch + 1) * count
        return points, self._features(planes, points, offsets), offsets

    def _features(self, planes: Tensor, points: Tensor, offsets: Tensor) -> Tensor:
        """Plane features [P, C] at points [P, 3], world units."""
        return triplane_sample(planes, points * (2 / self.config.geometry.box), offsets)

    def _sdf(self, points: Tensor, network: Tensor) -> Tensor:
        """A network's output [P, 1], or [B, V] for the grid's points, on top of a sphere; world units."""
        geometry = self.config.geometry
        sphere = torch.linalg.vector_norm(points, dim=-1) - geometry.sphere_radius
        return sphere + geometry.sdf_scale * (network.squeeze(-1) if network.shape[-1] == 1 else network)

    def _deformation(self, features: Tensor, w: Tensor, offsets: Tensor) -> Tensor | None:
        """Movement of grid vertices [P, 3], world units, at most `geometry.deformation` cells per axis; None if off."""
        head = self.geometry.deformation
        if head is None:
            return None
        bound = self.config.geometry.deformation * self.grid.cell
        return bound * torch.tanh(head(features, w, offsets))

    # -- images ----------------------------------------------------------------------------------------------------

    def texture(self, texture_planes: Tensor, w_tex: Tensor, points: Tensor, point_offsets: Tensor) -> Tensor:
        """Colors [P, 3] in [0, 1], sRGB, of packed points [P, 3], world units; point_offsets [B + 1] on the CPU."""
        features = self._features(texture_planes, points, point_offsets)
        return self.texture_head(features, w_tex[:, self.backbone.num_ws_tex :], point_offsets)

    def render(
        self,
        w_geo: Tensor,
        w_tex: Tensor,
        cameras: Cameras,
        background: float | Tensor = 0.0,
        resolution: int | None = None,
        supersample: int | None = None,
    ) -> Rendered:
        """Images of B samples through B·views cameras (those of one sample in a row), differentiable at any camera.

        background: sRGB in [0, 1]; a number, [3], [N, 3] or [N, 3, H, W]. resolution: side, px; None = the data's.
        Gradients reach the styles and, where they require one, the cameras.
        """
        config = self.config
        geometry_planes, texture_planes = self.planes(w_geo, w_tex)
        surface = self.surface(geometry_planes, w_geo)
        with phase("raster"):
            raster = rasterize_mesh(
                surface.mesh,
                cameras,
                config.data.resolution if resolution is None else resolution,
                supersample=config.rendering.supersample if supersample is None else supersample,
                backend=config.rendering.backend,
            )
            mode = config.rendering.color_gradient
            points = visible_points(raster, gradient=mode == "full")
        with phase("texture"):
            colors = self.texture(texture_planes, w_tex, points, raster.point_offsets)
        with phase("composite"):
            rgb, mask = composite(raster, colors, background, color_gradient=mode)
        return Rendered(rgb * 2 - 1, mask, surface)

    # -- parameters --------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, by part, to freeze parts or to give them learning rates of their own.

        mapping_geo, mapping_tex, backbone.trunk, backbone.geometry, backbone.texture, sdf, deformation (none where it
        is off), texture.
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
        for name, parameter in self.backbone.named_parameters():
            kind = "geometry" if ".to_geometry." in name else "texture" if ".to_texture." in name else "trunk"
            groups[f"backbone.{kind}"].append(parameter)
        return groups
