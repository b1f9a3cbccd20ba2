"""Where a projection starts: which random samples, seen from where, have the silhouettes of given images."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from geometry.simplification import simplify
from networks.generator import Generator
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from rendering.deferred import composite, rasterize_mesh
from sampling.projection import MAX_STARTS, Orbit, Starts
from sampling.style_images import CHUNK
from sampling.styles import random_styles, truncated
from torch_utils.errors import UserError

SAMPLES = 160
TRUNCATION = 0.8
FACES = 1500
SIDE_PX = 32
AZIMUTH_STEP_DEG = 15.0
ELEVATION_STEP_DEG = 12.0
# Starts that look from nearer to each other than this are one.
APART_DEG = 40.0


@dataclass(frozen=True, eq=False)
class SampleBank:
    """Random samples to start from. w_geo [B, slots, w_dim], w_tex; meshes: simplified, one each."""

    w_geo: Tensor
    w_tex: Tensor
    meshes: list[Mesh]


@torch.no_grad()
def make_bank(
    generator: Generator, slots: tuple[int, int], count: int = SAMPLES, progress: Callable[[], None] = lambda: None
) -> SampleBank:
    """Samples with a surface, of `count` latents. UserError if none has one.

    slots: of the styles of shape and texture. progress: called after each.
    """
    styles = random_styles(generator, count, seed=2)
    averages = generator.w_average_geo, generator.w_average_tex
    w_geo, w_tex = (
        truncated(w[:, None].expand(-1, number, -1), average, TRUNCATION)
        for w, average, number in zip(styles, averages, slots, strict=True)
    )
    meshes, kept = [], []
    for first in range(0, count, CHUNK):
        part = w_geo[first : first + CHUNK]
        surface = generator.mesh(part)
        for row in range(len(part)):
            if not bool(surface.empty[row]):
                meshes.append(simplify(surface.mesh[row], FACES)[0])
                kept.append(first + row)
            progress()
    if not kept:
        raise UserError(f"none of {count} random samples has a surface to start from; train the network longer")
    return SampleBank(w_geo[kept], w_tex[kept], meshes)


def starts_for_cameras(bank: SampleBank, target: Tensor, cameras: Cameras) -> Starts:
    """The samples whose silhouettes fit best. target [N, 4, R, R], seen by N cameras."""
    distances = silhouette_distances(bank, target[:, 3:], cameras).mean(1)
    rows = distances.argsort()[:MAX_STARTS].tolist()
    return Starts(bank.w_geo[rows], bank.w_tex[rows])


def starts_anywhere(bank: SampleBank, target: Tensor, distribution: CameraDistribution) -> Starts:
    """The best samples with the cameras of a grid over the distribution, from directions that differ.

    target [1, 4, R, R]. A silhouette looks much alike from the front and from the back, so the best start alone would
    often be wrong.
    """
    orbit = camera_grid(distribution)
    cameras = orbit.cameras()
    distances = silhouette_distances(bank, target[:, 3:].expand(len(cameras), -1, -1, -1), cameras)
    directions = functional.normalize(cameras.position(), dim=1)
    chosen: list[tuple[int, int]] = []
    for index in distances.flatten().argsort().tolist():
        row, view = divmod(index, len(cameras))
        nearest = max((float(directions[view] @ directions[other]) for _, other in chosen), default=-1.0)
        if nearest < math.cos(math.radians(APART_DEG)):
            chosen.append((row, view))
        if len(chosen) == MAX_STARTS:
            break
    rows, views = [row for row, _ in chosen], [view for _, view in chosen]
    own = Orbit(orbit.angles[views].to(bank.w_geo.device), orbit.radius, orbit.fov_y_rad)
    return Starts(bank.w_geo[rows], bank.w_tex[rows], own)


def camera_grid(distribution: CameraDistribution) -> Orbit:
    """Azimuths and elevations over a distribution's range, at the middle of its distances and lenses."""
    low, high = distribution.elevation_deg.bounds()
    rows = max(round((high - low) / ELEVATION_STEP_DEG), 1) + 1
    elevations = torch.linspace(low, high, rows) if high > low else torch.tensor([low])
    start, end = distribution.azimuth_deg.bounds()
    turn = min(end - start, 360.0)
    steps = max(round(turn / AZIMUTH_STEP_DEG), 1)
    # A full turn ends where it began; of a smaller range, the end is a direction of its own.
    count = steps + 1 if 0 < turn < 360 else steps
    azimuths = start + torch.arange(count) * turn / steps
    angles = torch.deg2rad(torch.cartesian_prod(azimuths, elevations))
    radius, fov = (sum(each.bounds()) / 2 for each in (distribution.radius, distribution.fov_y_deg))
    return Orbit(angles, radius, math.radians(fov))


def camera_of_angles(distribution: CameraDistribution, azimuth_deg: float, elevation_deg: float) -> Cameras:
    """The camera at some angles, with the middle of a distribution's distances and lenses."""
    angles = torch.deg2rad(torch.tensor([[azimuth_deg, elevation_deg]]))
    return replace(camera_grid(distribution), angles=angles).cameras()


@torch.no_grad()
def silhouette_distances(bank: SampleBank, masks: Tensor, cameras: Cameras) -> Tensor:
    """1 − IoU of each sample's silhouette with the mask [N, 1, R, R] of each of N cameras: [B, N]."""
    small = functional.adaptive_avg_pool2d(masks.cpu(), SIDE_PX)
    rows = []
    for mesh in bank.meshes:
        raster = rasterize_mesh(mesh, cameras.to("cpu"), SIDE_PX, supersample=1)
        _, mask = composite(raster, mesh.vertices.new_zeros(len(raster.pixels), 3))
        common, union = torch.minimum(mask, small).sum((1, 2, 3)), torch.maximum(mask, small).sum((1, 2, 3))
        rows.append(1 - common / union.clamp(min=1e-6))
    return torch.stack(rows)
