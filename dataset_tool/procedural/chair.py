"""Chairs, stools and benches: a plan, its parts, materials that go together, and words for all of it."""

import numpy as np

from dataset_tool.procedural import materials as mt
from dataset_tool.procedural.chair_arms import build_arms
from dataset_tool.procedural.chair_back import back_frame, build_back
from dataset_tool.procedural.chair_base import build_base
from dataset_tool.procedural.chair_plan import FOUR_LEGGED, ChairPlan, draw_plan
from dataset_tool.procedural.chair_seat import build_seat
from dataset_tool.procedural.choose import article, chance, pick
from dataset_tool.procedural.shape import (
    ProceduralMaterial,
    ProceduralPart,
    ProceduralShape,
    grounded,
    scattered_uvs,
    used_materials,
)

SYNSET = "03001627"
NATURAL = {
    "oak": 3.0, "light oak": 2.5, "birch": 1.5, "beech": 2.0, "pine": 1.0, "walnut": 3.0, "teak": 2.0, "cherry": 1.5,
    "mahogany": 1.2, "wenge": 1.0, "black stained wood": 1.5, "gray ash": 0.8, "whitewashed wood": 1.0,
}  # fmt: skip


def chair_parts(plan: ChairPlan) -> list[ProceduralPart]:
    """The parts of a plan, closed and touching each other, standing on y = 0."""
    frame = back_frame(plan)
    parts = build_seat(plan) + build_base(plan, frame) + build_back(plan, frame) + build_arms(plan, frame)
    return grounded(parts)


def _wooden(rng: np.random.Generator, plan: ChairPlan) -> ProceduralMaterial:
    if plan.style in ("windsor", "garden", "mid-century", "modern") and chance(rng, 0.25):
        return mt.painted_wood(rng, mt.pick_color(rng))
    if chance(rng, 0.06):
        return mt.painted_wood(rng, str(rng.choice(["white", "black", "cream"])))
    return mt.wood(rng, pick(rng, NATURAL))


def _metal(rng: np.random.Generator, plan: ChairPlan) -> ProceduralMaterial:
    if plan.style in ("industrial", "mid-century", "bar") and chance(rng, 0.3):
        return mt.painted_metal(rng, mt.pick_color(rng))
    finish = pick(
        rng, {"chrome": 4.0, "black metal": 4.0, "brushed steel": 1.5, "brass": 1.0, "dark bronze": 0.6, "white": 1.0}
    )
    return mt.painted_metal(rng, "white") if finish == "white" else mt.metal(rng, finish)


def _upholstery(rng: np.random.Generator, plan: ChairPlan) -> ProceduralMaterial:
    leather = 0.55 if plan.style in ("office", "bauhaus", "lounge") else 0.22
    if chance(rng, leather):
        return mt.leather(rng)
    pattern = pick(rng, {"plain": 7.0, "striped": 1.4, "checked": 0.8, "dotted": 0.5})
    return mt.fabric(rng, mt.pick_color(rng), pattern)


def _shell_skin(rng: np.random.Generator) -> ProceduralMaterial:
    if chance(rng, 0.35):
        return mt.wood(rng, pick(rng, NATURAL))
    return mt.plastic(rng, mt.pick_color(rng))


def chair_materials(rng: np.random.Generator, plan: ChairPlan) -> dict[str, ProceduralMaterial]:
    """Materials of "frame", "seat", "back", "pad" and "accent"."""
    metal_share = {"industrial": 0.9, "bauhaus": 0.97, "office": 0.95, "mid-century": 0.25, "bar": 0.45}
    share = metal_share.get(plan.style, 0.07)
    if plan.legs in ("disc", "star"):
        share = 0.93
    elif plan.legs == "turned":
        share = 0.0
    metallic = chance(rng, share)
    frame = _metal(rng, plan) if metallic else _wooden(rng, plan)
    if plan.seat == "shell":
        seat = _shell_skin(rng)
    elif metallic:
        seat = mt.plastic(rng, mt.pick_color(rng)) if chance(rng, 0.25) else mt.wood(rng, pick(rng, NATURAL))
    else:
        seat = frame if chance(rng, 0.85) else mt.wood(rng, pick(rng, NATURAL))
    pad = _upholstery(rng, plan)
    slender = plan.back in ("ladder", "slats", "frame", "cross", "hoop", "spindles", "splat", "rail")
    back = frame if slender and not (metallic and chance(rng, 0.7)) else seat
    if plan.arms == "panel":
        back = pad if chance(rng, 0.75) else _upholstery(rng, plan)
    accent = mt.plastic(rng, "black") if plan.style == "office" or chance(rng, 0.5) else frame
    return {"frame": frame, "seat": seat, "back": back, "pad": pad, "accent": accent}


LEG_WORDS = {
    "straight": "straight legs", "tapered": "tapered legs", "splayed": "splayed legs", "turned": "turned legs",
    "sled": "a sled base", "cantilever": "a cantilever frame", "disc": "a round pedestal base",
    "star": "a star base", "block": "a plinth",
}  # fmt: skip
BACK_WORDS = {
    "panel": "a solid back", "slats": "a slatted back", "ladder": "a ladder back", "spindles": "a spindle back",
    "frame": "an open back", "splat": "a splat back", "cross": "a cross back", "hoop": "a hoop back",
    "upholstered": "an upholstered back", "shell": "a molded shell", "rail": "a low rail back", "none": "no back",
}  # fmt: skip


def _caption(plan: ChairPlan, main: ProceduralMaterial, frame: ProceduralMaterial) -> str:
    """One sentence part such as "a red fabric armchair with tapered oak legs and a slatted back"."""
    seat = f"{plan.seat} " if plan.kind == "stool" and plan.seat in ("round", "square") else ""
    noun = {"stool": "bar stool" if plan.style == "bar" else "stool"}.get(plan.kind, plan.kind)
    legs = LEG_WORDS[plan.legs]
    if main.label != frame.label:
        first, rest = legs.split(" ", 1)
        legs = article(f"{frame.label} {rest}") if first == "a" else f"{first} {frame.label} {rest}"
    words = f"{article(f'{main.label} {seat}{noun}')} with {legs}"
    if plan.back in ("none", "shell"):
        return words
    return f"{words} and {BACK_WORDS[plan.back]}"


def make_chair(rng: np.random.Generator) -> ProceduralShape:
    """One chair, stool or bench."""
    plan = draw_plan(rng)
    parts = scattered_uvs(chair_parts(plan), rng)
    drawn = chair_materials(rng, plan)
    materials = used_materials(parts, drawn)
    main = materials.get("pad") or materials.get("seat") or materials["frame"]
    frame = materials["frame"]
    attributes: dict[str, str | int | float | bool] = {
        "type": plan.kind,
        "style": plan.style,
        "back": plan.back,
        "arms": plan.arms,
        "legs": plan.legs,
        "four_legged": plan.legs in FOUR_LEGGED,
        "seat": plan.seat,
        "cover": plan.cover,
        "stretchers": plan.stretchers,
        "seats": plan.seats,
        "material": main.kind,
        "color": main.color,
        "frame_material": frame.kind,
        "frame_color": frame.color,
    }
    return ProceduralShape("chair", SYNSET, plan.kind, tuple(parts), materials, _caption(plan, main, frame), attributes)
