"""What an adaptation did to the images of a generator: pure functions of tensors.

Images are compared sample by sample and view by view: adapted network and source draw the same latents through the same
cameras.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Coverage above which a pixel is the object.
FOREGROUND = 0.95
# Base colors of procedural materials lie between 6 and 248 of 255; beyond is what saturation leaves.
GAMUT = (0.02, 0.98)
# Background of images that are compared as a whole.
GRAY = 0.7
# Rec. 709.
_LUMA = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Views:
    """Base colors of N samples in V views. rgb [N, V, 3, S, S] in [0, 1]; mask [N, V, 1, S, S], coverage."""

    rgb: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def inside(self) -> Tensor:
        """Whether a pixel is the object alone, [N, V, 1, S, S] bool."""
        return self.mask > FOREGROUND

    def over(self, background: float) -> Tensor:
        """Images [N·V, 3, S, S] in [0, 1] over gray; `rgb` counts inside the mask alone."""
        return (self.rgb * self.mask + background * (1 - self.mask)).flatten(0, 1)


def mean_colors(views: Views) -> Tensor:
    """Mean color of each sample's pixels over its views, [N, 3]; 0.5 gray for a sample that is not seen."""
    inside = views.inside
    count = inside.sum(dim=(1, 3, 4))
    total = (views.rgb * inside).sum(dim=(1, 3, 4))
    return torch.where(count > 0, total / count.clamp_min(1), torch.full_like(total, 0.5))


def color_distance(views: Views, references: Tensor) -> float:
    """Distance in sRGB, 0 to √3, of a sample's mean color to the nearest reference color [K, 3], averaged."""
    return float(torch.cdist(mean_colors(views), references).amin(1).mean())


def recolored(views: Views, color: Tensor) -> Views:
    """The oracle: every sample in one color [3], with its own light and dark detail around it."""
    luma = (views.rgb * torch.tensor(_LUMA).view(3, 1, 1)).sum(2, keepdim=True)
    inside = views.inside
    mean = (luma * inside).sum(dim=(1, 2, 3, 4), keepdim=True) / inside.sum(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1)
    return Views((color.view(3, 1, 1) + luma - mean).clamp(0, 1), views.mask)


def structure(views: Views, source: Views) -> float:
    """Correlation, −1 to 1, of the steps in brightness between neighboring pixels that are the object in both.

    1: the same light and dark detail, whatever its strength. Strong edges count more. 0 where there is no detail.
    """
    both = views.inside & source.inside
    products, squares, source_squares = torch.zeros(3, dtype=torch.float64)
    for axis in (3, 4):
        length = both.shape[axis] - 1
        pair = both.narrow(axis, 1, length) & both.narrow(axis, 0, length)
        step, source_step = (_luma_steps(each.rgb, axis) * pair for each in (views, source))
        products = products + (step * source_step).sum()
        squares, source_squares = squares + step.square().sum(), source_squares + source_step.square().sum()
    scale = (squares * source_squares).sqrt()
    return float(products / scale) if scale > 0 else 0.0


def _luma_steps(rgb: Tensor, axis: int) -> Tensor:
    return (rgb.double() * torch.tensor(_LUMA, dtype=torch.float64).view(3, 1, 1)).sum(2, keepdim=True).diff(dim=axis)


def out_of_gamut(views: Views) -> float:
    """Share of the object's pixels with a channel outside `GAMUT`."""
    low, high = GAMUT
    outside = ((views.rgb < low) | (views.rgb > high)).any(2, keepdim=True)
    return float((outside & views.inside).sum() / views.inside.sum().clamp_min(1))


def diversity(views: Views) -> float:
    """Mean root-mean-square distance between images of two samples in the same view, over gray. ValueError for one."""
    if len(views) < 2:
        raise ValueError(f"diversity(): expected two samples or more, got {len(views)}")
    images = views.over(GRAY).unflatten(0, views.rgb.shape[:2]).transpose(0, 1).flatten(2)
    return float(torch.stack([torch.pdist(view) for view in images]).mean() / images.shape[2] ** 0.5)


def change(views: Views, source: Views) -> float:
    """Root mean square of the difference to the source's images, over gray."""
    return float((views.over(GRAY) - source.over(GRAY)).square().mean().sqrt())
