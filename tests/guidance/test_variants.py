"""NFSD, CSD, ISM, HiFA, flow and variational distillation against the closed form of a Gaussian prior."""

import math
from dataclasses import replace

import pytest
import torch

from guidance.denoising import denoising_loss, training_target
from guidance.flow_distillation import flow_residual, reversed_noise, rfds, rfds_reverse
from guidance.lora import AdaptedPrior
from guidance.priors.prior import PREDICTION_TYPES, NoiseLevels, add_noise
from guidance.sampler import clean_up, ddim_inversion, denoised, hifa_loss, hifa_target, ism, sample_prior
from guidance.score_distillation import csd, nfsd, sds, sds_gradient_x0
from guidance.variational import follower_loss, vsd
from tests.guidance.gaussian_prior import gaussian, gaussian_prior
from tests.guidance.test_score_distillation import EMPTY, TEXT, inputs, optimized
from training.photos.gradient import photo_gradient
from training.photos.learn import TunedPrior

BAD = gaussian(-0.6)
LATENT = gaussian_prior(pixel_space=False)
FLOW = gaussian_prior("flow", pixel_space=False)


def predictions(x, noise, t, *texts, prior=LATENT):
    x_t = add_noise(x, noise, *prior.alpha_sigma(t))
    return [prior.predict(x_t, t, text).eps for text in texts]


def test_nfsd_leaves_the_noise_out():
    x, noise, t = inputs()
    text, empty, bad = predictions(x, noise, t, TEXT, EMPTY, BAD)
    got = nfsd(LATENT, x, TEXT, EMPTY, BAD, t, noise, scale=7.5, weighting="constant")
    domain = torch.where((t < 0.2)[:, None, None, None], empty, empty - bad)
    torch.testing.assert_close(got, domain + 7.5 * (text - empty))
    assert (t < 0.2).any() and not (t < 0.2).all()


def test_csd_is_the_classifier_alone():
    x, noise, t = inputs()
    text, empty, bad = predictions(x, noise, t, TEXT, EMPTY, BAD)
    torch.testing.assert_close(csd(LATENT, x, TEXT, EMPTY, t, noise, weighting="constant"), text - empty)
    assert torch.equal(csd(LATENT, x, TEXT, TEXT, t, noise), torch.zeros_like(x))
    both = csd(LATENT, x, TEXT, EMPTY, t, noise, negative=BAD, negative_scale=0.5, weighting="constant")
    torch.testing.assert_close(both, text - empty + 0.5 * (empty - bad))


def exact_flow(x, t, mean, std, prior):
    """The deterministic path of a Gaussian: (x_t − αμ)/√(α²s² + σ²) stays what (x − μ)/s was."""
    alpha, sigma = prior.alpha_sigma(t)
    return alpha * mean + (alpha.square() * std**2 + sigma.square()).sqrt() * (x - mean) / std


@pytest.mark.parametrize("prior", [LATENT, FLOW], ids=["vp", "flow"])
def test_inversion_follows_the_exact_path_and_denoising_returns(prior):
    x, _, _ = inputs()
    t = torch.full((len(x),), 0.6)
    path = ddim_inversion(prior, x, t, TEXT, stride=0.6 / 150)
    torch.testing.assert_close(path, exact_flow(x, t, 0.7, 0.3, prior), atol=0.05, rtol=0.03)
    back = denoised(prior, path, t, TEXT, None, scale=1.0, steps=150)
    torch.testing.assert_close(back, x, atol=0.12, rtol=0)


@pytest.mark.parametrize("prior", [LATENT, FLOW], ids=["vp", "flow"])
def test_samples_of_the_prior_have_its_mean_and_spread(prior):
    text = gaussian([0.7] * 64)
    samples = sample_prior(prior, text, None, torch.Generator().manual_seed(0), side=4, scale=1.0, steps=60)
    assert samples.mean() == pytest.approx(0.7, abs=0.03) and samples.std() == pytest.approx(0.3, abs=0.03)


def test_little_noise_keeps_an_image_and_much_replaces_it():
    x = torch.full((64, 1, 4, 4), -0.5)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    little, much = (
        clean_up(LATENT, x, torch.full((64,), t), noise, TEXT, None, scale=1.0, steps=20) for t in (0.004, 0.98)
    )
    assert (little - x).abs().mean() < 0.1 and much.mean() == pytest.approx(0.7, abs=0.08)


