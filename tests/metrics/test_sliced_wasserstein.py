"""The pyramid against SciPy, the distance against its formula, and the textures that it tells apart."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from metrics.images.sliced_wasserstein import (
    SCALE,
    foreground_patches,
    laplacian_pyramid,
    pyramid_sides,
    sliced_wasserstein,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_levels_halve_down_to_16_px() -> None:
    assert pyramid_sides(128) == [128, 64, 32, 16]
    assert pyramid_sides(100) == [100, 50, 25]
    assert pyramid_sides(31) == [31] and pyramid_sides(8) == [8]


def test_the_pyramid_is_that_of_karras_and_sums_to_the_image() -> None:
    image = noise(2, 3, 64, 64).double()
    taps = np.array([1.0, 4, 6, 4, 1]) / 16
    kernel = np.outer(taps, taps)[None, None]

    def up(x: np.ndarray) -> np.ndarray:
        spread = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
        spread[:, :, ::2, ::2] = x
        return scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")

    expected = [image.numpy()]
    for _ in range(2):
        coarse = scipy.ndimage.convolve(expected[-1], kernel, mode="mirror")[:, :, ::2, ::2]
        expected[-1] = expected[-1] - up(coarse)
        expected.append(coarse)
    levels = laplacian_pyramid(image)
    for found, wanted in zip(levels, expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    whole = levels[-1].numpy()
    for level in reversed(levels[:-1]):
        whole = level.numpy() + up(whole)
    np.testing.assert_allclose(whole, image.numpy(), atol=1e-12)


def test_a_shift_costs_its_length_times_the_mean_of_a_projection() -> None:
    real = noise(500, 32, 147).half()
    assert sliced_wasserstein(real, real) == 0
    shift = torch.full((147,), 0.5)
    found = sliced_wasserstein(real, real + shift.half())
    # E|v·s| over unit vectors of many dimensions: |s| √(2 / (π d)).
    expected = SCALE * float(shift.norm()) * math.sqrt(2 / (math.pi * 147))
    assert found == pytest.approx(expected, rel=0.1)
    # Normalized by the real side: the same in another unit; and twice the contrast is seen.
    assert sliced_wasserstein(8 * real, 8 * real + 8 * shift.half()) == pytest.approx(found, rel=0.01)
    assert sliced_wasserstein(real, 2 * real) == pytest.approx(SCALE * math.sqrt(2 / math.pi), rel=0.02)


def test_images_without_foreground_and_unequal_counts() -> None:
    real = noise(300, 8, 147)
    some = real[:200].clone()
    some[::2] = torch.nan
    found = sliced_wasserstein(real, some)
    assert found is not None and 0 < found < 100
    assert sliced_wasserstein(real, torch.full_like(real, torch.nan)) is None
    assert sliced_wasserstein(real, some) == found


def stripes(period_px: float, color: tuple[float, float, float], count: int = 24, side: int = 64) -> Tensor:
    """Discs with stripes of a random phase on black."""
    phase = torch.rand(count, 1, 1, generator=torch.Generator().manual_seed(int(period_px * 10)))
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    wave = 0.75 + 0.25 * torch.sin(2 * math.pi * (x / period_px + phase))
    disc = ((x - side / 2) ** 2 + (y - side / 2) ** 2 < (side * 0.4) ** 2).float().expand(count, -1, -1)
    rgb = wave[:, None] * torch.tensor(color)[:, None, None] * disc[:, None]
    return (torch.cat([rgb, disc[:, None]], 1) * 255).round().to(torch.uint8)


def by_level(a: Tensor, b: Tensor) -> dict[int, float]:
    left, right = foreground_patches(a, 0), foreground_patches(b, 1)
    return {side: sliced_wasserstein(left[side], right[side]) or math.nan for side in left}


def test_each_level_sees_its_own_scale() -> None:
    real = stripes(3, (1, 0.8, 0.6))
    same = by_level(real, real)
    plain = by_level(real, stripes(1e6, (1, 0.8, 0.6)))
    tinted = by_level(real, stripes(3, (0.6, 0.8, 1)))
    assert list(same) == [64, 32, 16]
    assert plain[64] > 3 * same[64] and plain[64] > 3 * plain[32]
    assert tinted[16] > 3 * same[16] and tinted[16] > 2 * tinted[64]


def test_patches_lie_on_the_foreground() -> None:
    images = torch.zeros(2, 4, 16, 16, dtype=torch.uint8)
    images[0, 3, 2:4, 2:4], images[0, 0, 2:4, 2:4] = 255, 200
    before = foreground_patches(images)[16]
    assert before.shape == (2, 32, 147) and before[1].isnan().all() and not before[0].isnan().any()
    centers = before[0].view(32, 3, 7, 7)[:, 0, 3, 3]
    torch.testing.assert_close(centers, torch.full_like(centers, 200 / 255), atol=1e-3, rtol=0)
    assert torch.equal(before[0], foreground_patches(images)[16][0])
    assert not torch.equal(before[0], foreground_patches(images, seed=1)[16][0])
    # The background that no patch reaches does not matter.
    images[0, :3, 7:] = 90
    assert torch.equal(foreground_patches(images)[16][0], before[0])
