"""The configuration of a run: one frozen section per stage. Presets hold only differences from the defaults."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from configs.generator_schema import BackboneConfig, GeometryConfig, MappingConfig, RenderingConfig, TextureConfig
from configs.strict import Fraction, NonNegative, Positive, StrictModel


class DataConfig(StrictModel):
    """Which views are read from the dataset."""

    resolution: Annotated[int, Field(ge=16)] = Field(64, description="side of the training images, px; a power of two")
    balance: tuple[str, ...] = Field(
        (), description="attributes that define classes of shapes; rare classes are shown as often as frequent ones"
    )
    views_per_shape: PositiveInt = Field(1, description="rendered views per generated shape in a minibatch")


class DiscriminatorConfig(StrictModel):
    """The two discriminators, of colors (RGB) and masks."""

    channel_base: PositiveInt = Field(
        32768, description="channels at resolution r are min(channel_max, channel_base / r)"
    )
    channel_max: PositiveInt = Field(512, description="largest number of channels")
    mask_channel_base: PositiveInt = Field(32768, description="channel_base of the mask discriminator")
    mask_downsample: PositiveInt = Field(
        1, description="factor by which masks are area-averaged for the mask discriminator; a power of two"
    )
    single: bool = Field(
        False, description="one discriminator of RGB and mask together, with four channels, in place of two"
    )
    block: Literal["residual", "strided", "bottleneck"] = Field(
        "residual",
        description="block that halves the resolution: StyleGAN2's residual block, one strided 4 × 4 convolution, or "
        "R3GAN's grouped inverted bottlenecks",
    )
    from_rgb_stride: Literal[1, 2] = Field(
        1, description="stride of the first convolution; 2 skips the full resolution, which is the most expensive one"
    )
    conditioning: bool = Field(True, description="condition on the azimuth and elevation of the camera")
    crop_conditioning: bool = Field(False, description="condition on the scale and place of the crop that is seen")
    mapping_layers: PositiveInt = Field(8, description="fully connected layers of the camera mapping")
    stddev_group: PositiveInt = Field(4, description="consecutive images in a group of the minibatch-stddev layer")


class LossConfig(StrictModel):
    """Losses and regularizers. Every weight but R1's γ ends in `_weight`."""

    objective: Literal["non_saturating", "relativistic", "hinge"] = Field(
        "non_saturating",
        description="adversarial loss; relativistic pairs each generated image with a real one and needs R1 and R2",
    )
    gamma: NonNegative = Field(40.0, description="R1 weight γ of the RGB discriminator, or of a single one")
    gamma_mask: NonNegative | None = Field(None, description="R1 weight γ of the mask discriminator; null = gamma")
    mask_weight: NonNegative = Field(
        1.0, description="weight of the mask discriminator in the generator's loss; RGB has 1"
    )
    gamma_start: Positive = Field(
        1.0, description="γ at the start, as a multiple; it falls to 1 along a cosine over gamma_kimg; R3GAN takes 10"
    )
    gamma_kimg: NonNegative = Field(0.0, description="kimg over which γ falls from gamma_start; 0 = no schedule")
    r1_interval: PositiveInt = Field(
        16, description="minibatches from one R1 step to the next (lazy regularization); 1 = part of every step"
    )
    r2_weight: NonNegative | None = Field(
        None,
        description="weight of R2, the penalty of R1 on generated images, as a multiple of γ; null = 1 with the "
        "relativistic objective, else 0",
    )
    r2_interval: PositiveInt | None = Field(
        None, description="minibatches from one R2 step to the next; null = r1_interval"
    )
    sdf_regularizer_weight: NonNegative = Field(
        0.01, description="weight of the sign cross-entropy at grid edges that cross the surface, SDF in cells"
    )
    floater_weight: NonNegative = Field(
        0.0, description="weight of the depth of floaters, cells; evaluated every 4 minibatches; 0 = off"
    )
    color_weight: NonNegative | None = Field(
        None,
        description="weight of the color discriminator's loss in G; null = 1 in the texture stage, else 0; always 0 in "
        "the geometry stage",
    )
    gamma_color: NonNegative = Field(0.1, description="weight of R1 on the color discriminator")
    color_r1_interval: PositiveInt = Field(4, description="minibatches between two R1 steps of the color discriminator")
    outline_weight: NonNegative = Field(
        0.0, description="weight of the outline discriminator's loss in G, in the joint stage; 0 = there is none"
    )
    gamma_outline: NonNegative = Field(0.1, description="weight of R1 on the outline discriminator")
    smoothness_weight: NonNegative = Field(
        0.0, description="weight of the mean difference of neighboring face normals; evaluated every 4 minibatches"
    )
    cube_spread_weight: NonNegative = Field(
        0.5, description="weight of the mean spread of FlexiCubes' vertices from their crossings, world units"
    )
    cube_weights_weight: NonNegative = Field(0.1, description="weight of the mean size of FlexiCubes' weights α and β")
    fallback_surface_weight: NonNegative = Field(
        1.0,
        description="weight of the distance of the SDF from the values of fallback surfaces and bridges, world units",
    )


