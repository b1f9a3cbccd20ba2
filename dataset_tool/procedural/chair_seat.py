"""Seats: outlines, plates, cushions, slatted benches and one-piece shells."""

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.chair_plan import ChairPlan
from dataset_tool.procedural.primitives import bent_plate, slab, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart


def seat_outline(plan: ChairPlan) -> Array:
    """The seat seen from above [K, 2] (x, z), centered at 0, front towards +z."""
    width, depth = plan.width, plan.depth
    if plan.seat == "round":
        return ol.superellipse(width, depth, 2.15, 32)
    corner = min(plan.corner, 0.3 * min(width, depth))
    x, z = width / 2, depth / 2
    rear = x * (0.86 if plan.seat == "saddle" else plan.seat_taper)
    corner = max(corner, 0.07) if plan.seat == "saddle" else corner
    return ol.rounded_polygon([(-rear, -z), (rear, -z), (x, z), (-x, z)], corner, 4)


def rear_half_width(plan: ChairPlan) -> float:
    """Half the seat's width where the back stands, meters."""
    if plan.seat == "round":
        return 0.36 * plan.width
    return plan.width / 2 * {"trapezoid": plan.seat_taper, "saddle": 0.86}.get(plan.seat, 1.0)


def build_seat(plan: ChairPlan) -> list[ProceduralPart]:
    """Plate, cushion or upholstery between seat_height − seat_thickness and a little above seat_height."""
    if plan.seat == "shell":
        return build_shell(plan)
    outline = seat_outline(plan)
    base = plan.seat_height - plan.seat_thickness
    if plan.arms == "panel":
        return _lounge_seat(plan)
    if plan.cover == "upholstered":
        return _cushions(plan, outline, base, plan.seat_thickness, crown=0.016)
    if plan.kind == "bench" and plan.style == "garden" and plan.cover == "bare":
        return _boards(plan)
    lift = None
    if plan.seat == "saddle":
        depth = min(0.016, plan.seat_thickness * 0.35)

        def hollow(x: Array, z: Array) -> Array:
            across, along = 2 * x / plan.width, 2 * z / plan.depth
            pommel = 0.6 * np.exp(-((across / 0.22) ** 2)) * np.clip(along, 0, 1)
            bowl = np.clip(1 - across**2, 0, 1) * np.clip(1 - (along + 0.15) ** 2, 0, 1)
            return np.asarray(depth * (pommel - bowl))

        lift = hollow
    grain = "x" if plan.width > 1.3 * plan.depth else "z"
    plate = slab(outline, base, plan.seat_thickness, "seat", bevel=0.008, lift=lift, grain=grain)
    if plan.cover != "cushion":
        return [plate]
    rim = ol.inset(outline, 0.012)
    return [plate, *_cushions(plan, rim, plan.seat_height - 0.006 - (0.01 if lift else 0), 0.045, crown=0.012)]


def _cushions(plan: ChairPlan, outline: Array, base: float, thickness: float, crown: float) -> list[ProceduralPart]:
    """One cushion over the outline, or one for each place of a bench."""
    bevel = min(0.028, thickness * 0.42)
    if plan.seats == 1 or plan.corner > 0.025:
        return [slab(outline, base, thickness, "pad", bevel=bevel, bottom_bevel=bevel * 0.5, crown=crown)]
    low, high = outline.min(axis=0), outline.max(axis=0)
    each = (high[0] - low[0]) / plan.seats
    shape = ol.rectangle(each + 0.004, high[1] - low[1], 0.03)
    one = slab(shape, base, thickness, "pad", bevel=bevel, bottom_bevel=bevel * 0.5, crown=crown)
    return [one.moved((low[0] + each * (i + 0.5), 0, 0)) for i in range(plan.seats)]


