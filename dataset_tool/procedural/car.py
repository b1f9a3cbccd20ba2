"""Cars: a lofted body, a glazed cabin with pillars and roof, wheels with drawn rims, lights and trim."""

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural.car_paint import car_materials
from dataset_tool.procedural.car_plan import CarPlan, draw_plan
from dataset_tool.procedural.choose import article
from dataset_tool.procedural.primitives import bent_plate, ellipsoid, lathe, loft, slab, sweep
from dataset_tool.procedural.shape import Array, ProceduralPart, ProceduralShape, grounded, used_materials, with_mirror

SYNSET = "02958343"


def body_half_width(plan: CarPlan, z: Array | float) -> Array:
    """Half the body's width at z, meters."""
    v = np.clip(np.abs(2 * np.asarray(z, float) / plan.length), 0, 0.999)
    return np.asarray(plan.width / 2 * (1 - v**plan.plan_round) ** (1 / plan.plan_round))


def body_top(plan: CarPlan, z: Array | float) -> Array:
    """Height of the lower body's top at z: tail, belt, bonnet, nose."""
    half = plan.length / 2
    places = [-half, max(plan.glass_rear - 0.03 * plan.length, -0.98 * half), plan.glass_front, 0.96 * half, half]
    heights = [plan.tail * 0.97, max(plan.tail, plan.belt * 0.97), plan.belt, plan.hood, plan.hood * 0.96]
    if plan.kind == "pickup":
        bed = plan.belt * 0.72
        places = [-half, plan.glass_rear - 0.05, plan.glass_rear + 0.02, plan.glass_front, 0.96 * half, half]
        heights = [bed, bed, plan.belt, plan.belt, plan.hood, plan.hood * 0.96]
    return np.asarray(np.interp(z, places, heights))


def _body(plan: CarPlan) -> ProceduralPart:
    place, _ = ol.rounded_rows(plan.plan_round, 25)
    extra = np.array([plan.glass_rear - 0.05, plan.glass_rear + 0.02]) * 2 / plan.length
    place = np.unique(np.concatenate([place, extra])) if plan.kind == "pickup" else place
    z = place * plan.length / 2
    half = body_half_width(plan, z)
    end = (1 - np.abs(place) ** 11) ** (1 / 11)
    low = plan.clearance + 0.1 * plan.height * np.clip(np.abs(place) - 0.72, 0, 1) ** 2 / 0.08
    top = body_top(plan, z)
    middle, tall = (low + top) / 2, (top - low) / 2 * end
    section = ol.superellipse(2, 2, plan.side_round, 24)
    x = half[:, None] * section[None, :, 0]
    # The flanks lean in above the waist.
    x = x * (1 - 0.07 * np.clip(section[None, :, 1], 0, 1) ** 2)
    y = middle[:, None] + tall[:, None] * section[None, :, 1]
    return loft(np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1), "paint", even_columns=True)


def _cabin_ring(plan: CarPlan, t: float, grow: float = 0.0) -> Array:
    """The cabin's outline [K, 2] (x, z) at t from the belt (0) to the roof (1), offset outwards by `grow` meters."""
    rear = plan.glass_rear + (plan.roof_rear - plan.glass_rear) * t**0.9
    front = plan.glass_front + (plan.roof_front - plan.glass_front) * t**0.9
    foot = 0.93 * plan.width / 2
    half = foot * (1 + (plan.roof_narrow - 1) * t**1.3)
    outline = ol.superellipse(2 * (half + grow), front - rear + 2 * grow, 2.0 + plan.plan_round, 28)
    return np.asarray(outline + np.array([0.0, (front + rear) / 2]))


def _stacked(rings: list[Array], heights: list[float], material: str) -> ProceduralPart:
    plan_points = np.stack(rings)
    level = np.broadcast_to(np.array(heights)[:, None], plan_points.shape[:2])
    return loft(np.stack([plan_points[..., 0], level, plan_points[..., 1]], axis=-1), material, planar=(0, 2))


def _cabin(plan: CarPlan) -> list[ProceduralPart]:
    """Glass, roof, pillars; a van's closed rear."""
    rise = plan.height - plan.belt
    at = np.linspace(-0.12, 0.9, 5)
    glass = _stacked([_cabin_ring(plan, max(t, 0.0)) for t in at], [plan.belt + t * rise for t in at], "glass")
    lid = 0.028 * plan.length * 0.3
    outer = _cabin_ring(plan, 0.86, lid)
    crown = _cabin_ring(plan, 1.0)
    rings = [outer, _cabin_ring(plan, 0.93, lid * 0.8), crown, ol.inset(crown, 0.07), ol.inset(crown, 0.3)]
    heights = [
        plan.belt + 0.85 * rise,
        plan.belt + 0.925 * rise,
        plan.height - 0.02 * rise,
        plan.height,
        plan.height + 0.012,
    ]
    parts = [glass, _stacked(rings, heights, "roof")]
    parts += _pillars(plan, rise)
    if "cargo" in plan.equipment:
        parts.append(_cargo(plan, rise))
    return parts


