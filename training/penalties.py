"""Gradient penalties of the discriminators: R1 on real images and R2 on generated ones, in every step or at intervals.

A penalty with an interval of 1 is part of the discriminators' loss. One with a longer interval has optimizer steps of
its own (lazy regularization, Karras et al. 2020, appendix B).
"""

from collections.abc import Iterable

from torch import Tensor

from configs.schema import Config
from training.data import ViewBatch
from training.losses import gamma_factor, r1_loss, squared_gradient_norms
from training.run.step_statistics import Statistics
from training.train_state import TrainState


def constant_penalties(config: Config) -> list[str]:
    """Names of the penalties that are part of every step."""
    return [name for name, (_, interval) in config.penalties.items() if interval == 1]


def due_penalties(config: Config, iteration: int) -> list[list[str]]:
    """Names of the penalties that take a step of their own at this iteration; those of one interval share it."""
    groups: dict[int, list[str]] = {}
    for name, (_, interval) in config.penalties.items():
        if interval > 1 and iteration % interval == 0:
            groups.setdefault(interval, []).append(name)
    return list(groups.values())


def penalty_terms(
    train_state: TrainState,
    reals: ViewBatch,
    fakes: ViewBatch,
    names: Iterable[str],
    nimg: int,
    config: Config,
    statistics: Statistics,
) -> list[Tensor]:
    """The penalties of these names on every discriminator, weighted: one scalar each.

    They are on the images that the discriminators see, so no gradient passes through the augmentation. One call of
    autograd serves all discriminators.
    """
    loss = config.loss
    start = gamma_factor(nimg, loss.gamma_start, loss.gamma_kimg)
    gammas = {"mask": loss.gamma if loss.gamma_mask is None else loss.gamma_mask, "outline": loss.gamma_outline}
    terms = []
    for name in names:
        factor, interval = config.penalties[name]
        views = reals if name == "r1" else fakes
        images = [views.image(head).detach().requires_grad_() for head in train_state.discriminators]
        logits = [
            discriminator(image, views.cameras, views.labels)
            for discriminator, image in zip(train_state.discriminators.values(), images, strict=True)
        ]
        norms = squared_gradient_norms(logits, images)
        for head, norm in zip(train_state.discriminators, norms, strict=True):
            gamma = gammas.get(head, loss.gamma)
            terms.append(r1_loss(norm, gamma * factor * start, interval))
            statistics.add(f"{name}/{head}", norm)
    return terms


def penalty_warnings(config: Config) -> list[str]:
    """What is known to fail: the relativistic objective with lazy penalties, or without them."""
    if config.loss.objective != "relativistic":
        return []
    missing = [name.upper() for name in ("r1", "r2") if name not in config.penalties or config.loss.gamma == 0]
    if missing:
        return [f"loss.objective=relativistic without {' and '.join(missing)} diverges in published tests."]
    lazy = [f"loss.{name}_interval={i}" for name, (_, i) in config.penalties.items() if i > 1]
    if lazy:
        return [
            f"loss.objective=relativistic with {', '.join(lazy)}: lazy penalties lost modes in published tests; "
            "add --set loss.r1_interval=1"
        ]
    return []
