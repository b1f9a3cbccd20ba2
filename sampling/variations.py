"""New samples from given ones: the paths between them, and variations around one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sampling.latents import spherical_paths, straight_paths
from sampling.samples import Sample, Samples
from torch_utils import seeding

if TYPE_CHECKING:
    from sampling.trained_generator import TrainedGenerator

# How samples are interpolated, and which of the two changes.
LatentPath = Literal["slerp", "linear", "w"]
Vary = Literal["both", "shape", "texture"]


def interpolated(
    generator: "TrainedGenerator", stops: Sequence[Sample], steps: int, path: LatentPath, vary: Vary, loop: bool
) -> Samples:
    """The paths from each sample to the next; see `TrainedGenerator.interpolate_all`."""
    if len(stops) < 2 or steps < 2:
        raise ValueError(f"interpolate(): expected at least 2 samples and 2 steps, got {len(stops)} and {steps}")
    first = stops[0]
    if path != "w" and any(bool(stop.z_geo.isnan().any()) for stop in stops):
        raise ValueError('interpolate(): expected samples with latents, got one that was made of styles; take path="w"')
    if any((stop.truncation, stop.label) != (first.truncation, first.label) for stop in stops):
        raise ValueError("interpolate(): expected samples of one truncation and one class")
    turns = [*stops, first] if loop else list(stops)
    shapes = turns if vary != "texture" else [first] * len(turns)
    textures = turns if vary != "shape" else [first] * len(turns)
    if path == "w":
        w_geo = straight_paths(torch.cat([stop.w_geo for stop in shapes]), steps)
        w_tex = straight_paths(torch.cat([stop.w_tex for stop in textures]), steps)
        samples = generator.from_styles(w_geo, w_tex)
    else:
        paths = spherical_paths if path == "slerp" else straight_paths
        z_geo = paths(torch.stack([stop.z_geo for stop in shapes]), steps)
        z_tex = paths(torch.stack([stop.z_tex for stop in textures]), steps)
        labels = None if first.label is None else [first.label] * len(z_geo)
        samples = generator.from_latents(z_geo, z_tex, first.truncation, labels)
    return samples[[row for row in range(len(samples)) if (row + 1) % steps]] if loop else samples


def perturbed(
    generator: "TrainedGenerator", center: Sample, count: int, radius: float, seed: int, vary: Vary
) -> Samples:
    """Variations of one sample, the nearest first; see `TrainedGenerator.perturb`."""
    if count < 1 or not 0 < radius <= 1:
        raise ValueError(f"perturb(): expected a count of at least 1 and a radius in (0, 1], got {count} and {radius}")
    numbers = list(range(count))
    share = torch.sort(seeding.uniform(seed, numbers, "perturbation radius", 1)[:, 0])[0].to(center.z_geo.device)
    angle = share[:, None] * (radius * torch.pi / 2)

    def turned(z: Tensor, stream: str, moves: bool) -> Tensor:
        noise = seeding.normal(seed, numbers, stream, len(z)).to(z.device)
        return torch.cos(angle) * z + torch.sin(angle) * noise if moves else z.expand(count, -1)

    z_geo = turned(center.z_geo, "perturbation shape", vary != "texture")
    z_tex = turned(center.z_tex, "perturbation texture", vary != "shape")
    labels = None if center.label is None else [center.label] * count
    return generator.from_latents(z_geo, z_tex, center.truncation, labels)