def test_ism_compares_two_steps_of_one_path():
    """Without guidance and with the same prompt, the path of the prior itself gives almost no gradient."""
    x, _, _ = inputs()
    t = torch.full((len(x),), 0.5)
    own = ism(LATENT, x, TEXT, TEXT, t, interval=0.02, stride=0.02, scale=1.0)
    towards = ism(LATENT, x, TEXT, EMPTY, t, interval=0.02, stride=0.02, scale=7.5)
    assert own.abs().mean() < 0.05 * towards.abs().mean()
    assert -towards.mean() > 0.5  # TEXT is brighter than EMPTY
    assert torch.equal(towards, ism(LATENT, x, TEXT, EMPTY, t, interval=0.02, stride=0.02, scale=7.5))  # no noise


def test_hifa_in_one_step_is_sds_in_the_clean_image_form():
    x, noise, t = inputs()
    target = hifa_target(LATENT, x, TEXT, EMPTY, t, noise, scale=7.5, steps=1)
    alpha, sigma = LATENT.alpha_sigma(t)
    gradient = sds_gradient_x0(x, target, alpha, sigma, torch.ones_like(alpha))
    wanted = sds(LATENT, x, TEXT, EMPTY, t, noise, scale=7.5, weighting="constant")
    torch.testing.assert_close(gradient, wanted, atol=1e-4, rtol=1e-4)
    four = hifa_target(LATENT, x, TEXT, EMPTY, t, noise, scale=1.0, steps=4)
    assert four.mean() > target.mean() / 100 and not torch.equal(four, target)
    images = torch.zeros_like(x)
    loss = hifa_loss(LATENT, x, images, four, rgb_weight=0.1)
    torch.testing.assert_close(loss, (x - four).square().mean() + 0.1 * four.square().mean())


