"""The sections of a configuration that say what a generator is: from latents to styles, planes, a mesh and images."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from configs.strict import Fraction, NonNegative, Positive, StrictModel


class MappingConfig(StrictModel):
    """From latents to styles: the mapping networks of geometry and texture."""

    z_dim: PositiveInt = Field(512, description="size of a latent z")
    w_dim: PositiveInt = Field(512, description="size of a style vector w")
    layers: PositiveInt = Field(8, description="fully connected layers of each mapping network")
    lr_multiplier: Positive = Field(
        0.01,
        description="factor on the learning rate of the mapping networks and of the discriminators' camera mapping",
    )
    w_average_beta: Fraction = Field(0.998, description="decay of the running average of w per minibatch")
    text_dim: NonNegativeInt = Field(
        0, description="size of the text embedding that styles may depend on (tetragan adapt --mode mapping); 0 = none"
    )


class BackboneConfig(StrictModel):
    """From styles to tri-planes."""

    plane_resolution: PositiveInt = Field(256, description="side of a plane, texels; a power of two")
    plane_channels: PositiveInt = Field(32, description="channels per plane, for geometry and texture each")
    channel_base: PositiveInt = Field(
        32768, description="channels at resolution r are min(channel_max, channel_base / r)"
    )
    channel_max: PositiveInt = Field(512, description="largest number of channels")


class GeometryConfig(StrictModel):
    """From styles to a mesh."""

    network: Literal["triplane", "volume"] = Field(
        "triplane",
        description="geometry network: planes shared with the texture (GET3D's improved generator), or feature volumes "
        "of its own (its first one)",
    )
    extraction: Literal["tets", "flexicubes"] = Field(
        "tets", description="how a mesh is extracted: marching tetrahedra, or FlexiCubes on a cubic grid"
    )
    subdivide: Literal[0, 1] = Field(
        0, description="1 = split the tetrahedra near the surface, so that cells there are half as large"
    )
    tet_grid: Literal["bcc", "kuhn"] = Field("bcc", description="tet grid: body-centered cubic or Kuhn")
    cells: Annotated[int, Field(ge=4)] = Field(
        26,
        description="cells along the side of the box; bcc grids of 26, 28, 32, 36, 40 cells are what GET3D calls "
        "64, 70, 80, 90, 100",
    )
    box: Positive = Field(1.0, description="side of the grid's box around the origin, world units")
    deformation: NonNegative = Field(
        0.2, description="largest displacement of a grid vertex along each axis, cells; 0 = off"
    )
    symmetric: bool = Field(
        False,
        description="average every shape and texture with its mirror image: x and −x are the same (front is +Z)",
    )
    connect_components: bool = Field(
        False, description="make each mesh one connected component: bridge small gaps, remove floaters beyond reach"
    )
    sphere_radius: Positive = Field(0.3, description="radius of the initial surface, a sphere, world units")
    sdf_scale: Positive = Field(0.1, description="SDF = (|p| − sphere_radius) + sdf_scale · network")
    hidden: PositiveInt = Field(32, description="width of the hidden layers of the SDF and deformation heads")
    hidden_layers: PositiveInt = Field(1, description="number of hidden layers of the SDF and deformation heads")
    deformation_hidden_layers: PositiveInt | None = Field(
        None, description="number of hidden layers of the deformation head of the volume network; null = hidden_layers"
    )
    volume_resolution: PositiveInt = Field(
        32, description="side of a feature volume of the volume network, voxels; a power of two"
    )
    volume_channel_base: PositiveInt = Field(
        2048, description="channels of a volume of side r are min(volume_channel_max, volume_channel_base / r)"
    )
    volume_channel_max: PositiveInt = Field(256, description="largest number of channels of a volume")

    @property
    def cells_per_unit(self) -> float:
        """Cells at the surface along one world unit."""
        return self.cells * 2**self.subdivide / self.box

    @model_validator(mode="after")
    def _check(self) -> "GeometryConfig":
        if self.extraction == "flexicubes":
            for name, needed in (("subdivide", 0), ("tet_grid", "bcc")):
                if getattr(self, name) != needed:
                    raise ValueError(
                        f"geometry.{name}: belongs to extraction=tets; expected {needed} with extraction=flexicubes, "
                        f"got {getattr(self, name)}"
                    )
            if self.symmetric:
                raise ValueError(
                    "geometry.symmetric: belongs to extraction=tets; expected false with flexicubes, got true"
                )
        if self.symmetric and self.network == "volume":
            raise ValueError("geometry.symmetric: belongs to network=triplane; expected false with volume, got true")
        side = self.volume_resolution
        if side < 4 or side & (side - 1):
            raise ValueError(f"geometry.volume_resolution: expected a power of two of at least 4, got {side}")
        return self


class TextureConfig(StrictModel):
    """From the texture planes to colors."""

    channels: Literal["color", "pbr"] = Field(
        "color",
        description="what the texture field emits: colors, or base color, metallic and roughness, drawn under a random "
        "light of the dataset (rendered with --shading pbr)",
    )
    hidden: PositiveInt = Field(32, description="width of the hidden layers of the texture head")
    features: PositiveInt = Field(16, description="features of the texture head before its modulated projection to RGB")
    plane_scale: Positive = Field(
        1.0, description="factor on the texture planes; a smaller value gives less colorful textures at the start"
    )


class RenderingConfig(StrictModel):
    """From a textured mesh to images."""

    supersample: Literal[1, 2, 4] = Field(
        2, description="raster samples along the side of a pixel; as in the dataset, so that edges look alike"
    )
    backend: Literal["auto", "native", "nvdiffrast", "reference"] = Field(
        "auto", description="rasterizer; auto = native"
    )
    color_gradient: Literal["none", "silhouette", "full"] = Field(
        "full",
        description="gradient of the RGB loss to vertex positions: none, through coverage, or also through colors",
    )
