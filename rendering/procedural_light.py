"""Environments drawn by rule: one room for previews, and a distribution of rooms and skies for datasets.

All are equirectangular images [H, 2H, 3] of linear radiance, laid out as `environment_light.py` says. The brightness of
a random one is set by its irradiance, so that a white surface stays below 1 on average.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rendering.environment_light import EnvironmentLight, environment_light, solid_angles, texel_directions

ROWS = 128
# Number of environments in the distribution of `--light random`. A view's light is one of them.
RANDOM_LIGHTS = 64
# Mean radiance of an environment: the irradiance that a surface meets on average, divided by π.
MEAN_RADIANCE = 0.55
# A white surface that faces the key light of the previews' room stays just below the end of a display's range.
PREVIEW_BRIGHTNESS = 0.36


def random_light(index: int, rows: int = ROWS) -> Tensor:
    """Environment `index` of the distribution [rows, 2 rows, 3]: a room with lamps, a sky with a sun, or windows."""
    rng = np.random.default_rng([index, 71])
    directions = texel_directions(rows, torch.empty(0))
    draw = (_room, _sky, _windows)[index % 3]
    image = draw(directions, rng)
    mean = (image * solid_angles(rows, image)[..., None]).sum((0, 1)).mean() / (4 * math.pi)
    return image * (MEAN_RADIANCE * math.exp(rng.normal(0, 0.15)) / float(mean))


def preview_light(rows: int = ROWS) -> Tensor:
    """The room of previews [rows, 2 rows, 3]: a large lamp at the front's right, a strip at the left, a rim light."""
    d = texel_directions(rows, torch.empty(0))
    image = _vertical(d, (0.30, 0.29, 0.28), (0.46, 0.465, 0.47), (0.62, 0.63, 0.65))
    for center, size, color in (
        ((48.0, 42.0), (34.0, 26.0), (5.6, 5.4, 5.1)),
        ((-62.0, 18.0), (9.0, 44.0), (3.4, 3.5, 3.7)),
        ((176.0, 38.0), (40.0, 10.0), (3.6, 3.7, 3.9)),
        ((0.0, 84.0), (70.0, 11.0), (2.2, 2.2, 2.2)),
        ((112.0, 6.0), (5.0, 30.0), (1.8, 1.75, 1.7)),
    ):
        image = image + _panel(d, center, size, 2.0) * torch.tensor(color)
    return image * PREVIEW_BRIGHTNESS


@functools.cache
def preview_environment() -> EnvironmentLight:
    """`preview_light`, filtered; on the CPU."""
    return environment_light(preview_light())


@functools.lru_cache(maxsize=RANDOM_LIGHTS)
def random_environment(index: int) -> EnvironmentLight:
    """`random_light`, filtered; on the CPU."""
    return environment_light(random_light(index))


def _room(d: Tensor, rng: np.random.Generator) -> Tensor:
    """Walls of one color, a floor, and two to five lamps of any size and direction."""
    wall = _tint(rng, 0.12) * rng.uniform(0.15, 0.5)
    image = _vertical(d, tuple(wall * rng.uniform(0.4, 0.9)), tuple(wall), tuple(wall * rng.uniform(0.9, 1.5)))
    for _ in range(int(rng.integers(2, 6))):
        center = (rng.uniform(-180, 180), rng.uniform(5, 75))
        size = (rng.uniform(8, 40), rng.uniform(8, 30))
        image = image + _panel(d, center, size, rng.uniform(1, 4)) * _color(_tint(rng, 0.1) * rng.uniform(2, 9))
    return image