class TrainingConfig(StrictModel):
    """Length, optimizers, running average, and intervals at which files are written."""

    stage: Literal["joint", "geometry", "texture"] = Field(
        "joint",
        description="what learns: shape and texture together; shape alone, from views of normals (dataset render "
        "--shading normals); or the texture of frozen shapes (needs --init)",
    )
    texture_shapes: PositiveInt = Field(512, description="shapes kept for the texture stage")
    total_kimg: Positive = Field(
        20000.0, description="length of the run, thousands of real images shown to the discriminators"
    )
    batch: PositiveInt = Field(32, description="images in a minibatch, over all ranks")
    micro_batch: Annotated[int, Field(ge=0)] = Field(
        0,
        description="images that go through the networks at once on each rank; gradients add up to those of the whole "
        "minibatch, so memory shrinks and the result stays; 0 = all at once",
    )
    lr_generator: Positive = Field(0.002, description="Adam learning rate of the generator")
    lr_discriminator: Positive = Field(0.002, description="Adam learning rate of the discriminators")
    lr_decay_kimg: NonNegative = Field(
        0.0, description="kimg at the end of the run over which both learning rates fall linearly to 0; 0 = constant"
    )
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Adam β1")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.99, description="Adam β2")
    ema_halflife_kimg: Positive = Field(10.0, description="half-life of the generator's running average (EMA), kimg")
    ema_rampup: NonNegative = Field(
        0.05, description="the EMA half-life is at most this share of the images seen so far; 0 = no ramp-up"
    )
    precision: Literal["auto", "fp32", "bf16", "fp64"] = Field(
        "auto",
        description="type of convolutions; auto = bf16 if the hardware multiplies it; SDF and raster stay fp32. "
        "fp64 compares runs: weights and sums in double precision, several times slower",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of all random numbers of the run")
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads per rank; 0 = one per core, shared by the ranks of a machine"
    )
    snapshot_kimg: Positive = Field(200.0, description="kimg between snapshots: network and image grid")
    state_kimg: Positive = Field(50.0, description="kimg between training states")
    log_kimg: Positive = Field(1.0, description="kimg between lines of stats.jsonl")
    progressive_kimg: NonNegative = Field(
        0.0,
        description="kimg at 16², the same at 32², and so on up to full resolution; 0 = always full resolution",
    )
    generator_delay_kimg: NonNegative = Field(
        0.0, description="kimg at the start in which only the discriminators learn; for --init from a network file"
    )
    validation_shapes: Annotated[int, Field(ge=0)] = Field(
        64, description="held-out shapes that each snapshot is compared with; the best network is kept; 0 = none"
    )
    validation_images: Annotated[int, Field(ge=0)] = Field(
        256,
        description="training views that each snapshot's images are compared with, by EfficientNet-Lite0 where it is "
        "installed; 0 = none",
    )
    rollbacks: Annotated[int, Field(ge=0)] = Field(
        0,
        description="times that the run may go back to its last state with half the learning rates when gradients stay "
        "non-finite, instead of stopping",
    )
    style_mixing_prob: Fraction = Field(0.9, description="probability of style mixing, for geometry and texture each")
    max_skipped_steps: PositiveInt = Field(
        20, description="steps in a row with non-finite gradients before the run stops"
    )


