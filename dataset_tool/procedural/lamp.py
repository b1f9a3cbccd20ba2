"""Lamps: table, floor and desk lamps with shades of cloth, metal, glass or paper."""

from dataclasses import dataclass

import numpy as np

from dataset_tool.procedural import materials as mt
from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.choose import article, chance, pick, span
from dataset_tool.procedural.primitives import ellipsoid, lathe, slab, sweep
from dataset_tool.procedural.shape import (
    Array,
    ProceduralMaterial,
    ProceduralPart,
    ProceduralShape,
    grounded,
    scattered_uvs,
    used_materials,
)
from dataset_tool.procedural.supports import disc_base, straight_leg, trumpet_base

SYNSET = "03636649"


@dataclass(frozen=True)
class LampPlan:
    """A design; lengths in meters.

    kind: "table lamp", "floor lamp" or "desk lamp". height: to the shade's top. body: "stem", "vase", "stack", "cone",
    "block", "tripod", "trumpet", "arc" or "arm". shade: "drum", "empire", "cone", "dome", "globe", "square" or
    "mushroom". shade_width, shade_height: its size. variant: which profile. foot: half the base's width. stem: radius.
    """

    kind: str
    height: float
    body: str
    shade: str
    shade_width: float
    shade_height: float
    foot: float
    stem: float
    variant: int

    @property
    def thin(self) -> float:
        """The thinnest bar, 3.5 % of the height, meters."""
        return 0.035 * self.height

    @property
    def shade_base(self) -> float:
        """Height of the shade's lower rim, meters."""
        return self.height - self.shade_height


def draw_plan(rng: np.random.Generator) -> LampPlan:
    """Draw the design of a lamp with typical proportions of its kind."""
    kind = pick(rng, {"table lamp": 5.0, "floor lamp": 2.6, "desk lamp": 2.0})
    if kind == "table lamp":
        height = span(rng, 0.36, 0.62)
        body = pick(rng, {"vase": 4, "stack": 2, "stem": 2, "cone": 1.2, "block": 1, "tripod": 1, "trumpet": 1})
        shade = pick(rng, {"drum": 3, "empire": 3, "cone": 2, "globe": 1.4, "square": 1, "mushroom": 1.4, "dome": 1})
        width, tall = span(rng, 0.46, 0.78) * height, span(rng, 0.3, 0.46) * height
    elif kind == "floor lamp":
        height = span(rng, 1.2, 1.6)
        body = pick(rng, {"stem": 4, "tripod": 3, "arc": 1.6, "trumpet": 0.8})
        shade = pick(rng, {"drum": 3, "empire": 2, "cone": 2, "dome": 1.5, "globe": 1})
        width, tall = span(rng, 0.26, 0.4) * height, span(rng, 0.17, 0.26) * height
    else:
        height = span(rng, 0.36, 0.52)
        body = "arm"
        shade = pick(rng, {"cone": 3, "dome": 3, "drum": 0.6})
        width, tall = span(rng, 0.3, 0.44) * height, span(rng, 0.22, 0.32) * height
    if shade in ("globe", "mushroom"):
        width = max(width, 0.34 * height)
        tall = width * (0.92 if shade == "globe" else span(rng, 0.4, 0.6))
    foot = span(rng, 0.3, 0.42) * width if kind == "table lamp" else span(rng, 0.11, 0.16) * height
    if kind == "desk lamp":
        foot = span(rng, 0.16, 0.22) * height
    stem = (0.5 * span(rng, 0.036, 0.05)) * height
    return LampPlan(kind, height, body, shade, width, tall, foot, stem, int(rng.integers(0, 24)))


