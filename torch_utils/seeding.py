"""Randomness from (seed, global sample index, stream), never from the rank: the number of ranks changes nothing.

torch is imported only to make tensors: worker processes that use NumPy alone start ten times faster.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def sample_rng(seed: int, index: int, stream: str) -> np.random.Generator:
    """A NumPy generator that belongs to one sample.

    seed: the run's seed. index: the sample's global index (for training, nimg + position in the global batch).
    stream: the purpose of the numbers ("z_geo", "camera", ...); streams are independent of one another.
    """
    key = (seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(stream.encode()))
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64), counter=[0, 0, 0, index]))


def normal(seed: int, indices: Sequence[int], stream: str, size: int) -> torch.Tensor:
    """Standard normal numbers [len(indices), size], float32, CPU; row i depends on (seed, indices[i], stream) alone."""
    import torch

    rows = [sample_rng(seed, int(i), stream).standard_normal(size, dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, size)


def uniform(seed: int, indices: Sequence[int], stream: str, size: int) -> torch.Tensor:
    """Uniform in [0, 1) [len(indices), size], float32, CPU; row i depends on (seed, indices[i], stream) alone."""
    import torch

    rows = [sample_rng(seed, int(i), stream).random(size, dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, size)
