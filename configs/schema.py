"""The configuration: one frozen section per stage. Every default is a decision; presets hold only differences."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from configs.strict import StrictModel

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class DataConfig(StrictModel):
    """What is read from the dataset."""

    resolution: Annotated[int, Field(ge=16)] = Field(64, description="side of the views that the networks see, px")
    balance: tuple[str, ...] = Field(
        (), description="attributes of the shapes whose rare combinations are shown as often as the frequent ones"
    )
    views_per_shape: PositiveInt = Field(1, description="views rendered of each generated shape in a step")


class MappingConfig(StrictModel):
    """From latents to styles: both mapping networks."""

    z_dim: PositiveInt = Field(512, description="size of each latent z")
    w_dim: PositiveInt = Field(512, description="size of each style vector w")
    layers: PositiveInt = Field(8, description="fully connected layers of each mapping network")
    lr_multiplier: Positive = Field(
        0.01,
        description="learning-rate multiplier of the mapping networks, also of the discriminators' camera mapping",
    )
    w_average_beta: Fraction = Field(0.998, description="decay per minibatch of the running average of w")


class BackboneConfig(StrictModel):
    """From styles to tri-planes."""

    plane_resolution: PositiveInt = Field(256, description="side of each of the three planes, texels; a power of two")
    plane_channels: PositiveInt = Field(32, description="channels of each plane, for geometry and for texture")
    channel_base: PositiveInt = Field(
        32768, description="channels at resolution r are min(channel_max, channel_base / r)"
    )
    channel_max: PositiveInt = Field(512, description="largest number of channels")


class GeometryConfig(StrictModel):
    """From the geometry planes to a mesh."""

    tet_grid: Literal["bcc", "kuhn"] = Field("bcc", description="kind of tet grid: body-centered cubic or Kuhn")
    cells: Annotated[int, Field(ge=4)] = Field(
        26,
        description="cells along the side of the box; bcc with 26, 28, 32, 36, 40 cells are the grids that GET3D names "
        "64, 70, 80, 90, 100",
    )
    box: Positive = Field(1.0, description="side of the box that the grid fills, world units; its center is the origin")
    deformation: NonNegative = Field(
        0.2, description="largest movement of a grid vertex, cells per axis; 0 turns it off"
    )
    connect_components: bool = Field(
        False, description="one connected component a mesh: cracks are bridged, floaters far from everything removed"
    )
    sphere_radius: Positive = Field(0.3, description="radius of the surface at the start, world units")
    sdf_scale: Positive = Field(0.1, description="SDF = (|p| − sphere_radius) + sdf_scale · network")
    hidden: PositiveInt = Field(32, description="hidden width of the SDF and deformation heads")
    hidden_layers: PositiveInt = Field(1, description="hidden layers of the SDF and deformation heads")


class TextureConfig(StrictModel):
    """From the texture planes to colors."""

    hidden: PositiveInt = Field(32, description="hidden width of the texture head")
    features: PositiveInt = Field(16, description="texture features before the modulated projection to RGB")
    plane_scale: Positive = Field(1.0, description="factor on the texture planes; smaller values start less colorful")


class RenderingConfig(StrictModel):
    """From a textured mesh to images."""

    supersample: Literal[1, 2, 4] = Field(
        2, description="raster samples along each side of a pixel, fakes and reals alike"
    )
    backend: Literal["auto", "native", "nvdiffrast", "reference"] = Field("auto", description="rasterizer")
    color_gradient: Literal["none", "silhouette", "full"] = Field(
        "full",
        description="how the RGB loss reaches vertex positions: not, through coverage, or also through colors",
    )


class DiscriminatorConfig(StrictModel):
    """Both discriminators, RGB and mask."""

    channel_base: PositiveInt = Field(
        32768, description="channels at resolution r are min(channel_max, channel_base / r)"
    )
    channel_max: PositiveInt = Field(512, description="largest number of channels")
    mask_channel_base: PositiveInt = Field(32768, description="channel_base of the mask discriminator")
    mask_downsample: PositiveInt = Field(
        1, description="the mask discriminator sees the mask area-averaged by this factor"
    )
    block: Literal["residual", "strided"] = Field(
        "residual", description="from one resolution to the next: StyleGAN2's residual block, or one 4 × 4 convolution"
    )
    from_rgb_stride: Literal[1, 2] = Field(
        1, description="stride of the first convolution; 2 halves the cost of the widest layer"
    )
    conditioning: bool = Field(True, description="condition on the camera's azimuth and elevation")
    mapping_layers: PositiveInt = Field(8, description="layers of the camera's mapping network")
    stddev_group: PositiveInt = Field(4, description="contiguous samples in a group of the minibatch-stddev layer")


class LossConfig(StrictModel):
    """Losses and regularizers. Every weight but R1's γ ends in `_weight`."""

    gamma: NonNegative = Field(40.0, description="weight of R1 on the RGB discriminator")
    gamma_mask: NonNegative | None = Field(None, description="weight of R1 on the mask discriminator; null = gamma")
    mask_weight: NonNegative = Field(
        1.0, description="weight of the mask discriminator's loss in the generator's, relative to RGB"
    )
    r1_interval: PositiveInt = Field(16, description="minibatches between two R1 steps (lazy regularization)")
    sdf_regularizer_weight: NonNegative = Field(
        0.01, description="weight of the sign cross-entropy over crossing edges, the SDF in cells"
    )
    floater_weight: NonNegative = Field(
        0.0, description="weight of the depth, in cells, of a mesh's floaters; lazily, every 4 minibatches"
    )
    fallback_surface_weight: NonNegative = Field(
        1.0, description="weight that draws the SDF to the values that a fallback or connected surface was given"
    )


