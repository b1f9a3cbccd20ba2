"""The SDF head on a regular lattice without look-ups: its first layer is linear, so it separates over the planes.

At the lattice point (i, j, k) the features are xy[i, j] + yz[j, k] + xz[i, k], and so are the first layer's
pre-activations once the layer has been applied to the planes themselves, resampled at the lattice's coordinates.
"""

import torch
from torch import Tensor

from geometry.tetgrid import LatticeBlock, TetGrid
from networks.heads import PointHead


def lattice_sdf(planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid, box: float) -> Tensor:
    """Output of a head with one hidden layer at every grid vertex: planes [B, 3, R, R, C] → [B, V]; no gradient."""
    first, last = head.layers
    hidden = first.weights(w[:, 0])
    output = last.weights(w[:, min(1, w.shape[1] - 1)])[..., 0]
    parts = []
    for block in grid.blocks:
        sides = [_resample(planes[:, k], block, box) @ hidden[:, None] for k in range(3)]
        sides[0] = sides[0] + first.bias
        values = _mlp(sides, output) + last.bias
        parts.append(values.flatten(1))
    return torch.cat(parts, 1)


def _resample(plane: Tensor, block: LatticeBlock, box: float) -> Tensor:
    """A plane [B, R, R, C] (rows: second axis, columns: first) at lattice coordinates: [B, first, second, C]."""
    weights = _interpolation(block, box, plane.shape[1], plane.device)
    return torch.einsum("ic,jr,brcf->bijf", weights, weights, plane)


def _interpolation(block: LatticeBlock, box: float, size: int, device: torch.device) -> Tensor:
    """Bilinear weights [side, R] of texels for the block's coordinates along one axis, clamped at the border."""
    coordinates = block.first + block.step * torch.arange(block.side, dtype=torch.float64)
    texel = ((coordinates / box + 0.5) * size - 0.5).clamp(0, size - 1)
    below = texel.floor().clamp(max=max(size - 2, 0)).long()
    fraction = texel - below
    weights = torch.zeros(block.side, size, dtype=torch.float64)
    rows = torch.arange(block.side)
    weights[rows, below] += 1 - fraction
    weights[rows, (below + 1).clamp(max=size - 1)] += fraction
    return weights.float().to(device)


def _mlp(sides: list[Tensor], output: Tensor) -> Tensor:
    """Σ_h output_h · lrelu(xy[i, j, h] + yz[j, k, h] + xz[i, k, h]) · √2 for every (i, j, k): [B, n, n, n]."""
    results = []
    for xy, yz, xz, weight in zip(*sides, output, strict=True):
        hidden = xy[:, :, None] + yz[None] + xz[:, None]
        hidden = torch.nn.functional.leaky_relu(hidden, 0.2, inplace=True)
        results.append(hidden @ (weight * 2**0.5))
    return torch.stack(results)
