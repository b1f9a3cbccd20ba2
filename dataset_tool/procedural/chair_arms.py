"""Armrests: rails on supports, bent loops, pads, solid sides, a horseshoe around the back, posts from below."""

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.chair_back import BackFrame
from dataset_tool.procedural.chair_plan import ChairPlan
from dataset_tool.procedural.chair_seat import arm_block
from dataset_tool.procedural.primitives import slab, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart, with_mirror


def build_arms(plan: ChairPlan, frame: BackFrame | None) -> list[ProceduralPart]:
    """Both arms of a plan; none if it has none or its shell includes them."""
    if frame is None or plan.arms in ("none", "shell"):
        return []
    builders = {"rail": _rails, "padded": _rails, "curved": _loops, "panel": _sides, "wrap": _wrap, "post": _posts}
    return builders[plan.arms](plan, frame)


def _height(plan: ChairPlan) -> float:
    return plan.seat_height + plan.arm_height


def _anchor(plan: ChairPlan, frame: BackFrame) -> Array:
    """Where an arm meets the back's upright on the +x side [3]."""
    t = min((_height(plan) - frame.base) / frame.rise, 0.86)
    return frame.at(np.array(1.0), np.array(t))


def _side(plan: ChairPlan) -> tuple[float, float]:
    """x of the arm's support beside the seat, and z of its front."""
    out = plan.width / 2 + 0.12 * plan.bar
    if plan.seat == "round":
        return out - 0.02, 0.06 * plan.depth
    return out - (0.02 if plan.seat == "saddle" else 0), 0.24 * plan.depth


def _support(plan: ChairPlan, x: float, z: float, top: float) -> ProceduralPart:
    """An upright from the seat's side to the arm."""
    half = 0.46 * max(plan.bar, plan.thin)
    path = np.array([(x, plan.seat_height - 0.85 * plan.seat_thickness, z), (x + 0.006, top, z)])
    section = ol.round_section(10) if plan.round_bars else ol.box_section(0.22, 2)
    return sweep(path, half, section, "frame", reference=(1, 0, 0))


def _rails(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    anchor, height = _anchor(plan, frame), _height(plan)
    x, z = _side(plan)
    front = z + 0.05 + 0.25 * plan.bar
    path = ol.smooth_path([anchor, (max(x, anchor[0]), height, (anchor[2] + z) / 2), (x + 0.006, height, front)], 7)
    half = (0.75 * plan.thin, 0.48 * plan.thin)
    arm = sweep(path, half, ol.box_section(0.5, 2), "frame", reference=(1, 0, 0))
    parts = [_support(plan, x, z, height), arm]
    if not plan.posts and plan.legs != "cantilever":
        parts.append(_support(plan, x, -0.3 * plan.depth, height))
    if plan.arms == "padded":
        length = front - anchor[2]
        shape = ol.rectangle(1.7 * plan.thin, 0.62 * length, 0.024, 3)
        pad = slab(shape, height + 0.3 * plan.thin, 0.9 * plan.thin, "pad", bevel=0.012, crown=0.004)
        parts.append(pad.moved((x + 0.006, 0, front - 0.36 * length)))
    return with_mirror(parts)


def _loops(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """A bar that runs forward from the back and bends down into the seat's side."""
    anchor, height = _anchor(plan, frame), _height(plan)
    x, z = _side(plan)
    foot = plan.seat_height - 0.6 * plan.seat_thickness
    bends = [(x, height, 0.3 * anchor[2]), (x + 0.01, height - 0.01, z + 0.06), (x, foot, z - 0.03)]
    corners = np.concatenate([anchor[None], np.array(bends)])
    path = ol.rounded_path(corners, 0.1, 5)
    half = 0.5 * max(plan.thin, 0.9 * plan.bar)
    section = ol.round_section(10) if plan.round_bars else ol.box_section(0.35, 2)
    parts = [sweep(path, half, section, "frame", reference=(1, 0, 0))]
    if not plan.posts:
        parts.append(_support(plan, x, -0.3 * plan.depth, height))
    return with_mirror(parts)


def _sides(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """A lounge chair's solid sides."""
    thickness, base = arm_block(plan), plan.seat_height - plan.seat_thickness
    top = plan.seat_height + plan.arm_height - 0.03
    bevel = min(0.045, thickness * 0.45) if plan.round_bars else 0.02
    shape = ol.rectangle(thickness, plan.depth, max(bevel * 1.05, 0.02), 3)
    side = slab(shape, base, top - base, "back", bevel=bevel, bottom_bevel=0.01)
    return with_mirror([side.moved((plan.width / 2 - 0.4 * thickness, 0, 0))])


def _wrap(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """A horseshoe at arm height around the back, on short uprights."""
    height = min(_height(plan), frame.base + 0.7 * frame.rise)
    t = (height - frame.base) / frame.rise
    x, z = _side(plan)
    back = frame.at(np.array([1.0, 0.55, 0.0]), np.full(3, t))
    side = [(x + 0.012, height, z + 0.05), (x + 0.014, height, -0.08 * plan.depth), *back]
    path = ol.smooth_path(side + [(-px, py, pz) for px, py, pz in side[-2::-1]], 25)
    ends = np.interp(np.abs(np.linspace(-1, 1, 25)), [0, 0.85, 1], [1.0, 1.0, 1.25])
    sizes = np.stack([0.72 * plan.thin * ends, np.full(25, 0.48 * plan.thin)], axis=1)
    # Its flat side lies level, so the section's normal follows the vertical.
    horseshoe = sweep(path, sizes[:, ::-1], ol.box_section(0.5, 2), "frame", reference=(0, 1, 0))
    posts = [_support(plan, x, z, height)]
    if plan.seat != "round":
        posts.append(_support(plan, x - 0.01, -0.12 * plan.depth, height))
    return [horseshoe, *with_mirror(posts)]


def _posts(plan: ChairPlan, frame: BackFrame) -> list[ProceduralPart]:
    """An office chair's arms: a bent bar from under the seat with a pad on top."""
    height = _height(plan)
    x = plan.width / 2 + 0.75 * plan.thin
    low = plan.seat_height - plan.seat_thickness
    inside = 0.26 * plan.width
    corners = [(inside, low, 0.0), (x, low, 0.0), (x, height, 0.02)]
    bar = sweep(
        ol.rounded_path(corners, 0.05),
        (0.75 * plan.thin, 0.48 * plan.thin),
        ol.box_section(0.35, 2),
        "frame",
        reference=(0, 0, 1),
    )
    top = slab(ol.rectangle(1.8 * plan.thin, 0.24, 0.025, 3), height - 0.4 * plan.thin, plan.thin, "accent", bevel=0.01)
    return with_mirror([bar, top.moved((x, 0, 0.02))])
