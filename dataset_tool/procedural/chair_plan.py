"""The plan of a chair: its kind, style and proportions, drawn from a random generator."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dataset_tool.procedural.choose import chance, pick, span

FOUR_LEGGED = ("straight", "tapered", "splayed", "turned")


@dataclass(frozen=True)
class ChairPlan:
    """A design; lengths in meters, angles in radians.

    kind: "chair", "armchair", "stool" or "bench".
    seat: "square", "round", "trapezoid", "saddle" or "shell". corner: radius of its corners (a shell's: exponent of its
    outline). seat_taper: width of its rear over its front's. cover: "bare", "cushion" (a loose pad) or "upholstered".
    apron: height of the frame under it. seats: places to sit.
    legs: "straight", "tapered", "splayed", "turned", "sled", "cantilever", "disc", "star" or "block". bar: their
    thickness. round_bars: round or square. stretchers: "none", "sides", "h", "box" or "ring".
    back: "none", "panel", "slats", "ladder", "spindles", "frame", "splat", "cross", "hoop", "upholstered", "shell" or
    "rail". posts: whether the rear legs run on as its uprights. bow: how far its middle lies behind its sides.
    back_taper: width of its top over its foot's. crest: height of the top rail. members: slats, spindles, rungs or
    feet. gap: between seat and back pad, as a share of the back. spine: one upright in the middle.
    arms: "none", "rail", "curved", "padded", "panel", "wrap", "post" or "shell". arm_height: above the seat.
    """

    kind: str
    style: str
    width: float
    depth: float
    seat_height: float
    seat_thickness: float
    height: float
    seat: str
    cover: str
    legs: str
    back: str
    arms: str = "none"
    posts: bool = False
    round_bars: bool = False
    bar: float = 0.04
    leg_taper: float = 1.0
    splay: float = 0.0
    rake: float = 0.1
    bow: float = 0.02
    back_taper: float = 1.0
    crest: float = 0.06
    members: int = 4
    seat_taper: float = 1.0
    corner: float = 0.03
    stretchers: str = "none"
    apron: float = 0.0
    seats: int = 1
    arm_height: float = 0.2
    gap: float = 0.0
    spine: bool = False

    @property
    def longest(self) -> float:
        """The longest side of the object, meters."""
        return max(self.height, self.width, self.depth)

    @property
    def thin(self) -> float:
        """The thinnest bar that a coarse tet grid resolves: 3.5 % of the longest side."""
        return 0.035 * self.longest


def _dining(rng: np.random.Generator) -> ChairPlan:
    back = pick(
        rng, {"slats": 3, "ladder": 3, "panel": 2, "frame": 1.5, "splat": 1.5, "cross": 1, "upholstered": 3, "rail": 1}
    )
    legs = pick(rng, {"straight": 4, "tapered": 4, "turned": 1.5})
    arms = pick(rng, {"none": 7, "rail": 1.6, "curved": 1, "padded": 0.6})
    seat_height = span(rng, 0.42, 0.48)
    return ChairPlan(
        kind="armchair" if arms != "none" else "chair",
        style="traditional" if legs == "turned" or back in ("splat", "cross", "ladder") else "modern",
        width=span(rng, 0.4, 0.54) + (0.05 if arms != "none" else 0),
        depth=span(rng, 0.4, 0.5),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.03, 0.05),
        height=seat_height + span(rng, 0.34, 0.66) * (0.75 if back == "rail" else 1),
        seat=pick(rng, {"square": 3, "trapezoid": 3, "saddle": 0.8}),
        cover=pick(rng, {"bare": 4, "cushion": 2, "upholstered": 3}) if back != "upholstered" else "upholstered",
        legs=legs,
        back=back,
        arms=arms,
        posts=True,
        round_bars=legs == "turned" or chance(rng, 0.25),
        bar=span(rng, 0.034, 0.05),
        leg_taper=span(rng, 0.55, 0.8) if legs == "tapered" else 1.0,
        splay=span(rng, 0, 0.06),
        rake=span(rng, 0.03, 0.24),
        bow=span(rng, 0, 0.045),
        back_taper=span(rng, 0.88, 1.12),
        crest=span(rng, 0.05, 0.12),
        members=int(rng.integers(3, 6)),
        corner=span(rng, 0.01, 0.05),
        stretchers=pick(rng, {"none": 5, "sides": 1, "h": 1.5, "box": 1.2}),
        apron=span(rng, 0.04, 0.07) if chance(rng, 0.65) else 0.0,
    )


def _windsor(rng: np.random.Generator) -> ChairPlan:
    back = pick(rng, {"spindles": 4, "hoop": 3})
    seat_height = span(rng, 0.42, 0.47)
    arms = pick(rng, {"none": 6, "wrap": 3})
    return ChairPlan(
        kind="armchair" if arms != "none" else "chair",
        style="windsor",
        width=span(rng, 0.42, 0.52) + (0.06 if arms != "none" else 0),
        depth=span(rng, 0.4, 0.48),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.035, 0.055),
        height=seat_height + span(rng, 0.38, 0.62) + (0.06 if arms == "wrap" else 0),
        seat=pick(rng, {"saddle": 3, "round": 2, "trapezoid": 1}),
        cover=pick(rng, {"bare": 5, "cushion": 1}),
        legs=pick(rng, {"turned": 3, "splayed": 4}),
        back=back,
        arms=arms,
        round_bars=True,
        bar=span(rng, 0.036, 0.046),
        leg_taper=span(rng, 0.6, 0.8),
        splay=span(rng, 0.1, 0.22),
        rake=span(rng, 0.1, 0.26),
        bow=span(rng, 0.03, 0.07),
        back_taper=span(rng, 1.0, 1.2) if back == "spindles" else 1.0,
        crest=span(rng, 0.05, 0.1),
        members=int(rng.integers(4, 7)),
        corner=span(rng, 0.05, 0.1),
        stretchers=pick(rng, {"h": 4, "none": 2, "box": 1}),
    )


def _shell(rng: np.random.Generator) -> ChairPlan:
    seat_height = span(rng, 0.41, 0.46)
    arms = pick(rng, {"none": 3, "shell": 1})
    legs = pick(rng, {"splayed": 5, "star": 1.4, "disc": 1, "sled": 1.6, "straight": 0.8})
    return ChairPlan(
        kind="armchair" if arms != "none" else "chair",
        style="mid-century",
        width=span(rng, 0.42, 0.52) + (0.08 if arms != "none" else 0),
        depth=span(rng, 0.42, 0.52),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.03, 0.036),
        height=seat_height + span(rng, 0.3, 0.5),
        seat="shell",
        cover=pick(rng, {"bare": 5, "upholstered": 1.5, "cushion": 1}),
        legs=legs,
        back="shell",
        arms=arms,
        round_bars=chance(rng, 0.8),
        bar=span(rng, 0.034, 0.044),
        leg_taper=span(rng, 0.6, 0.85),
        splay=span(rng, 0.12, 0.26),
        rake=span(rng, 0.16, 0.36),
        bow=span(rng, 0.02, 0.07),
        back_taper=span(rng, 0.72, 1.05),
        corner=span(rng, 2.6, 6.0),
        members=int(rng.integers(4, 6)),
    )


def _padded(rng: np.random.Generator) -> ChairPlan:
    arms = pick(rng, {"none": 4, "rail": 1.5, "curved": 1.5, "padded": 2})
    legs = pick(rng, {"tapered": 3, "splayed": 3, "straight": 1.5, "turned": 1, "sled": 0.7})
    seat_height = span(rng, 0.42, 0.48)
    return ChairPlan(
        kind="armchair" if arms != "none" else "chair",
        style="classic" if legs == "turned" else "scandinavian",
        width=span(rng, 0.44, 0.56),
        depth=span(rng, 0.44, 0.54),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.07, 0.11),
        height=seat_height + span(rng, 0.34, 0.6),
        seat=pick(rng, {"square": 3, "trapezoid": 2, "round": 1}),
        cover="upholstered",
        legs=legs,
        back="upholstered",
        arms=arms,
        round_bars=legs != "straight",
        bar=span(rng, 0.036, 0.05),
        leg_taper=span(rng, 0.5, 0.75) if legs != "straight" else 1.0,
        splay=span(rng, 0.1, 0.22) if legs == "splayed" else span(rng, 0, 0.05),
        rake=span(rng, 0.08, 0.24),
        bow=span(rng, 0.0, 0.07),
        back_taper=span(rng, 0.85, 1.08),
        corner=span(rng, 0.03, 0.1),
    )


def _lounge(rng: np.random.Generator) -> ChairPlan:
    seat_height = span(rng, 0.38, 0.44)
    legs = pick(rng, {"tapered": 3, "block": 2, "splayed": 2})
    return ChairPlan(
        kind="armchair",
        style="lounge",
        width=span(rng, 0.52, 0.66),
        depth=span(rng, 0.56, 0.68),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.16, 0.22) if legs != "block" else seat_height - span(rng, 0.06, 0.1),
        height=seat_height + span(rng, 0.3, 0.52),
        seat="square",
        cover="upholstered",
        legs=legs,
        back="upholstered",
        arms="panel",
        round_bars=chance(rng, 0.7),
        bar=span(rng, 0.045, 0.06),
        leg_taper=span(rng, 0.55, 0.8),
        splay=span(rng, 0.05, 0.16),
        rake=span(rng, 0.08, 0.26),
        bow=span(rng, 0.0, 0.05),
        back_taper=span(rng, 0.94, 1.04),
        corner=span(rng, 0.03, 0.07),
    )


def _pedestal(rng: np.random.Generator) -> ChairPlan:
    arms = pick(rng, {"none": 3, "post": 3})
    seat_height = span(rng, 0.42, 0.52)
    legs = pick(rng, {"star": 4, "disc": 3})
    back = pick(rng, {"upholstered": 4, "panel": 2, "ladder": 0.7, "slats": 0.5})
    return ChairPlan(
        kind="armchair" if arms != "none" else "chair",
        style="office" if legs == "star" else "modern",
        width=span(rng, 0.44, 0.54),
        depth=span(rng, 0.42, 0.52),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.05, 0.09),
        height=seat_height + span(rng, 0.36, 0.68),
        seat=pick(rng, {"square": 3, "round": 2, "trapezoid": 1}),
        cover=pick(rng, {"upholstered": 4, "bare": 1}) if back != "ladder" else "upholstered",
        legs=legs,
        back=back,
        arms=arms,
        bar=span(rng, 0.038, 0.05),
        rake=span(rng, 0.06, 0.24),
        bow=span(rng, 0.01, 0.06),
        back_taper=span(rng, 0.82, 1.06),
        crest=span(rng, 0.06, 0.12),
        members=int(rng.integers(4, 6)),
        corner=span(rng, 0.04, 0.12),
    )


def _sled(rng: np.random.Generator) -> ChairPlan:
    plan = _dining(rng)
    return replace(
        plan,
        style="industrial",
        legs="sled",
        arms=plan.arms if plan.arms in ("none", "rail", "padded") else "none",
        kind="armchair" if plan.arms in ("rail", "padded") else "chair",
        round_bars=chance(rng, 0.6),
        bar=span(rng, 0.032, 0.042),
        seat=pick(rng, {"square": 3, "trapezoid": 1}),
        stretchers="none",
        apron=0.0,
    )


def _cantilever(rng: np.random.Generator) -> ChairPlan:
    plan = _dining(rng)
    return replace(
        plan,
        style="bauhaus",
        legs="cantilever",
        back=pick(rng, {"upholstered": 4, "panel": 3, "ladder": 1}),
        cover=pick(rng, {"upholstered": 3, "bare": 2}),
        arms="none",
        kind="chair",
        round_bars=True,
        bar=span(rng, 0.032, 0.042),
        seat="square",
        back_taper=1.0,
        stretchers="none",
        apron=0.0,
    )


def _stool(rng: np.random.Generator) -> ChairPlan:
    legs = pick(rng, {"straight": 2, "splayed": 3, "turned": 1.5, "disc": 1.6, "star": 0.8, "sled": 0.8})
    tall = chance(rng, 0.45)
    seat_height = span(rng, 0.6, 0.78) if tall else span(rng, 0.4, 0.5)
    width = span(rng, 0.32, 0.42) if tall else span(rng, 0.32, 0.46)
    seat = pick(rng, {"round": 4, "square": 3, "saddle": 1})
    return ChairPlan(
        kind="stool",
        style="bar" if tall else "simple",
        width=width,
        depth=width * (1.0 if seat == "round" else span(rng, 0.78, 1.0)),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.035, 0.06),
        height=seat_height,
        seat=seat,
        cover=pick(rng, {"bare": 5, "upholstered": 3, "cushion": 2}),
        legs=legs,
        back="none",
        round_bars=legs in ("splayed", "turned") or chance(rng, 0.4),
        bar=span(rng, 0.034, 0.046),
        leg_taper=span(rng, 0.65, 0.9) if legs == "splayed" else 1.0,
        splay=span(rng, 0.1, 0.2) if legs in ("splayed", "turned") else span(rng, 0, 0.05),
        members=int(rng.integers(4, 6)),
        corner=span(rng, 0.01, 0.08),
        stretchers=pick(rng, {"box": 3, "h": 1, "ring": 2}) if tall else pick(rng, {"none": 4, "box": 1, "h": 1}),
        apron=span(rng, 0.04, 0.06) if chance(rng, 0.4) else 0.0,
    )


def _bench(rng: np.random.Generator) -> ChairPlan:
    seats = int(rng.integers(2, 4))
    back = pick(rng, {"none": 3, "slats": 2, "ladder": 2, "panel": 1, "upholstered": 2})
    arms = pick(rng, {"none": 2, "rail": 2, "padded": 0.5}) if back != "none" else "none"
    seat_height = span(rng, 0.42, 0.47)
    return ChairPlan(
        kind="bench",
        style="garden" if back in ("slats", "ladder") else "modern",
        width=span(rng, 0.42, 0.5) * seats,
        depth=span(rng, 0.38, 0.5),
        seat_height=seat_height,
        seat_thickness=span(rng, 0.045, 0.07),
        height=seat_height + (0 if back == "none" else span(rng, 0.34, 0.5)),
        seat="square",
        cover=pick(rng, {"bare": 4, "cushion": 1, "upholstered": 2}) if back != "upholstered" else "upholstered",
        legs=pick(rng, {"straight": 3, "tapered": 3, "sled": 1.5}),
        back=back,
        arms=arms,
        posts=back != "none",
        bar=span(rng, 0.045, 0.06),
        leg_taper=span(rng, 0.65, 0.9),
        splay=span(rng, 0, 0.05),
        rake=span(rng, 0.06, 0.22),
        bow=0.0,
        crest=span(rng, 0.06, 0.1),
        members=int(rng.integers(3, 4)) if back == "ladder" else 4 * seats,
        corner=span(rng, 0.01, 0.04),
        stretchers=pick(rng, {"none": 3, "h": 1, "sides": 1}),
        apron=span(rng, 0.05, 0.08) if chance(rng, 0.6) else 0.0,
        seats=seats,
    )


TEMPLATES: dict[str, tuple[Callable[[np.random.Generator], ChairPlan], float]] = {
    "dining": (_dining, 0.26),
    "windsor": (_windsor, 0.08),
    "shell": (_shell, 0.12),
    "padded": (_padded, 0.10),
    "lounge": (_lounge, 0.05),
    "pedestal": (_pedestal, 0.11),
    "sled": (_sled, 0.05),
    "cantilever": (_cantilever, 0.05),
    "stool": (_stool, 0.11),
    "bench": (_bench, 0.07),
}


def draw_plan(rng: np.random.Generator) -> ChairPlan:
    """Draw the design of a chair, with bars that are thick enough for the tet grid."""
    template = pick(rng, {name: weight for name, (_, weight) in TEMPLATES.items()})
    plan = TEMPLATES[template][0](rng)
    return replace(
        plan,
        bar=max(plan.bar, 1.08 * plan.thin),
        seat_taper=span(rng, 0.78, 0.92) if plan.seat == "trapezoid" else 1.0,
        seat_thickness=max(plan.seat_thickness, plan.thin),
        arm_height=span(rng, 0.17, 0.23) + (0.03 if plan.cover == "cushion" else 0.0),
        gap=span(rng, 0.14, 0.34) if chance(rng, 0.5) else 0.0,
        spine=chance(rng, 0.4),
    )
