"""Curves for the primitives: outlines [K, 2], sections [K, 2] and paths [P, 3]."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dataset_tool.procedural.shape import Array


def rounded_polygon(corners: Sequence[Sequence[float]] | Array, radius: float, steps: int = 3) -> Array:
    """A convex polygon [n, 2] with corners rounded by `radius` (less on short edges) with `steps` chords each."""
    points = np.asarray(corners, float)
    before, after = np.roll(points, 1, axis=0) - points, np.roll(points, -1, axis=0) - points
    length = np.minimum(np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1))
    to_before = before / np.linalg.norm(before, axis=1, keepdims=True)
    to_after = after / np.linalg.norm(after, axis=1, keepdims=True)
    half_angle = np.arccos(np.clip((to_before * to_after).sum(axis=1), -1, 1)) / 2
    cut = np.minimum(radius / np.tan(half_angle), length * 0.499)[:, None]
    # A rational quadratic Bézier with this weight is the circle's arc.
    t, weight = np.linspace(0, 1, steps + 1)[None, :, None], np.sin(half_angle)[:, None, None]
    blend = (1 - t) ** 2, 2 * weight * t * (1 - t), t**2
    arc = blend[0] * (cut * to_before)[:, None] + blend[2] * (cut * to_after)[:, None]
    arc = points[:, None] + arc / (blend[0] + blend[1] + blend[2])
    return arc.reshape(-1, 2)


def rectangle(width: float, depth: float, radius: float, steps: int = 3) -> Array:
    """A rounded rectangle centered at 0, [4 (steps + 1), 2]."""
    x, z = width / 2, depth / 2
    return rounded_polygon([(-x, -z), (x, -z), (x, z), (-x, z)], radius, steps)


def superellipse(width: float, depth: float, exponent: float = 2.0, count: int = 32) -> Array:
    """|2x / width|^p + |2z / depth|^p = 1: p = 2 an ellipse, 4 a squircle."""
    angle = np.arange(count) * (2 * np.pi / count)
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.sign(cos) * np.abs(cos) ** (2 / exponent)
    z = np.sign(sin) * np.abs(sin) ** (2 / exponent)
    return np.stack([x * width / 2, z * depth / 2], axis=-1)


def inset(outline: Array, distance: float) -> Array:
    """The outline [K, 2], scaled about its center such that its four extremes move inwards by `distance`.

    Unlike an offset along normals, the result never intersects itself at sharp corners.
    """
    low, high = outline.min(axis=0), outline.max(axis=0)
    middle: Array = (low + high) / 2
    half: Array = (high - low) / 2
    return middle + (outline - middle) * np.maximum(1 - distance / half, 0.05)


@lru_cache(maxsize=32)
def round_section(count: int = 12) -> Array:
    """The unit circle [count, 2]."""
    angle = (np.arange(count) + 0.5) * (2 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


@lru_cache(maxsize=32)
def box_section(corner: float = 0.25, steps: int = 2) -> Array:
    """The square [−1, 1]² with corners rounded by `corner` of the half side."""
    return rectangle(2, 2, corner, steps)


def line(start: Sequence[float], stop: Sequence[float], count: int = 2) -> Array:
    """A straight path [count, 3]."""
    t = np.linspace(0, 1, count)[:, None]
    return np.asarray(start, float) * (1 - t) + np.asarray(stop, float) * t


def rounded_path(corners: Sequence[Sequence[float] | Array] | Array, radius: float, steps: int = 4) -> Array:
    """An open polyline [n, 3] with inner corners rounded by about `radius`, like those of a bent tube."""
    points = np.asarray(corners, float)
    result = [points[:1]]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        back, ahead = before - corner, after - corner
        length_back, length_ahead = float(np.linalg.norm(back)), float(np.linalg.norm(ahead))
        cut = min(radius, length_back * 0.48, length_ahead * 0.48)
        t = np.linspace(0, 1, steps + 1)[:, None]
        result.append(corner + (1 - t) ** 2 * back * (cut / length_back) + t**2 * ahead * (cut / length_ahead))
    result.append(points[-1:])
    return np.concatenate(result)


def smooth_path(points: Sequence[Sequence[float] | Array] | Array, count: int | Array = 12) -> Array:
    """A Catmull-Rom curve [count, 3] through points [n, 3]; `count` may also be an array of parameters in [0, 1]."""
    table = np.asarray(points, float)
    padded = np.concatenate([2 * table[:1] - table[1:2], table, 2 * table[-1:] - table[-2:-1]])
    at = (np.linspace(0, 1, count) if isinstance(count, int) else count) * (len(table) - 1)
    index = np.minimum(at.astype(int), len(table) - 2)
    t = (at - index)[:, None]
    p0, p1, p2, p3 = (padded[index + k] for k in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)


def circle_path(radius: float, height: float, count: int = 28, depth: float | None = None) -> Array:
    """A horizontal circle (or ellipse of half-depth `depth`) [count, 3] about the y axis, not closed twice."""
    angle = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angle) * radius, np.full(count, height), np.sin(angle) * (depth or radius)], axis=-1)


def rounded_rows(exponent: float, count: int = 13) -> tuple[Array, Array]:
    """Rows of a superellipse: positions in (−1, 1) and half widths in (0, 1], dense near the corners."""
    x = np.linspace(-0.975, 0.975, count)
    place = x * (1.5 - 0.5 * x * x)
    return place, (1 - np.abs(place) ** exponent) ** (1 / exponent)
