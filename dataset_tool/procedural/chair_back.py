"""Backs of chairs. Every style lies on a curved surface between two uprights."""

from dataclasses import dataclass, replace

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.chair_plan import ChairPlan
from dataset_tool.procedural.chair_seat import arm_block, rear_half_width
from dataset_tool.procedural.primitives import bent_plate, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart, with_mirror


@dataclass(frozen=True)
class BackFrame:
    """The back's middle surface: s in [−1, 1] from left to right, t from the seat (0) to the top (1)."""

    base: float
    rise: float
    foot_half: float
    top_half: float
    rear: float
    rake: float
    bow: float

    def half_width(self, t: Array | float) -> float:
        """Half the width at height t, meters."""
        return float(self.foot_half + (self.top_half - self.foot_half) * np.asarray(t))

    def narrowed(self, share: float) -> "BackFrame":
        """The same surface with s = ±1 nearer the middle."""
        return replace(self, foot_half=self.foot_half * share, top_half=self.top_half * share)

    def at(self, s: Array, t: Array) -> Array:
        """Points [..., 3] of the surface."""
        s, t = np.broadcast_arrays(np.asarray(s, float), np.asarray(t, float))
        half = self.foot_half + (self.top_half - self.foot_half) * t
        lean = self.rise * np.tan(self.rake) * (0.55 * t + 0.45 * t * np.abs(t))
        grow = np.clip(t * 2, 0, 1)
        return np.stack(
            [s * half, self.base + self.rise * t, self.rear - lean - self.bow * grow * (1 - s * s)], axis=-1
        )


def back_frame(plan: ChairPlan) -> BackFrame | None:
    """The surface of a plan's back; None for stools and shells."""
    if plan.back in ("none", "shell"):
        return None
    half = rear_half_width(plan) - (plan.bar / 2 + 0.002 if plan.posts else 0.55 * plan.bar)
    if plan.arms == "panel":
        half = plan.width / 2 - 0.4 * arm_block(plan)
    if plan.back in ("spindles", "hoop"):
        half = rear_half_width(plan) - 0.6 * plan.bar - 0.012
    inset = {"upholstered": 0.03, "spindles": 0.045, "hoop": 0.045}.get(plan.back, plan.bar / 2 + 0.002)
    if plan.seat == "round" and plan.back not in ("spindles", "hoop"):
        inset += 0.14 * plan.depth
    if plan.posts:
        inset = plan.bar / 2 + 0.002
    if plan.arms == "panel":
        inset = 0.07
    base = plan.seat_height - 0.01
    crest_above = 0.5 * plan.crest if plan.back in ("slats", "ladder", "frame", "splat", "spindles") else 0.0
    return BackFrame(
        base=base,
        rise=max(plan.height - base - 0.3 * crest_above, 0.2),
        foot_half=half,
        top_half=half * plan.back_taper,
        rear=-plan.depth / 2 + inset,
        rake=plan.rake,
        bow=plan.bow,
    )


def rail(
    plan: ChairPlan, frame: BackFrame, t: float, height: float, *, reach: float = 1.0, arch: float = 0.0
) -> ProceduralPart:
    """A board across the back at t, `height` meters high; arch: how much higher its middle is, as a share."""
    s = np.linspace(-reach, reach, 9 if frame.bow > 0.004 or arch else 3)
    path = frame.at(s, np.full_like(s, t))
    swell = 1 + arch * (1 - (s / reach) ** 2)
    path[:, 1] += height / 2 * (swell - 1)
    sizes = np.stack([height / 2 * swell, np.full_like(s, 0.46 * plan.thin)], axis=1)
    return sweep(path, sizes, ol.box_section(0.3, 2), "back", reference=(0, 1, 0))


def upright(frame: BackFrame, s: float, t: tuple[float, float], half: Array | float) -> ProceduralPart:
    """A slat or rod along t at s; half: half width and half depth (a pair), or widths along it [P, 2]."""
    sizes = np.asarray(half, float)
    count = len(sizes) if sizes.ndim == 2 else 5
    at = np.linspace(t[0], t[1], count)
    path = frame.at(np.full(count, s), at)
    rod = sizes.ndim == 0
    section = ol.round_section(8) if rod else ol.box_section(0.3, 2)
    return sweep(path, half, section, "back", reference=(1, 0, 0))


