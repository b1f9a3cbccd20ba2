"""Airplanes: airliners, business jets, propeller planes, fighters, biplanes and gliders, with random liveries."""

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.choose import article
from dataset_tool.procedural.plane_paint import plane_materials
from dataset_tool.procedural.plane_plan import PlanePlan, draw_plan
from dataset_tool.procedural.primitives import ellipsoid, loft, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart, ProceduralShape, used_materials, with_mirror

SYNSET = "02691156"


def fuselage_radius(plan: PlanePlan, z: Array | float) -> Array:
    """Half the fuselage's width at z in [−0.5, 0.5]."""
    z = np.asarray(z, float)
    ahead = np.clip((z - (0.5 - plan.nose)) / plan.nose, 0, 1)
    behind = np.clip(((-0.5 + plan.tail) - z) / plan.tail, 0, 1)
    blunt = 0.42 if plan.kind == "fighter" else 0.24 if plan.kind in ("light plane", "glider") else 0.16
    stub = 0.72 if plan.kind == "fighter" else blunt
    front = np.sqrt(np.maximum(1 - ahead**2.1, 0)) if plan.kind != "fighter" else 1 - 0.86 * ahead**1.5
    return np.asarray(plan.radius * np.maximum(front, 0.12) * (1 - (1 - stub) * behind**1.7))


def _axis(plan: PlanePlan, z: Array) -> Array:
    """Height of the fuselage's middle: the tail sweeps up, the nose dips."""
    behind = np.clip(((-0.5 + plan.tail) - z) / plan.tail, 0, 1)
    ahead = np.clip((z - (0.5 - plan.nose)) / plan.nose, 0, 1)
    rise = 0.1 if plan.kind == "fighter" else 0.62
    return np.asarray(plan.radius * (rise * behind**1.6 - 0.2 * ahead**2))


def _fuselage(plan: PlanePlan) -> ProceduralPart:
    at = np.concatenate(
        [np.linspace(-0.5, 0.5 - plan.nose, 13)[:-1], 0.5 - plan.nose * (1 - np.sin(np.linspace(0, 1, 8) * np.pi / 2))]
    )
    section = ol.superellipse(2, 2, 2.6 if plan.kind == "fighter" else 2.1, 24)
    # The seam runs along the belly, so the middle column of the livery is the back.
    section = np.roll(section, 6, axis=0)
    radius = fuselage_radius(plan, at)
    x = radius[:, None] * section[None, :, 0]
    y = _axis(plan, at)[:, None] + radius[:, None] * plan.squash * section[None, :, 1]
    rings = np.stack([x, y, np.broadcast_to(at[:, None], x.shape)], axis=-1)
    part = loft(rings, "body", even_columns=True)
    return part


def airfoil(chord: float, thickness: float) -> Array:
    """A wing's section [14, 2] (along the chord from the trailing edge, up), thick enough for the tet grid."""
    share = np.array([0.0, 0.12, 0.35, 0.62, 0.84, 0.96, 1.0])
    half = np.array([0.3, 0.55, 0.9, 1.0, 0.8, 0.45, 0.0])
    upper = np.stack([share, half], axis=1)
    lower = np.stack([share[::-1], -half[::-1]], axis=1)[1:]
    ring = np.concatenate([upper, lower])
    return np.stack([(ring[:, 0] - 0.5) * chord, ring[:, 1] * thickness / 2], axis=1)