class TrainingConfig(StrictModel):
    """Length, optimizers, averages, and how often what is written."""

    total_kimg: Positive = Field(20000.0, description="length of the run, thousands of real images shown to D")
    batch: PositiveInt = Field(32, description="images in a global minibatch")
    lr_generator: Positive = Field(0.002, description="Adam learning rate of the generator")
    lr_discriminator: Positive = Field(0.002, description="Adam learning rate of the discriminators")
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Adam β1")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.99, description="Adam β2")
    ema_halflife_kimg: Positive = Field(10.0, description="half-life of the generator's running average, kimg")
    ema_rampup: NonNegative = Field(
        0.05, description="half-life at most this share of the images shown so far; 0 = no ramp"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="autocast type; SDF and raster stay fp32")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of everything random in the run")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0 = one per core")
    snapshot_kimg: Positive = Field(200.0, description="kimg between network snapshots and sheets")
    state_kimg: Positive = Field(50.0, description="kimg between training states")
    log_kimg: Positive = Field(1.0, description="kimg between lines of stats.jsonl")
    progressive_kimg: NonNegative = Field(
        0.0,
        description="kimg at 16², then as many at 32², and so on up to the full resolution; 0 = always full",
    )
    generator_delay_kimg: NonNegative = Field(
        0.0, description="kimg at the start in which the discriminators learn alone, for --init from a network file"
    )
    style_mixing_prob: Fraction = Field(0.9, description="probability of mixing two latents in a sample")
    max_skipped_steps: PositiveInt = Field(
        20, description="steps in a row with non-finite gradients before the run stops"
    )


class AugmentConfig(StrictModel):
    """Augmentation of what the discriminators see, for small datasets."""

    mode: Literal["none", "fixed", "ada"] = Field("none", description="augmentation of what the discriminators see")
    probability: Fraction = Field(0.0, description="strength in mode fixed; starting value in mode ada")
    ada_target: Fraction = Field(0.6, description="target of the overfitting statistic in mode ada")


class Config(StrictModel):
    """A whole run. `classes` > 0 makes the generator and the discriminators conditional on a class label."""

    category: str = Field("object", description="what the data show; names logs and reports")
    classes: Annotated[int, Field(ge=0)] = Field(
        0, description="class labels of a conditional network; 0 = unconditional"
    )
    data: DataConfig = DataConfig()
    mapping: MappingConfig = MappingConfig()
    backbone: BackboneConfig = BackboneConfig()
    geometry: GeometryConfig = GeometryConfig()
    texture: TextureConfig = TextureConfig()
    rendering: RenderingConfig = RenderingConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        if self.training.batch % self.data.views_per_shape:
            raise ValueError(
                f"training.batch: expected a multiple of data.views_per_shape = {self.data.views_per_shape}, "
                f"got {self.training.batch}"
            )
        planes, views = self.backbone.plane_resolution, self.data.resolution
        if planes < 4 or planes & (planes - 1):
            raise ValueError(f"backbone.plane_resolution: expected a power of two of at least 4, got {planes}")
        if views & (views - 1):
            raise ValueError(f"data.resolution: expected a power of two (the discriminators halve it), got {views}")
        divisor = self.discriminator.mask_downsample
        if divisor & (divisor - 1) or views // (divisor * self.discriminator.from_rgb_stride) < 4:
            raise ValueError(
                f"discriminator.mask_downsample: expected a power of two that leaves the mask discriminator at "
                f"least 4 px after its first convolution, got {divisor}"
            )
        return self
