"""One training step: discriminators on reals and fakes, R1 now and then, the generator on the same fakes, its average.

Nothing here waits for the device: counts come with the mesh, statistics stay tensors until they are logged, and whether
a gradient was finite is read one step late. Only the look for loose parts waits, where `loss.floater_weight` wants it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from configs.schema import Config
from geometry.regularizers import floater_loss, sdf_sign_loss
from networks.discriminator import Discriminator
from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from torch_utils.devices import upload
from torch_utils.distributed import Ranks, share_of_mean, sum_over_ranks
from torch_utils.timing import phase
from training.augment import Adaptation, augment, draw
from training.batch import Latents, mix_styles, spread_views
from training.ema import ema_beta, update_average
from training.losses import discriminator_loss, generator_loss, overfitting_sign, r1_loss, squared_gradient_norms
from training.optimizer import GuardedAdam
from training.progressive import coarse, enlarged, shown_resolution, supersample_at
from training.run.step_statistics import Statistics

HEADS = ("rgb", "mask")
# Minibatches between two looks for loose parts: labeling the parts of a mesh costs about a fifth of a step.
FLOATER_INTERVAL = 4


@dataclass
class TrainState:
    """Everything that a step changes."""

    generator: Generator
    average: Generator
    discriminators: dict[str, Discriminator]
    generator_adam: GuardedAdam
    discriminator_adam: GuardedAdam
    adaptation: Adaptation


@dataclass(frozen=True)
class Views:
    """Images as a discriminator sees them, B of them: rgb [B, 3, R, R] in [−1, 1], mask [B, 1, R, R] in [0, 1]."""

    rgb: Tensor
    mask: Tensor
    cameras: Cameras
    labels: Tensor | None

    def image(self, head: str) -> Tensor:
        """What the discriminator `head` sees."""
        return self.rgb if head == "rgb" else self.mask


@dataclass(frozen=True)
class Minibatch:
    """What a step works on: this rank's slice. indices: global sample indices of the images."""

    nimg: int
    number: int
    indices: Sequence[int]
    reals: Views
    latents: Latents
    shape_labels: Tensor | None
    fake_cameras: Cameras


def training_step(
    train_state: TrainState, batch: Minibatch, config: Config, ranks: Ranks, statistics: Statistics
) -> dict[str, Tensor]:
    """Update everything in `train_state` by one minibatch.

    Returns the norms of the gradients of each network's parameters [parameters], by network, on the device; where one
    of them is not finite, that update was left out.
    """
    training = config.training
    generator_learns = batch.nimg >= training.generator_delay_kimg * 1000
    side = shown_resolution(batch.nimg, config)
    with torch.set_grad_enabled(generator_learns):
        rendered, fakes = generate(train_state, batch, config, ranks, side)
    reals = replace(batch.reals, rgb=coarse(batch.reals.rgb, side), mask=coarse(batch.reals.mask, side))
    if config.augment.mode != "none":
        reals = _augmented(reals, batch, train_state, "real", config.training.seed)
        fakes = _augmented(fakes, batch, train_state, "fake", config.training.seed)
    _note_images(statistics, batch.reals, rendered)
    norms = {"discriminators": discriminator_step(train_state, reals, fakes, config, ranks, statistics)}
    if batch.number % config.loss.r1_interval == 0:
        with phase("R1"):
            norms["discriminators"] = norms["discriminators"] + r1_step(train_state, reals, config, statistics)
    if not generator_learns:
        return norms
    norms["generator"] = generator_step(train_state, rendered, fakes, batch.number, config, ranks, statistics)
    with phase("average"):
        beta = ema_beta(batch.nimg, training.batch, training.ema_halflife_kimg, training.ema_rampup)
        update_average(train_state.average, train_state.generator, beta)
    return norms


