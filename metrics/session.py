"""What one evaluation compares (`Inputs`), and where its results are kept and reported (`Session`)."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from metrics.cache import ChunkStore
from metrics.protocols import Protocol
from metrics.sources.shape_source import ShapeSource

# progress_bar(label, total): a context whose value is called once for each finished chunk.
ProgressBar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Inputs:
    """The shapes that are compared.

    training: None where there is no training set (a folder against a folder). image_references: the references whose
    images are compared, a dataset's whole split however many of its shapes the protocol takes; None: `references`.
    image_training: the same of the training shapes; None: `training`.
    """

    generated: ShapeSource
    references: ShapeSource
    training: ShapeSource | None = None
    image_references: ShapeSource | None = None
    image_training: ShapeSource | None = None


@dataclass(frozen=True)
class Session:
    """The protocol, the caches and the progress bar of one evaluation.

    own: results of the generated shapes. real: results of the data alone, which other evaluations share. device: where
    distances are computed (`metrics.shapes.distances.distance_device`).
    """

    protocol: Protocol
    own: ChunkStore
    real: ChunkStore
    progress: ProgressBar
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def computing(self) -> dict[str, Any]:
        """How distances are computed, as keyword arguments of `metrics.shapes.distances.between` and `within`."""
        return {"emd_points": self.protocol.emd_points, "device": self.device}

    def chunks(self, rows: int, size: int) -> int:
        """The largest number of chunks of `size` rows that one rank computes, for progress bars."""
        return math.ceil(math.ceil(rows / size) / self.own.ranks.world)
