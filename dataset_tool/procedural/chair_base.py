"""Bases of chairs: legs, stretchers, sleds, cantilevers, pedestals."""

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.chair_back import BackFrame
from dataset_tool.procedural.chair_plan import FOUR_LEGGED, ChairPlan
from dataset_tool.procedural.chair_seat import rear_half_width, seat_outline
from dataset_tool.procedural.primitives import ring_tube, slab, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart, with_mirror
from dataset_tool.procedural.supports import (
    bar_section,
    disc_base,
    star_base,
    straight_leg,
    trumpet_base,
    turned_leg,
)


def leg_tops(plan: ChairPlan) -> tuple[tuple[float, float], tuple[float, float]]:
    """(x, z) of the front and of the rear leg on the +x side, where they meet the seat."""
    inset = plan.bar / 2 + 0.008
    if plan.seat == "shell":
        return (0.34 * plan.width, 0.26 * plan.depth), (0.3 * plan.width, -0.28 * plan.depth)
    if plan.seat == "round":
        reach = 0.5 * 0.707 * 0.86
        return (reach * plan.width, reach * plan.depth), (reach * plan.width, -reach * plan.depth)
    inset += 0.25 * plan.corner + (0.1 * plan.width if plan.splay > 0.09 else 0)
    front = (plan.width / 2 - inset, plan.depth / 2 - inset)
    rear_inset = plan.bar / 2 + 0.002 if plan.posts else inset
    return front, (rear_half_width(plan) - rear_inset, -plan.depth / 2 + rear_inset)


def _feet(plan: ChairPlan) -> tuple[Array, Array]:
    """Foot positions [2, 3] (front, rear) and tops [2, 3] on the +x side."""
    top_height = plan.seat_height - min(0.014, plan.seat_thickness / 3)
    if plan.seat == "shell":
        top_height = plan.seat_height - plan.seat_thickness - 0.012
    run = top_height * np.tan(plan.splay)
    tops, feet = [], []
    for (x, z), sign in zip(leg_tops(plan), (1, -1), strict=True):
        tops.append((x, top_height, z))
        feet.append((x + 0.75 * run, 0.0, z + sign * 0.75 * run))
    return np.array(feet), np.array(tops)


def _leg(plan: ChairPlan, foot: Array, top: Array) -> ProceduralPart:
    if plan.legs == "turned":
        return turned_leg(foot, top, plan.bar / 2, plan.members)
    return straight_leg(foot, top, plan.bar / 2, _taper(plan), plan.round_bars)


def _taper(plan: ChairPlan) -> float:
    """Ratio of a leg's thickness at the foot and at the top, limited by what the tet grid resolves."""
    return max(plan.leg_taper, 0.8 * plan.thin / plan.bar)


def _rear_post(plan: ChairPlan, frame: BackFrame, foot: Array) -> ProceduralPart:
    """A rear leg that continues as an upright of the back."""
    half = plan.bar / 2
    above = frame.at(np.ones(4), np.linspace(0.04, 1.0, 4))
    knee = frame.at(np.ones(1), np.zeros(1))
    path = np.concatenate([foot[None], (foot[None] * 0.35 + knee * 0.65), knee, above])
    taper = _taper(plan)
    scale = np.interp(np.arange(len(path)), [0, 1.5, 3, len(path) - 1], [taper, 1, 1, max(0.85, taper)])
    if plan.round_bars and plan.legs == "turned":
        scale[1] = 1.08
    sizes = np.stack([half * scale] * 2, axis=1)
    return sweep(path, sizes, bar_section(plan.round_bars), "frame", reference=(1, 0, 0), bevel=0.006)


def four_legs(plan: ChairPlan, frame: BackFrame | None) -> list[ProceduralPart]:
    """Front legs, rear legs (uprights where the plan has posts), stretchers and apron."""
    feet, tops = _feet(plan)
    half_side = [_leg(plan, feet[0], tops[0])]
    if plan.posts and frame is not None:
        foot = np.array([tops[1, 0], 0.0, tops[1, 2] - 0.5 * plan.seat_height * np.tan(max(plan.splay, 0.06))])
        feet[1] = foot
        half_side.append(_rear_post(plan, frame, foot))
    else:
        half_side.append(_leg(plan, feet[1], tops[1]))
    parts = with_mirror(half_side)
    parts += _stretchers(plan, feet, tops)
    if plan.apron > 0:
        outline = ol.inset(seat_outline(plan), plan.bar * 0.4 + 0.3 * min(plan.corner, 0.05))
        base = plan.seat_height - plan.seat_thickness - plan.apron + 0.006
        parts.append(slab(outline, base, plan.apron, "frame", bevel=0.003))
    if plan.seat == "shell":
        parts += _mount(plan, tops)
    return parts


