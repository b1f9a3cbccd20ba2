"""Tables: dining, coffee, side and console tables and desks."""

from collections.abc import Callable

import numpy as np

from dataset_tool.procedural import materials as mt
from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.choose import article, chance, pick
from dataset_tool.procedural.primitives import ellipsoid, lathe, slab, sweep
from dataset_tool.procedural.shape import (
    Array,
    ProceduralMaterial,
    ProceduralPart,
    ProceduralShape,
    grounded,
    scattered_uvs,
    used_materials,
    with_mirror,
)
from dataset_tool.procedural.supports import disc_base, star_base, straight_leg, trumpet_base, turned_leg
from dataset_tool.procedural.table_plan import FOUR_LEGGED, TablePlan, draw_plan

SYNSET = "04379243"


def top_outline(plan: TablePlan) -> Array:
    """The top seen from above [K, 2] (x, z)."""
    width, depth = plan.width, plan.depth
    if plan.top in ("round", "oval"):
        return ol.superellipse(width, depth, 2.0, 40)
    if plan.top == "boat":
        return ol.superellipse(width, depth, 3.0 + plan.variant % 3, 40)
    if plan.top == "octagon":
        angle = (np.arange(8) + 0.5) * np.pi / 4
        return ol.rounded_polygon(np.stack([np.cos(angle), np.sin(angle)], 1) * width / 1.848, 0.015, 2)
    return ol.rectangle(width, depth, (0.008, 0.02, 0.05, 0.09)[plan.variant % 4] * min(1, depth / 0.6), 4)


def _corner(plan: TablePlan) -> tuple[float, float]:
    """(x, z) of the leg at +x, +z where it meets the top."""
    if plan.top in ("round", "oval", "octagon"):
        share = 0.5 * 0.707 * 0.84
        return share * plan.width, share * plan.depth
    inset = plan.bar / 2 + 0.006 + plan.overhang + (0.03 if plan.top == "boat" else 0)
    inset += 0.06 * plan.width if plan.splay else 0
    return plan.width / 2 - inset, plan.depth / 2 - max(inset, plan.bar / 2 + 0.006)


def _four(plan: TablePlan) -> list[ProceduralPart]:
    x, z = _corner(plan)
    run = plan.under * np.tan(plan.splay) * 0.7
    top, foot = np.array([x, plan.under + 0.008, z]), np.array([x + run, 0, z + run])
    if plan.legs == "turned":
        leg = turned_leg(foot, top, plan.bar / 2, plan.variant)
    else:
        taper = max(plan.taper, 0.8 * plan.thin / plan.bar)
        leg = straight_leg(foot, top, plan.bar / 2, taper, plan.round_bars)
    pair = [leg, leg.mirrored().rotated(np.pi)]
    return with_mirror(pair)


def _frames(plan: TablePlan) -> list[ProceduralPart]:
    """A closed or open loop of bar at either end, with a beam between them under the top."""
    x, z = _corner(plan)
    half = plan.bar * 0.42
    lean = 0.0 if plan.shelf else 0.04 * (plan.variant % 3)
    corners = [(x, plan.under + 0.004, z), (x, half, z + lean), (x, half, -z - lean), (x, plan.under + 0.004, -z)]
    path = ol.rounded_path(corners, 0.06 if plan.round_bars else 0.02, 4)
    section = ol.round_section(10) if plan.round_bars else ol.box_section(0.2, 2)
    loop = sweep(path, half, section, "frame", reference=(1, 0, 0))
    y = plan.under - half * 0.7
    rail = sweep(ol.line((x, y, -z), (x, y, z)), half, section, "frame", reference=(1, 0, 0))
    beam = sweep(ol.line((-x, y, 0), (x, y, 0)), half, section, "frame", reference=(0, 1, 0))
    return [*with_mirror([loop, rail]), beam]


def _panels(plan: TablePlan) -> list[ProceduralPart]:
    """Two solid sides and a back board, or a waterfall of boards as thick as the top."""
    thickness = max(plan.thickness, plan.thin)
    x = plan.width / 2 - thickness / 2 - 0.3 * plan.overhang
    shape = ol.rectangle(thickness, plan.depth * (0.98 if plan.variant % 2 else 0.86), 0.006, 2)
    side = slab(shape, 0.0, plan.under + 0.006, "frame", bevel=0.004).moved((x, 0, 0))
    board = slab(ol.rectangle(2 * x, thickness * 0.8, 0.005, 2), plan.under * 0.45, plan.under * 0.55 + 0.004, "frame")
    return [*with_mirror([side]), board.moved((0, 0, -0.3 * plan.depth))]