def surface(
    root: tuple[float, float, float], tip: tuple[float, float, float], chords: tuple[float, float],
    thickness: tuple[float, float], material: str, upright: bool = False,
) -> ProceduralPart:  # fmt: skip
    """A wing, tail plane or fin between the sections at `root` and `tip` (points at mid-chord), its end rounded."""
    at = np.array([0.0, 0.34, 0.67, 0.94, 1.0])
    shrink = np.array([1.0, 1.0, 1.0, 1.0, 0.72])
    middle = np.asarray(root) + (np.asarray(tip) - np.asarray(root)) * at[:, None]
    rings = []
    for t, center, scale in zip(at, middle, shrink, strict=True):
        chord = (chords[0] + (chords[1] - chords[0]) * t) * (0.5 + 0.5 * scale)
        section = airfoil(chord, (thickness[0] + (thickness[1] - thickness[0]) * t) * scale)
        across = np.zeros((len(section), 3))
        across[:, 2] = section[:, 0]
        across[:, 0 if upright else 1] = section[:, 1]
        rings.append(center + across)
    return loft(np.stack(rings), material, anchor=0)


def _sweep_back(plan: PlanePlan) -> tuple[float, float]:
    """Length of a wing from the fuselage to its tip, and how far the tip's mid-chord lies behind the root's."""
    run = plan.span - 0.4 * plan.radius
    lead = np.tan(plan.sweep) * run - (plan.root - plan.tip) / 2
    return run, max(lead, 0.0) if plan.sweep < 0.1 else lead


def _wings(plan: PlanePlan) -> list[ProceduralPart]:
    """Both wings, with winglets, a biplane's upper wing and its struts, or the braces of a high wing."""
    half, height = plan.radius, plan.wing_height * plan.radius * plan.squash
    run, lead = _sweep_back(plan)
    root = (0.3 * half, height, plan.wing_at)
    tip = (plan.span, height + run * np.tan(plan.dihedral), plan.wing_at - lead)
    thin = max(0.62 * plan.thickness, 0.024)
    right = surface(root, tip, (plan.root, plan.tip), (plan.thickness, thin), "wing")
    parts = [right]
    if plan.kind in ("airliner", "business jet") and plan.variant % 2:
        end = (tip[0] + 0.012, tip[1] + 0.06, tip[2] - 0.045)
        near = (tip[0] - 0.01, tip[1] - 0.004, tip[2])
        parts.append(surface(near, end, (plan.tip, 0.6 * plan.tip), (0.024, 0.02), "accent", upright=True))
    if plan.kind == "biplane":
        upper = height + 0.2
        parts.append(
            surface(
                (0.0, upper, plan.wing_at + 0.03),
                (plan.span, upper + 0.01, plan.wing_at + 0.03),
                (plan.root, plan.tip),
                (plan.thickness, thin),
                "wing",
            )
        )
        for x in (0.6 * plan.span, 0.05):
            low = height + (x * np.tan(plan.dihedral) if x > 0.1 else 0.0)
            for z in (-0.045, 0.045):
                path = ol.line((x, low, plan.wing_at + z), (x, upper, plan.wing_at + 0.03 + z))
                parts.append(sweep(path, 0.012, ol.round_section(8), "accent", reference=(1, 0, 0)))
    if plan.kind == "light plane" and plan.wing_height > 0:
        inner = (0.6 * half, -0.7 * half, plan.wing_at + 0.01)
        path = ol.line(inner, (0.5 * plan.span, height + 0.5 * run * np.tan(plan.dihedral), plan.wing_at))
        parts.append(sweep(path, 0.013, ol.round_section(8), "accent", reference=(0, 0, 1)))
    return with_mirror(parts)


