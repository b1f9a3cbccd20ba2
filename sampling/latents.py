"""Latents from seeds, and paths between them."""

import re
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from torch_utils import seeding
from torch_utils.errors import UserError


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """Seeds of "0-15,20,31", numbers and inclusive ranges, in the order given. UserError for any other text.

    option: the name that messages give.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,18})(?:\s*-\s*([0-9]{1,18}))?\s*", part)
        if not match:
            raise UserError(
                f"{option} {text}: expected numbers and ranges such as 0-15,20; {part.strip()!r} is neither"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UserError(f"{option} {text}: the range {part.strip()!r} runs backwards; write {last}-{first}")
        if last - first >= 1_000_000:
            raise UserError(f"{option} {text}: the range {part.strip()!r} is longer than a million")
        seeds += range(first, last + 1)
    return seeds


def latents(seeds: Sequence[int], z_dim: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Latents (z_geo, z_tex) [B, z_dim] each, standard normal; row i depends on seeds[i] alone."""
    z_geo = torch.cat([seeding.normal(seed, [0], "sample_geo", z_dim) for seed in seeds])
    z_tex = torch.cat([seeding.normal(seed, [0], "sample_tex", z_dim) for seed in seeds])
    return z_geo.to(device), z_tex.to(device)


def spherical_paths(stops: Tensor, steps: int) -> Tensor:
    """The paths from each of K Gaussian latents [K, D] to the next, with both ends: [(K − 1) · steps, D]."""
    return torch.cat([spherical_path(start, end, steps) for start, end in pairwise(stops)])


def straight_paths(stops: Tensor, steps: int) -> Tensor:
    """The straight lines from each of K points [K, …] to the next, with both ends: [(K − 1) · steps, …]."""
    shares = torch.linspace(0, 1, steps, device=stops.device).view(-1, *[1] * (stops.dim() - 1))
    return torch.cat([torch.lerp(start, end, shares) for start, end in pairwise(stops)])


def spherical_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Great-circle path between two Gaussian latents [D]: [steps, D], both ends included.

    Directions are interpolated on the sphere and norms linearly, so every point is as likely as the ends
    (Shoemake 1985; White 2016, "Sampling generative networks").
    """
    norms = torch.lerp(start.norm(), end.norm(), torch.linspace(0, 1, steps, device=start.device))
    a, b = start / start.norm(), end / end.norm()
    angle = torch.arccos((a @ b).clamp(-1, 1))
    t = torch.linspace(0, 1, steps, device=start.device)[:, None]
    if angle < 1e-4:
        directions = torch.lerp(a, b, t)
    else:
        directions = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return directions * norms[:, None]
