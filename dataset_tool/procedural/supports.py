"""Supports of furniture and lamps: legs, discs, trumpets and stars."""

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.primitives import ellipsoid, lathe, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart

TURNINGS = (
    # (share of the height from the floor, radius over the leg's half thickness)
    ((0, 0.62), (0.06, 0.8), (0.1, 0.66), (0.3, 0.86), (0.55, 1.05), (0.62, 0.72), (0.66, 1.0), (0.7, 0.74), (1, 0.96)),
    ((0, 0.7), (0.08, 0.66), (0.3, 1.1), (0.42, 0.74), (0.46, 1.02), (0.5, 0.74), (0.75, 1.08), (1, 0.86)),
    ((0, 0.74), (0.1, 1.0), (0.18, 0.7), (0.24, 0.98), (0.3, 0.7), (0.72, 1.08), (0.8, 0.72), (0.85, 1.0), (1, 1.0)),
)


def bar_section(round_bars: bool) -> Array:
    """The section of bars: round, or square with eased corners."""
    return ol.round_section(10) if round_bars else ol.box_section(0.22, 2)


def straight_leg(
    foot: Array, top: Array, half: float, taper: float, round_bars: bool, material: str = "frame"
) -> ProceduralPart:
    """A leg between two points [3], with half thickness `half` at the top and `taper` times that at the foot."""
    sizes = np.array([[half * taper] * 2, [half] * 2])
    return sweep(np.stack([foot, top]), sizes, bar_section(round_bars), material, reference=(1, 0, 0))


def turned_leg(foot: Array, top: Array, half: float, turning: int, material: str = "frame") -> ProceduralPart:
    """A lathe-turned leg with one of the profiles in `TURNINGS` (modulo their number)."""
    table = np.array(TURNINGS[turning % len(TURNINGS)])
    at = np.linspace(0, 1, 18)
    radii = half * 1.08 * np.interp(at, table[:, 0], table[:, 1])
    path = foot + (top - foot) * at[:, None]
    return sweep(path, np.stack([radii, radii], axis=1), ol.round_section(12), material, reference=(1, 0, 0))


def trumpet_base(reach: float, radius: float, top: float, edge: float, power: float = 3.2) -> list[ProceduralPart]:
    """A surface that widens from a column of `radius` to a foot of radius `reach` with a rim of thickness `edge`."""
    flare = np.linspace(0, 1, 9)
    curve = radius * 1.1 + (reach - radius * 1.1) * (1 - flare) ** power
    rise = edge + (top - edge) * flare**0.9
    profile = [(reach * 0.96, 0.0), (reach, 0.006), *zip(curve, rise, strict=True)]
    return [lathe(profile, "frame", segments=24, flat_bands=(1, 0))]


def disc_base(reach: float, radius: float, top: float, edge: float) -> list[ProceduralPart]:
    """A flat disc with a stepped column up to `top`."""
    plate = [
        (reach - 0.006, 0.0),
        (reach, 0.006),
        (reach, edge),
        (reach * 0.94, edge + 0.008),
        (2.2 * radius, edge + 0.016),
    ]
    column = [(radius * 1.3, edge), (radius * 1.3, top * 0.45), (radius, top * 0.46), (radius, top)]
    return [lathe(plate, "frame", segments=24, flat_bands=(1, 2)), lathe(column, "frame", segments=14)]


def star_base(reach: float, radius: float, top: float, thin: float, count: int, wheels: bool) -> list[ProceduralPart]:
    """A column on `count` feet of thickness `thin`. wheels: add castors of material "accent"."""
    foot = 0.05 if wheels else thin * 0.5
    arm_height = foot + (0.6 * thin if wheels else 0)
    column = [(radius * 1.45, foot), (radius * 1.45, top * 0.5), (radius, top * 0.51), (radius, top)]
    parts = [lathe(column, "frame", segments=14)]
    sizes = np.array([[0.5, 0.62], [0.44, 0.5]]) * thin
    hub = arm_height + 0.045
    for k in range(count):
        angle = 2 * np.pi * k / count + np.pi / 2
        out = np.array([np.cos(angle), 0, np.sin(angle)])
        path = np.array([out * 0.01 + (0, hub, 0), out * reach + (0, arm_height, 0)])
        side = np.cross(out, (0, 1, 0)).tolist()
        parts.append(sweep(path, sizes, ol.box_section(0.35, 1), "frame", reference=side))
        if wheels:
            center = out * (reach - 0.012) + (0, 0.029, 0)
            parts.append(ellipsoid(center.tolist(), (0.026, 0.029, 0.026), "accent", segments=10, square=0.8))
    return parts
