"""Prediction types, guidance and noise levels, against closed forms."""

import pytest
import torch

from guidance.priors.prior import (
    NoiseLevels,
    add_noise,
    as_prediction,
    guided,
    guided_prediction,
    predict_each,
)
from tests.guidance.gaussian_prior import gaussian, gaussian_prior, posterior, vp_levels


def inputs(count=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 1, 4, 4, generator=generator)
    noise = torch.randn(count, 1, 4, 4, generator=generator)
    return x, noise, torch.linspace(0.02, 0.98, count)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "flow"])
def test_prediction_types_agree_on_straight_lines(kind):
    x, noise, t = inputs()
    prior = gaussian_prior(kind, NoiseLevels())
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = prior.predict(x_t, t, gaussian(0.4))
    eps, x0 = posterior(x_t, alpha, sigma, torch.tensor(0.4), torch.tensor(0.3))
    torch.testing.assert_close(prediction.eps, eps, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(prediction.x0, x0, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(prediction.velocity, eps - x0, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_prediction_types_agree_on_discrete_steps(kind):
    x, noise, t = inputs()
    prior = gaussian_prior(kind)
    x_t = add_noise(x, noise, *prior.alpha_sigma(t))
    got, wanted = prior.predict(x_t, t, gaussian(0.4)), gaussian_prior().predict(x_t, t, gaussian(0.4))
    torch.testing.assert_close(got.eps, wanted.eps, atol=1e-5, rtol=1e-4)
    # (x_t − σε̂)/α divides rounding by α = 0.07 at t = 0.98.
    torch.testing.assert_close(got.x0, wanted.x0, atol=3e-5, rtol=1e-4)


def test_noise_levels():
    levels = vp_levels()
    alpha, sigma = levels.alpha_sigma(torch.tensor([0.0, 0.98, 1.0]))
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(3))
    assert levels.timestep(torch.tensor([0.0, 0.02, 0.98, 1.0])).tolist() == [0, 20, 980, 999]
    assert sigma[1] / alpha[1] == pytest.approx(13, abs=0.3)  # Stable Diffusion at step 980
    flow = NoiseLevels()
    assert [value.item() for value in flow.alpha_sigma(torch.tensor([0.25]))] == [0.75, 0.25]
    assert flow.timestep(torch.tensor([0.25])).item() == 250


def test_an_unknown_prediction_type_is_refused():
    one = torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="expected one of epsilon"):
        as_prediction("score", one, one, one, one)


def test_guidance_of_scale_0_1_and_beyond():
    x, noise, t = inputs()
    prior = gaussian_prior()
    x_t = add_noise(x, noise, *prior.alpha_sigma(t))
    text, empty = gaussian(0.7), gaussian(-0.2)
    with_text, without_text = predict_each(prior, x_t, t, [text, empty])
    torch.testing.assert_close(with_text.eps, prior.predict(x_t, t, text).eps)
    torch.testing.assert_close(without_text.eps, prior.predict(x_t, t, empty).eps)
    for scale, wanted in ((0.0, without_text), (1.0, with_text)):
        for got in (guided(with_text, without_text, scale), guided_prediction(prior, x_t, t, text, empty, scale)):
            assert torch.equal(got.eps, wanted.eps) and torch.equal(got.x0, wanted.x0)
    got = guided_prediction(prior, x_t, t, text, empty, 7.5)
    torch.testing.assert_close(got.eps, without_text.eps + 7.5 * (with_text.eps - without_text.eps))
    # The clean image follows the noise: still x_t = αx̂0 + σε̂.
    torch.testing.assert_close(add_noise(got.x0, got.eps, *prior.alpha_sigma(t)), x_t, atol=1e-4, rtol=1e-4)


def test_each_image_has_its_own_prompt():
    x, noise, t = inputs(2)
    prior = gaussian_prior()
    x_t = add_noise(x, noise, *prior.alpha_sigma(t))
    both = prior.predict(x_t, t, gaussian([0.7, -0.2]))
    assert torch.equal(both.eps[:1], prior.predict(x_t[:1], t[:1], gaussian(0.7)).eps)
    assert torch.equal(both.eps[1:], prior.predict(x_t[1:], t[1:], gaussian(-0.2)).eps)
    with pytest.raises(ValueError, match="expected 1 or 2 prompts, got 3"):
        prior.predict(x_t, t, gaussian([0.1, 0.2, 0.3]))


def test_guidance_needs_something_to_guide_away_from():
    x, _, t = inputs()
    with pytest.raises(ValueError, match=r"expected unconditional embeddings for scale 7.5"):
        guided_prediction(gaussian_prior(), x, t, gaussian(0.1), None, 7.5)