def shade_parts(plan: LampPlan) -> list[ProceduralPart]:
    """The shade at the origin, with its rim at y = 0 and its top at y = shade_height; open shades are hollow."""
    radius, tall = plan.shade_width / 2, plan.shade_height
    wall = max(0.9 * plan.thin, 0.012)
    if plan.shade == "globe":
        return [ellipsoid((0, tall / 2, 0), (radius, tall / 2, radius), "shade", segments=24)]
    if plan.shade == "square":
        return [_square_shade(radius, tall, wall)]
    at = np.linspace(0, 1, 7)
    outer = {
        "drum": radius * (1 - 0.05 * at),
        "empire": radius * (1 - 0.38 * at + 0.1 * np.sin(at * np.pi) * (-1 if plan.variant % 2 else 0.3)),
        "cone": radius * (1 - (0.55 + 0.05 * (plan.variant % 4)) * at),
        "dome": radius * np.sqrt(np.maximum(1 - (0.985 * at) ** 2, 0.03)),
        "mushroom": radius * np.sqrt(np.maximum(1 - (0.985 * at) ** 2.4, 0.03)),
    }[plan.shade]
    depth = tall * (0.25 if plan.shade == "mushroom" else 0.55)
    inside = np.interp(np.linspace(0, depth, 4) / tall, at, outer) - wall
    inside = np.maximum(inside, 0.25 * radius)
    cavity = zip(inside[::-1], np.linspace(0.003, depth, 4)[::-1], strict=True)
    top = [(outer[-1] * 0.9, tall)] if plan.shade in ("drum", "empire", "cone") else [(outer[-1] * 0.6, tall * 1.004)]
    rim = outer[0] - 0.5 * wall
    profile = [*cavity, (rim, -0.002), *zip(outer, 0.004 + at * (tall - 0.008), strict=True), *top]
    return [lathe(profile, "shade", segments=28, flat_bands=(0, 1))]


def _square_shade(radius: float, tall: float, wall: float) -> ProceduralPart:
    outline = ol.rectangle(1.7 * radius, 1.7 * radius, 0.03 * radius + 0.004, 2)
    return slab(outline, 0.0, tall, "shade", bevel=min(0.5 * wall, 0.012))


def _vase_profile(plan: LampPlan, top: float) -> Array:
    """A ceramic or wooden body (radius, y) from the floor to `top`."""
    shapes = (
        (0.62, 0.9, 1.0, 0.86, 0.55, 0.3),
        (0.5, 0.62, 0.86, 1.0, 0.7, 0.28),
        (0.75, 1.0, 0.95, 0.6, 0.34, 0.3),
        (0.9, 0.96, 1.0, 0.98, 0.88, 0.35),
        (0.55, 0.95, 0.6, 0.9, 0.5, 0.28),
        (0.7, 0.5, 0.62, 0.95, 1.0, 0.4),
    )
    at = np.linspace(0, 1, 15)
    path = np.zeros((6, 3))
    path[:, 0] = shapes[plan.variant % len(shapes)]
    share = ol.smooth_path(path, at)[:, 0]
    radii = np.maximum(plan.foot * 1.05 * share, plan.stem)
    body = top * (0.82 + 0.1 * (plan.variant % 2))
    profile = [(radii[0] * 0.94, 0.0), *zip(radii, 0.004 + at * (body - 0.004), strict=True)]
    return np.array([*profile, (plan.stem, body + 0.006), (plan.stem, top)])


def _stack(plan: LampPlan, top: float) -> list[ProceduralPart]:
    """Stacked spheres or drums."""
    count = 2 + plan.variant % 3
    each = top * 0.92 / count
    parts: list[ProceduralPart] = []
    for k in range(count):
        size = plan.foot * (0.95 - 0.14 * k * (plan.variant % 2))
        middle = each * (k + 0.5)
        half = (size, each * 0.54, size)
        parts.append(
            ellipsoid((0, middle, 0), half, "body", square=0.75 if plan.variant % 5 == 0 else 1.0, segments=20)
        )
    base = slab(ol.superellipse(1.5 * plan.foot, 1.5 * plan.foot), 0.0, 0.8 * plan.thin, "frame", bevel=0.004)
    stem = lathe([(plan.stem, each * (count - 0.4)), (plan.stem, top)], "frame", segments=12)
    return [*parts, base, stem]