class AugmentConfig(StrictModel):
    """Augmentation of the discriminators' inputs, for small datasets."""

    mode: Literal["none", "fixed", "ada"] = Field(
        "none", description="none, fixed probability, or adaptive probability"
    )
    probability: Fraction = Field(
        0.0, description="probability of each transformation in mode fixed; its initial value in mode ada"
    )
    ada_target: Fraction = Field(0.6, description="target of the mean sign of D(real) in mode ada")


class Config(StrictModel):
    """A whole run. `classes` > 0 makes the generator and the discriminators conditional on a class label."""

    category: str = Field("object", description="category of the shapes, for logs and reports")
    classes: Annotated[int, Field(ge=0)] = Field(
        0, description="number of class labels of a conditional network; 0 = unconditional"
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

    @property
    def color_weight(self) -> float:
        """Weight of the color discriminator's loss; 0 = there is none. Views of normals have no colors to look at."""
        if self.training.stage == "geometry":
            return 0.0
        given = self.loss.color_weight
        return given if given is not None else float(self.training.stage == "texture")

    @property
    def penalties(self) -> dict[str, tuple[float, int]]:
        """Gradient penalties by name, "r1" and "r2": weight as a multiple of γ, and interval in minibatches."""
        loss = self.loss
        weight = float(loss.objective == "relativistic") if loss.r2_weight is None else loss.r2_weight
        every = {"r1": (1.0, loss.r1_interval), "r2": (weight, loss.r2_interval or loss.r1_interval)}
        return {name: (factor, interval) for name, (factor, interval) in every.items() if factor > 0}

    @model_validator(mode="after")
    def _check_gamma(self) -> "Config":
        if self.loss.gamma_start != 1 and self.loss.gamma_kimg == 0:
            raise ValueError("loss.gamma_kimg: expected the length of the schedule that loss.gamma_start begins, got 0")
        return self

    @model_validator(mode="after")
    def _check_texture_stage(self) -> "Config":
        """The texture stage draws each frozen shape once, at one resolution, as it is, without light."""
        if self.training.stage != "texture":
            return self
        if self.color_weight == 0:
            raise ValueError("loss.color_weight: expected a weight above 0 in the texture stage, got 0")
        needed = {
            "data.views_per_shape": (self.data.views_per_shape, 1),
            "augment.mode": (self.augment.mode, "none"),
            "texture.channels": (self.texture.channels, "color"),
            "training.progressive_kimg": (self.training.progressive_kimg, 0),
        }
        for path, (value, expected) in needed.items():
            if value != expected:
                raise ValueError(
                    f"{path}: expected {expected} in the texture stage, got {value}; add --set {path}={expected}"
                )
        return self

    @model_validator(mode="after")
    def _check_geometry(self) -> "Config":
        if self.geometry.extraction == "flexicubes" and self.loss.floater_weight > 0:
            raise ValueError(
                "loss.floater_weight: belongs to geometry.extraction=tets; expected 0 with flexicubes, got "
                f"{self.loss.floater_weight:g}; geometry.connect_components=true works with both"
            )
        if self.geometry.network == "volume" and self.training.stage == "texture":
            raise ValueError(
                "training.stage: texture belongs to geometry.network=triplane; got geometry.network=volume"
            )
        return self

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
        if self.discriminator.single and self.discriminator.mask_downsample != 1:
            raise ValueError(
                "discriminator.mask_downsample: a single discriminator sees masks as they are; expected 1, got "
                f"{self.discriminator.mask_downsample}"
            )
        divisor = self.discriminator.mask_downsample
        if divisor & (divisor - 1) or views // (divisor * self.discriminator.from_rgb_stride) < 4:
            raise ValueError(
                f"discriminator.mask_downsample: expected a power of two that leaves the mask discriminator at "
                f"least 4 px after its first convolution, got {divisor}"
            )
        return self