def generate(
    train_state: TrainState, batch: Minibatch, config: Config, ranks: Ranks, side: int
) -> tuple[Rendered, Views]:
    """Images of new shapes, and the same as the discriminators see them; with gradient where that is enabled.

    side: of the images, px. Where it is less than the data's, the discriminators see them enlarged.
    """
    generator, labels = train_state.generator, batch.shape_labels
    with phase("mapping"):
        w_geo, w_tex = _styles(train_state, batch, config, ranks)
    with phase("generator"):
        supersample = supersample_at(side, config)
        rendered = generator.render(w_geo, w_tex, batch.fake_cameras, resolution=side, supersample=supersample)
    full = config.data.resolution
    rgb, mask = enlarged(rendered.rgb, full), enlarged(rendered.mask, full)
    views = config.data.views_per_shape
    labels = None if labels is None else labels.repeat_interleave(views)
    if views == 1:
        return rendered, Views(rgb, mask, batch.fake_cameras, labels)
    order = spread_views(len(batch.indices), views, config.discriminator.stddev_group, rgb.device)
    labels = None if labels is None else labels[order]
    return rendered, Views(rgb[order], mask[order], batch.fake_cameras[order], labels)


def _styles(train_state: TrainState, batch: Minibatch, config: Config, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Styles of the minibatch's shapes, some mixed from two latents; moves the generator's average style."""
    generator, latents, labels = train_state.generator, batch.latents, batch.shape_labels
    z_geo, z_tex, count = latents.geometry, latents.texture, latents.geometry.shape[0]
    mixing = config.training.style_mixing_prob
    if mixing > 0:  # the second latents go through the mapping in the same pass
        z_geo, z_tex = torch.cat([z_geo, latents.mixing_geometry]), torch.cat([z_tex, latents.mixing_texture])
        labels = None if labels is None else torch.cat([labels, labels])
    w_geo, w_tex = generator.map(z_geo, z_tex, labels=labels)
    generator.update_w_average(_global_mean(w_geo[:count, 0], ranks), _global_mean(w_tex[:count, 0], ranks))
    if mixing > 0:
        w_geo = mix_styles(w_geo[:count], w_geo[count:], latents.mixing[:, :2], mixing)
        w_tex = mix_styles(w_tex[:count], w_tex[count:], latents.mixing[:, 2:], mixing)
    return w_geo, w_tex


def discriminator_step(
    train_state: TrainState, reals: Views, fakes: Views, config: Config, ranks: Ranks, statistics: Statistics
) -> Tensor:
    """Teach both discriminators reals from (detached) fakes; their losses are summed. Returns the gradients' norms."""
    losses = []
    for head, discriminator in train_state.discriminators.items():
        with phase("D forward"):
            real, fake = _judge(discriminator, head, reals, fakes)
        losses.append(discriminator_loss(real, fake))
        statistics.add(f"loss/discriminator_{head}", losses[-1])
        statistics.add(f"logits/real_{head}", real)
        statistics.add(f"logits/fake_{head}", fake)
        statistics.add(f"sign/real_{head}", overfitting_sign(real))
        statistics.add(f"sign/fake_{head}", overfitting_sign(fake))
        if head == "rgb" and config.augment.mode == "ada":
            sign = sum_over_ranks(overfitting_sign(real).mean(), ranks) / ranks.world
            train_state.adaptation.adapt(sign, config.training.batch)
            statistics.add("augment/probability", train_state.adaptation.probability.clone())
    with phase("D backward"):
        torch.stack(losses).sum().backward()
    with phase("optimizer"):
        norms = train_state.discriminator_adam.step()
    statistics.add("gradient/discriminators", norms.norm())
    return norms


def r1_step(train_state: TrainState, reals: Views, config: Config, statistics: Statistics) -> Tensor:
    """Lazy R1 on both heads: one forward pass each, one call of autograd, a step of its own. Returns the norms.

    The penalty is taken on the images as the discriminators see them, so it need not pass through the augmentation.
    """
    images = [reals.image(head).detach().requires_grad_() for head in train_state.discriminators]
    logits = [
        discriminator(image, reals.cameras, reals.labels)
        for discriminator, image in zip(train_state.discriminators.values(), images, strict=True)
    ]
    norms = squared_gradient_norms(logits, images)
    loss = config.loss
    gammas = {"rgb": loss.gamma, "mask": loss.gamma if loss.gamma_mask is None else loss.gamma_mask}
    terms = []
    for head, norm in zip(train_state.discriminators, norms, strict=True):
        terms.append(r1_loss(norm, gammas[head], loss.r1_interval))
        statistics.add(f"r1/{head}", norm)
    torch.stack(terms).sum().backward()
    return train_state.discriminator_adam.step()


def generator_step(
    train_state: TrainState,
    rendered: Rendered,
    fakes: Views,
    number: int,
    config: Config,
    ranks: Ranks,
    statistics: Statistics,
) -> Tensor:
    """Teach the generator to pass for real, and its surfaces to be clean. Returns the gradients' norms."""
    weights = {"rgb": 1.0, "mask": config.loss.mask_weight}
    terms = []
    with frozen(train_state.discriminators.values()):
        for head, discriminator in train_state.discriminators.items():
            with phase("D forward on fakes"):
                loss = generator_loss(discriminator(fakes.image(head), fakes.cameras, fakes.labels))
            statistics.add(f"loss/generator_{head}", loss)
            terms.append(loss * weights[head])
        surface = rendered.surface
        # In cells, so that the weight means the same on every lattice: in world units the cross-entropy is flat, and
        # at the published weight thin parts grow holes in the pattern of the lattice.
        cells = config.geometry.cells / config.geometry.box
        sign_loss = sdf_sign_loss(surface.sdf_a * cells, surface.sdf_b * cells)
        sign_loss = sign_loss * share_of_mean(surface.sdf_a.shape[0], ranks)
        fallback_loss = surface.fallback_surface_loss * share_of_mean(surface.replaced, ranks)
        statistics.add("loss/sdf_sign", sign_loss)
        statistics.add("loss/fallback_surface", fallback_loss)
        terms += [sign_loss * config.loss.sdf_regularizer_weight, fallback_loss * config.loss.fallback_surface_weight]
        weight = config.loss.floater_weight * FLOATER_INTERVAL
        if weight and number % FLOATER_INTERVAL == 0:
            with phase("floaters"):
                loose = floater_loss(surface.mesh, surface.sdf_a * cells, surface.sdf_b * cells)
            statistics.add("loss/floaters", loose)
            terms.append(loose * weight)
        total = torch.stack(terms).sum()
        statistics.add("loss/generator", total)
        with phase("D and G backward"):
            total.backward()
    with phase("optimizer"):
        norms = train_state.generator_adam.step()
    statistics.add("gradient/generator", norms.norm())
    return norms


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it the modules' parameters take no gradient, so a backward pass through them costs only what it must."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _judge(discriminator: Discriminator, head: str, reals: Views, fakes: Views) -> tuple[Tensor, Tensor]:
    """Logits of reals and of detached fakes in one pass; no minibatch-stddev group holds some of both."""
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


def _augmented(views: Views, batch: Minibatch, train_state: TrainState, stream: str, seed: int) -> Views:
    uniforms = upload(draw(seed, batch.indices, stream), views.rgb.device)
    rgb, mask = augment(views.rgb, views.mask, uniforms, train_state.adaptation.probability)
    return Views(rgb, mask, views.cameras, views.labels)


def _global_mean(w: Tensor, ranks: Ranks) -> Tensor:
    """Mean style over the global minibatch: [B, w_dim] → [1, w_dim], no gradient."""
    return sum_over_ranks(w.detach().mean(0, keepdim=True), ranks) / ranks.world


def _note_images(statistics: Statistics, reals: Views, rendered: Rendered) -> None:
    statistics.add("coverage/real", reals.mask.mean((1, 2, 3)))
    statistics.add("coverage/fake", rendered.mask.detach().mean((1, 2, 3)))
    surface = rendered.surface
    statistics.add("geometry/empty", surface.empty.float())
    statistics.add("geometry/faces", surface.mesh.face_offsets.diff().float())
