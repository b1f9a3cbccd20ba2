"""One step of adversarial training.

The discriminators learn from real and generated images, with gradient penalties. The generator then learns from the
same generated images, and its running average follows.

Nothing here waits for the device: the counts of vertices and faces come with the mesh, statistics stay tensors until
they are logged, and whether a gradient was finite is read one step late.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from configs.schema import Config
from geometry.extraction import ExtractedSurface
from geometry.regularizers import floater_loss, normal_variation, sdf_sign_loss, variation_weight
from networks.discriminator import ImageDiscriminator
from networks.generator import Rendered
from rendering.camera import Cameras
from torch_utils.devices import upload
from torch_utils.distributed import Ranks, shares_of_mean, sum_over_ranks
from torch_utils.timing import phase
from training.augment import augment, augmentation_uniforms
from training.color_step import color_discriminator_step, color_generator_loss, pixel_shifts
from training.data import Minibatch, ViewBatch
from training.fakes import render_fakes
from training.losses import OBJECTIVES, overfitting_sign
from training.optimizer import GuardedAdam
from training.penalties import constant_penalties, due_penalties, penalty_terms
from training.progressive import at_resolution, progressive_resolution
from training.run.step_statistics import Statistics
from training.train_state import TrainState, move_average


@dataclass(frozen=True)
class MicroBatch:
    """A part of a minibatch that is small enough to go through the networks at once.

    rendered, fakes: generated images as rendered, and as the discriminators see them. reals: what the discriminators
    see of the real views. first_styles: w of the first latents [B, w_dim], geometry and texture, without gradient.
    shifts: `pixel_shifts` for the color discriminator; None if there is none.
    """

    batch: Minibatch
    reals: ViewBatch
    rendered: Rendered
    fakes: ViewBatch
    first_styles: tuple[Tensor, Tensor]
    shifts: Tensor | None


# Minibatches between two looks at how faces hang together, which takes a fifth of a step: components, pairs of faces.
MESH_INTERVAL = 4


def training_step(
    train_state: TrainState, batch: Minibatch, config: Config, ranks: Ranks, statistics: Statistics
) -> dict[str, Tensor]:
    """Update everything in `train_state` by one minibatch.

    With `training.micro_batch`, a part of the minibatch at a time goes through the networks and gradients add up. The
    graphs of all parts would not fit, so the generator draws the images of a part again when it learns from them.
    Returns the gradient norm of each parameter [parameters] by network, on the device. A network whose norms are not
    all finite was not updated.
    """
    training = config.training
    generator_learns = batch.nimg >= training.generator_delay_kimg * 1000

    # Images. The discriminators' step moves the probability of augmentation: both steps use the one before it.
    parts = batch.split(training.micro_batch)
    probability = train_state.adaptation.probability.clone()
    with torch.set_grad_enabled(generator_learns and len(parts) == 1):
        micro_batches = [draw_images(train_state, part, probability, config) for part in parts]
    styles = [torch.cat(w) for w in zip(*(micro.first_styles for micro in micro_batches), strict=True)]
    train_state.generator.update_w_average(*(global_mean(w, ranks) for w in styles))
    for micro in micro_batches:
        _note_images(statistics, micro)

    # Discriminators.
    norms = {"discriminators": discriminator_step(train_state, micro_batches, config, ranks, statistics)}
    for names in due_penalties(config, batch.iteration):
        with phase("R1"):
            lazy = penalty_step(train_state, micro_batches, names, config, statistics)
            norms["discriminators"] = norms["discriminators"] + lazy
    if config.color_weight > 0:
        seen = [(micro.reals, micro.fakes, micro.shifts) for micro in micro_batches if micro.shifts is not None]
        norms["color discriminator"] = color_discriminator_step(train_state, seen, batch.iteration, config, statistics)

    # Generator and its running average.
    if not generator_learns:
        return norms
    norms["generator"] = generator_step(train_state, micro_batches, probability, config, ranks, statistics)
    move_average(train_state, batch.nimg, config)
    return norms


def draw_images(train_state: TrainState, batch: Minibatch, probability: Tensor, config: Config) -> MicroBatch:
    """What the discriminators see of one part of a minibatch: generated images, and real ones with the same detail.

    probability: of each augmentation, [] on the device. The same arguments give the same images.
    """
    seed, side = config.training.seed, progressive_resolution(batch.nimg, config)
    rendered, fakes, first_styles = render_fakes(train_state.generator, batch, config, side)
    reals = replace(
        batch.reals,
        rgb=at_resolution(batch.reals.rgb, side),
        mask=at_resolution(batch.reals.mask, side),
    )
    if config.augment.mode != "none":
        reals = _augmented(reals, batch, probability, "real", seed)
        fakes = _augmented(fakes, batch, probability, "fake", seed)
    shifts = pixel_shifts(seed, batch.indices, reals.rgb.device) if config.color_weight > 0 else None
    return MicroBatch(batch, reals, rendered, fakes, first_styles, shifts)


def discriminator_step(
    train_state: TrainState, micro_batches: Sequence[MicroBatch], config: Config, ranks: Ranks, statistics: Statistics
) -> Tensor:
    """Update the discriminators on reals and detached fakes; their losses are summed. Returns the gradient norms.

    Gradient penalties without an interval are part of the loss.
    """
    objective, signs = OBJECTIVES[config.loss.objective], []
    for micro in micro_batches:
        losses = []
        for head, discriminator in train_state.discriminators.items():
            with phase("D forward"):
                real, fake = _real_and_fake_logits(discriminator, head, micro.reals, micro.fakes)
            losses.append(objective.discriminator(real, fake))
            statistics.add(f"loss/discriminator_{head}", losses[-1])
            statistics.add(f"logits/real_{head}", real)
            statistics.add(f"logits/fake_{head}", fake)
            statistics.add(f"sign/real_{head}", overfitting_sign(real))
            statistics.add(f"sign/fake_{head}", overfitting_sign(fake))
            if head == next(iter(train_state.discriminators)):
                signs.append(overfitting_sign(real))
        with phase("R1"):
            names, nimg = constant_penalties(config), micro.batch.nimg
            losses += penalty_terms(train_state, micro.reals, micro.fakes, names, nimg, config, statistics)
        with phase("D backward"):
            (torch.stack(losses).sum() / len(micro_batches)).backward()
    if config.augment.mode == "ada":
        sign = sum_over_ranks(torch.cat(signs).mean(), ranks) / ranks.world
        train_state.adaptation.adapt(sign, config.training.batch)
        statistics.add("augment/probability", train_state.adaptation.probability.clone())
    with phase("optimizer"):
        norms = _adam(train_state).step()
    statistics.add("gradient/discriminators", norms.norm())
    return norms


def penalty_step(
    train_state: TrainState,
    micro_batches: Sequence[MicroBatch],
    names: Sequence[str],
    config: Config,
    statistics: Statistics,
) -> Tensor:
    """Lazy gradient penalties on the discriminators, as a separate optimizer step. Returns the gradient norms."""
    for micro in micro_batches:
        terms = penalty_terms(train_state, micro.reals, micro.fakes, names, micro.batch.nimg, config, statistics)
        (torch.stack(terms).sum() / len(micro_batches)).backward()
    return _adam(train_state).step()


def generator_step(
    train_state: TrainState,
    micro_batches: Sequence[MicroBatch],
    probability: Tensor,
    config: Config,
    ranks: Ranks,
    statistics: Statistics,
) -> Tensor:
    """Update the generator: adversarial losses, and regularizers of the surface. Returns the gradient norms.

    probability: of each augmentation, to draw several micro-batches again with their graphs.
    """
    surfaces = [micro.rendered.surface for micro in micro_batches]
    counts = zip(*(surface_counts(surface) for surface in surfaces), strict=True)
    shares = zip(*(shares_of_mean(of_parts, ranks) for of_parts in counts), strict=True)
    smooth = variation_shares(micro_batches, config, ranks)
    color = [] if train_state.color_discriminator is None else [train_state.color_discriminator]
    with frozen([*train_state.discriminators.values(), *color]):
        for micro, mine, of_variation in zip(micro_batches, shares, smooth, strict=True):
            if len(micro_batches) > 1:
                micro = draw_images(train_state, micro.batch, probability, config)
            terms = adversarial_terms(train_state, micro, config, statistics)
            terms += surface_terms(micro, mine, of_variation, config, statistics)
            total = torch.stack(terms).sum()
            statistics.add("loss/generator", total)
            with phase("D and G backward"):
                (total / len(micro_batches)).backward()
    with phase("optimizer"):
        norms = train_state.generator_adam.step()
    statistics.add("gradient/generator", norms.norm())
    return norms


def adversarial_terms(
    train_state: TrainState, micro: MicroBatch, config: Config, statistics: Statistics
) -> list[Tensor]:
    """The generator's losses against every discriminator, weighted."""
    objective = OBJECTIVES[config.loss.objective]
    weights = {"mask": config.loss.mask_weight, "outline": config.loss.outline_weight}
    terms, reals, fakes = [], micro.reals, micro.fakes
    for head, discriminator in train_state.discriminators.items():
        with phase("D forward on fakes"):
            real = fake = discriminator(fakes.image(head), fakes.cameras, fakes.labels)
        if objective.paired:
            with torch.no_grad(), phase("D forward on reals"):
                real = discriminator(reals.image(head), reals.cameras, reals.labels)
        loss = objective.generator(real, fake)
        statistics.add(f"loss/generator_{head}", loss)
        terms.append(loss * weights.get(head, 1.0))
    if micro.shifts is not None:
        terms.append(color_generator_loss(train_state, fakes, micro.shifts, statistics) * config.color_weight)
    return terms


