"""Projection: the styles whose images look like given ones, by gradient descent through the renderer.

A bank of random samples gives the starting points, and a coarse grid over the camera distribution the cameras where
none are given. Several starts descend side by side, and the worse ones are dropped on the way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from networks.generator import Generator, Rendered
from rendering.camera import Cameras
from rendering.color import psnr_db
from sampling.directions import whitened_axes
from sampling.ray_silhouette import ray_silhouette_losses
from sampling.styles import random_styles

# Axes that hold this share of the styles' variance are optimized; along the rest, styles stay average.
VARIANCE = 0.999
# Loss: halvings of the images that are compared, besides the images themselves.
HALVINGS = 3
MASK_WEIGHT = 2.0
# Loss: of the signed distances on the rays of wrong pixels.
RAY_WEIGHT = 1.0
# What it costs to leave the likely styles, and to differ between slots, per squared standard deviation.
PRIOR_WEIGHT = 1e-3
# Adam's rates: of the coordinates that all slots share, of those of each slot, and of angles, radians.
COMMON_RATE, SLOT_RATE, ANGLE_RATE = 0.05, 0.025, 0.02
# Steps over which the rates rise. Adam's first steps have the full rate along every coordinate, however little the loss
# depends on it; there are so many that they would lead far away from a good start.
WARMUP = 6


@dataclass(frozen=True, eq=False)
class DescentStage:
    """Part of the descent: how many starts go on, for how many steps, at what share of the resolution.

    final_rate: the share of the learning rates at the end.
    """

    starts: int
    steps: int
    shrink: int
    final_rate: float = 0.1


MAX_STARTS = 6


def stages_of(starts: int, steps: int) -> tuple[DescentStage, ...]:
    """All starts at half the resolution, then the best two, for `steps` steps at rates that fall."""
    final = min(starts, 2)
    return DescentStage(starts, 24, 2, 0.5), DescentStage(final, 40, 1, 0.5), DescentStage(final, steps, 1)


@dataclass(frozen=True, eq=False)
class Orbit:
    """Cameras that look at the origin: angles [B, 2], azimuth and elevation in radians; distance and lens, fixed."""

    angles: Tensor
    radius: float
    fov_y_rad: float

    def cameras(self) -> Cameras:
        """One camera for each row."""
        return Cameras.orbit(self.angles[:, 0], self.angles[:, 1], self.radius, self.fov_y_rad)


@dataclass(frozen=True, eq=False)
class Starts:
    """B points of the descent. w_geo, w_tex [B, slots, w_dim]. orbit: None where the cameras are given."""

    w_geo: Tensor
    w_tex: Tensor
    orbit: Orbit | None = None

    def __getitem__(self, rows: list[int]) -> "Starts":
        orbit = None if self.orbit is None else replace(self.orbit, angles=self.orbit.angles[rows])
        return Starts(self.w_geo[rows], self.w_tex[rows], orbit)


@dataclass(frozen=True, eq=False)
class Projected:
    """The result for one object. w_geo, w_tex [1, slots, w_dim]. cameras: N, given or found. images [N, 4, R, R]:
    premultiplied sRGB and coverage in [0, 1]. iou: of the silhouettes. psnr_db: of colors over mid-gray."""

    w_geo: Tensor
    w_tex: Tensor
    cameras: Cameras
    images: Tensor
    iou: float
    psnr_db: float


class StyleSpace:
    """Coordinates of the styles of shape and of texture along their principal axes, in standard deviations."""

    def __init__(self, generator: Generator) -> None:
        self.sides = [whitened_axes(w, VARIANCE) for w in random_styles(generator, 4096)]

    def coordinates(self, w_geo: Tensor, w_tex: Tensor) -> list[Tensor]:
        """Of styles [B, slots, w_dim] each: [B, slots, K] each."""
        pairs = zip((w_geo, w_tex), self.sides, strict=True)
        return [(w - mean) @ (axes / axes.square().sum(1, keepdim=True)).T for w, (mean, axes) in pairs]

    def styles(self, coordinates: Sequence[Tensor]) -> list[Tensor]:
        """The inverse of `coordinates`."""
        return [mean + part @ axes for part, (mean, axes) in zip(coordinates, self.sides, strict=True)]


def project_styles(
    generator: Generator,
    space: StyleSpace,
    target: Tensor,
    starts: Starts,
    cameras: Cameras | None,
    stages: Sequence[DescentStage],
    progress: Callable[[], None] = lambda: None,
) -> Projected:
    """Descend from several starts to the styles of one object.

    target [N, 4, R, R]: its images, premultiplied sRGB and coverage in [0, 1]. cameras: N; None for one image whose
    camera is searched for from the orbits of `starts`. progress: called after each step.
    """
    for stage in stages:
        starts = starts[list(range(stage.starts))]
        starts, losses = descend(generator, space, target, starts, cameras, stage, progress)
        starts = starts[losses.argsort().tolist()]
    starts = starts[[0]]
    seen = _cameras_of(cameras, starts.orbit, 1)
    with torch.no_grad():
        images = drawn(generator, starts.w_geo, starts.w_tex, seen, target.shape[-1])
    return Projected(starts.w_geo, starts.w_tex, seen, images, mask_iou(images, target), color_psnr(images, target))


def descend(
    generator: Generator,
    space: StyleSpace,
    target: Tensor,
    starts: Starts,
    cameras: Cameras | None,
    stage: DescentStage,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Starts, Tensor]:
    """One stage for all starts at once, each on its own: the new points, and their losses [B]."""
    count = len(starts.w_geo)
    resolution = max(target.shape[-1] // stage.shrink, 1)
    wanted = functional.adaptive_avg_pool2d(target, resolution)
    origin = space.coordinates(starts.w_geo, starts.w_tex)
    common = [torch.zeros_like(part[:, :1]).requires_grad_() for part in origin]
    own = [torch.zeros_like(part).requires_grad_() for part in origin]
    groups = [{"params": common, "lr": COMMON_RATE}, {"params": own, "lr": SLOT_RATE}]
    orbit = starts.orbit
    if orbit is not None:
        orbit = replace(orbit, angles=orbit.angles.clone().requires_grad_())
        groups.append({"params": [orbit.angles], "lr": ANGLE_RATE})
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: descent_rate(step, stage))
    best, best_losses = starts, torch.full((count,), torch.inf)
    for step in range(stage.steps + 1):
        coordinates = [a + b + c for a, b, c in zip(origin, common, own, strict=True)]
        w_geo, w_tex = space.styles(coordinates)
        losses, ray_losses = _losses(generator, w_geo, w_tex, _cameras_of(cameras, orbit, count), wanted)
        points = Starts(w_geo.detach(), w_tex.detach(), orbit and replace(orbit, angles=orbit.angles.detach().clone()))
        best, best_losses = _better(best, best_losses, points, losses.detach().cpu())
        if step == stage.steps:
            break
        optimizer.zero_grad()
        prior = sum(part.square().mean((1, 2)).sum() for part in coordinates)
        (losses.sum() + RAY_WEIGHT * ray_losses.sum() + PRIOR_WEIGHT * prior).backward()
        optimizer.step()
        schedule.step()
        progress()
    return best, best_losses


def descent_rate(step: int, stage: DescentStage) -> float:
    """The factor on the learning rates of a step from 0: it rises for WARMUP steps and falls to `final_rate`."""
    return min((step + 1) / WARMUP, 1.0) * (1 - (1 - stage.final_rate) * step / max(stage.steps, 1))


def _losses(
    generator: Generator, w_geo: Tensor, w_tex: Tensor, cameras: Cameras, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """`image_losses` and `ray_silhouette_losses` [B] of styles seen by B·N cameras, for N targets [N, 4, R, R]."""
    count, cameras = len(w_geo), cameras.to(w_geo.device)
    planes = generator.planes(w_geo, w_tex)
    rendered = generator.render(w_geo, w_tex, cameras, resolution=wanted.shape[-1], planes=planes)
    losses = image_losses(_layers(rendered).unflatten(0, (count, -1)), wanted)
    coverage, given = rendered.mask[:, 0], wanted[:, 3].repeat(count, 1, 1)
    return losses, ray_silhouette_losses(generator, planes[0], w_geo, cameras, coverage, given)


def _cameras_of(given: Cameras | None, orbit: Orbit | None, count: int) -> Cameras:
    """The cameras of `count` starts: the given ones for each, or one for each on its orbit."""
    if orbit is not None:
        return orbit.cameras()
    assert given is not None, "a start without cameras"
    return Cameras.cat([given] * count)


def _better(old: Starts, old_losses: Tensor, new: Starts, losses: Tensor) -> tuple[Starts, Tensor]:
    """For each start, whichever point has the smaller loss."""
    wins = (losses < old_losses).to(new.w_geo.device)

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(wins.view(-1, *[1] * (a.dim() - 1)), b, a)

    orbit = new.orbit
    if old.orbit is not None and orbit is not None:
        orbit = replace(orbit, angles=pick(old.orbit.angles, orbit.angles))
    return Starts(pick(old.w_geo, new.w_geo), pick(old.w_tex, new.w_tex), orbit), torch.minimum(old_losses, losses)


def drawn(generator: Generator, w_geo: Tensor, w_tex: Tensor, cameras: Cameras, resolution: int) -> Tensor:
    """Images [B·N, 4, R, R] of styles: premultiplied sRGB over nothing, and coverage, in [0, 1]."""
    return _layers(generator.render(w_geo, w_tex, cameras.to(w_geo.device), resolution=resolution))


def _layers(rendered: Rendered) -> Tensor:
    """[N, 4, R, R] of images on black."""
    return torch.cat([rendered.rgb / 2 + 0.5, rendered.mask], 1)


def image_losses(images: Tensor, target: Tensor) -> Tensor:
    """How much images [B, N, 4, R, R] differ from N targets [N, 4, R, R]: [B].

    Mean absolute differences of colors and coverage, at the images' resolution and at halved ones: coarse levels pull
    parts into place that do not overlap yet.
    """
    difference = (images - target).flatten(0, 1)
    weights = difference.new_tensor([1.0, 1.0, 1.0, MASK_WEIGHT])[:, None, None]
    total = difference.new_zeros(len(images))
    for _ in range(HALVINGS + 1):
        total = total + (difference.abs() * weights).mean((1, 2, 3)).view(len(images), -1).mean(1)
        if difference.shape[-1] < 2:
            break
        difference = functional.avg_pool2d(difference, 2)
    return total


def mask_iou(images: Tensor, target: Tensor) -> float:
    """Intersection over union of the pixels that objects cover by half or more; both [N, 4, R, R]."""
    a, b = images[:, 3] >= 0.5, target[:, 3] >= 0.5
    return float((a & b).sum()) / max(float((a | b).sum()), 1.0)


def color_psnr(images: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio of whole images over mid-gray, dB; both [N, 4, R, R], premultiplied."""
    a, b = (each[:, :3] + (1 - each[:, 3:]) * 0.5 for each in (images, target))
    return psnr_db((a - b).square().mean())