def _sky(d: Tensor, rng: np.random.Generator) -> Tensor:
    """Blue to gray, a ground, and a sun with a glow."""
    gray = rng.uniform(0.2, 1.0)
    zenith = np.array([0.25, 0.42, 0.8]) * (1 - gray) + np.array([0.7, 0.72, 0.75]) * gray
    horizon = np.array([0.75, 0.82, 0.9]) * (1 - gray) + np.array([0.8, 0.8, 0.8]) * gray
    ground = np.array([0.3, 0.28, 0.24]) * rng.uniform(0.4, 1.2)
    image = _vertical(d, tuple(ground), tuple(horizon), tuple(zenith), 0.06)
    elevation, azimuth = np.deg2rad(rng.uniform(12, 70)), rng.uniform(-math.pi, math.pi)
    towards = [math.cos(elevation) * math.cos(azimuth), math.sin(elevation), math.cos(elevation) * math.sin(azimuth)]
    cosine = d @ torch.tensor(towards, dtype=d.dtype)
    warm = _color(np.array([1.0, 0.93, 0.82]))
    sun = torch.exp(400 * (cosine - 1)) * rng.uniform(60, 160) * (1.1 - gray)
    return image + (sun + 1.2 * torch.exp(12 * (cosine - 1)))[..., None] * warm


def _windows(d: Tensor, rng: np.random.Generator) -> Tensor:
    """A dim interior with one or two bright windows, each in four panes, and a warm lamp."""
    wall = _tint(rng, 0.15) * rng.uniform(0.08, 0.25)
    image = _vertical(d, tuple(wall * np.array([0.9, 0.75, 0.6])), tuple(wall), tuple(wall * 1.3))
    azimuth = rng.uniform(-180, 180)
    for number in range(int(rng.integers(1, 3))):
        middle, half = azimuth + 55 * number, (rng.uniform(12, 22), rng.uniform(14, 22))
        light = _color(np.array([0.9, 0.97, 1.05]) * rng.uniform(5, 10))
        for side in (-1, 1):
            for up in (-1, 1):
                center = (middle + side * half[0] * 0.55, 20 + up * half[1] * 0.55)
                image = image + _panel(d, center, (half[0] * 0.48, half[1] * 0.48), 0.8) * light
    lamp = (rng.uniform(-180, 180), rng.uniform(30, 70))
    return image + _panel(d, lamp, (8, 8), 3) * _color(np.array([1.0, 0.8, 0.55]) * rng.uniform(2, 6))


def _vertical(d: Tensor, low: tuple, middle: tuple, high: tuple, softness: float = 0.35) -> Tensor:
    """A gradient from straight down to straight up, with a horizon of the given softness."""
    height = d[..., 1:2]
    below = torch.sigmoid(-height / softness * 4)
    above = height.clamp(min=0) ** 0.7
    base = _color(middle) + (_color(high) - _color(middle)) * above
    return base + (_color(low) - base) * below


def _panel(d: Tensor, center_deg: tuple, half_size_deg: tuple, soft_deg: float) -> Tensor:
    """A rectangle in (azimuth, elevation) around a center, 1 inside, with soft edges: [R, 2R, 1].

    Azimuth 0 is the front, +Z, and grows towards +X, as for cameras.
    """
    azimuth, elevation = (math.radians(angle) for angle in center_deg)
    cos, sin = math.cos(azimuth), math.sin(azimuth)
    ahead = d.new_tensor([math.cos(elevation) * sin, math.sin(elevation), math.cos(elevation) * cos])
    right = d.new_tensor([cos, 0.0, -sin])
    up = torch.linalg.cross(ahead, right)
    depth = (d @ ahead).clamp(min=1e-3)
    angles = [torch.rad2deg(torch.atan((d @ axis) / depth)) for axis in (right, up)]
    inside = [torch.sigmoid((half - a.abs()) / soft_deg * 3) for half, a in zip(half_size_deg, angles, strict=True)]
    return (inside[0] * inside[1] * ((d @ ahead) > 0))[..., None]


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A color close to white: warm or cool by `spread`, with mean 1."""
    warmth = rng.normal(0, spread)
    return np.array([1 + warmth, 1.0, 1 - warmth])


def _color(rgb: tuple | np.ndarray) -> Tensor:
    return functional.relu(torch.tensor(np.asarray(rgb, np.float32)))
