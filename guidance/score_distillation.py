"""Score distillation: what a frozen diffusion prior says about an image, as a gradient on it.

Every method is a function (prior, x, embeddings, t, noise, …) → gradient shaped like x; `as_loss` turns the gradient
into a loss. x is the image in the prior's space (`DiffusionPrior.to_prior`), t [B] in (0, 1), noise like x. The prior's
Jacobian is left out throughout (Poole et al. 2023, DreamFusion, eq. 3).

Predicted noise and predicted clean image are two forms of one thing, ε̂ − ε = (α/σ)(x − x̂0), so clamping x̂0 to the
range of images is done on the prediction (`clamp_prediction`) and holds in either form.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidance.priors.prior import (
    DiffusionPrior,
    Embeddings,
    Prediction,
    add_noise,
    guided,
    guided_prediction,
    predict_each,
)

# w(t) on ε̂ − ε, from α and σ. dreamfusion: 1 − ᾱ. fantasia3d: √ᾱ(1 − ᾱ). inverse: 1/(1 − ᾱ).
WEIGHTINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dreamfusion": lambda alpha, sigma: sigma.square(),
    "constant": lambda alpha, sigma: torch.ones_like(sigma),
    "fantasia3d": lambda alpha, sigma: alpha * sigma.square(),
    "inverse": lambda alpha, sigma: 1 / sigma.square(),
}


def as_loss(x: Tensor, gradient: Tensor, clip: float | None = None) -> Tensor:
    """½‖x − sg(x − gradient)‖² / B, whose gradient on x is gradient / B.

    Values that are not finite become 0. clip: largest absolute value of the gradient.
    """
    gradient = torch.nan_to_num(gradient.detach(), nan=0.0, posinf=0.0, neginf=0.0)
    if clip is not None:
        gradient = gradient.clamp(-clip, clip)
    target = (x - gradient).detach()
    return 0.5 * (x - target).square().sum() / len(x)


def clamp_prediction(
    prediction: Prediction, x_t: Tensor, alpha: Tensor, sigma: Tensor, limit: float = 1.0
) -> Prediction:
    """x̂0 clamped to [−limit, limit], and the ε̂ that belongs to it. For pixels only, after guidance.

    Inside the range nothing changes. At s = 100 the unclamped x̂0 lies far outside the gamut, and colors saturate.
    """
    inside = prediction.x0.abs() <= limit
    clamped = prediction.x0.clamp(-limit, limit)
    return Prediction(torch.where(inside, prediction.eps, (x_t - alpha * clamped) / sigma), clamped)


def rescale_prediction(
    prediction: Prediction, conditional: Prediction, x_t: Tensor, alpha: Tensor, sigma: Tensor, mix: float = 0.5
) -> Prediction:
    """Guidance rescale: x̂0 · std(conditional x̂0) / std(x̂0) per sample, mixed in by `mix`. For latents.

    Source: Lin et al. 2024 (Common diffusion noise schedules), eq. 15 and 16, on x̂0 as MVDream does.
    """
    own = prediction.x0.flatten(1).std(1)[:, None, None, None]
    wanted = conditional.x0.flatten(1).std(1)[:, None, None, None]
    x0 = torch.lerp(prediction.x0, prediction.x0 * (wanted / own), mix)
    return Prediction((x_t - alpha * x0) / sigma, x0)


def sds_gradient(eps: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """w(t)(ε̂ − ε). Source: Poole et al. 2023, eq. 3."""
    return weight * (eps - noise)


def sds_gradient_x0(x: Tensor, x0: Tensor, alpha: Tensor, sigma: Tensor, weight: Tensor) -> Tensor:
    """w(t)(α/σ)(x − x̂0): `sds_gradient` in terms of the clean image."""
    return weight * (alpha / sigma) * (x - x0)


def guided_and_limited(
    prior: DiffusionPrior,
    x_t: Tensor,
    t: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    scale: float,
    *,
    clamp: bool = True,
    rescale: float = 0.0,
    **conditions: Any,
) -> Prediction:
    """The guided prediction, clamped to the range of images (pixel priors) or rescaled by `rescale` in [0, 1]."""
    alpha, sigma = prior.alpha_sigma(t)
    if rescale and unconditional is not None and scale not in (0, 1):
        with_text, without_text = predict_each(prior, x_t, t, [conditional, unconditional], **conditions)
        prediction = guided(with_text, without_text, scale)
        prediction = rescale_prediction(prediction, with_text, x_t, alpha, sigma, rescale)
    else:
        prediction = guided_prediction(prior, x_t, t, conditional, unconditional, scale, **conditions)
    if clamp and prior.pixel_space:
        prediction = clamp_prediction(prediction, x_t, alpha, sigma)
    return prediction


def sds(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float = 100.0,
    weighting: str = "dreamfusion",
    clamp: bool = True,
    rescale: float = 0.0,
    **conditions: Any,
) -> Tensor:
    """Score distillation sampling: w(t)(ε̂_cfg(x_t; y) − ε). Seeks the mode; scale 100 as published.

    clamp: x̂0 to [−1, 1], for pixel priors only. rescale: guidance rescale in [0, 1], for latents. Source: DreamFusion
    (Poole et al. 2023), eq. 3.
    """
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = guided_and_limited(
        prior, x_t, t, conditional, unconditional, scale, clamp=clamp, rescale=rescale, **conditions
    )
    return sds_gradient(prediction.eps, noise, WEIGHTINGS[weighting](alpha, sigma))


def dds(
    prior: DiffusionPrior,
    x: Tensor,
    x_source: Tensor,
    target: Embeddings,
    source: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float = 7.5,
    weighting: str = "dreamfusion",
    clamp: bool = True,
    rescale: float = 0.0,
    **conditions: Any,
) -> Tensor:
    """Delta denoising score: SDS of x under `target` minus SDS of the unedited `x_source` under `source`.

    Noise and t are shared, so ε cancels, and a null edit gives exactly zero. Source: Hertz et al. 2023 (DDS).
    """
    settings = {"scale": scale, "weighting": weighting, "clamp": clamp, "rescale": rescale, **conditions}
    edited = sds(prior, x, target, unconditional, t, noise, **settings)
    return edited - sds(prior, x_source, source, unconditional, t, noise, **settings)


def asd(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    shift: Tensor,
    *,
    t_min: float = 0.02,
    range_factor: float = 0.1,
    scale: float = 7.5,
    weighting: str = "dreamfusion",
    clamp: bool = True,
    **conditions: Any,
) -> Tensor:
    """Asynchronous score distillation: w(t)(ε̂_cfg(x_t; y, t) − ε̂(x_{t+Δt}; y, t + Δt)), the same ε in both.

    Δt = range_factor · (t − t_min) · shift, shift [B] ~ U(0, 1): the later step stands for a network fine-tuned to the
    generator's images, as VSD trains one. Source: Ma et al. 2024 (ScaleDreamer).
    """
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    later = (t + range_factor * (t - t_min).clamp_min(0) * shift).clamp(max=1.0)
    x_t, x_later = add_noise(x, noise, alpha, sigma), add_noise(x, noise, *prior.alpha_sigma(later))
    here = guided_and_limited(prior, x_t, t, conditional, unconditional, scale, clamp=clamp, **conditions)
    ahead = guided_and_limited(prior, x_later, later, conditional, unconditional, 1.0, clamp=clamp, **conditions)
    return WEIGHTINGS[weighting](alpha, sigma) * (here.eps - ahead.eps)


def nfsd(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings,
    negative: Embeddings,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float = 7.5,
    weighting: str = "dreamfusion",
    clean_below: float = 0.2,
    **conditions: Any,
) -> Tensor:
    """Noise-free score distillation: w(t)(δ_D + s(ε̂_y − ε̂_∅)).

    δ_D is the part of ε̂ that leads to the domain of real images without the noise: ε̂_∅ below t = `clean_below`, and
    ε̂_∅ − ε̂_neg above, with `negative` a prompt of bad images. Source: Katzir et al. 2024 (NFSD).
    """
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    text, empty, bad = predict_each(prior, x_t, t, [conditional, unconditional, negative], **conditions)
    is_clean = (t < clean_below)[:, None, None, None]
    domain = torch.where(is_clean, empty.eps, empty.eps - bad.eps)
    return WEIGHTINGS[weighting](alpha, sigma) * (domain + scale * (text.eps - empty.eps))


def csd(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings,
    t: Tensor,
    noise: Tensor,
    *,
    negative: Embeddings | None = None,
    negative_scale: float = 0.0,
    scale: float = 1.0,
    weighting: str = "dreamfusion",
    **conditions: Any,
) -> Tensor:
    """Classifier score distillation: w(t)(s(ε̂_y − ε̂_∅) + s_neg(ε̂_∅ − ε̂_neg)), without the generative part.

    negative_scale: usually lowered to 0 while the image forms. Source: Yu et al. 2024 (CSD).
    """
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prompts = [conditional, unconditional, *([] if negative is None else [negative])]
    text, empty, *bad = predict_each(prior, x_t, t, prompts, **conditions)
    gradient = scale * (text.eps - empty.eps)
    if bad:
        gradient = gradient + negative_scale * (empty.eps - bad[0].eps)
    return WEIGHTINGS[weighting](alpha, sigma) * gradient
