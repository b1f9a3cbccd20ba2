"""Distillation of rectified-flow priors (SD3, FLUX, SANA): x_t = (1 − t)x + tε, and the network gives v̂ ≈ ε − x.

Source: Yang et al. 2025 (Text-to-image rectified flow as plug-and-play priors), RFDS and RFDS-Rev.
"""

from typing import Any

import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings, Prediction, add_noise, guided_prediction
from guidance.score_distillation import guided_and_limited


def flow_residual(prediction: Prediction, x: Tensor, noise: Tensor) -> Tensor:
    """v̂ − (ε − x) = (x − x̂0)/t = (ε̂ − ε)/(1 − t): how far the straight line from x to ε is from the flow."""
    return prediction.velocity - (noise - x)


def rfds(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    scale: float = 50.0,
    weight: float = 1.0,
    rescale: float = 0.0,
    **conditions: Any,
) -> Tensor:
    """Rectified-flow distillation: w(v̂_cfg(x_t; y) − (ε − x)). Seeks the mode, as SDS does."""
    _check_flow(prior, "rfds")
    x = x.detach()
    x_t = add_noise(x, noise, *prior.alpha_sigma(t))
    prediction = guided_and_limited(prior, x_t, t, conditional, unconditional, scale, rescale=rescale, **conditions)
    return weight * flow_residual(prediction, x, noise)


@torch.no_grad()
def reversed_noise(
    prior: DiffusionPrior,
    x: Tensor,
    embeddings: Embeddings,
    t: Tensor,
    noise: Tensor,
    *,
    steps: int = 1,
    rate: float = 1.0,
    **conditions: Any,
) -> Tensor:
    """The noise moved towards the one that the flow leads to x: ε ← ε + η(v̂(x_t) − (ε − x)), `steps` times.

    A descent of ½‖v̂ − (ε − x)‖² in ε that leaves out the network's Jacobian, as SDS does in x. At its fixed point
    x̂0 = x: the flow from ε passes through x.
    """
    _check_flow(prior, "reversed_noise")
    x = x.detach()
    for _ in range(steps):
        x_t = add_noise(x, noise, *prior.alpha_sigma(t))
        prediction = guided_prediction(prior, x_t, t, embeddings, None, 1.0, **conditions)
        noise = noise + rate * flow_residual(prediction, x, noise)
    return noise


def rfds_reverse(
    prior: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    reverse_steps: int = 1,
    rate: float = 1.0,
    scale: float = 7.0,
    **conditions: Any,
) -> Tensor:
    """RFDS-Rev: first the noise is fitted to x, then RFDS. With fitted noise only the guidance is left, so details of x
    survive and the variance is kept."""
    noise = reversed_noise(prior, x, conditional, t, noise, steps=reverse_steps, rate=rate, **conditions)
    return rfds(prior, x, conditional, unconditional, t, noise, scale=scale, **conditions)


def _check_flow(prior: DiffusionPrior, name: str) -> None:
    if not prior.levels.is_flow:
        raise ValueError(f"{name}(): expected a rectified-flow prior, got one of {prior.prediction_type} prediction")