def _tail(plan: PlanePlan) -> list[ProceduralPart]:
    """The fin, or two, and the tail planes: low, or on top of the fin."""
    back = -0.5 + 0.075
    base = float(_axis(plan, np.array(back)))
    top = base + float(fuselage_radius(plan, back)) * plan.squash
    chord = 0.17 if plan.kind != "glider" else 0.11
    slant = 0.5 * plan.fin if plan.kind in ("airliner", "business jet", "fighter", "turboprop") else 0.25 * plan.fin
    thick = (0.034, 0.026)
    root, tip = (0.0, base, back + 0.35 * slant), (0.0, top + plan.fin, back - 0.55 * slant)
    spread = 0.6 if plan.kind != "fighter" else 0.75
    half = {"airliner": 0.19, "business jet": 0.17, "fighter": 0.17, "glider": 0.2}.get(plan.kind, 0.2)
    height = base + 0.2 * plan.radius
    chords = (0.12, 0.07) if plan.kind != "fighter" else (0.17, 0.08)
    if plan.kind == "glider":
        chords = (0.085, 0.06)
    if plan.tail_kind == "t":
        height = top + plan.fin * 0.97
        level = surface(
            (0, height, tip[2]), (half, height + 0.01, tip[2] - spread * 0.06), chords, (0.028, 0.024), "wing"
        )
    else:
        lean = spread * 0.1 if plan.sweep > 0.2 else 0.02
        level = surface(
            (0.0, height, back + 0.01), (half, height + 0.012, back + 0.01 - lean), chords, (0.03, 0.024), "wing"
        )
    fin = surface(root, tip, (chord, 0.5 * chord), thick, "fin", upright=True)
    if plan.tail_kind != "twin":
        return [fin, *with_mirror([level])]
    out = 0.62 * plan.radius
    twin = surface(
        (out, base, back + 0.06),
        (out + 0.3 * plan.fin, top + plan.fin * 0.85, back),
        (chord, 0.55 * chord),
        thick,
        "fin",
        upright=True,
    )
    return with_mirror([twin, level])


def _tube(
    center: tuple[float, float, float], profile: list[tuple[float, float]], material: str, segments: int = 16
) -> ProceduralPart:
    """A body of revolution along z: profile of (radius, z) about the center."""
    table = np.array(profile)
    circle = ol.superellipse(2, 2, 2.0, segments)
    x = center[0] + table[:, :1] * circle[None, :, 0]
    y = center[1] + table[:, :1] * circle[None, :, 1]
    z = np.broadcast_to(center[2] + table[:, 1:], x.shape)
    return loft(np.stack([x, y, z], axis=-1), material, even_columns=True)


def _propeller_parts(center: tuple[float, float, float], radius: float, blades: int) -> list[ProceduralPart]:
    spinner = _tube(center, [(0.02, -0.02), (0.021, 0.0), (0.016, 0.02), (0.006, 0.034)], "accent", 12)
    parts = [spinner]
    for k in range(blades):
        angle = 2 * np.pi * k / blades + 0.5
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        path = np.asarray(center) + out * np.array([[0.006], [0.6 * radius], [radius]])
        sizes = np.array([[0.012, 0.012], [0.017, 0.011], [0.012, 0.01]])
        side = np.cross(out, (0, 0, 1.0)).tolist()
        parts.append(sweep(path, sizes, ol.box_section(0.4, 1), "propeller", reference=side))
    return parts


def _nacelle(plan: PlanePlan, x: float, y: float, z: float, size: float) -> list[ProceduralPart]:
    if plan.kind == "turboprop":
        body = _tube(
            (x, y, z),
            [(0.35 * size, -0.14), (0.9 * size, -0.06), (size, 0.02), (0.8 * size, 0.08), (0.5 * size, 0.1)],
            "engine",
        )
        return [body, *_propeller_parts((x, y, z + 0.105), 0.085, 3 + plan.variant % 3)]
    outer = ((0.55, -0.085), (0.82, -0.05), (1.0, 0.0), (1.0, 0.05), (0.93, 0.075))
    inner = ((0.8, 0.076), (0.74, 0.05), (0.3, 0.052))
    shell = [(share * size, along) for share, along in outer + inner]
    return [
        _tube((x, y, z), shell, "engine"),
        _tube((x, y, z), [(0.5 * size, -0.1), (0.48 * size, 0.02), (0.3 * size, 0.062)], "dark", 12),
    ]


