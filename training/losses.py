"""The losses, one function each. `gan_step.py` weights and sums them.

An objective is a pair of losses, of a discriminator (real_logits, fake_logits) and of the generator (the same).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.layers import at_least_fp32


@dataclass(frozen=True)
class Objective:
    """discriminator, generator: losses of real_logits [B] and fake_logits [B]. paired: the generator's needs both; else
    its real_logits are ignored."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator: mean of softplus(−D(G(z))) = −log σ(D(G(z))).

    fake_logits [B]. Source: Goodfellow et al. 2014, §3.
    """
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of a discriminator: mean softplus(−D(x)) + mean softplus(D(G(z))).

    real_logits, fake_logits [B]. Source: Goodfellow et al. 2014, eq. 1, as a loss.
    """
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of a discriminator: mean of softplus(D(G(z)) − D(x)), each fake against one real.

    real_logits, fake_logits [B]. It diverges without R1 and R2. Source: Jolicoeur-Martineau 2019; Huang et al. 2024
    (R3GAN), eq. 2.
    """
    return F.softplus(fake_logits - real_logits).mean()


def relativistic_generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of the generator: mean of softplus(D(x) − D(G(z))). real_logits, fake_logits [B]."""
    return F.softplus(real_logits - fake_logits).mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of a discriminator: mean max(0, 1 − D(x)) + mean max(0, 1 + D(G(z))).

    real_logits, fake_logits [B]. Source: Lim and Ye 2017, eq. 5.
    """
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """The generator's loss beside the hinge loss: mean of −D(G(z)). fake_logits [B]."""
    return -fake_logits.mean()


OBJECTIVES = {
    "non_saturating": Objective(discriminator_loss, lambda _, fake: generator_loss(fake)),
    "relativistic": Objective(relativistic_discriminator_loss, relativistic_generator_loss, paired=True),
    "hinge": Objective(hinge_discriminator_loss, lambda _, fake: hinge_generator_loss(fake)),
}


def gamma_factor(nimg: float, start: float, kimg: float) -> float:
    """The factor on γ after `nimg` images: from `start` to 1 along half a cosine over `kimg`, then 1.

    Source of the schedule: Huang et al. 2024 (R3GAN), with a start of 10.
    """
    done = min(nimg / (1000 * kimg), 1.0) if kimg > 0 else 1.0
    return 1 + (start - 1) * (1 + math.cos(math.pi * done)) / 2


def squared_gradient_norms(logits: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """‖∇ₓ D(x)‖² of each sample [B], for several discriminators in one call of autograd.

    logits: [B] of each discriminator. images: [B, C, H, W] of each, requiring gradient. Since logits depend only on
    their own discriminator's images, the gradient of the sum of all logits contains each one's own. Differentiable
    once more. R1 (Mescheder et al. 2018, eq. 9) is γ/2 times the mean over real images, R2 that over generated ones.
    """
    total = torch.stack([at_least_fp32(each).sum() for each in logits]).sum()
    gradients = torch.autograd.grad(total, list(images), create_graph=True)
    return [at_least_fp32(gradient).square().flatten(1).sum(1) for gradient in gradients]


def r1_loss(squared_norms: Tensor, gamma: float, interval: int) -> Tensor:
    """R1 or R2 penalty γ/2 · E‖∇D‖², times the interval in minibatches at which it is evaluated.

    squared_norms [B]. Source: lazy regularization, Karras et al. 2020 (StyleGAN2), appendix B.
    """
    return squared_norms.mean() * (0.5 * gamma * interval)


def overfitting_sign(real_logits: Tensor) -> Tensor:
    """sign(D(x)) [B]. Its mean over real images is r_t of Karras et al. 2020 (ADA), eq. 1: 1 = complete overfitting."""
    return real_logits.detach().sign()
