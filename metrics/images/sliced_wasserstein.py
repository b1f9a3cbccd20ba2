"""Sliced Wasserstein distance of small patches, by level of a Laplacian pyramid: textures, from fine to coarse.

Source: Karras et al. 2018 (progressive growing), with two differences. Patches are centered on the foreground. Both
sides are normalized by the mean and standard deviation of the real patches, so that a wrong contrast counts.
"""

import torch
from torch import Tensor
from torch.nn import functional

PATCH_PX, PATCHES_PER_IMAGE = 7, 32
# Side of the coarsest level, at least. It holds the colors themselves, the others only what the next one lacks.
SMALLEST_PX = 16
DIRECTIONS, DIRECTIONS_AT_ONCE = 256, 64
# The distance as it is printed.
SCALE = 1000.0
# Least standard deviation of a channel, a quarter of a step of 8 bits: real patches without texture have none.
MIN_STD = 1e-3


def pyramid_sides(side: int) -> list[int]:
    """Sides of the levels, px, from `side` on: halved as long as they are even and at least 16 remain."""
    sides = [side]
    while sides[-1] % 2 == 0 and sides[-1] // 2 >= SMALLEST_PX:
        sides.append(sides[-1] // 2)
    return sides


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """The levels [B, C, S, S] of images [B, C, R, R], as in `pyramid_sides`.

    Each is the image minus the next coarser one, scaled up; the last is the coarsest image itself.
    """
    levels = []
    for _ in pyramid_sides(images.shape[-1])[1:]:
        coarse = _blur(images)[:, :, ::2, ::2]
        spread = torch.zeros_like(images)
        spread[:, :, ::2, ::2] = 4 * coarse
        levels.append(images - _blur(spread))
        images = coarse
    return [*levels, images]


def _blur(images: Tensor) -> Tensor:
    """Images [B, C, R, R] under the binomial filter of five taps, mirrored at the border."""
    x = functional.pad(images, (2, 2, 2, 2), mode="reflect")
    x = (x[..., :-4] + x[..., 4:] + 4 * (x[..., 1:-3] + x[..., 3:-1]) + 6 * x[..., 2:-2]) / 16
    y = (x[:, :, :-4] + x[:, :, 4:] + 4 * (x[:, :, 1:-3] + x[:, :, 3:-1]) + 6 * x[:, :, 2:-2]) / 16
    return y


def foreground_patches(rgba: Tensor, seed: int = 0) -> dict[int, Tensor]:
    """Patches [B, 32, 147] float16 of each level, by its side, fine to coarse; NaN where an image has no foreground.

    rgba [B, 4, R, R] uint8: colors over any background, and coverage. The pixel at the center of a patch is covered by
    half at least; pixels are drawn uniformly, with replacement. Each patch is [3, 7, 7], flattened.
    """
    generator = torch.Generator().manual_seed(seed)
    coverage = rgba[:, 3:].float() / 255
    patches = {}
    for level in laplacian_pyramid(rgba[:, :3].float() / 255):
        side = level.shape[-1]
        inside = functional.adaptive_avg_pool2d(coverage, side).flatten(1) >= 0.5
        usable = inside.any(1)
        # An image without foreground is sampled anywhere, and then has no value.
        weights = (inside | ~usable[:, None]).float()
        chosen = torch.multinomial(weights, PATCHES_PER_IMAGE, replacement=True, generator=generator)
        found = _patches_at(level, chosen // side, chosen % side)
        found[~usable] = torch.nan
        patches[side] = found.half()
    return patches


def _patches_at(level: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The patches [B, P, C·7·7] of a level [B, C, S, S] around the pixels y, x [B, P]."""
    reach = PATCH_PX // 2
    padded = functional.pad(level, (reach, reach, reach, reach), mode="replicate")
    offset = torch.arange(PATCH_PX)
    image = torch.arange(len(level))[:, None, None, None]
    rows, columns = y[:, :, None, None] + offset[:, None], x[:, :, None, None] + offset
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 1, 4, 2, 3).flatten(2)


def sliced_wasserstein(real: Tensor, fake: Tensor, seed: int = 0) -> float | None:
    """Mean over 256 directions of the 1-Wasserstein distance of the projected patches; ≥ 0, lower is better.

    real, fake: patches [N, P, 147] of one level; those of NaN are left out, and the larger set is thinned at random to
    the size of the smaller. None where one side has no patch.
    """
    generator = torch.Generator().manual_seed(seed)
    a, b = (patches.float().flatten(0, 1) for patches in (real, fake))
    a, b = (patches[~patches.isnan().any(1)] for patches in (a, b))
    count = min(len(a), len(b))
    if count == 0:
        return None
    a, b = (patches[torch.randperm(len(patches), generator=generator)[:count]] for patches in (a, b))
    by_channel = a.view(count, 3, -1)
    mean = by_channel.mean((0, 2)).repeat_interleave(PATCH_PX**2)
    std = by_channel.std((0, 2)).clamp(min=MIN_STD).repeat_interleave(PATCH_PX**2)
    a, b = (a - mean) / std, (b - mean) / std
    total = 0.0
    for _ in range(DIRECTIONS // DIRECTIONS_AT_ONCE):
        directions = torch.randn(DIRECTIONS_AT_ONCE, a.shape[1], generator=generator)
        directions = functional.normalize(directions, dim=1)
        projected = ((directions @ patches.T).sort(1).values for patches in (a, b))
        total += float((next(projected) - next(projected)).abs().mean(dtype=torch.float64))
    return SCALE * total * DIRECTIONS_AT_ONCE / DIRECTIONS
