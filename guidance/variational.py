"""Distillation with a second network that follows the images being made: VSD, BSD and PGSD.

SDS compares the prior with the noise that was added. Here the prior is compared with a network φ that knows the images
made so far, so that their spread is not driven out. φ is a LoRA of the prior (`guidance.lora`), trained one step for
each step of the generator.

| | prior | φ |
|---|---|---|
| VSD (Wang et al. 2023, ProlificDreamer) | the pretrained model, s = 7.5 | LoRA with camera |
| BSD (Sun et al. 2024, DreamCraft3D) | a DreamBooth model of the asset | LoRA with camera |
| PGSD (Yeh et al. 2024, TextureDreamer) | a DreamBooth model of photos, with ControlNet, s = 1 | the same, camera |
"""

from typing import Any

import torch
from torch import Tensor

from guidance.denoising import denoising_loss
from guidance.lora import AdaptedPrior, drop_cameras
from guidance.priors.prior import DiffusionPrior, Embeddings, add_noise
from guidance.score_distillation import WEIGHTINGS, guided_and_limited


def vsd(
    prior: DiffusionPrior,
    follower: DiffusionPrior,
    x: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    t: Tensor,
    noise: Tensor,
    *,
    camera: Tensor | None = None,
    follower_text: Embeddings | None = None,
    scale: float = 7.5,
    weighting: str = "dreamfusion",
    clamp: bool = True,
    **conditions: Any,
) -> Tensor:
    """w(t)(ε̂_cfg(x_t; y) − ε_φ(x_t; y, c)).

    follower: φ, such as `AdaptedPrior.prior`. camera [B, 16]: its condition, of a follower made with `camera=True`.
    follower_text: its prompt where it differs from `conditional`, which may name the view.
    """
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    wanted = guided_and_limited(prior, x_t, t, conditional, unconditional, scale, clamp=clamp, **conditions)
    cameras: dict[str, Any] = {} if camera is None else {"camera": camera}
    own = guided_and_limited(
        follower, x_t, t, follower_text or conditional, None, 1.0, clamp=clamp, **cameras, **conditions
    )
    return WEIGHTINGS[weighting](alpha, sigma) * (wanted.eps - own.eps)


def follower_loss(
    adapted: AdaptedPrior,
    x: Tensor,
    text: Embeddings,
    generator: torch.Generator,
    *,
    camera: Tensor | None = None,
    camera_dropout: float = 0.1,
    **conditions: Any,
) -> Tensor:
    """The loss that φ is trained with, one step for each of the generator's: denoising x at a time of its own.

    A prior that takes the guidance scale as an input is told 1, as `vsd` tells it.
    """
    t = torch.rand(len(x), generator=generator).to(x.device)
    noise = torch.randn(x.shape, generator=generator).to(x)
    cameras = {} if camera is None else {"camera": drop_cameras(camera, camera_dropout, generator)}
    guidance = {"guidance": 1.0} if adapted.prior.embedded_guidance else {}
    return denoising_loss(adapted.prior, x, text, t, noise, **cameras, **guidance, **conditions)
