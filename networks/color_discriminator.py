"""A discriminator of colors alone: it sees a set of foreground pixels and cannot see the outline.

A discriminator of whole images decides by the outline and hardly looks at colors: real views whose hue drifts pass for
real. This one gets foreground pixels without their positions, each with the differences to neighbors at two distances,
so only colors, their edges and their grain can tell real from generated.
"""

import torch
from torch import Tensor, nn

# Coverage above which a pixel counts as foreground: its color is not mixed with the background.
FOREGROUND = 0.98
# Distances to the neighbors whose differences are seen, px: grain, and edges between parts.
DISTANCES_PX = (1, 5)
# Brings colors in [0, 1] and their differences to about unit variance.
_COLOR_MEAN, _COLOR_GAIN, _DIFFERENCE_GAIN = 0.4, 3.0, 6.0


def neighbor_offsets(distances_px: tuple[int, ...] = DISTANCES_PX) -> Tensor:
    """Rows and columns [8 · len(distances), 2] from a pixel to its eight neighbors at each distance."""
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return torch.tensor([(y * d, x * d) for d in distances_px for y, x in steps])


def foreground_pixels(mask: Tensor, count: int, shift: Tensor) -> Tensor:
    """Indices [B, count] int64 of pixels spread evenly over each mask's foreground, in raster order.

    mask [B, 1, H, W] in [0, 1]. shift [B] in [0, 1) moves all of an image's pixels along the order: drawn anew at each
    step, it lets every pixel have its turn. A mask without foreground gives pixels spread over the whole image.
    """
    inside = mask[:, 0].flatten(1) > FOREGROUND
    inside = inside | ~inside.any(1, keepdim=True)
    running = inside.cumsum(1)
    total = running[:, -1:]
    places = torch.arange(count, device=mask.device) + shift[:, None]
    wanted = (places * (total / count)).long().clamp(max=total - 1)
    # The first pixel up to which more than `wanted` foreground pixels were met.
    return torch.searchsorted(running, wanted, right=True)


def color_tokens(rgb: Tensor, mask: Tensor, pixels: Tensor, offsets: Tensor) -> Tensor:
    """What is seen of each pixel [B, K, 3 + 3 · O]: its color, and differences to the neighbors at `offsets` [O, 2].

    rgb [B, 3, H, W] in [−1, 1]; mask [B, 1, H, W]; pixels [B, K] indices. A difference to a pixel off the foreground or
    off the image is 0. Differentiable in rgb, twice.
    """
    batch, _, height, width = rgb.shape
    colors = (rgb.permute(0, 2, 3, 1).reshape(batch, height * width, 3) + 1) / 2
    inside = mask[:, 0].flatten(1) > FOREGROUND
    row = (pixels // width)[..., None] + offsets[:, 0]
    column = (pixels % width)[..., None] + offsets[:, 1]
    on_image = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    near = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    image = torch.arange(batch, device=rgb.device)[:, None]
    center = colors[image, pixels]
    difference = colors[image[..., None], near] - center[:, :, None]
    seen = on_image & inside[image[..., None], near]
    difference = torch.where(seen[..., None], difference, 0.0)
    parts = [(center - _COLOR_MEAN) * _COLOR_GAIN, (difference * _DIFFERENCE_GAIN).flatten(2)]
    return torch.cat(parts, 2)


class ColorDiscriminator(nn.Module):
    """Logits of images by their foreground colors: rgb [B, 3, H, W], mask [B, 1, H, W], shift [B] → [B].

    A set network: an MLP on every pixel, pooled by mean and maximum; a second one that also sees the pooled values; the
    pooled values, their spread over the pixels, and their spread over `group` contiguous samples give the logit.
    Gradients reach rgb alone. Source of set pooling: Zaheer et al. 2017 (Deep Sets), Qi et al. 2017 (PointNet).
    """

    def __init__(self, pixels: int = 192, width: int = 64, group: int = 4) -> None:
        super().__init__()
        self.pixels, self.group = pixels, group
        self.register_buffer("offsets", neighbor_offsets(), persistent=False)
        tokens = 3 + 3 * len(neighbor_offsets())
        self.each = _mlp(tokens, width, width)
        self.again = _mlp(3 * width, width, width)
        self.output = nn.Sequential(nn.Linear(3 * width + 1, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def forward(self, rgb: Tensor, mask: Tensor, shift: Tensor) -> Tensor:
        """rgb [B, 3, H, W] in [−1, 1], mask [B, 1, H, W] in [0, 1], shift [B] in [0, 1) → logits [B], fp32."""
        mask = mask.detach()
        pixels = foreground_pixels(mask, self.pixels, shift)
        hidden = self.each(
            color_tokens(rgb.to(next(self.parameters()).dtype), mask, pixels, self.get_buffer("offsets"))
        )
        pooled = _pooled(hidden)
        hidden = self.again(torch.cat([hidden, pooled[:, None].expand(-1, self.pixels, -1)], 2))
        features = torch.cat([_pooled(hidden), _spread(hidden, 1)], 1)
        return self.output(torch.cat([features, group_spread(features, self.group)], 1)).squeeze(1)


def group_spread(features: Tensor, group: int) -> Tensor:
    """Mean over features of their standard deviation over `group` contiguous samples [B, 1]; the last may be smaller.

    features [B, C]. It shows a generator that repeats itself. Source: Karras et al. 2018, §3.
    """
    parts = [_spread(part, 0).mean().expand(len(part)) for part in features.split(group)]
    return torch.cat(parts)[:, None]


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, outputs), nn.LeakyReLU(0.2))


def _pooled(hidden: Tensor) -> Tensor:
    return torch.cat([hidden.mean(1), hidden.amax(1)], 1)


def _spread(values: Tensor, dim: int) -> Tensor:
    """Standard deviation along `dim`, with a finite gradient where it is 0."""
    return (values.var(dim, correction=0) + 1e-6).sqrt()