def _boards(plan: ChairPlan) -> list[ProceduralPart]:
    """A garden bench's boards along x on two or three bearers."""
    count, gap = 3, 0.75 * plan.thin
    each = (plan.depth - gap * (count - 1)) / count
    thickness = plan.seat_thickness
    shape = ol.rectangle(plan.width, each, 0.012, 2)
    board = slab(shape, plan.seat_height - thickness, thickness, "seat", bevel=0.006, grain="x")
    boards = [board.moved((0, 0, -plan.depth / 2 + each / 2 + i * (each + gap))) for i in range(count)]
    half = plan.thin / 2
    height = plan.seat_height - thickness - half + 0.012
    places = np.linspace(-1, 1, plan.seats) * (plan.width / 2 - plan.bar * 0.5 - 0.008)
    bearers = [
        sweep(
            ol.line((x, height, -plan.depth / 2 + 0.01), (x, height, plan.depth / 2 - 0.01)),
            (half, half),
            ol.box_section(),
            "frame",
            reference=(1, 0, 0),
        )
        for x in places
    ]
    return boards + bearers


def _lounge_seat(plan: ChairPlan) -> list[ProceduralPart]:
    """A deep block between the arms with a loose cushion on it."""
    base = plan.seat_height - plan.seat_thickness
    inner = plan.width - 0.03
    block = slab(ol.rectangle(inner, plan.depth - 0.01, 0.02), base, plan.seat_thickness * 0.55, "back", bevel=0.012)
    width = plan.width - 1.5 * arm_block(plan)
    cushion = slab(
        ol.rectangle(width, plan.depth - 0.05, 0.03),
        base + plan.seat_thickness * 0.5,
        plan.seat_thickness * 0.55,
        "pad",
        bevel=0.03,
        crown=0.02,
    )
    return [block, cushion.moved((0, 0, 0.03))]


def arm_block(plan: ChairPlan) -> float:
    """Thickness of a lounge chair's side, meters."""
    return 0.07 + plan.corner


def shell_profile(plan: ChairPlan, along: Array) -> Array:
    """The shell's middle line from the side at `along` in [0, 1], [R, 2] (y, z): front lip, seat, bend, back."""
    seat, depth = plan.seat_height, plan.depth
    reach = plan.height - seat
    lean = np.tan(plan.rake)
    rear = -depth / 2
    points = [
        (0, seat - 0.022, depth / 2),
        (0, seat, depth / 2 - 0.06),
        (0, seat - 0.01, 0.02),
        (0, seat + 0.004, rear * 0.62),
        (0, seat + 0.07, rear * 0.95),
        (0, seat + 0.45 * reach, rear - 0.45 * reach * lean),
        (0, seat + reach, rear - reach * lean),
    ]
    return ol.smooth_path(points, along)[:, 1:]


def build_shell(plan: ChairPlan) -> list[ProceduralPart]:
    """Seat and back bent from one sheet; its sides curl up by `bow`, more where the shell has arms."""
    place, rounding = ol.rounded_rows(1.3 * plan.corner, 19)
    along = (place + 1) / 2
    profile = shell_profile(plan, along)
    across = np.linspace(-1, 1, 9)
    half = plan.width / 2 * (1 + (plan.back_taper - 1) * np.clip(along * 1.6 - 0.6, 0, 1)) * rounding
    tangent = np.gradient(profile, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    curl = plan.bow * (0.45 + 0.55 * np.exp(-(((along - 0.55) / 0.2) ** 2)))
    if plan.arms == "shell":
        curl = curl + 0.13 * np.exp(-(((along - 0.45) / 0.19) ** 2))
        half = half * (1 + 0.12 * np.exp(-(((along - 0.42) / 0.16) ** 2)))
    lift = curl[:, None] * np.abs(across)[None] ** (2.0 if plan.arms == "none" else 3.0)
    grid = np.empty((len(along), len(across), 3))
    grid[..., 0] = half[:, None] * across
    grid[..., 1:] = profile[:, None] + lift[..., None] * normal[:, None]
    thickness = plan.thin if plan.cover != "upholstered" else 1.6 * plan.thin
    parts = [bent_plate(grid, thickness, "seat" if plan.cover != "upholstered" else "pad", end_reach=0.3)]
    if plan.cover == "cushion":
        size = (plan.width * 0.78, plan.depth * 0.74)
        pad = slab(ol.rectangle(*size, 0.08, 4), plan.seat_height - 0.012, 0.04, "pad", bevel=0.016, crown=0.01)
        parts.append(pad)
    return parts
