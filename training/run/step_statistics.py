"""Statistics of a run: kept as tensors while it works, read (with the one host sync) when a line is logged."""

from collections import defaultdict

import torch
from torch import Tensor

from torch_utils.distributed import Ranks, sum_over_ranks


class Statistics:
    """Means and deviations of named values since the last `read`, over all ranks."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, name: str, value: Tensor) -> None:
        """Note a value of any shape. Nothing is computed and nothing is copied to the host here."""
        self._values[name].append(value.detach().reshape(-1))

    def read(self, ranks: Ranks) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each name, sorted by name; then start anew. Every rank must call it."""
        names = sorted(self._values)
        if not names:
            return {}
        # Counts of meshes live on the host, everything else on the device.
        moments = torch.stack([_moments(torch.cat(self._values[name])).to(ranks.device) for name in names])
        self._values.clear()
        count, total, squares = sum_over_ranks(moments, ranks).cpu().unbind(1)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        return {n: (m, d) for n, m, d in zip(names, mean.tolist(), deviation.tolist(), strict=True)}


def _moments(values: Tensor) -> Tensor:
    """(count, sum, sum of squares) [3], float64."""
    values = values.to(torch.float64)
    return torch.stack([torch.full_like(values.sum(), values.numel()), values.sum(), values.square().sum()])
