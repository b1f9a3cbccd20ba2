"""Coarse images first: at the start of a run all images are shown with fewer pixels, then with more.

Seen coarsely, a stool on four legs and one on a pedestal are neighbors; at full size no step of the generator that
leads from one to the other looks real on the way, and rare kinds of shape are never made. The discriminators stay as
they are: images of few pixels are shown to them enlarged, so that R1 weighs what it would at that size (γ grows with
resolution²). Source: Karras et al. 2018 (progressive growing), there with networks that grow.
"""

from torch import Tensor
from torch.nn import functional

from configs.schema import Config

FIRST_RESOLUTION = 16


def shown_resolution(nimg: float, config: Config) -> int:
    """Side of the images that are shown after `nimg` images, px: 16, doubled every `training.progressive_kimg`."""
    full, each = config.data.resolution, config.training.progressive_kimg * 1000
    side = full if each == 0 else FIRST_RESOLUTION
    while side < full and nimg >= each:
        side, nimg = 2 * side, nimg - each
    return min(side, full)


def supersample_at(side: int, config: Config) -> int:
    """Raster samples along a pixel's side for images of `side` px: finer where pixels are larger, 4 at most."""
    return min(4, config.rendering.supersample * (config.data.resolution // side))


def coarse(image: Tensor, side: int) -> Tensor:
    """A image [B, C, R, R] with the detail of one of `side` px: each square of (R / side)² pixels is its mean."""
    factor = image.shape[-1] // side
    return image if factor == 1 else enlarged(functional.avg_pool2d(image, factor), image.shape[-1])


def enlarged(image: Tensor, resolution: int) -> Tensor:
    """[B, C, S, S] → [B, C, R, R]: each pixel becomes a square."""
    factor = resolution // image.shape[-1]
    return image if factor == 1 else image.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