def _trestle(plan: TablePlan) -> list[ProceduralPart]:
    """Two trestles (A or T shaped) and a beam."""
    x = plan.width / 2 - 0.16 * plan.width
    half = plan.bar * 0.5
    reach = plan.depth * 0.4
    section = ol.box_section(0.2, 2)

    def bar(start: tuple[float, float, float], stop: tuple[float, float, float]) -> ProceduralPart:
        return sweep(ol.line(start, stop), half, section, "frame", reference=(1, 0, 0))

    if plan.variant % 2:
        side = [
            bar((x, 0, reach), (x, plan.under + 0.004, 0.3 * reach)),
            bar((x, 0, -reach), (x, plan.under + 0.004, -0.3 * reach)),
            bar((x, plan.under * 0.42, 0.75 * reach), (x, plan.under * 0.42, -0.75 * reach)),
        ]
    else:
        side = [
            bar((x, half, -reach), (x, half, reach)),
            bar((x, 0.02, 0), (x, plan.under + 0.004, 0)),
            bar((x, plan.under - half * 0.6, -reach), (x, plan.under - half * 0.6, reach)),
        ]
    y = plan.under * 0.42
    beam = sweep(ol.line((-x, y, 0), (x, y, 0)), half * 0.9, section, "frame", reference=(0, 1, 0))
    return [*with_mirror(side), beam]


def _crossed(plan: TablePlan) -> list[ProceduralPart]:
    """An X at either end, tied by a beam where the bars cross."""
    x, z = _corner(plan)
    x -= 0.06 * plan.width
    half = plan.bar * 0.42
    section = ol.round_section(10) if plan.round_bars else ol.box_section(0.2, 2)
    bars = [
        sweep(
            ol.line((x, 0, sign * z), (x + 0.002 * sign, plan.under + 0.01, -sign * z)),
            half,
            section,
            "frame",
            reference=(1, 0, 0),
        )
        for sign in (1, -1)
    ]
    y = plan.under / 2
    beam = sweep(ol.line((-x, y, 0), (x, y, 0)), half * 0.9, section, "frame", reference=(0, 1, 0))
    return [*with_mirror(bars), beam]


def _tripod(plan: TablePlan) -> list[ProceduralPart]:
    count, reach = 3, 0.27 * plan.width
    run = plan.under * np.tan(plan.splay)
    legs = []
    for k in range(count):
        angle = 2 * np.pi * k / count + np.pi / 2
        out = np.array([np.cos(angle), 0, np.sin(angle)])
        foot, top = out * min(reach + run, 0.48 * plan.width), out * reach * 0.7 + (0, plan.under + 0.008, 0)
        legs.append(straight_leg(foot, top, plan.bar / 2, max(plan.taper, 0.7), True))
    return legs


def _drum(plan: TablePlan) -> list[ProceduralPart]:
    """A solid of revolution: barrel, hourglass or cone."""
    shapes = ((1.0, 1.12, 1.12, 1.0), (1.0, 0.72, 0.6, 0.85), (1.0, 0.86, 0.72, 0.6), (0.7, 0.85, 0.95, 1.0))
    share = np.array(shapes[plan.variant % 4])
    at = np.linspace(0, 1, 9)
    radii = 0.3 * plan.width * np.interp(at, np.linspace(0, 1, 4), share)
    profile = [(radii[0] - 0.006, 0.0), *zip(radii, 0.006 + at * (plan.under - 0.002), strict=True)]
    return [lathe(profile, "frame", segments=24, flat_bands=(1, 0))]


def _pedestal(plan: TablePlan) -> list[ProceduralPart]:
    reach, radius, edge = 0.33 * plan.width, 0.75 * plan.bar, max(0.55 * plan.thin, 0.016)
    top = plan.under + 0.004
    if plan.legs == "trumpet":
        return trumpet_base(reach, radius, top, edge, 2.2 + 0.4 * (plan.variant % 4))
    if plan.legs == "disc":
        return disc_base(reach, radius, top, edge)
    return star_base(reach * 1.1, radius, top, 1.25 * plan.thin, 3 + plan.variant % 3, False)


def _apron(plan: TablePlan) -> list[ProceduralPart]:
    """The frame under the top, with drawer fronts and knobs where the plan has drawers."""
    if plan.apron <= 0:
        return []
    x, z = _corner(plan)
    out = 0.1 * plan.bar
    if plan.top in ("round", "oval", "octagon", "boat"):
        outline = ol.inset(top_outline(plan), plan.bar * 0.6 + plan.overhang + 0.02)
    else:
        outline = ol.rectangle(2 * (x + out), 2 * (z + out), 0.004, 2)
    base = plan.under - plan.apron + 0.006
    parts = [slab(outline, base, plan.apron, "frame", bevel=0.003, grain="x")]
    if not plan.drawers:
        return parts
    room = 2 * (x - plan.bar * 0.55)
    each = room / plan.drawers
    front = z + out
    for k in range(plan.drawers):
        middle = -room / 2 + each * (k + 0.5)
        face = slab(
            ol.rectangle(each * 0.9, 0.03, 0.006, 2), base + 0.12 * plan.apron, 0.76 * plan.apron, "drawer", bevel=0.006
        )
        parts.append(face.moved((middle, 0, front)))
        knob = max(0.014, 0.36 * plan.thin)
        parts.append(
            ellipsoid((middle, base + plan.apron / 2, front + 0.012 + knob * 0.8), (knob,) * 3, "accent", segments=12)
        )
    return parts


