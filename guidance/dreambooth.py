"""DreamBooth: a prior learns one object from a few images, as LoRA, without forgetting its class; and BSD's loop."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guidance.denoising import denoising_loss
from guidance.lora import AdaptedPrior
from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.sampler import clean_up, sample_prior
from guidance.schedules import annealed_range, draw_times


@dataclass(frozen=True)
class Subject:
    """What DreamBooth learns. x [N, C, h, w]: the images, in the prior's space. text: "a sks chair".

    class_x, class_text: samples that the prior made of "a chair" before, which it must go on making. They may be None.
    """

    x: Tensor
    text: Embeddings
    class_x: Tensor | None = None
    class_text: Embeddings | None = None


def class_samples(
    prior: DiffusionPrior,
    class_text: Embeddings,
    unconditional: Embeddings | None,
    count: int,
    generator: torch.Generator,
    *,
    batch: int = 4,
    steps: int = 30,
    scale: float = 7.5,
) -> Tensor:
    """`count` samples of the class from the prior as it is, x [N, C, h, w]."""
    parts = []
    for start in range(0, count, batch):
        text = class_text.expand(min(batch, count - start))
        parts.append(sample_prior(prior, text, unconditional, generator, steps=steps, scale=scale))
    return torch.cat(parts)


def dreambooth_loss(
    prior: DiffusionPrior,
    subject: Subject,
    generator: torch.Generator,
    *,
    batch: int = 2,
    class_weight: float = 1.0,
) -> Tensor:
    """Denoising loss of the subject + class_weight · denoising loss of the class.

    Source: Ruiz et al. 2023 (DreamBooth), eq. 2.
    """
    loss = _random_denoising_loss(prior, subject.x, subject.text, batch, generator)
    if class_weight and subject.class_x is not None and subject.class_text is not None:
        loss = loss + class_weight * _random_denoising_loss(
            prior, subject.class_x, subject.class_text, batch, generator
        )
    return loss


def _random_denoising_loss(
    prior: DiffusionPrior, x: Tensor, text: Embeddings, batch: int, generator: torch.Generator
) -> Tensor:
    rows = torch.randint(len(x), (batch,), generator=generator)
    t = draw_times(batch, (1e-3, 1.0), generator).to(x.device)
    noise = torch.randn((batch, *x.shape[1:]), generator=generator).to(x)
    return denoising_loss(prior, x[rows.to(x.device)], text, t, noise)


def train_dreambooth(
    adapted: AdaptedPrior,
    subject: Subject,
    generator: torch.Generator,
    *,
    steps: int = 400,
    batch: int = 2,
    rate: float = 1e-4,
    class_weight: float = 1.0,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train the adapter; returns the loss of each step. report(step, loss): called after each."""
    optimizer = adapted.optimizer(rate)
    losses = []
    for step in range(steps):
        loss = dreambooth_loss(adapted.prior, subject, generator, batch=batch, class_weight=class_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if report is not None:
            report(step, losses[-1])
    return losses


def cleaning_time(progress: float) -> float:
    """t' of BSD's image-to-image step: high while the asset is rough, low when only details are left.

    Annealed as the times of the distillation are, to the middle of their range (Sun et al. 2024, DreamCraft3D).
    """
    low, high = annealed_range(progress)
    return (low + high) / 2


def bootstrap(
    prior: DiffusionPrior,
    adapted: AdaptedPrior,
    renders: Tensor,
    text: Embeddings,
    unconditional: Embeddings | None,
    progress: float,
    generator: torch.Generator,
    *,
    subject: Subject | None = None,
    scale: float = 7.5,
    clean_steps: int = 10,
    train_steps: int = 100,
    batch: int = 2,
    rate: float = 1e-4,
) -> Tensor:
    """One round of BSD: clean the renders with the prior, usually the tuned one, then tune the adapter on them.

    renders [N, C, h, w] in the prior's space. subject: the reference images and the class, trained on along with the
    cleaned renders. Returns the cleaned renders. The adapter then guides (`guidance.variational.vsd`) until the next
    round; as the asset improves, so do the renders. Source: Sun et al. 2024 (DreamCraft3D), bootstrapped score
    distillation.
    """
    t = torch.full((len(renders),), cleaning_time(progress), device=renders.device)
    noise = torch.randn(renders.shape, generator=generator).to(renders)
    cleaned = clean_up(prior, renders, t, noise, text, unconditional, scale=scale, steps=clean_steps)
    images = cleaned if subject is None else torch.cat([subject.x, cleaned])
    class_x, class_text = (None, None) if subject is None else (subject.class_x, subject.class_text)
    together = Subject(images, text, class_x, class_text)
    train_dreambooth(adapted, together, generator, steps=train_steps, batch=batch, rate=rate)
    return cleaned
