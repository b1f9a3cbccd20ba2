"""Signed distances used by several tests: negative inside, world units."""

import torch
from torch import Tensor


def sphere(positions: Tensor, radius: float = 0.35) -> Tensor:
    return positions.norm(dim=-1) - radius


def torus(positions: Tensor, ring: float = 0.28, tube: float = 0.1) -> Tensor:
    x, y, z = positions.unbind(-1)
    return torch.hypot(torch.hypot(x, z) - ring, y) - tube


def noise(positions: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(positions.shape[:-1], generator=torch.Generator().manual_seed(seed))
