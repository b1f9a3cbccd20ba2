"""The running average (EMA) of the generator's weights, from which networks are saved and sampled."""

import math

import torch
from torch import nn


def ema_beta(nimg: int, batch: int, halflife_kimg: float, rampup: float) -> float:
    """Decay of the average for one step of `batch` images: β = 0.5^(batch / halflife).

    nimg: images seen before the step. halflife_kimg: kimg after which the influence of old weights has halved.
    rampup: the half-life is at most this share of nimg, so that the average soon forgets the start; 0 = no ramp-up.
    Source: Karras et al. 2020 (StyleGAN2-ADA), §C: half-life in images, with ramp-up.
    """
    halflife = halflife_kimg * 1000
    if rampup > 0:
        halflife = min(halflife, nimg * rampup)
    return math.exp2(-batch / halflife) if halflife > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, live: nn.Module, beta: float) -> None:
    """average ← β·average + (1 − β)·live for parameters. Buffers, which are running averages themselves, are copied.

    Buffers outside the state dict are constants (resampling filters), equal in both, and are not copied.
    """
    torch._foreach_lerp_(list(average.parameters()), list(live.parameters()), 1 - beta)
    saved = live.state_dict()
    for name, target in average.named_buffers():
        if name in saved:
            target.copy_(saved[name])
