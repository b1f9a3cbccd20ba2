"""Coarse images first: which resolution comes when, and that reals and fakes are shown alike."""

import pytest
import torch

from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import MinibatchSource, build_train_state
from training.gan_step import discriminator_step, training_step
from training.progressive import coarse, enlarged, shown_resolution, supersample_at
from training.run.step_statistics import Statistics


def settings(progressive_kimg: float, resolution: int = 64, supersample: int = 2):
    return tiny.config(
        data={"resolution": resolution},
        training={"progressive_kimg": progressive_kimg},
        rendering={"supersample": supersample},
        geometry={"cells": 12},
    )


def test_the_resolution_doubles_every_so_many_images():
    schedule = settings(2.0, 128)
    shown = [shown_resolution(nimg, schedule) for nimg in (0, 1999, 2000, 4000, 5999, 6000, 10**9)]
    assert shown == [16, 16, 32, 64, 64, 128, 128]
    assert shown_resolution(0, settings(0.0, 128)) == 128
    assert shown_resolution(0, tiny.config(training={"progressive_kimg": 2.0})) == 16, "the data have no more"


def test_coarse_pixels_have_finer_samples():
    assert [supersample_at(side, settings(1.0, 64, 1)) for side in (16, 32, 64)] == [4, 2, 1]
    assert [supersample_at(side, settings(1.0, 64, 2)) for side in (16, 32, 64)] == [4, 4, 2]


def test_each_square_of_a_coarse_image_is_its_mean():
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = coarse(image, 4)
    assert seen.shape == image.shape and not torch.equal(seen, image)
    for y in range(0, 8, 2):
        for x in range(0, 8, 2):
            square = seen[:, :, y : y + 2, x : x + 2]
            mean = image[:, :, y : y + 2, x : x + 2].mean((2, 3))
            torch.testing.assert_close(square, mean[:, :, None, None].expand_as(square))
    assert coarse(image, 8) is image and enlarged(image, 8) is image


@pytest.mark.parametrize(("nimg", "side"), [(0, 16), (32, 32), (64, 64)])
def test_reals_and_fakes_are_shown_alike(monkeypatch, nimg, side):
    seen = {}

    def spy(train_state, reals, fakes, *rest):
        seen.update(reals=reals, fakes=fakes)
        return discriminator_step(train_state, reals, fakes, *rest)

    monkeypatch.setattr("training.gan_step.discriminator_step", spy)
    schedule = settings(0.032)
    batch = MinibatchSource(schedule, tiny.data(schedule), Ranks()).draw(nimg, 0)
    norms = training_step(build_train_state(schedule, Ranks()), batch, schedule, Ranks(), Statistics())
    assert all(torch.isfinite(values).all() and values.sum() > 0 for values in norms.values())
    for views in seen.values():
        for image in (views.rgb, views.mask):
            assert image.shape[-1] == 64
            torch.testing.assert_close(coarse(image, side), image, atol=1e-6, rtol=0)
            if side < 64:
                finer = coarse(image, side // 2)
                assert (finer - image).abs().max() > 0.01, "it has all the detail that it may have"
    torch.testing.assert_close(seen["reals"].mask.mean(), batch.reals.mask.mean())


def test_a_coarse_mask_is_the_mean_of_a_fine_one():
    """Fakes are drawn small rather than averaged: both must say the same, or the discriminators tell them apart."""
    schedule = settings(1.0, 64, 4)
    generator = build_train_state(schedule, Ranks()).generator
    latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    cameras = tiny.data(schedule).camera_distribution.sample(0, range(3))
    with torch.no_grad():
        w = generator.map(latents, latents)
        fine = generator.render(*w, cameras).mask
        small = generator.render(*w, cameras, resolution=16, supersample=4).mask
    assert (enlarged(small, 64) - coarse(fine, 16)).abs().max() < 0.03
