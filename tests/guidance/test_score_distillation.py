"""Score distillation against closed forms: a Gaussian prior has a known score and a known mode."""

import pytest
import torch

from guidance.priors.prior import add_noise
from guidance.score_distillation import (
    WEIGHTINGS,
    as_loss,
    asd,
    clamp_prediction,
    dds,
    rescale_prediction,
    sds,
    sds_gradient,
    sds_gradient_x0,
)
from tests.guidance.gaussian_prior import gaussian, gaussian_prior

TEXT, EMPTY = gaussian(0.7), gaussian(-0.2)


def inputs(count=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 1, 4, 4, generator=generator) * 2 - 1
    noise = torch.randn(count, 1, 4, 4, generator=generator)
    return x, noise, torch.linspace(0.02, 0.98, count)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_noise_form_and_clean_image_form_are_one(weighting):
    x, noise, t = inputs()
    prior = gaussian_prior("sample")
    alpha, sigma = (value.double() for value in prior.alpha_sigma(t))
    x, noise = x.double(), noise.double()
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = prior.predict(x_t, t, TEXT)
    weight = WEIGHTINGS[weighting](alpha, sigma)
    in_noise = sds_gradient(prediction.eps, noise, weight)
    in_x0 = sds_gradient_x0(x, prediction.x0, alpha, sigma, weight)
    assert (in_noise - in_x0).abs().max() < 1e-5


def test_the_loss_has_the_gradient():
    x, noise, t = inputs()
    gradient = sds(gaussian_prior(), x, TEXT, EMPTY, t, noise)
    x.requires_grad_()
    as_loss(x, gradient).backward()
    torch.testing.assert_close(x.grad, gradient / len(x), atol=1e-5, rtol=1e-4)
    x.grad = None
    broken = gradient.clone()
    broken[0, 0, 0, 0], broken[1, 0, 0, 0] = float("nan"), float("inf")
    loss = as_loss(x, broken, clip=0.1)
    loss.backward()
    assert loss.isfinite() and x.grad[0, 0, 0, 0] == 0 == x.grad[1, 0, 0, 0]
    assert 0 < x.grad.abs().max() * len(x) <= 0.1 + 1e-6


def test_clamping_changes_nothing_inside_the_range():
    x, noise, t = inputs()
    prior = gaussian_prior()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    inside = prior.predict(x_t, t, gaussian(0.0, std=0.05))
    assert inside.x0.abs().max() < 1
    clamped = clamp_prediction(inside, x_t, alpha, sigma)
    assert torch.equal(clamped.eps, inside.eps) and torch.equal(clamped.x0, inside.x0)


def test_clamping_keeps_the_target_in_the_gamut():
    """With s = 100 the guided x̂0 lies far outside; the clamped gradient points to the range's edge."""
    x, noise, t = inputs()
    prior = gaussian_prior()
    alpha, sigma = prior.alpha_sigma(t)
    constant = {"scale": 100.0, "weighting": "constant"}
    for prior_space, outside in ((True, False), (False, True)):
        prior = gaussian_prior(pixel_space=prior_space)
        gradient = sds(prior, x, TEXT, EMPTY, t, noise, **constant)
        target = x - gradient * sigma / alpha  # x̂0
        assert (target.abs().max() > 1.01) == outside
    unclamped = sds(gaussian_prior(), x, TEXT, EMPTY, t, noise, clamp=False, **constant)
    assert (x - unclamped * sigma / alpha).abs().max() > 10


def test_guidance_points_towards_the_prompt():
    """TEXT is brighter than EMPTY: more guidance must make images brighter."""
    x, noise, t = inputs(count=64)
    prior = gaussian_prior(pixel_space=False)
    means = [-sds(prior, x, TEXT, EMPTY, t, noise, scale=scale).mean() for scale in (0.0, 1.0, 7.5)]
    assert means[0] + 0.1 < means[1] and means[1] + 0.5 < means[2]


