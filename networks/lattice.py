"""The SDF head at every vertex of a tetrahedral grid, without look-ups: the grid's blocks are cubic lattices."""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from geometry.tet_grid import LatticeBlock, TetGrid
from networks.heads import PointHead
from networks.layers import ModulatedPointLayer
from torch_utils.ops.bias_act import DEFAULT_GAIN
from torch_utils.ops.lattice_mlp import lattice_mlp


def is_separable(head: PointHead) -> bool:
    """Whether `lattice_head` can evaluate a head: it has one hidden layer."""
    return len(head.layers) == 2


def lattice_head(planes: Tensor, head: PointHead, w: Tensor, grid: TetGrid, box: float) -> Tensor:
    """Output of a head with one hidden layer at every grid vertex: planes [B, 3, R, R, C] → [B, V]; no gradient.

    w [B, layers, w_dim]: the head's styles. box: side of the cube that the planes span, world units.
    """
    first, last = (cast(ModulatedPointLayer, layer) for layer in head.layers)
    hidden, output = head.weights(w)
    output = output[..., 0] * DEFAULT_GAIN["lrelu"]
    parts = []
    for block in grid.blocks:
        coordinates = _coordinates(block, box, planes.device)
        parts.append(lattice_mlp(planes, hidden, first.bias, output, coordinates).flatten(1))
    return torch.cat(parts, 1) + last.bias


@lru_cache(maxsize=16)
def _coordinates(block: LatticeBlock, box: float, device: torch.device) -> Tensor:
    """A block's coordinates along each axis [side] in [−1, 1], on the device; cached."""
    steps = torch.arange(block.side, dtype=torch.float64)
    return ((block.first + block.step * steps) * (2 / box)).float().to(device)
