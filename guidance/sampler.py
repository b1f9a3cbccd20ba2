"""DDIM steps of a prior, in both directions, and the two distillation losses that walk along them."""

from typing import Any

import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings, Prediction, add_noise, guided_prediction
from guidance.score_distillation import clamp_prediction


def ddim_step(prior: DiffusionPrior, prediction: Prediction, t: Tensor) -> Tensor:
    """x at time t [B] (earlier or later) along the deterministic path: α_t x̂0 + σ_t ε̂.

    For a flow this is Euler's step. Source: Song et al. 2021 (DDIM), eq. 12 with η = 0.
    """
    return add_noise(prediction.x0, prediction.eps, *prior.alpha_sigma(t))


def _bounded(prior: DiffusionPrior, prediction: Prediction, x_t: Tensor, t: Tensor) -> Prediction:
    """x̂0 kept in the range of images, as samplers of pixel models do."""
    return clamp_prediction(prediction, x_t, *prior.alpha_sigma(t)) if prior.pixel_space else prediction


@torch.no_grad()
def denoised(
    prior: DiffusionPrior,
    x_t: Tensor,
    t: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    *,
    scale: float = 7.5,
    steps: int = 4,
    **conditions: Any,
) -> Tensor:
    """x_t [B, C, h, w] at t [B] brought to a clean image in `steps` equal steps."""
    prediction = Prediction(x_t, x_t)
    for index in range(steps):
        now, later = t * (1 - index / steps), t * (1 - (index + 1) / steps)
        prediction = guided_prediction(prior, x_t, now, conditional, unconditional, scale, **conditions)
        prediction = _bounded(prior, prediction, x_t, now)
        x_t = ddim_step(prior, prediction, later)
    return prediction.x0


def sample_prior(
    prior: DiffusionPrior,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    generator: torch.Generator,
    *,
    side: int | None = None,
    scale: float = 7.5,
    steps: int = 30,
    **conditions: Any,
) -> Tensor:
    """One sample of the prior for each prompt of `conditional`: x [B, C, h, w] in the prior's space.

    side: of x, latent pixels or pixels; default the prior's own.
    """
    side = side or prior.resolution // prior.factor
    shape = (len(conditional), prior.channels, side, side)
    noise = torch.randn(shape, generator=generator).to(prior.device)
    start = torch.full((len(conditional),), 0.999, device=prior.device)
    return denoised(prior, noise, start, conditional, unconditional, scale=scale, steps=steps, **conditions)


def clean_up(
    prior: DiffusionPrior,
    x: Tensor,
    t: Tensor,
    noise: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    *,
    scale: float = 7.5,
    steps: int = 10,
    **conditions: Any,
) -> Tensor:
    """Image to image (SDEdit, Meng et al. 2022): x with the noise of t' [B], denoised again; small t' keeps x."""
    x_t = add_noise(x.detach(), noise, *prior.alpha_sigma(t))
    return denoised(prior, x_t, t, conditional, unconditional, scale=scale, steps=steps, **conditions)


@torch.no_grad()
def ddim_inversion(
    prior: DiffusionPrior, x: Tensor, t: Tensor, embeddings: Embeddings, *, stride: float = 0.2, **conditions: Any
) -> Tensor:
    """x_t on the deterministic path from x, in equal steps of at most `stride`, without guidance."""
    steps = max(1, int(-(-float(t.max()) // stride)))
    x_t = x.detach()
    for index in range(steps):
        now, later = t * index / steps, t * (index + 1) / steps
        x_t = ddim_step(prior, prior.predict(x_t, now, embeddings, **conditions), later)
    return x_t


def ism(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings,
    t: Tensor,
    *,
    interval: float = 0.05,
    stride: float = 0.2,
    scale: float = 7.5,
    **conditions: Any,
) -> Tensor:
    """Interval score matching: (σ/α)(ε̂_cfg(x_t; y) − ε̂_∅(x_s)) with s = t − `interval`.

    x_s and x_t lie on the path of unconditional DDIM inversion of x, so no random noise enters. `interval` is annealed
    from 0.1 to 0.025–0.08. Source: Liang et al. 2024 (LucidDreamer).
    """
    earlier = (t - interval).clamp_min(0.0)
    x_s = ddim_inversion(prior, x, earlier, unconditional, stride=stride, **conditions)
    before = prior.predict(x_s, earlier, unconditional, **conditions)
    x_t = ddim_step(prior, before, t)
    after = guided_prediction(prior, x_t, t, conditional, unconditional, scale, **conditions)
    alpha, sigma = prior.alpha_sigma(t)
    return (sigma / alpha) * (after.eps - before.eps)


def hifa_target(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float = 7.5,
    steps: int = 4,
    **conditions: Any,
) -> Tensor:
    """ẑ: x with noise of t, denoised in `steps` steps. Source: Zhu et al. 2024 (HiFA)."""
    return clean_up(prior, x, t, noise, conditional, unconditional, scale=scale, steps=steps, **conditions)


def hifa_loss(prior: DiffusionPrior, x: Tensor, images: Tensor, target: Tensor, rgb_weight: float = 0.1) -> Tensor:
    """‖x − ẑ‖² + λ‖images − Dec(ẑ)‖², each averaged over its elements; `target` is that of `hifa_target`.

    images [B, 3, H, W] in [−1, 1] at the resolution that the prior decodes to.
    """
    loss = (x - target.detach()).square().mean()
    if rgb_weight and not prior.pixel_space:
        with torch.no_grad():
            decoded = prior.decode(target)
        loss = loss + rgb_weight * (images - decoded).square().mean()
    return loss