def surface_counts(surface: ExtractedSurface) -> list[int | Tensor]:
    """What the regularizers of a surface are means over: crossing edges, grid vertices with a replaced SDF, and, of
    FlexiCubes, the crossings of its cubes and the cubes.
    """
    cubes = [] if surface.cubes is None else [surface.cubes.crossings, surface.cubes.count]
    return [surface.sdf_a.shape[0], surface.replaced, *cubes]


def variation_shares(micro_batches: Sequence[MicroBatch], config: Config, ranks: Ranks) -> list[Tensor | float]:
    """`shares_of_mean` of the normals' variation for each micro-batch; 1 where nothing is cut, or it is not due."""
    due = config.loss.smoothness_weight > 0 and micro_batches[0].batch.iteration % MESH_INTERVAL == 0
    if not due or (ranks.world == 1 and len(micro_batches) == 1):
        return [1.0] * len(micro_batches)
    with phase("smoothness"):
        weights = [variation_weight(micro.rendered.surface.mesh.detach()) for micro in micro_batches]
    return shares_of_mean(weights, ranks)


def surface_terms(
    micro: MicroBatch,
    shares: Sequence[Tensor | float],
    variation_share: Tensor | float,
    config: Config,
    statistics: Statistics,
) -> list[Tensor]:
    """The regularizers of the surfaces, weighted.

    shares: `shares_of_mean` of each of `surface_counts`. variation_share: of `variation_shares`.
    """
    # The SDF is in cells, so that a weight means the same on every grid. In world units the cross-entropy is flat,
    # and at the published weight thin structures get holes in the pattern of the grid.
    surface = micro.rendered.surface
    cells = config.geometry.cells_per_unit
    sign_loss = sdf_sign_loss(surface.sdf_a * cells, surface.sdf_b * cells) * shares[0]
    fallback_loss = surface.fallback_surface_loss * shares[1]
    statistics.add("loss/sdf_sign", sign_loss)
    statistics.add("loss/fallback_surface", fallback_loss)
    terms = [sign_loss * config.loss.sdf_regularizer_weight, fallback_loss * config.loss.fallback_surface_weight]
    if surface.cubes is not None:
        spread, weights = surface.cubes.spread * shares[2], surface.cubes.weights * shares[3]
        statistics.add("loss/cube_spread", spread)
        statistics.add("loss/cube_weights", weights)
        terms += [spread * config.loss.cube_spread_weight, weights * config.loss.cube_weights_weight]
    if micro.batch.iteration % MESH_INTERVAL:
        return terms
    if weight := config.loss.smoothness_weight * MESH_INTERVAL:
        with phase("smoothness"):
            variation = normal_variation(surface.mesh) * variation_share
        statistics.add("loss/smoothness", variation)
        terms.append(variation * weight)
    if weight := config.loss.floater_weight * MESH_INTERVAL:
        with phase("floaters"):
            floaters = floater_loss(surface.mesh, surface.sdf_a * cells, surface.sdf_b * cells)
        statistics.add("loss/floaters", floaters)
        terms.append(floaters * weight)
    return terms


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Turn off the gradients of the modules' parameters, so that a backward pass through the modules is cheaper."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _real_and_fake_logits(
    discriminator: ImageDiscriminator, head: str, reals: ViewBatch, fakes: ViewBatch
) -> tuple[Tensor, Tensor]:
    """Logits of reals and of detached fakes, in one pass if no minibatch-stddev group would mix the two."""
    real, fake = reals.image(head), fakes.image(head).detach()
    if real.shape[0] % discriminator.stddev_group:
        return (
            discriminator(real, reals.cameras, reals.labels),
            discriminator(fake, fakes.cameras, fakes.labels),
        )
    labels = None if reals.labels is None or fakes.labels is None else torch.cat([reals.labels, fakes.labels])
    logits = discriminator(torch.cat([real, fake]), Cameras.cat([reals.cameras, fakes.cameras]), labels)
    count = real.shape[0]
    return logits[:count], logits[count:]