_BASES: dict[str, Callable[[TablePlan], list[ProceduralPart]]] = {
    **dict.fromkeys(FOUR_LEGGED, _four),
    **dict.fromkeys(("disc", "trumpet", "star"), _pedestal),
    "frame": _frames,
    "panel": _panels,
    "trestle": _trestle,
    "cross": _crossed,
    "tripod": _tripod,
    "drum": _drum,
}


def table_parts(plan: TablePlan) -> list[ProceduralPart]:
    """The parts of a plan, closed and touching each other, standing on y = 0."""
    grain = "x" if plan.width >= plan.depth * 1.02 else "z"
    bevel = min(plan.edge, plan.thickness * 0.4)
    parts = [slab(top_outline(plan), plan.under, plan.thickness, "top", bevel=bevel, grain=grain)]
    parts += _BASES[plan.legs](plan) + _apron(plan)
    if plan.shelf:
        x, z = _corner(plan)
        grow = plan.bar * 0.3
        if plan.legs == "panel":
            x, z, grow = plan.width / 2 - plan.thickness, plan.depth * 0.38, 0.0
        thickness = max(plan.thin, 0.7 * plan.thickness)
        shape = ol.rectangle(2 * (x + grow), 2 * (z + grow), 0.01, 2)
        if plan.top == "round":
            shape = ol.superellipse(2 * float(np.hypot(x, z)), 2 * float(np.hypot(x, z)), 2.0, 32)
        parts.append(slab(shape, plan.under * 0.24, thickness, "top", bevel=0.004, grain=grain))
    return grounded(parts)


def table_materials(rng: np.random.Generator, plan: TablePlan) -> dict[str, ProceduralMaterial]:
    """Materials of "top", "frame", "drawer" and "accent"."""
    metallic = {"frame": 0.7, "disc": 0.7, "star": 0.5, "trumpet": 0.75, "cross": 0.4, "tripod": 0.3}.get(
        plan.legs, 0.12
    )
    if plan.legs == "turned":
        metallic = 0.0
    if chance(rng, metallic):
        finish = pick(rng, {"black metal": 4, "chrome": 2, "brass": 2, "brushed steel": 1, "white": 1.5})
        frame = mt.painted_metal(rng, "white") if finish == "white" else mt.metal(rng, finish)
        top = pick(rng, {"wood": 6, "marble": 3, "painted": 1})
    else:
        frame = mt.painted_wood(rng, mt.pick_color(rng)) if chance(rng, 0.22) else mt.wood(rng)
        top = pick(rng, {"same": 7, "wood": 2, "marble": 1, "painted": 0.8})
    surface = frame
    if top == "wood":
        surface = mt.wood(rng)
    elif top == "marble":
        surface = mt.marble(
            rng, pick(rng, {"white": 5, "charcoal": 2, "forest green": 1, "beige": 1.5, "light gray": 1})
        )
    elif top == "painted":
        surface = mt.painted_wood(rng, mt.pick_color(rng))
    drawer = surface if surface.kind != "marble" and chance(rng, 0.5) else frame
    return {"top": surface, "frame": frame, "drawer": drawer, "accent": mt.metal(rng)}


_LEGS = {
    "straight": "straight legs", "tapered": "tapered legs", "splayed": "splayed legs", "turned": "turned legs",
    "frame": "a loop frame", "panel": "panel sides", "trestle": "a trestle base", "cross": "crossed legs",
    "tripod": "three legs", "disc": "a round pedestal", "trumpet": "a trumpet base", "star": "a footed pedestal",
    "drum": "a drum base",
}  # fmt: skip


def make_table(rng: np.random.Generator) -> ProceduralShape:
    """One table."""
    plan = draw_plan(rng)
    parts = scattered_uvs(table_parts(plan), rng)
    drawn = table_materials(rng, plan)
    materials = used_materials(parts, drawn)
    top, frame = materials["top"], materials["frame"]
    legs = _LEGS[plan.legs]
    if top.label != frame.label:
        first, rest = legs.split(" ", 1)
        legs = article(f"{frame.label} {rest}") if first == "a" else f"{first} {frame.label} {rest}"
    shape_word = "" if plan.top in ("rectangle", "boat") else f"{plan.top} "
    extras = [f"{plan.drawers} drawer{'s' * (plan.drawers > 1)}"] * (plan.drawers > 0) + ["a shelf"] * plan.shelf
    caption = " and ".join([f"{article(f'{shape_word}{top.label} {plan.kind}')} with {legs}", *extras])
    attributes: dict[str, str | int | float | bool] = {
        "type": plan.kind,
        "top": plan.top,
        "legs": plan.legs,
        "drawers": plan.drawers,
        "shelf": plan.shelf,
        "apron": plan.apron > 0,
        "material": top.kind,
        "color": top.color,
        "frame_material": frame.kind,
        "frame_color": frame.color,
    }
    return ProceduralShape("table", SYNSET, plan.kind, tuple(parts), materials, caption, attributes)
