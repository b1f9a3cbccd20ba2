"""Texture look-ups of the dataset renderer: packed samples, mip-mapped, filtered in linear light."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geometry.mesh_io.source import Material, Wrap
from rendering.shade import linear_table


@dataclass(frozen=True, eq=False)
class Pyramid:
    """An image and its halvings: `texels` [ΣHW, C] float32, linear light (alpha as it is), levels one after another.

    sizes: (height, width) of each level; starts: its first row in `texels`.
    """

    texels: Tensor
    sizes: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]


def build_pyramid(image: np.ndarray, levels: bool = True) -> Pyramid:
    """Mip levels of an image [H, W, 3 or 4] uint8, sRGB; each texel is the average of the two or four below it."""
    colour = linear_table()[torch.from_numpy(image[..., :3].astype(np.int64))]
    if image.shape[2] == 4:
        colour = torch.cat([colour, torch.from_numpy(image[..., 3:].astype(np.float32) / 255)], 2)
    parts = [colour]
    while levels and max(parts[-1].shape[:2]) > 1:
        parts.append(_halve(parts[-1]))
    sizes = tuple((part.shape[0], part.shape[1]) for part in parts)
    counts = [height * width for height, width in sizes]
    starts = tuple(int(start) for start in np.cumsum([0, *counts[:-1]]))
    return Pyramid(torch.cat([part.reshape(-1, part.shape[2]) for part in parts]), sizes, starts)


def _halve(image: Tensor) -> Tensor:
    """Half the size along each side (an odd side loses its last texel to its neighbour; a side of 1 stays)."""
    if image.shape[0] > 1:
        height = image.shape[0] // 2
        odd = image[-1:] if image.shape[0] % 2 else None
        rows = (image[0 : 2 * height : 2] + image[1 : 2 * height : 2]) / 2
        if odd is not None:
            rows[-1:] = (rows[-1:] * 2 + odd) / 3
        image = rows
    if image.shape[1] > 1:
        width = image.shape[1] // 2
        odd = image[:, -1:] if image.shape[1] % 2 else None
        columns = (image[:, 0 : 2 * width : 2] + image[:, 1 : 2 * width : 2]) / 2
        if odd is not None:
            columns[:, -1:] = (columns[:, -1:] * 2 + odd) / 3
        image = columns
    return image


def sample(pyramid: Pyramid, uv: Tensor, slopes: Tensor, material: Material) -> Tensor:
    """Colours [P, C], linear light, at uv [P, 2] (origin top left); slopes [P, 2, 2] = d(u, v)/d(column, row).

    Trilinear: the level follows the footprint of a sample. Its shorter axis counts, but at least half the longer one:
    supersampling takes care of the rest, and surfaces seen at a grazing angle stay sharp.
    """
    height, width = pyramid.sizes[0]
    if material.nearest or len(pyramid.sizes) == 1:
        return _bilinear(pyramid, torch.zeros(len(uv), dtype=torch.int64), uv, material)
    footprint = slopes * torch.tensor([width, height], dtype=uv.dtype)[:, None]
    lengths = footprint.square().sum(1)
    longest, shortest = lengths.amax(1), lengths.amin(1)
    squared = torch.maximum(shortest, longest / 4)
    top = len(pyramid.sizes) - 1
    level = (0.5 * squared.clamp(min=1e-12).log2()).clamp(0, top)
    lower = level.floor().long()
    share = (level - lower)[:, None]
    result = _bilinear(pyramid, lower, uv, material)
    mixed = (share[:, 0] > 0).nonzero().squeeze(1)
    if len(mixed):
        upper = _bilinear(pyramid, (lower[mixed] + 1).clamp(max=top), uv[mixed], material)
        result[mixed] = torch.lerp(result[mixed], upper, share[mixed])
    return result


def _bilinear(pyramid: Pyramid, level: Tensor, uv: Tensor, material: Material) -> Tensor:
    """Bilinear (or nearest) look-up, each sample at its own level."""
    sizes = torch.tensor(pyramid.sizes)[level]
    start = torch.tensor(pyramid.starts)[level]
    height, width = sizes.unbind(1)
    if material.nearest:
        column = _wrap(torch.floor(uv[:, 0] * width).long(), width, material.wrap[0])
        row = _wrap(torch.floor(uv[:, 1] * height).long(), height, material.wrap[1])
        return pyramid.texels[start + row * width + column]
    # Texel centres lie at half-integers. Far repeats lose no precision: the whole part is taken off first.
    x = _reduce(uv[:, 0], material.wrap[0]) * width - 0.5
    y = _reduce(uv[:, 1], material.wrap[1]) * height - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    columns = [_wrap(x0.long() + step, width, material.wrap[0]) for step in (0, 1)]
    rows = [start + _wrap(y0.long() + step, height, material.wrap[1]) * width for step in (0, 1)]
    texels = pyramid.texels
    upper = torch.lerp(texels[rows[0] + columns[0]], texels[rows[0] + columns[1]], fx)
    lower = torch.lerp(texels[rows[1] + columns[0]], texels[rows[1] + columns[1]], fx)
    return torch.lerp(upper, lower, fy)


def _reduce(coordinate: Tensor, wrap: Wrap) -> Tensor:
    """The same place within a few periods of 0."""
    if wrap == "clamp":
        return coordinate.clamp(-1, 2)
    period = 2.0 if wrap == "mirror" else 1.0
    return coordinate - (coordinate / period).floor() * period


def _wrap(index: Tensor, size: Tensor, wrap: Wrap) -> Tensor:
    """Texel index inside [0, size)."""
    if wrap == "clamp":
        return torch.minimum(index.clamp(min=0), size - 1)
    if wrap == "mirror":
        index = index.remainder(2 * size)
        return torch.where(index < size, index, 2 * size - 1 - index)
    return index.remainder(size)
