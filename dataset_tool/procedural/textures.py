"""Tileable textures from filtered noise: wood, cloth, leather, metal, paint, plastic.

Gray fields [H, W] in about [0, 1] are generated once per process from fixed seeds (`FIELD_VARIANTS` of each). A shape
picks a field, shifts and flips it, and maps it to its own colors. This is deterministic and much faster than new noise.
Rows run along the grain (texture v), columns across it (texture u).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dataset_tool.procedural.shape import Array

FIELD_VARIANTS = 10
Color = Sequence[float]
Image = NDArray[np.uint8]


def spectrum_noise(seed: int, height: int, width: int, scale: tuple[float, float], exponent: float = 2.0) -> Array:
    """Periodic Gaussian noise [height, width] with zero mean and unit standard deviation.

    scale: correlation length along the directions of rows and columns, pixels. exponent: decay of the spectrum.
    """
    white = np.random.default_rng(seed).standard_normal((height, width))
    fy = np.fft.fftfreq(height)[:, None] * scale[0]
    fx = np.fft.rfftfreq(width)[None] * scale[1]
    gain = (1 + (fy * fy + fx * fx) * 4) ** (-exponent)
    gain[0, 0] = 0
    noise = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(height, width))
    return noise / noise.std()


def _stretched(field: Array) -> Array:
    """The field, scaled such that its 1st and 99th percentiles are 0 and 1."""
    low, high = np.percentile(field, (1, 99))
    return np.clip((field - low) / (high - low), 0, 1)


@lru_cache(maxsize=64)
def wood_field(variant: int) -> Array:
    """Grain [256, 128]: year rings bent by slow noise, fibres and pores."""
    rng = np.random.default_rng(1000 + variant)
    height, width = 256, 128
    across = np.arange(width)[None] / width
    bend = spectrum_noise(2000 + variant, height, width, (160, 40), 2.0)
    count = int(rng.integers(3, 8))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (count * across + rng.uniform(0.25, 0.7) * bend))
    rings = rings ** rng.uniform(0.6, 1.6)
    fibres = _stretched(spectrum_noise(3000 + variant, height, width, (90, 2.2), 1.5))
    broad = _stretched(spectrum_noise(4000 + variant, height, width, (200, 30), 2.0))
    pores = spectrum_noise(5000 + variant, height, width, (14, 1.2), 1.2) > 1.9
    grain = 0.45 * rings + 0.33 * fibres + 0.22 * broad
    return _stretched(grain) * (1 - 0.35 * pores)


@lru_cache(maxsize=64)
def cloth_field(weave: str, variant: int) -> Array:
    """Cloth [128, 128] of one color: "plain", "twill", "melange" or "boucle"."""
    size = 128
    y, x = np.mgrid[0:size, 0:size]
    noise = _stretched(spectrum_noise(6000 + variant, size, size, (3, 3), 1.5))
    slub = _stretched(spectrum_noise(6500 + variant, size, size, (24, 1.5), 1.5))
    if weave == "plain":
        thread = 0.5 + 0.25 * (np.sin(2 * np.pi * x / 4) * np.sin(2 * np.pi * y / 4)) + 0.25 * (slub - 0.5)
        return 0.55 * thread + 0.45 * noise
    if weave == "twill":
        return 0.5 * (0.5 + 0.5 * np.sin(2 * np.pi * (x + y) / 8)) + 0.3 * noise + 0.2 * slub
    if weave == "melange":
        yarn = _stretched(spectrum_noise(7000 + variant, size, size, (1.5, 9), 1.5))
        return 0.4 * slub + 0.4 * yarn + 0.2 * noise
    curl = np.abs(spectrum_noise(7500 + variant, size, size, (3.2, 3.2), 3.0))
    return _stretched(-curl) * 0.6 + 0.4 * noise


@lru_cache(maxsize=32)
def leather_field(variant: int) -> Array:
    """Leather [128, 128]: pebbles between fine creases over slow mottling."""
    size = 128
    crease = np.minimum(
        np.abs(spectrum_noise(8000 + variant, size, size, (7, 7), 3.0)),
        np.abs(spectrum_noise(8100 + variant, size, size, (7, 7), 3.0)),
    )
    mottle = _stretched(spectrum_noise(8200 + variant, size, size, (40, 40), 2.0))
    return 0.45 * np.clip(crease * 3, 0, 1) + 0.55 * mottle


@lru_cache(maxsize=32)
def brushed_field(variant: int) -> Array:
    """Brushed metal [128, 128]: streaks along the rows' direction."""
    streaks = spectrum_noise(8400 + variant, 128, 128, (120, 1.6), 1.5)
    return _stretched(streaks + 0.7 * spectrum_noise(8500 + variant, 128, 128, (60, 30), 2.0))


