"""The SDF head on a regular lattice without look-ups: its first layer is linear, so it separates over the planes.

At the lattice point (i, j, k) the features are xy[i, j] + yz[j, k] + xz[i, k], and so are the first layer's
pre-activations once the layer has been applied to the planes themselves, resampled at the lattice's coordinates.
"""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from geometry.tetgrid import LatticeBlock, TetGrid
from networks.heads import PointHead
from networks.layers import ModulatedPointLayer
from torch_utils.ops.lattice_mlp import lattice_mlp

LRELU_GAIN = 2**0.5


def lattice_head(planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid, box: float) -> Tensor:
    """Output of a head with one hidden layer at every grid vertex: planes [B, 3, R, R, C] → [B, V]; no gradient.

    w [B, layers, w_dim]: the head's styles. box: side of the cube that the planes span, world units.
    """
    first, last = (cast(ModulatedPointLayer, layer) for layer in head.layers)
    hidden = first.weights(w[:, 0])
    output = last.weights(w[:, min(1, w.shape[1] - 1)])[..., 0] * LRELU_GAIN
    planes = planes @ hidden[:, None, None]
    parts = []
    for block in grid.blocks:
        sides = _resample(planes, _interpolation(block, box, planes.shape[2]).to(planes.device))
        values = lattice_mlp(sides[:, 0] + first.bias, sides[:, 1], sides[:, 2], output)
        parts.append(values.flatten(1))
    return torch.cat(parts, 1) + last.bias


def _resample(planes: Tensor, weights: Tensor) -> Tensor:
    """Planes [B, 3, R, R, H] (rows: second axis, columns: first) at lattice coordinates: [B, 3, first, second, H]."""
    batch, _, size, _, hidden = planes.shape
    rows = weights @ planes.reshape(batch * 3, size, size * hidden)
    both = weights @ rows.reshape(-1, size, hidden)
    return both.view(batch, 3, len(weights), len(weights), hidden).transpose(2, 3)


@lru_cache(maxsize=16)
def _interpolation(block: LatticeBlock, box: float, size: int) -> Tensor:
    """Bilinear weights [side, R] of texels for a block's coordinates along one axis, clamped at the border."""
    coordinates = block.first + block.step * torch.arange(block.side, dtype=torch.float64)
    texel = ((coordinates / box + 0.5) * size - 0.5).clamp(0, size - 1)
    below = texel.floor().clamp(max=max(size - 2, 0)).long()
    fraction = texel - below
    weights = torch.zeros(block.side, size, dtype=torch.float64)
    rows = torch.arange(block.side)
    weights[rows, below] += 1 - fraction
    weights[rows, (below + 1).clamp(max=size - 1)] += fraction
    return weights.float()
