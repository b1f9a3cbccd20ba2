"""Do colors belong to parts? Two figures of the foreground of an image, which the Fréchet distance hardly sees.

A real object has a few colors, each with its grain: its pixels lie near three means. A texture that washes over the
parts has colors in between, and more hues.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Coverage above which a pixel counts as foreground; its eight neighbors must, too, so that no edge is mixed in.
FOREGROUND = 0.99
# Images with fewer foreground pixels say nothing.
MIN_PIXELS = 60
MEANS, RESTARTS, ITERATIONS = 3, 2, 12
# At most this many pixels of an image, evenly spread: more do not change the means, and k-means grows slow.
MAX_PIXELS = 4096
HUE_BINS = 24
# Chroma (largest minus smallest channel) below which a pixel has no hue; how many must have one.
MIN_CHROMA, MIN_COLORED = 0.08, 30


def foreground_colors(rgba: Tensor) -> list[Tensor]:
    """Colors [P_i, 3] in [0, 1] of each image's foreground, without its rim; images of too few pixels are left out.

    rgba [B, 4, H, W]: RGB in [−1, 1] over any background, coverage in [0, 1].
    """
    inside = (rgba[:, 3:] > FOREGROUND).float()
    inside = -functional.max_pool2d(-inside, 3, 1, 1)
    colors = ((rgba[:, :3] + 1) / 2).permute(0, 2, 3, 1)
    chosen = [image[mask > 0] for image, mask in zip(colors, inside[:, 0], strict=True)]
    return [image for image in chosen if len(image) >= MIN_PIXELS]


def color_scatter(colors: Tensor) -> float:
    """RMS distance of colors [P, 3] in [0, 1] to the nearest of their own three means (k-means), on a scale of 0–255.

    Lower means crisper parts. The best of two starts by k-means++ with a fixed seed (Arthur and Vassilvitskii 2007).
    """
    generator = torch.Generator().manual_seed(0)
    found = [_k_means_scatter(colors.double(), generator) for _ in range(RESTARTS)]
    return 255 * min(found)


def _k_means_scatter(colors: Tensor, generator: torch.Generator) -> float:
    means = colors[torch.randint(len(colors), (1,), generator=generator)]
    while len(means) < MEANS:
        squared = torch.cdist(colors, means).amin(1).square() + 1e-9
        means = torch.cat([means, colors[torch.multinomial(squared, 1, generator=generator)]])
    for _ in range(ITERATIONS):
        nearest = torch.cdist(colors, means).argmin(1)
        sums = torch.zeros_like(means).index_add_(0, nearest, colors)
        counts = torch.bincount(nearest, minlength=MEANS)[:, None]
        means = torch.where(counts > 0, sums / counts.clamp(min=1), means)
    return float(torch.cdist(colors, means).amin(1).square().mean().sqrt())


def effective_hues(colors: Tensor) -> float:
    """Effective number of hues of colors [P, 3] in [0, 1]: the exponential of the entropy of 24 hue bins; at least 1.

    Gray pixels have no hue and are left out; an image of them alone counts as one hue.
    """
    largest, smallest = colors.amax(1), colors.amin(1)
    chroma = largest - smallest
    colored = chroma > MIN_CHROMA
    if int(colored.sum()) <= MIN_COLORED:
        return 1.0
    red, green, blue = colors[colored].unbind(1)
    largest, chroma = largest[colored], chroma[colored]
    hue = torch.where(
        largest == red,
        ((green - blue) / chroma) % 6,
        torch.where(largest == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    share = torch.histc(hue, HUE_BINS, 0, 6)
    share = share[share > 0] / share.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def color_figures(rgba: Tensor) -> Tensor:
    """`color_scatter` and `effective_hues` of each image of rgba [B, 4, H, W]: [B, 2] float64.

    NaN where an image has too few pixels of foreground; see `foreground_colors`.
    """
    figures = torch.full((len(rgba), 2), torch.nan, dtype=torch.float64)
    for row, image in enumerate(rgba.split(1)):
        for colors in foreground_colors(image):
            colors = colors[:: -(-len(colors) // MAX_PIXELS)]
            figures[row] = torch.tensor([color_scatter(colors), effective_hues(colors)])
    return figures
