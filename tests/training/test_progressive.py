"""Progressive resolution: its schedule, and that real and generated images have the same detail."""

import pytest
import torch

from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import MinibatchSource
from training.gan_step import discriminator_step, training_step
from training.progressive import at_resolution, progressive_resolution, supersample_at, upsampled
from training.run.step_statistics import Statistics
from training.train_state import build_train_state


def settings(progressive_kimg: float, resolution: int = 64, supersample: int = 2):
    return tiny.config(
        data={"resolution": resolution},
        training={"progressive_kimg": progressive_kimg},
        rendering={"supersample": supersample},
        geometry={"cells": 12},
    )


def test_the_resolution_doubles_every_so_many_images():
    schedule = settings(2.0, 128)
    shown = [progressive_resolution(nimg, schedule) for nimg in (0, 1999, 2000, 4000, 5999, 6000, 10**9)]
    assert shown == [16, 16, 32, 64, 64, 128, 128]
    assert progressive_resolution(0, settings(0.0, 128)) == 128
    assert progressive_resolution(0, tiny.config(training={"progressive_kimg": 2.0})) == 16, (
        "the dataset has no higher resolution"
    )


def test_larger_pixels_have_more_samples():
    assert [supersample_at(side, settings(1.0, 64, 1)) for side in (16, 32, 64)] == [4, 2, 1]
    assert [supersample_at(side, settings(1.0, 64, 2)) for side in (16, 32, 64)] == [4, 4, 2]


def test_each_square_becomes_its_mean():
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = at_resolution(image, 4)
    assert seen.shape == image.shape and not torch.equal(seen, image)
    for y in range(0, 8, 2):
        for x in range(0, 8, 2):
            square = seen[:, :, y : y + 2, x : x + 2]
            mean = image[:, :, y : y + 2, x : x + 2].mean((2, 3))
            torch.testing.assert_close(square, mean[:, :, None, None].expand_as(square))
    assert at_resolution(image, 8) is image and upsampled(image, 8) is image


@pytest.mark.parametrize(("nimg", "side"), [(0, 16), (32, 32), (64, 64)])
def test_real_and_generated_images_have_the_same_detail(monkeypatch, nimg, side):
    seen = {}

    def spy(train_state, micro_batches, *rest):
        seen.update(reals=micro_batches[0].reals, fakes=micro_batches[0].fakes)
        return discriminator_step(train_state, micro_batches, *rest)

    monkeypatch.setattr("training.gan_step.discriminator_step", spy)
    schedule = settings(0.032)
    batch = MinibatchSource(schedule, tiny.data(schedule), Ranks()).draw(nimg, 0)
    norms = training_step(build_train_state(schedule, Ranks()), batch, schedule, Ranks(), Statistics())
    assert all(torch.isfinite(values).all() and values.sum() > 0 for values in norms.values())
    for views in seen.values():
        for image in (views.rgb, views.mask):
            assert image.shape[-1] == 64
            torch.testing.assert_close(at_resolution(image, side), image, atol=1e-6, rtol=0)
            if side < 64:
                finer = at_resolution(image, side // 2)
                assert (finer - image).abs().max() > 0.01, "the detail of the resolution is there"
    torch.testing.assert_close(seen["reals"].mask.mean(), batch.reals.mask.mean())


def test_a_mask_rendered_small_is_the_mean_of_a_full_one():
    """Generated images are rendered small and real ones are averaged: a difference would tell them apart."""
    schedule = settings(1.0, 64, 4)
    generator = build_train_state(schedule, Ranks()).generator
    latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    cameras = tiny.data(schedule).camera_distribution.sample(0, range(3))
    with torch.no_grad():
        w = generator.map(latents, latents)
        fine = generator.render(*w, cameras).mask
        small = generator.render(*w, cameras, resolution=16, supersample=4).mask
    assert (upsampled(small, 64) - at_resolution(fine, 16)).abs().max() < 0.03
