"""How a denoiser is trained: LoRA, DreamBooth, the score-matching primer and the included priors share its target."""

from typing import Any

import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings, PredictionType, add_noise


def training_target(kind: PredictionType, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a network of this prediction type must output for x_t = αx + σε: ε, x, αε − σx (v) or ε − x (flow)."""
    targets = {
        "epsilon": lambda: noise,
        "sample": lambda: x,
        "v_prediction": lambda: alpha * noise - sigma * x,
        "flow": lambda: noise - x,
    }
    return targets[kind]()


def denoising_loss(
    prior: DiffusionPrior, x: Tensor, embeddings: Embeddings, t: Tensor, noise: Tensor, **conditions: Any
) -> Tensor:
    """Mean squared error of the network's output, with gradient to its parameters.

    x [B, C, h, w] clean, in the prior's space. Source: Ho et al. 2020 (DDPM), eq. 14; it is denoising score matching
    (Vincent 2011) weighted by σ², since the score of x_t given x is −ε/σ.
    """
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    embeddings = embeddings.expand(len(x))
    output = prior.network(x_t.to(prior.dtype), prior.levels.timestep(t), embeddings, **conditions)
    return torch.nn.functional.mse_loss(
        output.to(x.dtype), training_target(prior.prediction_type, x, noise, alpha, sigma)
    )