def test_three_forms_of_the_flow_gradient_are_one():
    x, noise, t = (value.double() for value in inputs())
    alpha, sigma = FLOW.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = gaussian_prior("flow").denoise(x_t, t, TEXT)
    residual = flow_residual(prediction, x, noise)
    torch.testing.assert_close(residual, (x - prediction.x0) / sigma, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(residual, (prediction.eps - noise) / (1 - sigma), atol=1e-5, rtol=1e-4)


def test_rfds_goes_to_the_mode_and_its_reversal_keeps_the_spread():
    start = inputs(64)[0] * 0.5
    to_mode = optimized(lambda x, t, n: rfds(FLOW, x, TEXT, None, t, n, scale=1.0), start)
    assert to_mode.mean() == pytest.approx(0.7, abs=0.03) and to_mode.std() < 0.08

    # The fitted noise leads to x, so that without guidance nothing moves and with it all samples move alike.
    def reverse(scale):
        def gradient(x, t, noise):
            t = 0.3 + 0.2 * t
            return rfds_reverse(FLOW, x, TEXT, EMPTY, t, noise, reverse_steps=60, scale=scale)

        return gradient

    still = optimized(reverse(1.0), start, steps=15)
    torch.testing.assert_close(still, start, atol=0.02, rtol=0)
    moved = optimized(reverse(2.0), start, steps=15)
    assert moved.mean() > start.mean() + 0.15 and moved.std() > 0.8 * start.std()


def test_reversed_noise_goes_to_its_fixed_point():
    """x̂0 = x at ε = (x − μ) t / ((1 − t) s²); every step brings the residual down."""
    x, noise, _ = inputs()
    t = torch.full((len(x),), 0.8)
    residuals = []
    for steps in (0, 1, 5, 400):
        fitted = reversed_noise(FLOW, x, TEXT, t, noise, steps=steps)
        x_t = add_noise(x, fitted, *FLOW.alpha_sigma(t))
        residuals.append(flow_residual(FLOW.predict(x_t, t, TEXT), x, fitted).abs().mean().item())
    assert residuals[0] > residuals[1] > residuals[2] > 100 * residuals[3]
    torch.testing.assert_close(fitted, (x - 0.7) * 0.8 / (0.2 * 0.3**2), atol=1e-2, rtol=1e-2)


def test_a_prior_that_takes_the_scale_as_an_input_is_fitted_without_guidance():
    """As FLUX.1-dev: at s = 1, RFDS-Rev leaves x alone, and a follower learns what VSD asks it."""
    told = []

    def network(x_t, timestep, embeddings, *, guidance=3.5):
        told.append(guidance)
        return FLOW.network(x_t, timestep, embeddings) - guidance

    prior = replace(FLOW, network=network, embedded_guidance=True)
    x, noise, t = inputs(64)
    rfds_reverse(prior, x, TEXT, None, t, noise, reverse_steps=2, scale=1.0)
    follower_loss(AdaptedPrior(prior, {}, 1), x, TEXT, torch.Generator().manual_seed(0))
    vsd(prior, prior, x, TEXT, None, t, noise, scale=1.0)
    assert set(told) == {1.0}
    tuned = TunedPrior(prior, prior, "")
    gradient = photo_gradient("pgsd", tuned, x, x, TEXT, EMPTY, t, noise, scale=1.0, follower=prior)
    assert not gradient.any()


@pytest.mark.parametrize("method", [rfds, rfds_reverse])
def test_flow_distillation_refuses_other_priors(method):
    x, noise, t = inputs()
    with pytest.raises(ValueError, match="expected a rectified-flow prior, got one of epsilon"):
        method(LATENT, x, TEXT, None, t, noise, scale=1.0)


def follow(x):
    """The exact follower of images x: a Gaussian of their mean and spread."""
    return gaussian(x.mean().item(), std=max(x.std().item(), 1e-3))


@pytest.mark.parametrize("start_std", [0.02, 0.9])
def test_vsd_reaches_mean_and_variance(start_std):
    """With a follower that knows the samples' distribution, samples end distributed as the prior says."""
    start = -0.2 + start_std * torch.randn(256, 1, 4, 4, generator=torch.Generator().manual_seed(2))

    def gradient(x, t, noise):
        return vsd(LATENT, LATENT, x, TEXT, None, t, noise, follower_text=follow(x), scale=1.0, weighting="constant")

    end = optimized(gradient, start, steps=400, rate=0.2)
    assert end.mean() == pytest.approx(0.7, abs=0.03) and end.std() == pytest.approx(0.3, abs=0.03)


def test_vsd_of_a_prior_against_itself_is_zero():
    x, noise, t = inputs()
    assert torch.equal(vsd(LATENT, LATENT, x, TEXT, EMPTY, t, noise, scale=1.0), torch.zeros_like(x))


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_the_exact_denoiser_has_the_least_loss(kind):
    """The loss at the optimum is the conditional variance of its target; any other mean has more."""
    levels = NoiseLevels() if kind == "flow" else None
    prior = gaussian_prior(kind, levels)
    generator = torch.Generator().manual_seed(0)
    x = 0.7 + 0.3 * torch.randn(4096, 1, 1, 1, generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    t = torch.full((len(x),), 0.5)
    losses = {mean: denoising_loss(prior, x, gaussian(mean), t, noise).item() for mean in (0.6, 0.7, 0.8)}
    assert losses[0.7] < min(losses[0.6], losses[0.8])
    alpha, sigma = (value[0].item() for value in prior.alpha_sigma(t))
    total = alpha**2 * 0.09 + sigma**2
    variance = {"epsilon": alpha**2 * 0.09 / total, "sample": 0.09 * sigma**2 / total}
    scale = {"v_prediction": 1 / sigma**2, "flow": (alpha + sigma) ** 2 / sigma**2}
    wanted = variance.get(kind) or variance["sample"] * scale[kind]
    assert losses[0.7] == pytest.approx(wanted, rel=0.08)


def test_training_targets():
    x, noise, half = torch.tensor(2.0), torch.tensor(3.0), torch.tensor(math.sqrt(0.5))
    got = {kind: training_target(kind, x, noise, half, half).item() for kind in PREDICTION_TYPES}
    assert got == pytest.approx({"epsilon": 3, "sample": 2, "v_prediction": math.sqrt(0.5), "flow": 1})