def short_posts(plan: ChairPlan, frame: BackFrame, top: float = 1.0) -> list[ProceduralPart]:
    """Uprights that start inside the seat, for chairs whose rear legs end below it."""
    low = -0.6 * plan.seat_thickness / frame.rise
    path = frame.at(np.ones(6), np.linspace(low, top, 6))
    section = ol.round_section(10) if plan.round_bars else ol.box_section(0.22, 2)
    return with_mirror([sweep(path, plan.bar / 2, section, "frame", reference=(1, 0, 0))])


def spread(count: int, margin: float) -> Array:
    """`count` positions in (−1, 1) whose outer gaps are `margin` times the inner ones."""
    steps = np.concatenate([[margin], np.ones(count - 1), [margin]])
    return (np.cumsum(steps)[:-1] / steps.sum()) * 2 - 1


def _slats(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    count = plan.members
    inner = 2 * frame.half_width(0.5) - plan.bar
    width = max(0.45 * inner / count, 0.95 * plan.thin)
    count = min(count, max(2, int(inner / (1.75 * width))))
    low = 0.16
    parts = [rail(plan, frame, 1.0 - 0.35 * plan.crest / frame.rise, plan.crest), rail(plan, frame, low, 0.045)]
    half = np.array([width / 2, 0.4 * plan.thin])
    return parts + [upright(frame, s, (low, 0.96), half) for s in spread(count, 1.0)]


def _ladder(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    count = min(plan.members, max(2, int(frame.rise / 0.12)))
    height = min(plan.crest * 0.85, 0.55 * frame.rise / count)
    height = max(height, 1.05 * plan.thin)
    heights = np.linspace(0.95, 0.95 * (1 - (count - 1) / count) + 0.04, count)
    arch = 0.35 if plan.style == "traditional" else 0.0
    return [rail(plan, frame, float(t), height, arch=arch) for t in heights]


def _spindles(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    radius = 0.44 * plan.thin
    low = -0.5 * plan.seat_thickness / frame.rise
    inner = 2 * frame.half_width(0.3) / (3.6 * radius)
    count = max(3, min(plan.members, int(inner)))
    rods = [upright(frame, float(s), (low, 0.97), radius) for s in np.linspace(-0.94, 0.94, count)]
    crest = rail(plan, frame, 0.97, plan.crest, reach=1.08, arch=0.2)
    return [*rods, crest]


def _hoop(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    power = 0.62 + 0.04 * (plan.members % 4)
    low = -0.5 * plan.seat_thickness / frame.rise
    angle = np.linspace(0, np.pi, 25)
    s = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    t = np.abs(np.sin(angle)) ** power
    t[0] = t[-1] = low
    hoop = sweep(frame.at(s, t), 0.52 * plan.thin, ol.round_section(10), "back")
    count = max(2, min(plan.members - 1, int(2 * frame.foot_half / (3.4 * plan.thin * 0.5)) - 1))
    rods = []
    for place in np.linspace(-1, 1, count + 2)[1:-1]:
        top = float((1 - abs(place) ** (2 / power)) ** (power / 2))
        rods.append(upright(frame, float(place), (low, top), 0.42 * plan.thin))
    return [hoop, *rods]


def pad_surface(frame: BackFrame, low: float, exponent: float, width: float = 1.0) -> Array:
    """A pad's middle surface [R, C, 3] from t = low to 1, its outline rounded by a superellipse of this exponent."""
    v, shrink = ol.rounded_rows(exponent)
    s = np.linspace(-1, 1, 9)[None] * shrink[:, None] * width
    t = (low + (1 - low) * (v + 1) / 2)[:, None]
    return frame.at(s, np.broadcast_to(t, s.shape))


def pad(
    frame: BackFrame,
    low: float,
    thickness: float,
    material: str,
    exponent: float,
    soft: float,
    along_x: bool = False,
    width: float = 1.04,
) -> ProceduralPart:
    """An upholstered or wooden panel; soft: how much thinner its rim is, as a share; along_x: grain.

    width: half of it over the uprights' distance from the middle.
    """
    surface = pad_surface(frame, low, exponent, width)
    rows, columns = surface.shape[:2]
    v, s = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
    profile = thickness * (1 - soft * s**6) * (1 - soft * v**6)
    return bent_plate(surface, profile, material, end_reach=0.2, flip_grain=along_x)


def _panel(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """A wooden or upholstered panel that stands in the seat, on posts, or on a spine."""
    upholstered = plan.back == "upholstered"
    thickness = plan.thin * (1.75 if upholstered else 0.95)
    exponent = 4.0 + 2.0 * (plan.members % 3)
    carried = plan.posts or plan.legs == "cantilever"
    low = 0.24 if carried else (plan.gap if plan.gap else -0.5 * plan.seat_thickness / frame.rise)
    # Between uprights, the edges end inside the uprights; otherwise they are free.
    width = 0.98 if carried else 1.04
    material = "pad" if upholstered else "back"
    parts = [pad(frame, low, thickness, material, exponent, 0.4 if upholstered else 0.0, plan.seats > 1, width)]
    if carried or not plan.gap:
        return parts
    if plan.spine and plan.seats == 1:
        return [*parts, _spine(plan, frame)]
    return parts + short_posts(plan, frame.narrowed(0.7), 0.8)


def _spine(plan: ChairPlan, frame: BackFrame) -> ProceduralPart:
    """A bar from under the seat up the middle of the back."""
    under = plan.seat_height - plan.seat_thickness - 0.1 * plan.thin
    up = frame.at(np.zeros(3), np.array([0.1, 0.45, 0.75])) - (0, 0, 0.2 * plan.thin)
    corners = np.array([(0, under, 0.0), (0, under, -plan.depth / 2 - 0.03), *up])
    path = ol.rounded_path(corners, 0.07)
    return sweep(path, (0.9 * plan.thin, 0.46 * plan.thin), ol.box_section(0.3, 2), "frame", reference=(1, 0, 0))


def _framed(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """Crest and lower rail between the posts; inside nothing, a splat or a cross."""
    crest = rail(plan, frame, 1.0 - 0.35 * plan.crest / frame.rise, plan.crest, arch=0.15 * (plan.members % 2))
    lower = rail(plan, frame, 0.22, max(0.05, 1.2 * plan.thin))
    if plan.back == "frame":
        return [crest, lower]
    if plan.back == "splat":
        return [crest, lower, _splat(plan, frame)]
    t = np.linspace(0.22, 0.94, 7)
    s = np.linspace(-0.92, 0.92, 7)
    parts = [crest, lower]
    for sign, behind in ((1, 0.0), (-1, 0.003)):
        path = frame.at(sign * s, t) - (0, 0, behind)
        parts.append(
            sweep(path, (0.6 * plan.thin, 0.42 * plan.thin), ol.box_section(0.3, 2), "back", reference=(1, 0, 0))
        )
    return parts


def _splat(plan: ChairPlan, frame: BackFrame) -> ProceduralPart:
    """A wide board in the middle, straight or turned like a vase."""
    waist = (0.6, 0.48, 0.55, 0.85, 0.95, 0.7, 0.5, 0.6, 0.85) if plan.members % 2 else (0.7, 0.62, 0.7)
    t = np.linspace(0, 1, 15)
    width = np.interp(t, np.linspace(0, 1, len(waist)), waist)
    width = np.convolve(np.pad(width, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid") * 0.5
    s = np.maximum(width, 0.55 * plan.thin / frame.half_width(0.5))[:, None] * np.linspace(-1, 1, 5)
    return bent_plate(frame.at(s, (0.22 + 0.75 * t)[:, None]), 0.84 * plan.thin, "back")


def build_back(plan: ChairPlan, frame: BackFrame | None) -> list[ProceduralPart]:
    """All parts of the back except uprights that are rear legs."""
    if frame is None:
        return []
    parts: list[ProceduralPart] = []
    if plan.back in ("slats", "ladder") and not plan.posts and plan.legs != "cantilever":
        parts += short_posts(plan, frame)
    if plan.arms == "panel":
        low = -0.8 * plan.seat_thickness / frame.rise
        return [pad(frame, low, 0.12 + plan.corner * 0.5, "back", 7.0, 0.3)]
    builders = {
        "slats": _slats,
        "ladder": _ladder,
        "spindles": _spindles,
        "hoop": _hoop,
        "panel": _panel,
        "upholstered": _panel,
        "frame": _framed,
        "splat": _framed,
        "cross": _framed,
    }
    if plan.back == "rail":
        high = max(plan.crest, 0.09)
        return [*parts, rail(plan, frame, 1.0 - 0.5 * high / frame.rise, high)]
    return parts + builders[plan.back](plan, frame)