def _mount(plan: ChairPlan, tops: Array) -> list[ProceduralPart]:
    """The cross under a shell that joins its legs: two bars across and a block in the middle."""
    half = 0.5 * plan.thin
    height = plan.seat_height - plan.seat_thickness / 2 - half - 0.006
    bars = []
    for x, _, z in tops:
        path = ol.line((-x - 0.004, height, z), (x + 0.004, height, z))
        bars.append(sweep(path, (half, half), ol.box_section(), "frame", reference=(0, 1, 0)))
    deep = abs(tops[0, 2] - tops[1, 2])
    block = slab(
        ol.rectangle(0.36 * plan.width, deep, 0.02), height - half * 0.8, 2.1 * half + 0.004, "frame", bevel=0.004
    )
    return [*bars, block.moved((0, 0, (tops[0, 2] + tops[1, 2]) / 2))]


def _stretchers(plan: ChairPlan, feet: Array, tops: Array) -> list[ProceduralPart]:
    """Bars between the legs, in their lower half."""
    if plan.stretchers == "none":
        return []
    half = max(0.42 * plan.thin, 0.3 * plan.bar)
    section = ol.round_section(8) if plan.round_bars else ol.box_section(0.2, 1)
    low = 0.2 if plan.style == "bar" else 0.34

    def on_leg(leg: int, share: float, sign: float = 1.0) -> Array:
        point = feet[leg] + (tops[leg] - feet[leg]) * share
        return point * np.array([sign, 1, 1])

    def bar(start: Array, stop: Array) -> ProceduralPart:
        return sweep(np.stack([start, stop]), (half, half), section, "frame", reference=(0, 1, 0))

    if plan.stretchers == "ring":
        point = on_leg(0, 0.42)
        path = ol.circle_path(float(np.hypot(point[0], point[2])) - 0.004, float(point[1]), 24)
        return [ring_tube(path, half, section, "frame", (0, 1, 0))]
    sides = with_mirror([bar(on_leg(1, low), on_leg(0, low))])
    if plan.stretchers == "sides":
        return sides
    if plan.stretchers == "h":
        middle = (on_leg(1, low) + on_leg(0, low)) / 2
        return [*sides, bar(middle * (-1, 1, 1), middle)]
    across = [bar(on_leg(leg, low + 0.07, -1), on_leg(leg, low + 0.07)) for leg in (0, 1)]
    return sides + across


def sled(plan: ChairPlan, frame: BackFrame | None) -> list[ProceduralPart]:
    """A runner on either side, bent from one bar. With posts, it continues up the back."""
    half = plan.bar / 2
    (front_x, front_z), (rear_x, rear_z) = leg_tops(plan)
    x = (front_x + rear_x) / 2 if plan.seat == "shell" else front_x
    top = plan.seat_height - plan.seat_thickness * 0.45
    if plan.seat == "shell":
        top = plan.seat_height - plan.seat_thickness - 0.02
    spread = 0.03 if plan.posts else 0.05
    corners = [(x, top, front_z), (x, half, front_z + spread), (x, half, rear_z - spread)]
    if plan.posts and frame is not None:
        rear_x = frame.half_width(0)
        corners[-1] = (rear_x, half, rear_z - 0.02)
        above = frame.at(np.ones(3), np.array([0.02, 0.5, 1.0]))
        corners += [tuple(point) for point in above]
    else:
        corners.append((x, top, rear_z))
    path = ol.rounded_path(corners, 0.07, 4)
    runner = sweep(path, half, bar_section(plan.round_bars), "frame", reference=(1, 0, 0))
    parts = with_mirror([runner])
    height = plan.seat_height - plan.seat_thickness - half * 0.6 + 0.004
    if plan.seat == "shell":
        return parts + _mount(plan, np.array([(x, top, front_z), (x, top, rear_z)]))
    for z in (front_z, rear_z):
        path = ol.line((-front_x, height, z), (front_x, height, z))
        parts.append(sweep(path, half * 0.9, bar_section(plan.round_bars), "frame", reference=(0, 1, 0)))
    return parts