def _arc(plan: LampPlan) -> list[ProceduralPart]:
    """A floor lamp's curved stem with the shade hanging from its end."""
    reach = 0.26 * plan.height
    # (height over the lamp's, forward over the reach)
    bends = ((0.014, -1), (0.55, -1.05), (0.93, -0.5), (0.985, 0.25), (0.93, 0.75), (0.86, 0.8))
    path = ol.smooth_path([(0, y * plan.height, z * reach) for y, z in bends], 20)
    stem = sweep(path, plan.stem, ol.round_section(10), "frame", reference=(1, 0, 0))
    base = disc_base(plan.foot * 1.25, plan.stem * 1.2, 0.12, max(0.7 * plan.thin, 0.02))
    hung = [part.moved((0, 0.88 * plan.height - plan.shade_height, 0.8 * reach)) for part in shade_parts(plan)]
    return [stem, *(part.moved((0, 0, -reach)) for part in base), *hung]


def _arm(plan: LampPlan) -> list[ProceduralPart]:
    """A desk lamp: a jointed arm on a heavy foot, with the head pointing down and forward."""
    elbow = np.array([0, plan.height * (0.52 + 0.03 * (plan.variant % 4)), -0.2 * plan.height])
    wrist = np.array([0, plan.height * 0.92, plan.height * (0.08 + 0.04 * (plan.variant % 3))])
    start = np.array([0, 0.01, 0])
    section = ol.round_section(10)
    bars = [
        sweep(np.stack(pair), plan.stem, section, "frame", reference=(1, 0, 0))
        for pair in ((start, elbow), (elbow, wrist))
    ]
    joint = plan.stem * 1.5
    joints = [ellipsoid(tuple(point), (joint,) * 3, "accent", segments=12) for point in (elbow, wrist)]
    plate = max(0.8 * plan.thin, 0.014)
    shape = (
        ol.rectangle(2 * plan.foot, 2 * plan.foot, 0.02)
        if plan.variant % 3 == 0
        else ol.superellipse(2 * plan.foot, 2 * plan.foot)
    )
    base = slab(shape, 0.0, plate, "frame", bevel=0.005)
    tilt = -0.35 - 0.12 * (plan.variant % 4)
    drop = plan.shade_height * 0.94
    head = [part.moved((0, -drop, 0)).rotated(tilt, axis=0).moved(wrist) for part in shade_parts(plan)]
    return [*bars, *joints, base, *head]


def lamp_parts(plan: LampPlan) -> list[ProceduralPart]:
    """The parts of a plan, closed and touching each other, standing on y = 0."""
    if plan.body == "arc":
        return grounded(_arc(plan))
    if plan.body == "arm":
        return grounded(_arm(plan))
    # The stem ends inside the solid upper part of the shade.
    top = plan.shade_base + 0.75 * plan.shade_height
    edge = max(0.7 * plan.thin, 0.012)
    if plan.shade in ("globe", "square"):
        top = plan.shade_base + 0.3 * plan.shade_height
    if plan.body == "stem":
        parts = disc_base(plan.foot, plan.stem, top, edge)
    elif plan.body == "trumpet":
        parts = trumpet_base(plan.foot, plan.stem, top, edge, 2.4 + 0.4 * (plan.variant % 4))
    elif plan.body == "vase":
        parts = [lathe(_vase_profile(plan, top), "body", segments=24, flat_bands=(1, 0))]
    elif plan.body == "cone":
        profile = [
            (plan.foot * 0.96, 0.0),
            (plan.foot, 0.006),
            (plan.stem * 1.6, plan.shade_base * 0.95),
            (plan.stem, top),
        ]
        parts = [lathe(profile, "body", segments=24, flat_bands=(1, 0))]
    elif plan.body == "block":
        size = plan.foot * 1.25
        tall = plan.shade_base * (0.55 + 0.1 * (plan.variant % 4))
        parts = [
            slab(ol.rectangle(size, size, 0.012), 0.0, tall, "body", bevel=0.006),
            lathe([(plan.stem, tall - 0.02), (plan.stem, top)], "frame", segments=12),
        ]
    elif plan.body == "stack":
        parts = _stack(plan, top)
    else:
        parts = _tripod(plan, top)
    return grounded(parts + [part.moved((0, plan.shade_base, 0)) for part in shade_parts(plan)])


