"""Coarse pictures first: at the start of a run all pictures are shown with fewer pixels, then with more.

Seen coarsely, a stool on four legs and one on a pedestal are neighbors; at full size no step of the generator that
leads from one to the other looks real on the way, and rare kinds of shape are never made. The discriminators stay as
they are: pictures of few pixels are shown to them enlarged, so that R1 weighs what it would at that size (γ grows with
resolution²). Source: Karras et al. 2018 (progressive growing), there with networks that grow.
"""

from torch import Tensor
from torch.nn import functional

from configs.schema import Config

FIRST_RESOLUTION = 16


def shown_resolution(nimg: float, config: Config) -> int:
    """Side of the pictures that are shown after `nimg` images, px: 16, doubled every `training.coarse_kimg`."""
    full, each = config.data.resolution, config.training.coarse_kimg * 1000
    side = full if each == 0 else FIRST_RESOLUTION
    while side < full and nimg >= each:
        side, nimg = 2 * side, nimg - each
    return min(side, full)


def supersample_at(side: int, config: Config) -> int:
    """Raster samples along a pixel's side for pictures of `side` px: finer where pixels are larger, 4 at most."""
    return min(4, config.rendering.supersample * (config.data.resolution // side))


def coarse(picture: Tensor, side: int) -> Tensor:
    """A picture [B, C, R, R] with the detail of one of `side` px: each square of (R / side)² pixels is its mean."""
    factor = picture.shape[-1] // side
    return picture if factor == 1 else enlarged(functional.avg_pool2d(picture, factor), picture.shape[-1])


def enlarged(picture: Tensor, resolution: int) -> Tensor:
    """[B, C, S, S] → [B, C, R, R]: each pixel becomes a square."""
    factor = resolution // picture.shape[-1]
    return picture if factor == 1 else picture.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