def _cargo(plan: CarPlan, rise: float) -> ProceduralPart:
    """Painted panels in place of a van's rear windows."""
    at = np.linspace(-0.1, 0.93, 5)
    front = plan.glass_rear + 0.56 * (plan.roof_front - plan.glass_rear)
    rings = []
    for t in at:
        ring = _cabin_ring(plan, max(t, 0.0), 0.012)
        rear = ring[:, 1].min()
        ring = np.stack([ring[:, 0], rear + (ring[:, 1] - rear) * (front - rear) / np.ptp(ring[:, 1])], axis=1)
        rings.append(ring)
    return _stacked(rings, [plan.belt + t * rise for t in at], "paint")


def _pillars(plan: CarPlan, rise: float) -> list[ProceduralPart]:
    """Bars on the cabin's corners and between its doors, half sunk in the glass."""
    thick = 0.0125 * plan.length
    at = np.array([-0.06, 0.4, 0.85])
    rings = [_cabin_ring(plan, max(t, 0.0), -0.25 * thick) for t in at]
    angles = [0.14, 0.36]
    if plan.kind in ("sedan", "hatchback", "wagon", "suv", "minivan", "pickup", "microcar", "van"):
        angles.append(0.245 if plan.kind != "pickup" else 0.21)
    if plan.kind in ("wagon", "suv", "minivan", "van"):
        angles.append(0.31)
    count = len(rings[0])
    bars = []
    for share in angles:
        # Fractions of a turn; the outline starts at +x and runs through the front (+z, 0.25).
        column = round((0.5 - share) * count) % count
        index = (count // 4 - column) % count
        path = np.array(
            [(ring[index, 0], plan.belt + t * rise, ring[index, 1]) for ring, t in zip(rings, at, strict=True)]
        )
        width = thick * (1.5 if share == 0.36 else 1.0)
        bars.append(sweep(path, (width, thick * 0.7), ol.box_section(0.4, 1), "roof", reference=(0, 0, 1)))
    return with_mirror(bars)


def _open_cabin(plan: CarPlan) -> list[ProceduralPart]:
    """A convertible: windscreen, dark interior and two seats."""
    rise = plan.height - plan.belt
    ring = _cabin_ring(plan, 0.0, -0.03)
    interior = slab(ring - (0, ring[:, 1].mean()), plan.belt - 0.05, 0.07, "trim", bevel=0.01).moved(
        (0, 0, float(ring[:, 1].mean()))
    )
    foot, head = 0.44 * plan.width, 0.4 * plan.width
    frame = [(-foot, plan.belt - 0.03, plan.glass_front), (-head, plan.height, plan.roof_front)]
    frame += [(head, plan.height, plan.roof_front), (foot, plan.belt - 0.03, plan.glass_front)]
    path = ol.rounded_path(frame, 0.12, 3)
    bar = sweep(path, 0.011 * plan.length, ol.round_section(8), "roof", reference=(0, 0, 1))
    at = np.array([-0.03, 0.5, 0.97])[:, None]
    across = (foot + (head - foot) * at) * np.linspace(-1, 1, 5)
    forward = plan.glass_front + (plan.roof_front - plan.glass_front) * at
    pane = np.stack(np.broadcast_arrays(across, plan.belt + rise * at, forward), axis=-1)
    glass = bent_plate(pane, 0.012 * plan.length, "glass")
    seats = []
    for row, z in enumerate((plan.roof_front - 0.42, plan.roof_front - 1.05)):
        if z < plan.glass_rear + 0.12:
            continue
        half = (0.2, 0.34 * rise + 0.14, 0.085)
        seat = ellipsoid(
            (0.22 * plan.width, plan.belt + 0.16 * rise - 0.04 * row, z - 0.12), half, "seat", square=0.6, segments=12
        )
        seats.append(seat.rotated(-0.2, axis=0, pivot=(0, plan.belt, z)))
    return [interior, bar, glass, *with_mirror(seats)]


def _wheels(plan: CarPlan) -> list[ProceduralPart]:
    """Tire, rim and dark arch at each corner."""
    radius, width = plan.wheel, 0.05 * plan.length
    tire = [(0.7, 0.0), (0.94, 0.0), (1.0, 0.12), (1.0, 0.82), (0.95, 0.98), (0.67, 1.0), (0.6, 0.85)]
    rim = [(0.64, 0.8), (0.67, 1.03), (0.58, 1.03), (0.2, 0.99)]
    parts = []
    for z in (plan.front_axle, plan.rear_axle):
        # The arch stays below the wing's upper edge.
        room = float(body_top(plan, z)) - 0.11 * plan.height - radius
        reach = min(1.16 * radius, max(room, 1.02 * radius)) / radius
        arch = [(reach - 0.02, 0.2), (reach, 0.88), (reach - 0.08, 0.92)]
        out = float(body_half_width(plan, z)) + 0.014 - width
        for profile, material, bands in ((tire, "tire", (0, 0)), (rim, "rim", (0, 3)), (arch, "arch", (0, 2))):
            table = np.array(profile) * (radius, width)
            disc = lathe(table, material, segments=18, flat_bands=bands).rotated(-np.pi / 2, axis=2)
            parts.append(disc.moved((out, radius, z)))
    return with_mirror(parts)


def _box(
    x: float, y: float, z: float, size: tuple[float, float, float], material: str, bevel: float = 0.02
) -> ProceduralPart:
    """A rounded box centered at (x, y, z)."""
    outline = ol.rectangle(size[0], size[2], min(size[0], size[2]) * 0.3, 2)
    return slab(outline, y - size[1] / 2, size[1], material, bevel=min(bevel, 0.4 * size[1])).moved((x, 0, z))


def _lights(plan: CarPlan) -> list[ProceduralPart]:
    """Head and tail lights, grille, plates."""
    half, w = plan.length / 2, plan.width
    nose, tail = float(body_top(plan, 0.95 * half)), float(body_top(plan, -0.96 * half))
    low = plan.clearance
    lamp_y, tail_y = low + 0.66 * (nose - low), low + 0.68 * (tail - low)
    size = (0.075 * w, 0.05 * plan.height, 0.05)
    x = 0.33 * w
    front_z = _surface_z(plan, x)
    if plan.variant % 3 == 0:
        head = ellipsoid((x, lamp_y, front_z - 0.03), (size[1] * 1.25, size[1] * 1.25, 0.055), "lamp", segments=12)
    else:
        head = ellipsoid(
            (x, lamp_y, front_z - 0.05), (size[0] * 1.25, size[1] * 0.9, 0.075), "lamp", square=0.6, segments=12
        )
    upright = plan.kind in ("van", "suv", "minivan", "wagon", "pickup") or plan.variant % 4 == 1
    shape = (0.035 * w, 0.1 * plan.height, 0.05) if upright else (0.085 * w, 0.045 * plan.height, 0.05)
    rear = ellipsoid((0.36 * w, tail_y, -_surface_z(plan, 0.36 * w) + 0.04), shape, "tail", square=0.5, segments=12)
    parts = with_mirror([head, rear])
    grille = (0.42 * w, (0.1 + 0.02 * (plan.variant % 4)) * plan.height, 0.1)
    parts.append(_box(0, low + 0.4 * (nose - low), half - 0.045, grille, "trim"))
    plate = (0.12 * plan.length, 0.11, 0.1)
    parts.append(_box(0, low + 0.44 * (tail - low), -half + 0.045, plate, "plate"))
    return parts


def _surface_z(plan: CarPlan, x: float) -> float:
    """z of the nose where the body is 2x wide."""
    share = min(2 * x / plan.width, 0.98)
    return float(plan.length / 2 * (1 - share**plan.plan_round) ** (1 / plan.plan_round))


def _trim(plan: CarPlan) -> list[ProceduralPart]:
    """Bumper band or cladding, mirrors, door handles and whatever stands on the roof."""
    z = np.linspace(-1, 1, 19)
    place = np.sin(z * np.pi / 2) * 0.9995 * plan.length / 2
    half = body_half_width(plan, place) * 0.995
    outline = np.concatenate([np.stack([half, place], 1), np.stack([-half, place], 1)[::-1]])
    outline = outline * (plan.length + 0.05) / plan.length
    tall = (0.3 if "cladding" in plan.equipment else 0.2) * (plan.belt - plan.clearance)
    parts = [slab(outline, plan.clearance + 0.02, tall, "skirt", bevel=0.03)]
    mirror = ellipsoid(
        (plan.width / 2 * 0.97, plan.belt + 0.06, plan.glass_front - 0.09 * plan.length),
        (0.11, 0.065, 0.06),
        "roof",
        square=0.7,
        segments=12,
    )
    if plan.kind not in ("coupe", "convertible", "microcar"):
        parts += _handles(plan, (0.02, -0.2))
    else:
        parts += _handles(plan, (-0.06,))
    roof = plan.height
    middle = (plan.roof_front + plan.roof_rear) / 2
    if "rack" in plan.equipment:
        run = 0.42 * (plan.roof_front - plan.roof_rear)
        rail = _box(0.3 * plan.width, roof + 0.025, middle, (0.05, 0.09, 2 * run), "trim")
        parts += with_mirror([rail])
        parts += [
            _box(0, roof + 0.05, middle + s * 0.6 * run, (0.64 * plan.width, 0.045, 0.07), "trim") for s in (-1, 1)
        ]
    if "sign" in plan.equipment:
        parts.append(_box(0, roof + 0.07, middle, (0.5, 0.17, 0.17), "sign"))
    if "lightbar" in plan.equipment:
        parts.append(_box(0.26, roof + 0.05, middle, (0.5, 0.12, 0.2), "blue"))
        parts.append(_box(-0.26, roof + 0.05, middle, (0.5, 0.12, 0.2), "tail"))
    if "spoiler" in plan.equipment:
        parts += _spoiler(plan)
    return parts + with_mirror([mirror])


def _handles(plan: CarPlan, shares: tuple[float, ...]) -> list[ProceduralPart]:
    knobs = []
    for share in shares:
        z = share * plan.length
        x = float(body_half_width(plan, z)) * 0.965
        knobs.append(
            ellipsoid((x, plan.belt - 0.12 * plan.height, z), (0.04, 0.022, 0.1), "handle", square=0.7, segments=8)
        )
    return with_mirror(knobs)


def _spoiler(plan: CarPlan) -> list[ProceduralPart]:
    if plan.kind in ("sedan", "coupe"):
        y, z = plan.tail + 0.13, -0.45 * plan.length
        wing = _box(0, y, z, (0.82 * plan.width, 0.055, 0.22), "paint")
        legs = [_box(0.28 * plan.width, y - 0.09, z, (0.07, 0.22, 0.12), "trim")]
        return [wing, *with_mirror(legs)]
    return [
        _box(0, plan.height - 0.03, plan.roof_rear + 0.02, (0.78 * plan.width * plan.roof_narrow, 0.06, 0.3), "roof")
    ]


def _bed(plan: CarPlan) -> list[ProceduralPart]:
    """A pickup's load bed: walls on the low rear deck."""
    base, top = plan.belt * 0.55, plan.belt
    start, end = -0.488 * plan.length, plan.glass_rear + 0.05
    x = 0.465 * plan.width
    side = _box(x, (base + top) / 2, (start + end) / 2, (0.1, top - base, end - start), "paint", 0.025)
    tailgate = _box(0, (base + top) / 2, start + 0.05, (1.9 * x, (top - base) * 0.97, 0.1), "paint", 0.025)
    floor = _box(0, plan.belt * 0.7, (start + end) / 2, (1.8 * x, 0.08, end - start - 0.1), "trim")
    return [*with_mirror([side]), tailgate, floor]


def car_parts(plan: CarPlan) -> list[ProceduralPart]:
    """The parts of a plan, closed and touching each other, standing on y = 0."""
    cabin = _open_cabin(plan) if plan.kind == "convertible" else _cabin(plan)
    parts = [_body(plan), *cabin, *_wheels(plan), *_lights(plan), *_trim(plan)]
    if plan.kind == "pickup":
        parts += _bed(plan)
    return grounded(parts)


_NOUNS = {"suv": "SUV", "sedan": "sedan", "pickup": "pickup truck", "van": "van"}


def make_car(rng: np.random.Generator) -> ProceduralShape:
    """One car."""
    plan = draw_plan(rng)
    parts = car_parts(plan)
    drawn = car_materials(rng, plan)
    materials = used_materials(parts, drawn)
    paint, roof = materials["paint"], materials["roof"]
    noun = _NOUNS.get(plan.kind, plan.kind)
    extras = [f"a {roof.color} roof"] * (roof.color != paint.color and plan.kind != "convertible")
    words = {"rack": "a roof rack", "sign": "a taxi sign", "lightbar": "a light bar", "spoiler": "a spoiler",
             "cladding": "black cladding", "cargo": "a closed cargo area"}  # fmt: skip
    extras += [words[name] for name in plan.equipment if name in words]
    extras += ["black rims"] * (materials["rim"].color == "black")
    caption = article(f"{paint.color} {noun}") + (f" with {' and '.join(extras[:3])}" if extras else "")
    attributes: dict[str, str | int | float | bool] = {
        "type": noun,
        "color": paint.color,
        "roof_color": roof.color,
        "rims": materials["rim"].color,
        "style": "boxy" if plan.side_round > 6.5 else ("round" if plan.side_round < 4.3 else "modern"),
        "equipment": ", ".join(plan.equipment) or "none",
        "material": "paint",
    }
    return ProceduralShape("car", SYNSET, noun, tuple(parts), materials, caption, attributes)
