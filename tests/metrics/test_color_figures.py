"""Color scatter and effective hues: known values, and the washes that they are there to see."""

import math

import pytest
import torch
from torch import Tensor

from metrics.images.color_figures import color_figures, color_scatter, effective_hues, foreground_colors


def pixels(*colors: tuple[float, float, float], each: int = 100) -> Tensor:
    return torch.tensor(colors).repeat_interleave(each, 0)


RED, GREEN, BLUE, GRAY = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.5, 0.5, 0.5)


def test_three_plain_colors_scatter_by_nothing_and_a_fourth_by_its_distance() -> None:
    assert color_scatter(pixels(RED, GREEN, BLUE)) == pytest.approx(0, abs=1e-6)
    # Two colors close to each other share a mean: each lies half their distance from it.
    near = (0.8, 0.1, 0.2)
    expected = 255 * math.sqrt(0.5 * 0.05**2)
    assert color_scatter(pixels(RED, near, GREEN, BLUE)) == pytest.approx(expected, rel=1e-4)


def test_grain_is_its_standard_deviation() -> None:
    noise = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)) * 0.02
    colors = pixels(RED, GREEN, BLUE, each=1000) + noise
    assert color_scatter(colors) == pytest.approx(255 * 0.02 * math.sqrt(3), rel=0.03)


def test_hues_are_counted_by_their_shares() -> None:
    assert effective_hues(pixels(RED)) == pytest.approx(1)
    assert effective_hues(pixels(RED, GREEN, BLUE)) == pytest.approx(3)
    assert effective_hues(pixels(GRAY)) == 1
    assert effective_hues(pixels(RED, GRAY, each=500)) == pytest.approx(1)
    two_to_one = torch.cat([pixels(RED, each=200), pixels(BLUE)])
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert effective_hues(two_to_one) == pytest.approx(math.exp(entropy))


def test_a_wash_is_told_from_parts() -> None:
    """The same end colors, as two halves and as a gradient."""
    t = torch.linspace(0, 1, 32)
    wash = (torch.tensor(RED) + t[:, None] * (torch.tensor(BLUE) - torch.tensor(RED))).T[:, None].expand(3, 32, 32)
    halves = torch.where(t < 0.5, torch.tensor(RED)[:, None], torch.tensor(BLUE)[:, None])[:, None].expand(3, 32, 32)
    images = torch.stack([wash, halves]) * 2 - 1
    figures = color_figures(torch.cat([images, torch.ones(2, 1, 32, 32)], 1))
    (of_wash, of_halves), (hues_wash, hues_halves) = figures.T.tolist()
    assert of_wash > 15 and of_halves < 1e-3
    assert hues_wash > 4 and hues_halves == pytest.approx(2)


def test_the_rim_and_the_background_are_left_out() -> None:
    image = torch.full((1, 4, 16, 16), -1.0)
    image[:, 3] = 0
    image[:, :3, 2:14, 2:14] = 1.0
    image[:, :3, 2], image[:, 3, 2:14, 2:14] = 0.0, 1
    (colors,) = foreground_colors(image)
    assert len(colors) == 100 and (colors == 1).all()
    image[:, 3, 9:] = 0
    assert foreground_colors(image) == []
    assert color_figures(torch.cat([image, torch.ones(1, 4, 16, 16)])).isnan().tolist() == [[True] * 2, [False] * 2]