@lru_cache(maxsize=32)
def mottled_field(variant: int) -> Array:
    """Slow soft variation [64, 64] for paint, plastic, ceramic and stone."""
    coarse = spectrum_noise(8600 + variant, 64, 64, (24, 24), 2.0)
    return _stretched(coarse + 0.5 * spectrum_noise(8700 + variant, 64, 64, (3, 3), 1.5))


@lru_cache(maxsize=32)
def marble_field(variant: int) -> Array:
    """Veins [128, 128] in [0, 1]: 0 on a vein."""
    bend = spectrum_noise(8800 + variant, 128, 128, (50, 50), 2.2)
    fine = spectrum_noise(8900 + variant, 128, 128, (18, 18), 2.0)
    vein = np.minimum(np.abs(bend + 0.25 * fine), np.abs(bend - 0.8 + 0.35 * fine) * 1.4)
    mottling = _stretched(spectrum_noise(9000 + variant, 128, 128, (40, 40), 2.0))
    return np.clip(vein * 5, 0, 1) ** 0.6 * 0.75 + 0.25 * mottling


def varied(field: Array, rng: np.random.Generator) -> Array:
    """The field with a random cyclic shift and reflection, so that two shapes rarely have the same one."""
    shift = (int(rng.integers(field.shape[0])), int(rng.integers(field.shape[1])))
    result = np.roll(field, shift, axis=(0, 1))
    return result[:, ::-1] if rng.random() < 0.5 else result


def shade(field: Array, dark: Color, light: Color) -> Image:
    """A field in [0, 1] mapped between two sRGB colors (0 … 255) to an image [H, W, 3]."""
    low, high = np.asarray(dark, float), np.asarray(light, float)
    return np.clip(low + field[..., None] * (high - low) + 0.5, 0, 255).astype(np.uint8)


def tinted(color: Color, factor: float) -> tuple[float, float, float]:
    """A color (0 … 255) darkened (factor < 1) or lightened (factor > 1, towards white)."""
    value = np.asarray(color, float)
    value = value * factor if factor <= 1 else value + (255 - value) * (factor - 1)
    return float(value[0]), float(value[1]), float(value[2])


def cloth(field: Array, color: Color, contrast: float = 0.16) -> Image:
    """Cloth of one color; contrast: half the range of brightness."""
    return shade(np.clip(field, 0, 1), tinted(color, 1 - 1.4 * contrast), tinted(color, 1 + 0.5 * contrast))


def _bands(size: int, edges: Sequence[float]) -> NDArray[np.bool_]:
    """True [size] in every other interval between the edges, which are fractions of the tile."""
    return np.searchsorted(np.asarray(edges), (np.arange(size) + 0.5) / size) % 2 == 1


def striped(field: Array, colors: Sequence[Color], layout: str) -> Image:
    """Cloth with stripes along v: "even" (two colors), "pin" (thin lines) or "triple" (three colors)."""
    size = field.shape[1]
    if layout == "even":
        which = _bands(size, (0.25, 0.5, 0.75, 1.0)).astype(int)
    elif layout == "pin":
        which = _bands(size, (0.1, 0.16, 0.6, 0.66)).astype(int)
    else:
        which = _bands(size, (0.0, 0.42)).astype(int) + 2 * _bands(size, (0.5, 0.62, 0.8, 0.92))
        which = np.minimum(which, len(colors) - 1)
    layers = np.stack([cloth(field, color) for color in colors])
    return layers[which, :, np.arange(size)].transpose(1, 0, 2).copy()


def checked(field: Array, base: Color, line: Color, layout: str) -> Image:
    """Cloth with checks: "gingham" (equal bands) or "tartan" (wide and thin bands)."""
    size = field.shape[0]
    edges = (0.25, 0.5, 0.75, 1.0) if layout == "gingham" else (0.1, 0.45, 0.55, 0.6, 0.85, 0.9)
    band = _bands(size, edges).astype(float)
    share = (band[:, None] + band[None]) / 2
    low, high = cloth(field, base).astype(float), cloth(field, line).astype(float)
    return (low + share[..., None] * (high - low)).astype(np.uint8)


def spotted(field: Array, base: Color, dot: Color, count: int = 3) -> Image:
    """Cloth with a regular pattern of round dots, `count` along the tile."""
    size = field.shape[0]
    y, x = (np.mgrid[0:size, 0:size] + 0.5) * (2 * np.pi * count / size)
    inside = np.clip((np.cos(x) * np.cos(y) - 0.62) * 8, 0, 1)[..., None]
    return (cloth(field, base) * (1 - inside) + cloth(field, dot) * inside).astype(np.uint8)
