"""The study that trains the included priors, at its smallest: every training learns, and its folders can be loaded."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dataset_tool.procedural.finishes import Finish
from guidance.clip import load_clip
from guidance.priors.load import load_prior
from guidance.priors.prior import add_noise
from studies.text_priors import __main__ as study
from studies.text_priors import models
from studies.text_priors.data import SIDE, Captioned, Shot
from studies.text_priors.train_clip import retrieval, same_caption, train_clip
from studies.text_priors.train_diffusion import (
    EMPTY,
    build_prior,
    drawn_captions,
    sampled_images,
    train_unet,
    train_vae,
)

RED, BLUE = Shot("chair", "chair", Finish(color="red")), Shot("mug", "mug", Finish(color="blue", pattern="striped"))


@pytest.fixture(scope="module")
def data():
    """Red squares called chairs, and blue ones called mugs."""
    rgba = torch.zeros(40, 4, SIDE, SIDE, dtype=torch.uint8)
    rgba[:20, 0, 8:24, 8:24], rgba[20:, 2, 4:28, 12:20] = 200, 200
    rgba[:20, 3, 8:24, 8:24], rgba[20:, 3, 4:28, 12:20] = 255, 255
    return Captioned(rgba, [RED] * 20 + [BLUE] * 20)


@pytest.fixture(scope="module")
def text():
    """A tokenizer and the text tower of an untrained CLIP."""
    torch.manual_seed(0)
    tokenizer = models.make_tokenizer()
    return tokenizer, models.make_clip(tokenizer, 16, 16, 1)


def test_the_clip_learns_to_tell_two_things(data, text):
    tokenizer, model = text
    losses = train_clip(model, tokenizer, data, 40, seed=0)
    assert len(losses) == 40 and losses[-1] < losses[0] - 0.5
    found = retrieval(model, tokenizer, data, 0.7)
    assert found == {"finish": 1, "pattern": 1, "category": 1}


def test_images_of_one_caption_share_their_target():
    expected = [[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]]
    assert same_caption([RED, BLUE, RED]).tolist() == expected


def test_some_captions_are_empty():
    found = drawn_captions([RED] * 2000, np.random.default_rng(0))
    assert abs(found.count("") / 2000 - EMPTY) < 0.03
    assert any("crimson" in text for text in found)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_the_unet_learns_by_the_shared_loss(data, text, kind):
    """The denoising error falls, and the network ends with the average of its weights, in evaluation mode."""
    tokenizer, model = text
    torch.manual_seed(0)
    prior = build_prior(models.make_pixel_unet(), study.make_scheduler(kind), model.text_model, tokenizer)
    assert prior.pixel_space and prior.resolution == models.PIXEL_SIDE
    before = error(prior)
    losses = train_unet(prior, data, 10, seed=0, batch=8)
    assert len(losses) == 10 and not prior.module.training
    assert error(prior) < 0.9 * before
    drawn = sampled_images(prior, ["a red chair"] * 2)
    assert drawn.shape == (2, 3, models.PIXEL_SIDE, models.PIXEL_SIDE) and drawn.abs().max() <= 1


def error(prior):
    images = torch.full((4, 3, 16, 16), 0.4)
    t, noise = torch.full((4,), 0.5), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = prior.predict(add_noise(images, noise, *prior.alpha_sigma(t)), t, prior.embed([""]))
    return float((found.eps - noise).square().mean())


def test_latents_have_unit_deviation(data):
    torch.manual_seed(0)
    vae = models.make_vae()
    losses = train_vae(vae, data, 4, seed=0)
    assert len(losses) == 4 and losses[-1] < losses[0]
    with torch.no_grad():
        latents = vae.encode(data.on(0.7)).latent_dist.mean * vae.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, abs=0.1)


def test_the_command_writes_folders_that_load_and_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "HELD_OUT_SHAPES", 6)
    monkeypatch.setattr(study, "SAMPLED", ("a red chair",))
    arguments = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path), "--shapes", "6", "--effort", "0.001"]
    outcome = CliRunner().invoke(study.main, [*arguments, "--parts", "clip-a,pixel,latent"], catch_exceptions=False)
    assert outcome.exit_code == 0
    assert load_clip(tmp_path / "out/clip-a").embed_texts(["a red chair"]).shape == (1, 64)
    assert load_prior(tmp_path / "out/pixel").pixel_space and not load_prior(tmp_path / "out/latent").pixel_space
    again = CliRunner().invoke(study.main, [*arguments, "--parts", "clip-a"], catch_exceptions=False)
    assert "is there" in again.output
    missing = CliRunner().invoke(study.main, ["--out", str(tmp_path / "other"), "--parts", "pixel"])
    assert missing.exit_code == 2 and "add --parts clip-a" in missing.output