def _engines(plan: PlanePlan) -> list[ProceduralPart]:
    """A propeller at the nose, nozzles and intakes, nacelles at the tail or on the wings, or nothing."""
    if plan.engines == "none":
        return []
    if plan.engines == "nose":
        blades = 2 + plan.variant % 2
        tip = (0.0, float(_axis(plan, np.array(0.5))), 0.5)
        return _propeller_parts(tip, 0.13 + 0.004 * (plan.variant % 5), blades)
    if plan.engines == "inside":
        y, size = float(_axis(plan, np.array(-0.5))), 0.72 * plan.radius
        places = (0.0,) if plan.count == 1 else (-0.45 * plan.radius, 0.45 * plan.radius)
        size = size if plan.count == 1 else 0.56 * plan.radius
        shape = [(0.8 * size, -0.05), (size, 0.02), (size, 0.12)]
        nozzles = [_tube((x, y, -0.5), shape, "dark", 14) for x in places]
        intake = ellipsoid(
            (0.95 * plan.radius, -0.2 * plan.radius, 0.1), (0.032, 0.04, 0.2), "body", square=0.6, segments=14
        )
        return [*nozzles, *with_mirror([intake])]
    size = 0.036 + 0.0015 * (plan.variant % 4) if plan.count == 2 else 0.031
    if plan.engines == "tail":
        x, z = plan.radius + 1.05 * size, -0.26
        y = float(_axis(plan, np.array(z))) + 0.5 * plan.radius
        pylon = sweep(
            ol.line((0.4 * plan.radius, y, z), (x, y, z)),
            (0.05, 0.013),
            ol.box_section(0.4, 1),
            "body",
            reference=(0, 0, 1),
        )
        return with_mirror([*_nacelle(plan, x, y, z, size), pylon])
    parts: list[ProceduralPart] = []
    run, lead = _sweep_back(plan)
    for share in (0.3, 0.58)[: plan.count // 2]:
        x = 0.3 * plan.radius + share * (plan.span - 0.3 * plan.radius)
        wing_y = plan.wing_height * plan.radius * plan.squash + share * run * np.tan(plan.dihedral)
        wing_z = plan.wing_at - share * lead
        chord = plan.root + (plan.tip - plan.root) * share
        if plan.kind == "turboprop":
            parts += _nacelle(plan, x, wing_y, wing_z + 0.4 * chord, 0.03)
            continue
        y, z = wing_y - 1.25 * size, wing_z + 0.42 * chord
        path = ol.line((x, y, z - 0.01), (x, wing_y, z - 0.02))
        parts += _nacelle(plan, x, y, z, size)
        parts.append(sweep(path, (0.012, 0.05), ol.box_section(0.4, 1), "engine", reference=(1, 0, 0)))
    return with_mirror(parts)


def _canopy(plan: PlanePlan) -> list[ProceduralPart]:
    """Cockpit glass: a bubble, or windows across the nose."""
    if plan.kind in ("fighter", "glider", "biplane"):
        z = 0.5 - plan.nose * (0.9 if plan.kind != "biplane" else 1.0) - (0.22 if plan.kind == "biplane" else 0.02)
        y = float(_axis(plan, np.array(z)) + fuselage_radius(plan, z) * plan.squash * 0.8)
        length = 0.1 if plan.kind != "biplane" else 0.05
        return [ellipsoid((0, y, z), (0.6 * plan.radius, 0.62 * plan.radius, length), "glass", segments=16)]
    if plan.kind == "light plane":
        z = 0.5 - plan.nose - 0.07
        size = (0.88 * plan.radius, 0.62 * plan.radius, 0.13)
        return [ellipsoid((0, 0.62 * plan.radius * plan.squash, z), size, "glass", square=0.7, segments=16)]
    z = 0.5 - 0.62 * plan.nose
    y = float(_axis(plan, np.array(z)) + 0.52 * fuselage_radius(plan, z))
    wide = float(fuselage_radius(plan, z))
    return [ellipsoid((0, y, z), (0.86 * wide, 0.42 * wide, 0.42 * plan.nose), "glass", square=0.8, segments=16)]


def _gear(plan: PlanePlan) -> list[ProceduralPart]:
    """Floats, or two wheels and a third under the nose or the tail, or nothing."""
    if plan.gear == "none":
        return []
    low = -plan.radius * plan.squash
    drop = low - 0.07
    if plan.gear == "floats":
        place = np.array([0.006, 0.026, 0.032, 0.03, 0.02, 0.006])
        shape = list(zip(place, np.linspace(-0.26, 0.28, 6), strict=True))
        x = 0.15
        hull = _tube((x, drop - 0.02, plan.wing_at), shape, "accent", 14)
        struts = [
            sweep(
                ol.line((0.3 * plan.radius, 0.5 * low, plan.wing_at + z), (x, drop - 0.01, plan.wing_at + z)),
                0.012,
                ol.round_section(8),
                "accent",
            )
            for z in (-0.09, 0.11)
        ]
        return with_mirror([hull, *struts])
    x, z = 0.13, plan.wing_at + 0.03
    leg = sweep(ol.line((0.3 * plan.radius, 0.6 * low, z), (x, drop, z)), 0.012, ol.round_section(8), "accent")
    wheel = ellipsoid((x, drop, z), (0.015, 0.034, 0.034), "dark", square=0.7, segments=14)
    tail_down = plan.kind == "biplane" or plan.variant % 2
    third = (0.0, float(_axis(plan, np.array(-0.44))) - 0.05, -0.44) if tail_down else (0.0, drop, 0.36)
    height = float(_axis(plan, np.array(third[2])))
    strut = sweep(ol.line((0, height, third[2]), third), 0.012, ol.round_section(8), "accent")
    small = ellipsoid(third, (0.014, 0.026, 0.026), "dark", square=0.7, segments=12)
    return [*with_mirror([leg, wheel]), strut, small]


def plane_parts(plan: PlanePlan) -> list[ProceduralPart]:
    """The parts of a plan, closed and touching each other, in flight or on wheels; the lowest point is at y = 0."""
    parts = [_fuselage(plan), *_wings(plan), *_tail(plan), *_engines(plan), *_canopy(plan), *_gear(plan)]
    points = np.concatenate([part.vertices for part in parts])
    return [part.moved((0, -points[:, 1].min(), 0)) for part in parts]


def make_plane(rng: np.random.Generator) -> ProceduralShape:
    """One airplane of length 1."""
    plan = draw_plan(rng)
    parts = plane_parts(plan)
    drawn, first, second = plane_materials(rng, plan, parts[0])
    materials = used_materials(parts, drawn)
    words = {"cheatline": f"{second} stripes", "tail": f"a {second} tail", "belly": f"a {second} belly",
             "bands": f"{second} bands", "diagonal": f"a {second} diagonal", "camouflage": "camouflage"}  # fmt: skip
    extras = [words[plan.livery]] if plan.livery in words else []
    numbers = {1: "one", 2: "two", 4: "four"}
    if plan.engines in ("wing", "tail"):
        place = (
            "under the wings"
            if plan.engines == "wing" and plan.kind == "airliner"
            else f"on the {'wings' if plan.engines == 'wing' else 'tail'}"
        )
        extras.append(f"{numbers[plan.count]} engines {place}")
    if plan.gear == "floats":
        extras.append("floats")
    if plan.tail_kind == "twin":
        extras.append("twin fins")
    caption = article(f"{first} {plan.kind}") + (f" with {' and '.join(extras)}" if extras else "")
    attributes: dict[str, str | int | float | bool] = {
        "type": plan.kind,
        "color": first,
        "second_color": second,
        "livery": plan.livery,
        "engines": plan.engines,
        "engine_count": plan.count,
        "wing": "high" if plan.wing_height > 0.3 else "low" if plan.wing_height < -0.3 else "middle",
        "tail": plan.tail_kind,
        "gear": plan.gear,
        "material": "paint",
    }
    return ProceduralShape("plane", SYNSET, plan.kind, tuple(parts), materials, caption, attributes)
