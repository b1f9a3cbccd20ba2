"""Each score-matching loss against the Fisher divergence that it stands for, and each sampler with exact scores."""

import math

import pytest
import torch

from guidance.denoising import denoising_loss
from guidance.priors.prior import add_noise
from guidance.score_matching import (
    GaussianMixture,
    annealed_langevin,
    ddpm_sample,
    denoising_score_matching,
    explicit_score_matching,
    fisher_divergence,
    langevin,
    multi_level_loss,
    noise_levels_between,
    score_of_noise,
    sliced_score_matching,
)
from tests.guidance.gaussian_prior import gaussian, gaussian_prior

MIXTURE = GaussianMixture(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), torch.tensor([0.8, 0.2]), 0.5)


def samples(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return MIXTURE.sample(count, generator), torch.randn(count, 2, generator=generator), generator


def test_the_known_score_is_the_gradient_of_the_log_density():
    x = samples(64)[0].requires_grad_()
    (slope,) = torch.autograd.grad(MIXTURE.log_density(x).sum(), x)
    torch.testing.assert_close(MIXTURE.score(x.detach()), slope)
    edge = torch.linspace(-8, 8, 321)
    grid = torch.cartesian_prod(edge, edge)
    assert MIXTURE.log_density(grid).exp().sum() * 0.05**2 == pytest.approx(1, abs=1e-3)


def wrong(x):
    """A score that is not that of MIXTURE."""
    return 0.7 * MIXTURE.score(x) + torch.sin(x)


def test_explicit_and_sliced_losses_are_the_fisher_divergence_up_to_a_constant():
    x, _, generator = samples(100_000)
    divergence = fisher_divergence(wrong, MIXTURE.score, x).item()
    explicit = explicit_score_matching(wrong, x) - explicit_score_matching(MIXTURE.score, x)
    assert explicit.item() == pytest.approx(divergence, rel=0.05)
    directions = torch.randn(x.shape, generator=generator)
    sliced = sliced_score_matching(wrong, x, directions) - sliced_score_matching(MIXTURE.score, x, directions)
    assert sliced.item() == pytest.approx(divergence, rel=0.05)
    constant = 0.5 * MIXTURE.score(x).square().sum(1).mean()
    assert explicit_score_matching(MIXTURE.score, x).item() == pytest.approx(-constant.item(), rel=0.05)


def test_the_denoising_loss_is_that_of_the_noised_density():
    x, noise, _ = samples(100_000)
    sigma = 0.6
    noised = MIXTURE.noised(sigma)
    difference = denoising_score_matching(wrong, x, noise, sigma) - denoising_score_matching(
        noised.score, x, noise, sigma
    )
    divergence = fisher_divergence(wrong, noised.score, x + sigma * noise)
    assert difference.item() == pytest.approx(divergence.item(), rel=0.05)
    levels = torch.full((len(x),), sigma)
    together = multi_level_loss(lambda y, _: wrong(y), x, noise, levels)
    assert together.item() == pytest.approx(
        sigma**2 * denoising_score_matching(wrong, x, noise, sigma).item(), rel=1e-4
    )


def test_ddpm_trains_by_denoising_score_matching():
    """‖ε̂ − ε‖² = 2σ² times the denoising loss of the score −ε̂/σ, for x scaled by α."""
    prior = gaussian_prior()
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 512, 1, 1, 1, generator=generator)
    t = torch.full((512,), 0.4)
    alpha, sigma = prior.alpha_sigma(t)
    ddpm = denoising_loss(prior, x, gaussian(0.3), t, noise)

    def score(x_t):
        return score_of_noise(prior.predict(x_t[:, :, None, None], t, gaussian(0.3)).eps, sigma)[:, :, 0, 0]

    matching = denoising_score_matching(score, (alpha * x)[:, :, 0, 0], noise[:, :, 0, 0], sigma.flatten())
    torch.testing.assert_close(ddpm, 2 * sigma[0, 0, 0, 0] ** 2 * matching, atol=1e-5, rtol=1e-4)


def share_of_second(x):
    return (x[:, 0] > 0).float().mean().item()


def test_annealing_finds_the_shares_of_the_modes_and_plain_langevin_does_not():
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(2000, 2, generator=generator) * 8 - 4
    plain = langevin(MIXTURE.score, start, 0.02, 150, generator)
    assert share_of_second(plain) == pytest.approx(0.5, abs=0.1)  # where they started
    sigmas = noise_levels_between(4.0, 0.05, 10)
    assert sigmas[0] == pytest.approx(4) and sigmas[-1] == pytest.approx(0.05)

    def score(x, sigma):
        return MIXTURE.noised(float(sigma[0])).score(x)

    *_, end = annealed_langevin(score, start, sigmas, generator, epsilon=2e-4, steps=80)
    assert share_of_second(end) == pytest.approx(0.2, abs=0.08)
    second = end[end[:, 0] > 0]
    torch.testing.assert_close(second.mean(0), MIXTURE.means[1], atol=0.12, rtol=0)
    assert second.std(0).mean().item() == pytest.approx(0.5, abs=0.08)


def test_ancestral_sampling_with_the_exact_denoiser():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 1, 1, 1, generator=generator)
    steps = ddpm_sample(gaussian_prior(pixel_space=False), noise, gaussian(0.7), 100, generator)
    assert len(steps) == 100
    assert steps[-1].mean().item() == pytest.approx(0.7, abs=0.03)
    assert steps[-1].std().item() == pytest.approx(0.3, abs=0.04)  # 100 steps lose some of it
    # Half way, the samples are distributed as noised data.
    alpha, sigma = gaussian_prior().alpha_sigma(torch.tensor([0.5]))
    wanted = math.hypot(alpha.item() * 0.3, sigma.item())
    assert steps[49].std().item() == pytest.approx(wanted, rel=0.05)
    assert add_noise(torch.tensor(0.7), torch.tensor(0.0), alpha, sigma).item() == pytest.approx(
        steps[49].mean().item(), abs=0.05
    )
