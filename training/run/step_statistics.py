"""Statistics of training steps.

They stay tensors while training runs. Reading them for a log line is the only time that the host waits for the device.
"""

from collections import defaultdict

import torch
from torch import Tensor

from torch_utils.distributed import Ranks, sum_over_ranks


class Statistics:
    """Mean and standard deviation of named values since the last `read`, over all ranks."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, name: str, value: Tensor) -> None:
        """Record a tensor of any shape, without computing anything and without a copy to the host."""
        self._values[name].append(value.detach().reshape(-1))

    def clear(self) -> None:
        """Start over without reading."""
        self._values.clear()

    def read(self, ranks: Ranks) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each name, sorted by name; then start over. Every rank must call it."""
        names = sorted(self._values)
        if not names:
            return {}
        # Counts of meshes live on the host, everything else on the device.
        moments = torch.stack([_moments(torch.cat(self._values[name])).to(ranks.device) for name in names])
        self._values.clear()
        count, total, squares = sum_over_ranks(moments, ranks).cpu().unbind(1)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return dict(zip(names, zip(mean.tolist(), std.tolist(), strict=True), strict=True))


def _moments(values: Tensor) -> Tensor:
    """(count, sum, sum of squares) [3], float64."""
    values = values.to(torch.float64)
    return torch.stack([torch.full_like(values.sum(), values.numel()), values.sum(), values.square().sum()])