def _tripod(plan: LampPlan, top: float) -> list[ProceduralPart]:
    hub = plan.shade_base * 0.9
    reach = max(1.25 * plan.foot, 0.2 * plan.height)
    parts = [
        lathe(
            [(plan.stem * 1.7, hub - 1.4 * plan.thin), (plan.stem * 1.7, hub + 0.6 * plan.thin)], "accent", segments=14
        )
    ]
    parts.append(lathe([(plan.stem, hub - 0.5 * plan.thin), (plan.stem, top)], "accent", segments=12))
    for k in range(3):
        angle = 2 * np.pi * k / 3 + np.pi / 2
        out = np.array([np.cos(angle), 0, np.sin(angle)])
        parts.append(
            straight_leg(out * reach, out * plan.stem * 0.8 + (0, hub, 0), 0.55 * plan.thin, 0.85, plan.variant % 3 > 0)
        )
    return parts


def lamp_materials(rng: np.random.Generator, plan: LampPlan) -> dict[str, ProceduralMaterial]:
    """Materials of "frame", "body", "shade" and "accent"."""
    metal = mt.metal(rng) if chance(rng, 0.7) else mt.painted_metal(rng, mt.pick_color(rng))
    frame = metal
    if plan.body == "tripod" or (plan.body == "stem" and chance(rng, 0.25)):
        frame = mt.wood(rng)
    if plan.body in ("stack", "cone", "block") and chance(rng, 0.5):
        body = mt.wood(rng)
    elif chance(rng, 0.15):
        body = mt.marble(rng, str(rng.choice(["white", "charcoal", "beige"])))
    else:
        body = mt.ceramic(rng, mt.pick_color(rng))
    if plan.kind == "desk lamp" or (plan.shade in ("dome", "mushroom") and chance(rng, 0.6)):
        shade = frame if chance(rng, 0.45) else mt.painted_metal(rng, mt.pick_color(rng))
    elif plan.shade in ("globe", "mushroom"):
        shade = mt.glass(rng, str(rng.choice(["white", "cream", "white", "mustard", "sage"])))
    else:
        color = pick(rng, {"cream": 3, "white": 3, "beige": 2.5, "other": 4})
        word = mt.pick_color(rng) if color == "other" else color
        shade = mt.fabric(rng, word, pick(rng, {"plain": 6, "striped": 1, "checked": 0.4, "dotted": 0.4}))
    return {"frame": frame, "body": body, "shade": shade, "accent": metal}


_BODIES = {
    "stem": "slender {} stand", "vase": "{} vase body", "stack": "stacked {} body", "cone": "conical {} body",
    "block": "{} block body", "tripod": "{} tripod", "trumpet": "{} trumpet foot", "arc": "curved {} arm",
    "arm": "jointed {} arm",
}  # fmt: skip


def make_lamp(rng: np.random.Generator) -> ProceduralShape:
    """One lamp."""
    plan = draw_plan(rng)
    parts = scattered_uvs(lamp_parts(plan), rng)
    drawn = lamp_materials(rng, plan)
    materials = used_materials(parts, drawn)
    body = materials.get("body") or materials["frame"]
    shade = materials["shade"]
    shade_word = "globe" if plan.shade == "globe" else f"{plan.shade} shade"
    held = article(_BODIES[plan.body].format(body.label))
    caption = f"{article(plan.kind)} with {held} and {article(f'{shade.label} {shade_word}')}"
    attributes: dict[str, str | int | float | bool] = {
        "type": plan.kind,
        "body": plan.body,
        "shade": plan.shade,
        "material": shade.kind,
        "color": shade.color,
        "body_material": body.kind,
        "body_color": body.color,
    }
    return ProceduralShape("lamp", SYNSET, plan.kind, tuple(parts), materials, caption, attributes)
