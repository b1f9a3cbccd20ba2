"""Score matching, from the definition to the training of a diffusion prior. `docs/score_matching.md` walks through it.

A score is s(x) = ∇ log p(x). Each loss below needs only samples x [B, C] of p and a function s(x) [B, C] → [B, C] with
trainable parameters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidance.priors.prior import DiffusionPrior, Embeddings

Score = Callable[[Tensor], Tensor]
# s(x, σ) with σ [B]: the score of p with noise of each level.
NoisedScore = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class GaussianMixture:
    """A density with a known score: Σ weight · N(mean, std²). means [K, C], weights [K] that sum to 1."""

    means: Tensor
    weights: Tensor
    std: float

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) [B] at x [B, C]."""
        return self._log_parts(x).logsumexp(1)

    def score(self, x: Tensor) -> Tensor:
        """∇ log p(x) [B, C]: the components' own scores, weighted by how likely x came from each."""
        share = self._log_parts(x).softmax(1)
        return (share[:, :, None] * (self.means - x[:, None])).sum(1) / self.std**2

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples [B, C]."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator)
        return self.means[component] + self.std * noise

    def noised(self, sigma: float) -> "GaussianMixture":
        """The density of x + σε."""
        return GaussianMixture(self.means, self.weights, math.hypot(self.std, sigma))

    def _log_parts(self, x: Tensor) -> Tensor:
        squared = (x[:, None] - self.means).square().sum(2)
        constant = x.shape[1] / 2 * math.log(2 * math.pi * self.std**2)
        return self.weights.log() - squared / (2 * self.std**2) - constant


def fisher_divergence(score: Score, true_score: Score, x: Tensor) -> Tensor:
    """½ E‖s(x) − ∇ log p(x)‖²: what all the losses below minimize, where the score is known."""
    return 0.5 * (score(x) - true_score(x)).square().sum(1).mean()


def explicit_score_matching(score: Score, x: Tensor) -> Tensor:
    """E[tr ∇s(x) + ½‖s(x)‖²]: the Fisher divergence up to a constant, without the unknown score.

    The trace takes one backward pass for each dimension. Source: Hyvärinen 2005, theorem 1.
    """
    x = x.detach().requires_grad_()
    values = score(x)
    trace = torch.zeros(len(x), device=x.device)
    for i in range(x.shape[1]):
        (row,) = torch.autograd.grad(values[:, i].sum(), x, create_graph=True)
        trace = trace + row[:, i]
    return (trace + 0.5 * values.square().sum(1)).mean()


def sliced_score_matching(score: Score, x: Tensor, directions: Tensor) -> Tensor:
    """E[vᵀ∇s(x)v + ½‖s(x)‖²] with random directions v [B, C] of identity covariance.

    One backward pass in any dimension. Source: Song et al. 2019 (sliced score matching), eq. 8.
    """
    x = x.detach().requires_grad_()
    values = score(x)
    (product,) = torch.autograd.grad((values * directions).sum(), x, create_graph=True)
    return ((product * directions).sum(1) + 0.5 * values.square().sum(1)).mean()


def denoising_score_matching(score: Score, x: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """½ E‖s(x + σε) + ε/σ‖²: fits the score of the noised density, without any derivative of s.

    −ε/σ is the score of x + σε given x, and its mean given x + σε is the score of the noised density. sigma: a number
    or [B]. Source: Vincent 2011.
    """
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1)
    return 0.5 * (score(x + level * noise) + noise / level).square().sum(1).mean()


def multi_level_loss(score: NoisedScore, x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Denoising score matching at a level of its own for each sample, weighted by σ² so that all levels count alike.

    sigma [B]. Source: Song and Ermon 2019 (NCSN), eq. 5 and 6 with λ(σ) = σ².
    """
    level = sigma[:, None]
    return 0.5 * (level * score(x + level * noise, sigma) + noise).square().sum(1).mean()


def noise_levels_between(largest: float, smallest: float, count: int) -> list[float]:
    """A geometric sequence of σ, from the largest down."""
    return torch.logspace(math.log10(largest), math.log10(smallest), count).tolist()


@torch.no_grad()
def langevin(score: Score, x: Tensor, step: float, steps: int, generator: torch.Generator) -> Tensor:
    """x ← x + (α/2)s(x) + √α ε, `steps` times with α = step: samples of p as α → 0 and steps → ∞."""
    for _ in range(steps):
        x = x + 0.5 * step * score(x) + math.sqrt(step) * torch.randn(x.shape, generator=generator)
    return x


@torch.no_grad()
def annealed_langevin(
    score: NoisedScore, x: Tensor, sigmas: Sequence[float], generator: torch.Generator, *, epsilon: float, steps: int
) -> list[Tensor]:
    """Langevin sampling at each noise level in turn, with steps α_i = ε σ_i² / σ_L²; the samples after each level.

    Without the large levels, samples never cross the empty space between the modes, and their shares come out wrong.
    Source: Song and Ermon 2019, algorithm 1 (SMLD).
    """
    after = []
    for sigma in sigmas:
        level = torch.full((len(x),), sigma)
        step = epsilon * (sigma / sigmas[-1]) ** 2
        x = langevin(lambda y, level=level: score(y, level), x, step, steps, generator)  # type: ignore[misc]
        after.append(x)
    return after


def score_of_noise(eps: Tensor, sigma: Tensor) -> Tensor:
    """The score of x_t from the predicted noise: −ε̂/σ. Source: Song et al. 2021 (score SDE)."""
    return -eps / sigma


@torch.no_grad()
def ddpm_sample(
    prior: DiffusionPrior, x_t: Tensor, embeddings: Embeddings, steps: int, generator: torch.Generator
) -> list[Tensor]:
    """Ancestral sampling from x at t = 1 [B, C, h, w] to 0 in `steps` equal steps; x after each.

    The mean of q(x_s | x_t, x̂0) plus noise of its variance. Source: Ho et al. 2020 (DDPM), eq. 6, 7 and algorithm 2.
    """
    after = []
    times = torch.linspace(1, 0, steps + 1)
    for index in range(steps):
        t, s = times[index].expand(len(x_t)), times[index + 1].expand(len(x_t))
        x0 = prior.predict(x_t, t, embeddings).x0
        if index == steps - 1:
            after.append(x0)
            break
        (alpha_t, sigma_t), (alpha_s, sigma_s) = prior.alpha_sigma(t), prior.alpha_sigma(s)
        ratio = alpha_t / alpha_s
        added = sigma_t.square() - ratio.square() * sigma_s.square()  # variance of x_t given x_s
        mean = (ratio * sigma_s.square() * x_t + alpha_s * added * x0) / sigma_t.square()
        spread = (added * sigma_s.square() / sigma_t.square()).sqrt()
        x_t = mean + spread * torch.randn(x_t.shape, generator=generator)
        after.append(x_t)
    return after
