"""View prompts, Perp-Neg, cached embeddings, annealed times and widening views."""

import math
from dataclasses import replace

import pytest
import torch

from guidance.prompts import (
    VIEWS,
    cached_embeddings,
    mixed_embeddings,
    perp_neg_prediction,
    perpendicular,
    view_indices,
    view_mixture,
    view_prompts,
)
from guidance.schedules import (
    ViewRange,
    annealed_range,
    draw_times,
    progressive_views,
    square_root_time,
    stepped_range,
)
from tests.guidance.gaussian_prior import gaussian, gaussian_prior
from torch_utils.errors import UserError


def degrees(*values):
    return torch.deg2rad(torch.tensor(values, dtype=torch.float32))


def test_each_camera_gets_the_prompt_of_its_view():
    azimuths = degrees(0, 44, 46, 134, 136, 180, 226, 314, 316, 360, -44, 90)
    elevations = degrees(*[20] * 11, 61)
    names = [VIEWS[index] for index in view_indices(azimuths, elevations)]
    assert names == [
        "front",
        "front",
        "side",
        "side",
        "back",
        "back",
        "side",
        "side",
        "front",
        "front",
        "front",
        "overhead",
    ]
    assert view_prompts(" a red chair ")[1] == "a red chair, side view"
    for empty in ("", "  "):
        with pytest.raises(UserError, match="the prompt is empty"):
            view_prompts(empty)


def test_perpendicular():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 2, 4, 4, generator=generator)
    rest = perpendicular(first, second)
    torch.testing.assert_close((rest * second).sum((1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert perpendicular(2 * second, second).abs().max() < 1e-5
    torch.testing.assert_close(perpendicular(rest, second), rest)


def test_perp_neg_removes_only_what_the_prompt_does_not_say():
    prior = gaussian_prior(pixel_space=False)
    x_t, t = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 0.7])
    text, empty = gaussian(0.7), gaussian(-0.2)
    plain = perp_neg_prediction(prior, x_t, t, text, empty, [], torch.zeros(2, 0), 7.5)
    # A negative prompt parallel to the prompt changes nothing: Δ of Gaussians of one spread is parallel.
    parallel = perp_neg_prediction(prior, x_t, t, text, empty, [gaussian(0.4)], -torch.ones(2, 1), 7.5)
    torch.testing.assert_close(parallel.eps, plain.eps, atol=1e-4, rtol=1e-4)
    other = perp_neg_prediction(prior, x_t, t, text, empty, [gaussian(0.4, std=0.1)], -torch.ones(2, 1), 7.5)
    assert (other.eps - plain.eps).abs().max() > 0.1
    towards = plain.eps - empty_of(prior, x_t, t, empty)
    along = ((other.eps - plain.eps) * towards).sum((1, 2, 3))
    assert along.abs().max() < 1e-3 * towards.square().sum()


def empty_of(prior, x_t, t, empty):
    return prior.predict(x_t, t, empty).eps


def test_views_are_mixed_between_their_centers():
    mixture = view_mixture(degrees(0, 45, 90, 135, 180, -45, 10), degrees(0, 0, 0, 0, 0, 0, 80))
    wanted = [
        [1, 0, 0, 0],
        [0.5, 0.5, 0, 0],
        [0, 1, 0, 0],
        [0, 0.5, 0.5, 0],
        [0, 0, 1, 0],
        [0.5, 0.5, 0, 0],
        [0, 0, 0, 1],
    ]
    torch.testing.assert_close(mixture.positive, torch.tensor(wanted).float(), atol=1e-6, rtol=0)
    assert (mixture.negative <= 0).all() and (mixture.negative[-1] == 0).all()
    assert mixture.negative[1, 0] < 0 and mixture.negative[4, 0] < mixture.negative[4, 2]  # no front seen from behind
    mixed = mixed_embeddings(gaussian([1.0, 2.0, 3.0, 4.0]), mixture.positive)
    torch.testing.assert_close(mixed.tensors["mean"], torch.tensor([1, 1.5, 2, 2.5, 3, 1.5, 4]))


def test_embeddings_are_kept_by_text_encoder_and_prompt(tmp_path):
    calls = []

    def embed(prompts):
        calls.extend(prompts)
        return gaussian([float(len(prompt)) for prompt in prompts])

    prior = replace(gaussian_prior(), embed=embed, text_key=lambda: "one")
    first = cached_embeddings(prior, ["aa", "bbb"], tmp_path / "cache")
    again = cached_embeddings(prior, ["bbb", "aa"], tmp_path / "cache")
    assert calls == ["aa", "bbb"] and first.tensors["mean"].tolist() == [2, 3]
    assert again.tensors["mean"].tolist() == [3, 2]
    cached_embeddings(replace(prior, text_key=lambda: "two"), ["aa"], tmp_path / "cache")
    assert calls == ["aa", "bbb", "aa"]
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(b"damaged")
    assert cached_embeddings(prior, ["aa"], tmp_path / "cache").tensors["mean"].tolist() == [2]
    assert calls[-1] == "aa" and len(calls) == 4


def test_times():
    assert annealed_range(0) == (0.7, 0.85) and annealed_range(1) == annealed_range(2) == (0.2, 0.5)
    assert annealed_range(0.5) == pytest.approx((0.45, 0.675))
    assert [stepped_range(progress)[1] for progress in (0, 0.1, 0.3)] == [0.98, 0.98, 0.5]
    assert [square_root_time(progress) for progress in (0, 0.25, 1)] == pytest.approx([0.98, 0.5, 0.02])
    times = draw_times(1000, (0.2, 0.5), torch.Generator().manual_seed(0))
    assert 0.2 <= times.min() < 0.21 and 0.49 < times.max() <= 0.5
    for bounds in ((0, 0.5), (0.5, 0.2), (0.5, 1.1)):
        with pytest.raises(ValueError, match="expected 0 < low"):
            draw_times(1, bounds, torch.Generator())


def test_views_widen_from_the_reference():
    reference = ViewRange(0.0, 0.0, 0.2, 0.2)
    full = ViewRange(0.0, math.pi, -0.2, 1.0)
    generator = torch.Generator().manual_seed(0)
    azimuths, elevations = progressive_views(0.0, reference, full).draw(100, generator)
    assert azimuths.abs().max() == 0 and (elevations - 0.2).abs().max() < 1e-6
    half = progressive_views(0.25, reference, full)
    assert half.half_width_rad == pytest.approx(math.pi / 2)
    assert (half.elevation_low_rad, half.elevation_high_rad) == pytest.approx((0.0, 0.6))
    assert progressive_views(0.5, reference, full) == progressive_views(1.0, reference, full) == full
    azimuths, _ = full.draw(1000, generator)
    assert azimuths.min() < -3 and azimuths.max() > 3
