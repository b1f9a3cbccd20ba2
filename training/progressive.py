"""Progressive resolution: a run can start with small images and double their side at intervals.

At full resolution a generator can miss rare types of shape: between a stool on four legs and one on a pedestal, no
intermediate step looks real. At low resolution the two look alike, so the generator can cross over.

Only the images change, not the networks. The discriminators see small images upsampled to full size. R1 then has the
strength that it would have at the small size, since γ grows with resolution². Source: Karras et al. 2018 (progressive
growing), where the networks grow too.
"""

from torch import Tensor
from torch.nn import functional

from configs.schema import Config

FIRST_RESOLUTION = 16


def progressive_resolution(nimg: float, config: Config) -> int:
    """Side of the training images after `nimg` images, px: 16, doubled every `training.progressive_kimg`."""
    full, interval = config.data.resolution, config.training.progressive_kimg * 1000
    side = full if interval == 0 else FIRST_RESOLUTION
    while side < full and nimg >= interval:
        side, nimg = 2 * side, nimg - interval
    return min(side, full)


def supersample_at(side: int, config: Config) -> int:
    """Raster samples along the side of a pixel in images of `side` px: more for larger pixels, at most 4."""
    return min(4, config.rendering.supersample * (config.data.resolution // side))


def at_resolution(image: Tensor, side: int) -> Tensor:
    """An image [B, C, R, R] reduced to the detail of `side` px: each square of (R / side)² pixels becomes its mean."""
    factor = image.shape[-1] // side
    return image if factor == 1 else upsampled(functional.avg_pool2d(image, factor), image.shape[-1])


def upsampled(image: Tensor, resolution: int) -> Tensor:
    """[B, C, S, S] → [B, C, R, R] by nearest neighbor: each pixel becomes a square."""
    factor = resolution // image.shape[-1]
    return image if factor == 1 else image.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
