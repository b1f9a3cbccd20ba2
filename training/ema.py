"""The running average of the generator's weights, which is what is sampled from and shipped."""

import math

import torch
from torch import nn


def ema_beta(nimg: int, batch: int, halflife_kimg: float, rampup: float) -> float:
    """Decay of the average for one step of `batch` images: β = 0.5^(batch / halflife).

    nimg: images shown before the step. halflife_kimg: images after which a weight's part has halved, thousands.
    rampup: the half-life is at most this share of nimg, so that the start is forgotten soon; 0 = no ramp.
    Source: Karras et al. 2020 (StyleGAN2-ADA), §C: half-life in images and its ramp.
    """
    halflife = halflife_kimg * 1000
    if rampup > 0:
        halflife = min(halflife, nimg * rampup)
    return math.exp2(-batch / halflife) if halflife > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, live: nn.Module, beta: float) -> None:
    """average ← β·average + (1 − β)·live for parameters; buffers (running averages themselves) are copied.

    Buffers that a network file does not hold are constants (resampling filters), the same in both: they stay.
    """
    torch._foreach_lerp_(list(average.parameters()), list(live.parameters()), 1 - beta)
    saved = live.state_dict()
    for name, target in average.named_buffers():
        if name in saved:
            target.copy_(saved[name])