def _adam(train_state: TrainState) -> GuardedAdam:
    """The optimizer of the image discriminators, which a joint stage has."""
    assert train_state.discriminator_adam is not None, "the joint stage has image discriminators"
    return train_state.discriminator_adam


def _augmented(views: ViewBatch, batch: Minibatch, probability: Tensor, stream: str, seed: int) -> ViewBatch:
    uniforms = upload(augmentation_uniforms(seed, batch.indices, stream), views.rgb.device)
    rgb, mask = augment(views.rgb, views.mask, uniforms, probability)
    return ViewBatch(rgb, mask, views.cameras, views.labels)


def global_mean(w: Tensor, ranks: Ranks) -> Tensor:
    """Mean style of the global minibatch: [B, w_dim] → [1, w_dim], without gradient."""
    return sum_over_ranks(w.detach().mean(0, keepdim=True), ranks) / ranks.world


def _note_images(statistics: Statistics, micro: MicroBatch) -> None:
    statistics.add("coverage/real", micro.batch.reals.mask.mean((1, 2, 3)))
    statistics.add("coverage/fake", micro.rendered.mask.detach().mean((1, 2, 3)))
    surface = micro.rendered.surface
    statistics.add("geometry/empty", surface.empty.float())
    statistics.add("geometry/faces", surface.mesh.face_offsets.diff().float())
