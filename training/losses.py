"""Each loss is one named function; `step.py` weights and sums them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


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
    """‖∇ₓ D(x)‖² of each sample for several discriminators at once [B] each, in one call of autograd.

    logits: [B] of each discriminator, which sees only the images of the same place in `images` (each [B, C, H, W] and
    requiring gradient); so the gradient of the sum of all logits is each one's own. Differentiable once more.
    R1 (Mescheder et al. 2018, eq. 9) is γ/2 times the mean of these over real images.
    """
    total = torch.stack([each.float().sum() for each in logits]).sum()
    gradients = torch.autograd.grad(total, list(images), create_graph=True)
    return [gradient.float().square().flatten(1).sum(1) for gradient in gradients]


def r1_loss(squared_norms: Tensor, gamma: float, interval: int) -> Tensor:
    """γ/2 · E‖∇D‖², times the number of minibatches between two evaluations (lazy regularization, Karras et al. 2020).

    squared_norms [B].
    """
    return squared_norms.mean() * (0.5 * gamma * interval)


def overfitting_sign(real_logits: Tensor) -> Tensor:
    """sign(D(x)) of images [B]; over reals its mean is r_t of Karras et al. 2020 (ADA), eq. 1: 1 = full overfitting."""
    return real_logits.detach().sign()
