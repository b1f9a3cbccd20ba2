"""The plan of a car: its kind, proportions and trim."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dataset_tool.procedural.choose import chance, pick, span

Range = tuple[float, float]


@dataclass(frozen=True)
class CarPlan:
    """A design. Lengths in meters; the car stands along z, its front towards +z.

    kind: "sedan", "hatchback", "wagon", "suv", "coupe", "convertible", "pickup", "van", "minivan" or "microcar".
    belt: height of the windows' lower edge. clearance: of the floor. wheel: tire radius. front_axle, rear_axle: z.
    hood, tail: heights of the nose and of the rear end. glass_front, glass_rear: z of the cabin's foot; roof_front,
    roof_rear: z of its roof. plan_round, side_round: exponents of the outline from above and of the section (2 is an
    ellipse, 8 nearly a box). roof_narrow: roof width over belt width. equipment: any of "rack", "sign", "lightbar",
    "spoiler", "cladding", "two-tone", "cargo".
    """

    kind: str
    length: float
    width: float
    height: float
    belt: float
    clearance: float
    wheel: float
    front_axle: float
    rear_axle: float
    hood: float
    tail: float
    glass_front: float
    glass_rear: float
    roof_front: float
    roof_rear: float
    plan_round: float
    side_round: float
    roof_narrow: float
    equipment: tuple[str, ...]
    variant: int


class Proportions(NamedTuple):
    """Ranges of a kind: length in meters; width, tire radius and positions from the rear relative to the length."""

    length: Range
    width: Range
    height: Range
    clearance: Range
    wheel: Range
    rear_window: Range
    roof_rear: Range
    roof_front: Range
    windscreen: Range


_KINDS: dict[str, Proportions] = {
    "sedan": Proportions(
        (4.3, 4.9), (0.37, 0.41), (1.4, 1.52), (0.16, 0.2), (0.074, 0.082),
        (0.11, 0.17), (0.27, 0.33), (0.53, 0.58), (0.68, 0.73),
    ),
    "hatchback": Proportions(
        (3.7, 4.3), (0.41, 0.45), (1.44, 1.58), (0.16, 0.2), (0.078, 0.088),
        (0.015, 0.04), (0.08, 0.16), (0.54, 0.6), (0.7, 0.76),
    ),
    "wagon": Proportions(
        (4.4, 4.9), (0.37, 0.41), (1.45, 1.58), (0.16, 0.21), (0.073, 0.082),
        (0.01, 0.03), (0.05, 0.11), (0.52, 0.58), (0.68, 0.73),
    ),
    "suv": Proportions(
        (4.2, 4.9), (0.4, 0.44), (1.66, 1.88), (0.24, 0.32), (0.084, 0.096),
        (0.012, 0.03), (0.04, 0.1), (0.52, 0.6), (0.66, 0.73),
    ),
    "coupe": Proportions(
        (4.1, 4.6), (0.41, 0.45), (1.22, 1.36), (0.13, 0.16), (0.074, 0.082),
        (0.08, 0.14), (0.3, 0.36), (0.48, 0.54), (0.64, 0.7),
    ),
    "convertible": Proportions(
        (3.9, 4.5), (0.41, 0.45), (1.22, 1.34), (0.13, 0.17), (0.074, 0.082),
        (0.2, 0.24), (0.3, 0.36), (0.5, 0.54), (0.62, 0.66),
    ),
    "pickup": Proportions(
        (4.9, 5.5), (0.36, 0.39), (1.7, 1.9), (0.26, 0.34), (0.074, 0.084),
        (0.4, 0.43), (0.42, 0.45), (0.6, 0.64), (0.7, 0.75),
    ),
    "van": Proportions(
        (4.6, 5.4), (0.37, 0.41), (1.95, 2.3), (0.18, 0.24), (0.064, 0.072),
        (0.008, 0.012), (0.012, 0.03), (0.7, 0.8), (0.86, 0.92),
    ),
    "minivan": Proportions(
        (4.3, 4.8), (0.39, 0.42), (1.62, 1.8), (0.16, 0.2), (0.07, 0.079),
        (0.01, 0.02), (0.03, 0.09), (0.56, 0.64), (0.78, 0.85),
    ),
    "microcar": Proportions(
        (2.9, 3.4), (0.47, 0.52), (1.46, 1.58), (0.15, 0.19), (0.086, 0.1),
        (0.02, 0.05), (0.08, 0.16), (0.58, 0.66), (0.78, 0.86),
    ),
}  # fmt: skip
_SHARES = {
    "sedan": 3.0, "hatchback": 2.5, "wagon": 1.3, "suv": 2.6, "coupe": 1.8, "convertible": 1.0, "pickup": 1.4,
    "van": 1.3, "minivan": 1.0, "microcar": 0.9,
}  # fmt: skip


def _equipment(rng: np.random.Generator, kind: str) -> tuple[str, ...]:
    chances = {
        "rack": 0.3 if kind in ("suv", "wagon", "minivan") else 0.03,
        "sign": 0.1 if kind in ("sedan", "wagon") else 0.0,
        "lightbar": 0.07 if kind in ("sedan", "suv", "wagon") else 0.0,
        "spoiler": 0.4 if kind == "coupe" else 0.08,
        "cladding": 0.7 if kind in ("suv", "pickup") else 0.35,
        "two-tone": 0.22,
        "cargo": 0.55 if kind == "van" else 0.0,
    }
    chosen = [name for name, probability in chances.items() if chance(rng, probability)]
    if "sign" in chosen or "lightbar" in chosen:
        chosen = [name for name in chosen if name != "rack"]
    if kind == "convertible":
        chosen = [name for name in chosen if name in ("cladding",)]
    if kind == "pickup":
        chosen = [name for name in chosen if name != "spoiler"]
    return tuple(name for name in chosen if not (name == "lightbar" and "sign" in chosen))


def draw_plan(rng: np.random.Generator) -> CarPlan:
    """Draw the design of a car with typical proportions of its kind."""
    kind = pick(rng, _SHARES)
    length, ratio, height, clearance, wheel, *places = (span(rng, *limits) for limits in _KINDS[kind])
    glass_rear, roof_rear, roof_front, glass_front = ((place - 0.5) * length for place in places)
    belt_share = {"van": (0.5, 0.56), "coupe": (0.64, 0.69), "convertible": (0.66, 0.7), "microcar": (0.56, 0.62)}
    belt = height * span(rng, *belt_share.get(kind, (0.58, 0.65)))
    hoods = {"van": (0.92, 0.96), "coupe": (0.86, 0.95), "convertible": (0.86, 0.95)}
    boxy = pick(rng, {"round": 2.0, "modern": 4.0, "boxy": 2.0})
    soft = {"round": (3.2, 4.2), "modern": (4.4, 6.0), "boxy": (7.0, 9.0)}[boxy]
    radius = wheel * length
    base = span(rng, 0.585, 0.64) * length
    middle = span(rng, -0.01, 0.02) * length
    return CarPlan(
        kind=kind,
        length=length,
        width=ratio * length,
        height=height,
        belt=belt,
        clearance=clearance,
        wheel=radius,
        front_axle=middle + base / 2,
        rear_axle=middle - base / 2,
        hood=belt * span(rng, *hoods.get(kind, (0.78, 0.9))),
        tail=belt * (span(rng, 0.9, 1.0) if kind in ("sedan", "coupe", "convertible") else 1.0),
        glass_front=glass_front,
        glass_rear=glass_rear,
        roof_front=roof_front,
        roof_rear=roof_rear,
        plan_round=span(rng, *soft) + 0.5,
        side_round=span(rng, *soft),
        roof_narrow=span(rng, 0.76, 0.88) if kind not in ("van", "suv", "minivan") else span(rng, 0.84, 0.93),
        equipment=_equipment(rng, kind),
        variant=int(rng.integers(0, 24)),
    )
