"""Latents and styles in Python: truncation with a cutoff, style mixing, statistics, samples from styles."""

import pytest
import torch

from networks.generator import Generator
from sampling.samples import Sample
from sampling.styles import style_statistics, truncated, with_slots
from sampling.trained_generator import TrainedGenerator
from tests.training import tiny
from torch_utils.checkpoint import NetworkFile


@pytest.fixture(scope="module")
def g() -> TrainedGenerator:
    config = tiny.config(geometry={"cells": 8})
    torch.manual_seed(0)
    network = Generator(config).eval().requires_grad_(False)
    network.w_average_geo.normal_()
    network.w_average_tex.normal_()
    return TrainedGenerator(network, NetworkFile({}, config.model_dump(mode="json"), 0, ""))


def test_truncation_moves_the_coarse_slots_alone() -> None:
    w, average = torch.randn(2, 5, 3), torch.randn(3)
    assert torch.allclose(truncated(w, average, 0.3), average + 0.3 * (w - average))
    part = truncated(w, average, 0.3, cutoff=2)
    assert torch.equal(part[:, :2], truncated(w, average, 0.3)[:, :2]) and torch.equal(part[:, 2:], w[:, 2:])
    assert truncated(w, average, 1.0, 2) is w and truncated(w, average, 0.3, 0) is w
    assert torch.equal(truncated(w, average, 0.0), average.expand_as(w))
    with pytest.raises(ValueError, match="expected a cutoff from 0 to 5 slots, got 6"):
        truncated(w, average, 0.3, 6)


def test_slots_come_from_the_other_sample() -> None:
    w, other = torch.randn(2, 2, 5, 3)
    mixed = with_slots(w, other, slice(3, None))
    assert torch.equal(mixed[:, :3], w[:, :3]) and torch.equal(mixed[:, 3:], other[:, 3:])
    assert torch.equal(with_slots(w, other, [1])[:, 1], other[:, 1])
    assert torch.equal(with_slots(w, other, ()), w)
    with pytest.raises(ValueError, match=r"expected slots from 0 to 4, got \[5\]"):
        with_slots(w, other, [5])
    with pytest.raises(ValueError, match="styles of one shape"):
        with_slots(w, other[:, :4], [0])


def test_styles_are_those_of_the_samples(g: TrainedGenerator) -> None:
    samples = g.sample([3, 8], truncation=0.4)
    z_geo, z_tex = g.latents([3, 8])
    assert torch.equal(z_geo, samples.z_geo) and torch.equal(z_tex, samples.z_tex)
    w_geo, w_tex = g.styles(z_geo, z_tex, truncation=0.4)
    assert torch.equal(w_geo, samples.w_geo) and torch.equal(w_tex, samples.w_tex)
    assert (w_geo.shape[1], w_tex.shape[1]) == g.slots
    # Shape and texture apart, and only the coarse slots.
    full, moved = g.styles(z_geo, z_tex, truncation=(1.0, 0.4), cutoff=(None, 2))
    assert torch.equal(full, g.sample([3, 8], truncation=1.0).w_geo)
    assert torch.equal(moved[:, :2], w_tex[:, :2]) and not torch.equal(moved[:, 2:], w_tex[:, 2:])
    with pytest.raises(ValueError, match="expected finite latents"):
        g.styles(z_geo * torch.nan, z_tex)


def test_a_mixed_sample_has_the_shape_of_one_and_the_texture_of_the_other(g: TrainedGenerator) -> None:
    a, b = g.sample(1), g.sample(2)
    mixed = g.mix(a, b)
    assert isinstance(mixed, Sample) and mixed.seed is None
    assert torch.equal(mixed.w_geo, a.w_geo) and torch.equal(mixed.w_tex, b.w_tex)
    surfaces = [g.network.mesh(sample.w_geo).mesh for sample in (a, mixed)]
    assert torch.equal(surfaces[0].vertices, surfaces[1].vertices)
    assert mixed.render(resolution=16).shape == (16, 16, 3)
    half = g.mix(a, b, shape=slice(0, 1), texture=())
    assert torch.equal(half.w_geo[:, :1], b.w_geo[:, :1]) and torch.equal(half.w_geo[:, 1:], a.w_geo[:, 1:])
    assert torch.equal(half.w_tex, a.w_tex)
    with pytest.raises(ValueError, match="made of styles"):
        g.interpolate(mixed, a)
    with pytest.raises(ValueError, match=r"from_styles\(\): expected w_tex \[1, "):
        g.from_styles(a.w_geo, b.w_tex[:, :1])


def test_statistics_of_styles(g: TrainedGenerator) -> None:
    geometry, texture = g.style_statistics(count=1100)
    z_dim = g.network.config.mapping.z_dim
    z = torch.randn(2, 4000, z_dim, generator=torch.Generator().manual_seed(0))
    w_geo, w_tex = g.network.map(z[0], z[1])
    for found, w in ((geometry, w_geo[:, 0]), (texture, w_tex[:, 0])):
        assert torch.allclose(found.mean, w.mean(0), atol=6 * float(w.std(0).max()) / 1100**0.5)
        assert torch.allclose(found.std, w.std(0), rtol=0.2)
    assert not torch.equal(geometry.mean, texture.mean)
    again, _ = style_statistics(g.network, 1100)
    assert torch.equal(again.mean, geometry.mean)
    with pytest.raises(ValueError, match="at least 2 latents"):
        g.style_statistics(count=1)
