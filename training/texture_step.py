"""The texture stage: geometry is frozen and computed once; texture parameters learn from colors alone.

When shape and texture learn together, D_rgb decides by the outline, so hardly any of its gradient reaches the texture.
Here the shapes stay bitwise the same. The backbone's features and the visible surface points of several hundred shapes
are computed once. A step then runs only the texture mapping, the texture planes and the texture head on them, against
a color discriminator, and extracts and rasterizes nothing.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from configs.schema import Config
from networks.generator import Generator
from rendering.camera_distribution import CameraDistribution
from rendering.deferred import rasterize_mesh, visible_points
from sampling.styles import label_tensor
from torch_utils import seeding
from torch_utils.devices import upload
from torch_utils.distributed import Ranks
from torch_utils.timing import phase
from training.color_step import color_discriminator_step, color_generator_loss, pixel_shifts
from training.data import Minibatch, ViewBatch, draw_latents
from training.fakes import mix_styles
from training.gan_step import frozen, global_mean
from training.run.step_statistics import Statistics
from training.train_state import TrainState, move_average

# Shapes computed together when they are frozen; bounds the memory.
CHUNK = 8


@dataclass(frozen=True)
class FrozenShapes:
    """What S shapes need for their texture to be drawn again.

    features: of the backbone, [S, C, R', R'] for each block. points: visible surface points [P_i, 3] of each shape,
    world units, one for each covered raster sample. samples: indices [P_i] int64 of those samples in the shape's
    raster. mask [S, 1, R, R]: coverage. labels [S]: classes, for a conditional network. side: of the images, px.
    supersample: raster samples along a pixel's side. counts [S] int64, on the CPU: points of each.
    """

    features: list[Tensor]
    points: list[Tensor]
    samples: list[Tensor]
    mask: Tensor
    labels: Tensor | None
    side: int
    supersample: int
    counts: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", torch.tensor([len(each) for each in self.points]))

    def __len__(self) -> int:
        return len(self.points)

    def labels_of(self, rows: Tensor) -> Tensor | None:
        """Classes of some shapes [B], rows on the CPU; None of an unconditional network."""
        return None if self.labels is None else self.labels[upload(rows, self.labels.device)]


@torch.no_grad()
def freeze_shapes(generator: Generator, cameras: CameraDistribution, config: Config) -> FrozenShapes:
    """Freeze `training.texture_shapes` shapes, each seen by one camera.

    They depend on the seed and the geometry alone, so a resumed run freezes the same ones.
    """
    seed, count, device = config.training.seed, config.training.texture_shapes, generator.device
    side, supersample = config.data.resolution, config.rendering.supersample
    views = cameras.sample(seed + 1, range(count)).to(device)
    labels = label_tensor(config.classes, range(count), device)
    features: list[list[Tensor]] = []
    points: list[Tensor] = []
    samples: list[Tensor] = []
    masks = []
    for first in range(0, count, CHUNK):
        rows = range(first, min(first + CHUNK, count))
        latents = draw_latents(seed + 1, rows, config.mapping.z_dim).to(device)
        chosen = None if labels is None else labels[first : rows.stop]
        w_geo, _ = generator.map(latents.geometry, latents.texture, labels=chosen)
        part = generator.features(w_geo)
        surface = generator.surface(generator.geometry_planes(part, w_geo), w_geo)
        raster = rasterize_mesh(
            surface.mesh,
            views[slice(first, rows.stop)],
            side,
            supersample=supersample,
            backend=config.rendering.backend,
        )
        counts = raster.point_offsets.diff().tolist()
        size = (side * supersample) ** 2
        features.append(part)
        points += visible_points(raster, gradient=False).split(counts)
        samples += [pixels - i * size for i, pixels in enumerate(raster.pixels.long().split(counts))]
        covered = torch.zeros(len(rows) * size, device=device)
        covered[raster.pixels.long()] = 1
        masks.append(_averaged(covered.view(len(rows), -1, 1), side, supersample))
    blocks = [torch.cat(block).contiguous(memory_format=torch.channels_last) for block in zip(*features, strict=True)]
    return FrozenShapes(blocks, points, samples, torch.cat(masks), labels, side, supersample)


def draw_textures(generator: Generator, shapes: FrozenShapes, rows: Tensor, w_tex: Tensor) -> tuple[Tensor, Tensor]:
    """Images of frozen shapes, rows [B] int64 on the CPU, under texture styles w_tex [B, num_ws_tex, w_dim].

    Returns rgb [B, 3, R, R] in [−1, 1] over black and mask [B, 1, R, R]. The outline is not antialiased; the color
    discriminator never looks there.
    """
    index = upload(rows, w_tex.device)
    planes = generator.texture_planes([block[index] for block in shapes.features], w_tex)
    offsets = functional.pad(shapes.counts[rows].cumsum(0), (1, 0))
    points = torch.cat([shapes.points[row] for row in rows.tolist()])
    colors = generator.texture(planes, w_tex, points, offsets)
    size = (shapes.side * shapes.supersample) ** 2
    places = torch.cat([shapes.samples[row] + i * size for i, row in enumerate(rows.tolist())])
    canvas = colors.new_zeros(len(rows) * size, 3).index_copy(0, places, colors)
    rgb = _averaged(canvas.view(len(rows), size, 3), shapes.side, shapes.supersample)
    return rgb * 2 - 1, shapes.mask[index]


def _averaged(samples: Tensor, side: int, supersample: int) -> Tensor:
    """Raster samples [B, (side · supersample)², C] as pixels [B, C, side, side]."""
    wide = side * supersample
    image = samples.view(len(samples), wide, wide, -1).permute(0, 3, 1, 2)
    return image if supersample == 1 else functional.avg_pool2d(image, supersample)


def texture_step(
    train_state: TrainState,
    shapes: FrozenShapes,
    batch: Minibatch,
    config: Config,
    ranks: Ranks,
    statistics: Statistics,
) -> dict[str, Tensor]:
    """Update the texture parameters and the color discriminator by one minibatch. Returns the norms of their gradients
    by network, as `training_step` does; micro-batches add up as they do there.
    """
    generator, training = train_state.generator, config.training
    assert train_state.color_discriminator is not None, "the texture stage has a color discriminator"

    # Images: frozen shapes with new textures.
    parts = batch.split(training.micro_batch)
    with torch.set_grad_enabled(len(parts) == 1):
        painted = [paint_shapes(generator, shapes, part, config) for part in parts]
    first_styles = torch.cat([each.first_styles for each in painted])
    generator.update_w_average(generator.w_average_geo[None], global_mean(first_styles, ranks))

    # The color discriminator, then the texture and its running average.
    seen = [(part.reals, each.fakes, each.shifts) for part, each in zip(parts, painted, strict=True)]
    norms = {"color discriminator": color_discriminator_step(train_state, seen, batch.iteration, config, statistics)}
    with frozen([train_state.color_discriminator]):
        for part, each in zip(parts, painted, strict=True):
            drawn = each if len(parts) == 1 else paint_shapes(generator, shapes, part, config)
            loss = color_generator_loss(train_state, drawn.fakes, drawn.shifts, statistics) * config.color_weight
            statistics.add("loss/generator", loss)
            with phase("D and G backward"):
                (loss / len(parts)).backward()
    with phase("optimizer"):
        norms["generator"] = train_state.generator_adam.step()
    statistics.add("gradient/generator", norms["generator"].norm())
    move_average(train_state, batch.nimg, config)
    return norms


@dataclass(frozen=True)
class Painted:
    """Frozen shapes under new textures, as the color discriminator sees them.

    fakes: images. shifts: `pixel_shifts` [B, 2]. first_styles: texture styles of the first latents [B, w_dim], without
    gradient.
    """

    fakes: ViewBatch
    shifts: Tensor
    first_styles: Tensor


def paint_shapes(generator: Generator, shapes: FrozenShapes, batch: Minibatch, config: Config) -> Painted:
    """Shapes and textures drawn at random for a part of a minibatch. The same arguments give the same images."""
    seed = config.training.seed
    drawn = seeding.uniform(seed, batch.indices, "texture shapes", 1)[:, 0]
    rows = (drawn * len(shapes)).long()
    with phase("mapping"):
        w_tex, first_styles = _texture_styles(generator, batch, shapes.labels_of(rows), config)
    with phase("texture"):
        rgb, mask = draw_textures(generator, shapes, rows, w_tex)
    return Painted(
        replace(batch.reals, rgb=rgb, mask=mask), pixel_shifts(seed, batch.indices, rgb.device), first_styles
    )


def _texture_styles(
    generator: Generator, batch: Minibatch, labels: Tensor | None, config: Config
) -> tuple[Tensor, Tensor]:
    """Texture styles of the minibatch, with style mixing, and those of the first latents alone."""
    latents, mixing = batch.latents, config.training.style_mixing_prob
    z, count = latents.texture, len(latents.texture)
    if mixing > 0:
        z = torch.cat([z, latents.mixing_texture])
        labels = None if labels is None else torch.cat([labels, labels])
    w_tex = generator.map_texture(z, labels=labels)
    first_styles = w_tex[:count, 0].detach()
    if mixing > 0:
        w_tex = mix_styles(w_tex[:count], w_tex[count:], latents.mixing[:, 2:], mixing)
    return w_tex, first_styles