def cantilever(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """One tube: down the back, along the seat, down in front, back along the floor and across behind."""
    radius = plan.bar / 2
    x = frame.half_width(0)
    seat = plan.seat_height - plan.seat_thickness * 0.5
    front, rear = plan.depth / 2 - 0.01, -plan.depth / 2
    back = [tuple(point) for point in frame.at(np.ones(3), np.array([0.97, 0.5, 0.12]))]
    half_path = [
        *back,
        (x, seat, rear + 0.02),
        (x, seat, front),
        (x, radius, front + 0.01),
        (x, radius, rear + 0.02),
    ]
    other = [(-px, py, pz) for px, py, pz in reversed(half_path)]
    path = ol.rounded_path(half_path + other, 0.075, 4)
    tube = sweep(path, radius, ol.round_section(10), "frame", end="round")
    return [tube]


def pedestal(plan: ChairPlan) -> list[ProceduralPart]:
    """A column on a disc, a trumpet or a star of feet, with a plate under the seat and a ring for high seats."""
    shell = plan.seat == "shell"
    top = plan.seat_height - plan.seat_thickness * (0.55 if shell else 0.8)
    radius = max(0.6 * plan.thin, 0.5 * plan.bar)
    reach = float(np.clip(0.5 * max(plan.width, plan.depth), 0.2, 0.3)) + (0.02 if plan.kind != "stool" else 0)
    plate = slab(ol.superellipse(0.2, 0.2, 4, 16), top - plan.thin * 0.9, plan.thin, "frame", bevel=0.006)
    parts = [plate]
    edge = max(0.55 * plan.thin, 0.016)
    if plan.legs == "star":
        parts += star_base(reach, radius, top, plan.thin, plan.members, plan.style == "office")
    elif plan.spine:
        parts += trumpet_base(reach, radius, top, edge)
    else:
        parts += disc_base(reach, radius, top, edge)
    if plan.kind == "stool" and plan.seat_height > 0.58:
        height, ring = 0.36 * plan.seat_height, 0.62 * reach
        parts.append(
            ring_tube(ol.circle_path(ring, height, 24), 0.42 * plan.thin, ol.round_section(8), "frame", (0, 1, 0))
        )
        for angle in (0.5, 0.5 + np.pi * 2 / 3, 0.5 + np.pi * 4 / 3):
            tip = (ring * np.cos(angle), height, ring * np.sin(angle))
            parts.append(sweep(ol.line((0, height, 0), tip), 0.4 * plan.thin, ol.round_section(8), "frame"))
    return parts


def lounge_legs(plan: ChairPlan) -> list[ProceduralPart]:
    """Short feet, or a plinth, under a deep block."""
    base = plan.seat_height - plan.seat_thickness
    if plan.legs == "block":
        outline = ol.rectangle(plan.width * 0.96, plan.depth * 0.9, 0.01)
        return [slab(outline, 0.0, base + 0.01, "frame", bevel=0.006)]
    x, z = plan.width / 2 - 0.02, plan.depth / 2 - 0.06
    run = base * np.tan(plan.splay)
    taper = max(plan.leg_taper, 0.75 * plan.thin / plan.bar)
    sizes = np.array([[taper] * 2, [1.0, 1.0]]) * plan.bar / 2
    legs = [
        sweep(
            np.array([(x + run, 0, sign * (z + run)), (x, base + 0.02, sign * z)]),
            sizes,
            bar_section(plan.round_bars),
            "frame",
            reference=(1, 0, 0),
        )
        for sign in (1, -1)
    ]
    return with_mirror(legs)


def build_base(plan: ChairPlan, frame: BackFrame | None) -> list[ProceduralPart]:
    """All parts below the seat, and the uprights that continue from them."""
    if plan.arms == "panel":
        return lounge_legs(plan)
    if plan.legs in FOUR_LEGGED:
        return four_legs(plan, frame)
    if plan.legs == "sled":
        return sled(plan, frame)
    if plan.legs == "cantilever":
        assert frame is not None, "a cantilever carries a back"
        return cantilever(plan, frame)
    return pedestal(plan)
