"""The losses, one function each. `gan_step.py` weights and sums them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.layers import at_least_fp32


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


def squared_gradient_norms(logits: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """‖∇ₓ D(x)‖² of each sample [B], for several discriminators in one call of autograd.

    logits: [B] of each discriminator. images: [B, C, H, W] of each, requiring gradient. Since logits depend only on
    their own discriminator's images, the gradient of the sum of all logits contains each one's own. Differentiable
    once more. R1 (Mescheder et al. 2018, eq. 9) is γ/2 times the mean over real images.
    """
    total = torch.stack([at_least_fp32(each).sum() for each in logits]).sum()
    gradients = torch.autograd.grad(total, list(images), create_graph=True)
    return [at_least_fp32(gradient).square().flatten(1).sum(1) for gradient in gradients]


def r1_loss(squared_norms: Tensor, gamma: float, interval: int) -> Tensor:
    """R1 penalty γ/2 · E‖∇D‖², times the interval in minibatches at which it is evaluated.

    squared_norms [B]. Source: lazy regularization, Karras et al. 2020 (StyleGAN2), appendix B.
    """
    return squared_norms.mean() * (0.5 * gamma * interval)


def overfitting_sign(real_logits: Tensor) -> Tensor:
    """sign(D(x)) [B]. Its mean over real images is r_t of Karras et al. 2020 (ADA), eq. 1: 1 = complete overfitting."""
    return real_logits.detach().sign()
