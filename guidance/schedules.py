"""What changes while a distillation runs: the times that are drawn, and the views. progress runs from 0 to 1."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# The range of published SDS.
FULL_RANGE = (0.02, 0.98)


def annealed_range(
    progress: float, start: tuple[float, float] = (0.7, 0.85), end: tuple[float, float] = (0.2, 0.5)
) -> tuple[float, float]:
    """Lowest and highest t, moved linearly from `start` to `end`. Default: DreamCraft3D's (Sun et al. 2024)."""
    share = min(max(progress, 0.0), 1.0)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def stepped_range(progress: float, at: float = 0.2, high: float = 0.98, then: float = 0.5) -> tuple[float, float]:
    """The full range, with t_max lowered from `high` to `then` once `at` is passed, as ProlificDreamer does."""
    return FULL_RANGE[0], high if progress < at else then


def square_root_time(progress: float, t_max: float = 0.98, t_min: float = 0.02) -> float:
    """t = t_max − (t_max − t_min)√progress: one time for all images. Source: Zhu et al. 2024 (HiFA)."""
    return t_max - (t_max - t_min) * math.sqrt(min(max(progress, 0.0), 1.0))


def draw_times(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    """t [B], uniform in the bounds. ValueError for bounds outside (0, 1]."""
    low, high = bounds
    if not 0 < low <= high <= 1:
        raise ValueError(f"draw_times(): expected 0 < low ≤ high ≤ 1, got {low} and {high}")
    return low + (high - low) * torch.rand(count, generator=generator)


@dataclass(frozen=True)
class ViewRange:
    """Azimuths [rad] to both sides of a center, and elevations [rad] from low to high."""

    azimuth_rad: float
    half_width_rad: float
    elevation_low_rad: float
    elevation_high_rad: float

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Azimuths and elevations [B] in radians, uniform."""
        azimuths = self.azimuth_rad + self.half_width_rad * (2 * torch.rand(count, generator=generator) - 1)
        span = self.elevation_high_rad - self.elevation_low_rad
        return azimuths, self.elevation_low_rad + span * torch.rand(count, generator=generator)


def progressive_views(progress: float, reference: ViewRange, full: ViewRange, until: float = 0.5) -> ViewRange:
    """Views widen from around the reference to `full`, linearly, and are full from `until` on.

    Source: Sun et al. 2024 (DreamCraft3D), progressive view training.
    """
    share = min(max(progress / until, 0.0), 1.0) if until > 0 else 1.0

    def between(first: float, last: float) -> float:
        return first + (last - first) * share

    return ViewRange(
        reference.azimuth_rad,
        between(reference.half_width_rad, full.half_width_rad),
        between(reference.elevation_low_rad, full.elevation_low_rad),
        between(reference.elevation_high_rad, full.elevation_high_rad),
    )