def optimized(gradient_of, start, steps=600, rate=0.05):
    """x after descending the gradient that `gradient_of(x, t, noise)` gives, with the rate going to zero."""
    generator = torch.Generator().manual_seed(7)
    x = start.clone()
    for step in range(steps):
        t = 0.02 + 0.96 * torch.rand(len(x), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        x = x - rate * (1 - step / steps) * gradient_of(x, t, noise)
    return x


def test_sds_goes_to_the_mode():
    """Every start ends at the mean, the mode of a Gaussian: the variance is lost, as the paper says."""
    prior = gaussian_prior()
    start = inputs(64)[0]
    end = optimized(lambda x, t, n: sds(prior, x, TEXT, None, t, n, scale=1.0, weighting="constant"), start)
    assert end.mean() == pytest.approx(0.7, abs=0.03)
    assert end.std() < 0.08 < 0.3 < start.std()  # the data's standard deviation is 0.3


def test_a_null_edit_is_exactly_zero():
    x, noise, t = inputs()
    for prior in (gaussian_prior(), gaussian_prior(pixel_space=False)):
        gradient = dds(prior, x, x.clone(), TEXT, TEXT, EMPTY, t, noise)
        assert torch.equal(gradient, torch.zeros_like(x))
    parameter = x.clone().requires_grad_()
    as_loss(parameter, dds(prior, parameter, x, TEXT, TEXT, EMPTY, t, noise)).backward()
    assert torch.equal(parameter.grad, torch.zeros_like(x))


def test_dds_moves_by_the_difference_of_the_prompts():
    """x ends at source + (target mean − source mean): what the prompts do not mention stays."""
    prior = gaussian_prior(pixel_space=False)
    source = inputs(64)[0]
    target, origin = gaussian(0.5), gaussian(-0.3)
    end = optimized(
        lambda x, t, n: dds(prior, x, source, target, origin, None, t, n, scale=1.0, weighting="constant"), source
    )
    torch.testing.assert_close(end, source + 0.8, atol=0.03, rtol=0)


def test_asd_without_shift_or_guidance_is_zero():
    x, noise, t = inputs()
    prior = gaussian_prior(pixel_space=False)
    gradient = asd(prior, x, TEXT, EMPTY, t, noise, torch.zeros(len(x)), scale=1.0)
    assert torch.equal(gradient, torch.zeros_like(x))


def test_asd_compares_with_a_later_time():
    """Δt = 0.1(t − t_min) · shift: each image against its own later time, with the same noise."""
    x, noise, t = inputs()
    prior, shift = gaussian_prior(pixel_space=False), torch.linspace(0.3, 1.0, len(x))
    later = t + 0.1 * (t - 0.02) * shift
    here, ahead = (prior.predict(add_noise(x, noise, *prior.alpha_sigma(time)), time, TEXT).eps for time in (t, later))
    found = asd(prior, x, TEXT, EMPTY, t, noise, shift, scale=1.0, weighting="constant")
    torch.testing.assert_close(found, here - ahead, atol=1e-5, rtol=1e-4)
    sizes = found.abs().amax(dim=(1, 2, 3))
    assert sizes[0] < 1e-5 and (sizes[1:] > 1e-3).all(), sizes


def test_asd_keeps_more_variance_than_sds():
    """SDS pulls the samples of one prompt together. ASD pulls much less, yet moves them towards the prompt."""
    prior = gaussian_prior(pixel_space=False)
    start = inputs(256)[0] * 0.6
    generator = torch.Generator().manual_seed(3)

    def step(x, t, noise):
        shift = torch.rand(len(x), generator=generator)
        return asd(prior, x, TEXT, EMPTY, t, noise, shift, scale=2.0, weighting="constant")

    end = optimized(step, start, steps=100)
    collapsed = optimized(
        lambda x, t, n: sds(prior, x, TEXT, EMPTY, t, n, scale=2.0, weighting="constant"), start, steps=100
    )
    assert end.mean() > start.mean() + 0.5
    assert end.std() > 2 * collapsed.std()


def test_rescale_matches_the_conditional_spread():
    x, noise, t = inputs()
    prior = gaussian_prior(pixel_space=False)
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    conditional = prior.predict(x_t, t, TEXT)
    wide = type(conditional)(conditional.eps, 5 * conditional.x0)
    whole = rescale_prediction(wide, conditional, x_t, alpha, sigma, mix=1.0)
    torch.testing.assert_close(whole.x0.flatten(1).std(1), conditional.x0.flatten(1).std(1))
    none = rescale_prediction(wide, conditional, x_t, alpha, sigma, mix=0.0)
    assert torch.equal(none.x0, wide.x0)
    torch.testing.assert_close(add_noise(whole.x0, whole.eps, alpha, sigma), x_t)
