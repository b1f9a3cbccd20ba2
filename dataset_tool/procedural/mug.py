"""Mugs: hollow round or square bodies with a handle and a random glaze."""

from dataclasses import dataclass, replace

import numpy as np

from dataset_tool.procedural import outlines as ol
from dataset_tool.procedural import textures as tx
from dataset_tool.procedural.choose import article, chance, pick, span
from dataset_tool.procedural.materials import pick_color, tone
from dataset_tool.procedural.primitives import loft, sweep
from dataset_tool.procedural.shape import Array, ProceduralMaterial, ProceduralPart, ProceduralShape, grounded

SYNSET = "03797390"
GLAZE_ROUGHNESS = 0.15


@dataclass(frozen=True)
class MugPlan:
    """A design; lengths in meters.

    body: "cylinder", "tapered", "conical", "barrel", "tulip", "bowl", "waisted" or "square". handle: "ear", "loop",
    "square", "ring" or "large". radius: at the widest. wall: thickness. glaze: "plain", "dipped", "banded",
    "striped", "dotted", "speckled", "checked" or "motif". foot: height of a foot ring.
    """

    body: str
    handle: str
    radius: float
    height: float
    wall: float
    glaze: str
    foot: float
    variant: int
    bulge: float


def draw_plan(rng: np.random.Generator) -> MugPlan:
    """Draw the design of a mug."""
    body = pick(
        rng,
        {"cylinder": 4, "tapered": 2, "conical": 1.5, "barrel": 2, "tulip": 1.5, "bowl": 2, "waisted": 1, "square": 1},
    )
    radius = span(rng, 0.036, 0.05)
    ratio = {"bowl": (0.7, 1.0), "tapered": (1.0, 1.6)}.get(body, (0.9, 1.35))
    height = 2 * radius * span(rng, *ratio)
    return MugPlan(
        body=body,
        handle=pick(rng, {"ear": 4, "loop": 3, "square": 2, "ring": 1.5, "large": 1.5}),
        radius=radius,
        height=height,
        wall=max(0.036 * max(height, 2.6 * radius), 0.0042),
        glaze=pick(
            rng,
            {
                "plain": 4,
                "dipped": 2,
                "banded": 2,
                "striped": 1.2,
                "dotted": 1.2,
                "speckled": 2,
                "checked": 0.7,
                "motif": 1.6,
            },
        ),
        foot=span(rng, 0.003, 0.008) if chance(rng, 0.35) else 0.0,
        variant=int(rng.integers(0, 24)),
        bulge=span(rng, 0.06, 0.2),
    )


def _outline_share(plan: MugPlan, at: Array) -> Array:
    """The body's radius at heights `at` in [0, 1] relative to an arbitrary unit."""
    bulge = plan.bulge
    return np.asarray(
        {
            "cylinder": 1 - 0.0 * at,
            "square": 1 - 0.0 * at,
            "tapered": 1 - bulge * 1.2 * (1 - at),
            "conical": 1 - bulge * 1.6 * at,
            "barrel": 1 - 1.2 * bulge * (2 * at - 1) ** 2,
            "tulip": 1 - bulge + bulge * np.sin(np.pi * (1.25 * at + 0.2)) + 0.6 * bulge * at**4,
            "bowl": 1 - 0.55 * (1 - at) ** 3,
            "waisted": 1 - bulge * np.sin(np.pi * at),
        }[plan.body]
    )


def body_radius(plan: MugPlan, at: Array) -> Array:
    """Outer radius at heights `at` in [0, 1] of the body, meters."""
    widest = float(_outline_share(plan, np.linspace(0, 1, 41)).max())
    corner = 0.05 + 0.012 * (plan.variant % 6)
    rounding = 1 - 0.16 * np.clip(1 - at / corner, 0, 1) ** 2
    return np.asarray(plan.radius * _outline_share(plan, at) / widest * rounding)


def _body(plan: MugPlan) -> tuple[ProceduralPart, Array]:
    """The hollow body and the distances along its profile [S]: outside upward, over the rim, inside downward."""
    at = np.concatenate([[0.0, 0.025, 0.06, 0.11], np.linspace(0.18, 0.985, 9)])
    outer = body_radius(plan, at)
    rise = plan.foot + at * (plan.height - plan.foot)
    wall = plan.wall
    profile = [(outer[0] * 0.9, plan.foot), *zip(outer, rise, strict=True)]
    if plan.foot:
        ring = 0.78 * float(outer[0])
        profile = [(ring * 0.97, 0.0), (ring, 0.0006), (ring, plan.foot + 0.0004), *profile[1:]]
    rim = float(outer[-1])
    profile += [(rim - 0.25 * wall, plan.height), (rim - 0.75 * wall, plan.height)]
    floor = plan.foot + 1.3 * wall
    down = np.linspace(0.96, 0.0, 7)
    inner_height = floor + down * (plan.height - floor - 0.3 * wall)
    inner = body_radius(plan, np.clip((inner_height - plan.foot) / (plan.height - plan.foot), 0.1, 1)) - wall
    inner[-1] *= 0.82
    profile += list(zip(inner, inner_height, strict=True))
    table = np.array(profile)
    section = ol.superellipse(2, 2, 5.0 if plan.body == "square" else 2.0, 32)
    size = 0.94 if plan.body == "square" else 1.0
    plan_points = table[:, None, :1] * section[None] * size
    heights = np.broadcast_to(table[:, None, 1], plan_points.shape[:2])
    rings = np.stack([plan_points[..., 0], heights, plan_points[..., 1]], axis=-1)
    part = loft(rings, "glaze", even_columns=True)
    steps = np.linalg.norm(np.diff(rings, axis=0), axis=2).mean(axis=1)
    return part, np.concatenate([[0.0], np.cumsum(steps)])


def _handle(plan: MugPlan) -> ProceduralPart:
    """A bent bar whose ends lie inside the wall at +x."""
    height, thick = plan.height, max(0.55 * plan.wall + 0.0022, 0.0042)
    top, low = 0.82 * height, (0.24 if plan.handle != "ring" else 0.4) * height
    reach = {"ear": 0.6, "loop": 0.62, "square": 0.55, "ring": 0.5, "large": 0.78}[plan.handle] * plan.radius + 0.008

    def wall_at(y: float) -> float:
        """x inside the wall at height y, where the end of a bar is invisible from inside a slanted wall."""
        share = (np.array([y - thick, y, y + thick]) - plan.foot) / (plan.height - plan.foot)
        outer = body_radius(plan, share) * (0.94 if plan.body == "square" else 1.0)
        return float(min(outer.max() - 0.75 * plan.wall, outer[1] - 0.2 * plan.wall))

    if plan.handle == "ear":
        low -= 0.02 * height
    x0, x1 = wall_at(top), wall_at(low)
    out, rise = max(x0, x1) + reach, top - low
    if plan.handle == "square":
        path = ol.rounded_path([(x0, top, 0), (out, top, 0), (out, low, 0), (x1, low, 0)], 0.008, 4)
    elif plan.handle == "ear":
        bends = [(x0 + 0.6 * reach, top + 0.03 * height), (out, top - 0.14 * height)]
        bends += [(out - 0.16 * reach, low + 0.42 * rise), (x1 + 0.45 * reach, low + 0.05 * height)]
        path = ol.smooth_path([(x, y, 0) for x, y in [(x0, top), *bends, (x1, low)]], 18)
    else:
        bends = [(x0 + 0.55 * reach, top + 0.01 * height), (out, low + 0.7 * rise)]
        bends += [(out, low + 0.3 * rise), (x1 + 0.55 * reach, low - 0.01 * height)]
        path = ol.smooth_path([(x, y, 0) for x, y in [(x0, top), *bends, (x1, low)]], 18)
    width = thick * (1.0 + 0.14 * (plan.variant % 5))
    section = ol.round_section(10) if plan.variant % 3 else ol.box_section(0.5, 2)
    return sweep(path, (width, thick), section, "handle", reference=(0, 0, 1), bevel=0.001)


def _motif(name: str, size: int) -> Array:
    """A filled emblem's coverage [size, size] in [0, 1]: "heart", "star", "sun" or "leaf"."""
    y, x = -(np.mgrid[0:size, 0:size] + 0.5) / size * 2.4 + 1.2
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    inside = {
        "heart": 0.1 - ((x * x + (y + 0.1) ** 2 - 0.55) ** 3 - x * x * (y + 0.1) ** 3) * 4,
        "star": (0.62 + 0.24 * np.cos(5 * (angle - np.pi / 2))) - distance,
        "sun": np.where(distance < 0.5, 1.0, (0.72 + 0.22 * np.sign(np.cos(12 * angle))) - distance),
        "leaf": 0.42 * (1 - y * y) - np.abs(x),
    }[name]
    return np.clip(inside * 14, 0, 1)


MOTIFS = ("heart", "star", "sun", "leaf")


def _second_share(plan: MugPlan, height: Array, around: Array) -> Array:
    """How much of the second color shows [H, W]; height in [0, 1] up the outside, around in [0, 1)."""
    k = plan.variant
    if plan.glaze == "dipped":
        wave = 0.03 * np.sin(2 * np.pi * around * (1 + k % 3)) * (k % 2)
        return np.clip((0.3 + 0.04 * (k % 8) + wave - height) * 40, 0, 1)
    if plan.glaze == "banded":
        edges = (0.14, 0.26, 0.74, 0.86) if k % 2 else (0.42, 0.58, 0.63, 0.66)
        return (np.searchsorted(edges, height) % 2).astype(float)
    if plan.glaze == "striped":
        return (np.cos(2 * np.pi * around * (8 + 2 * (k % 6))) > 0).astype(float) * (np.abs(height - 0.5) < 0.42)
    if plan.glaze == "dotted":
        count = 8 + 2 * (k % 3)
        wave = np.cos(2 * np.pi * around * count) * np.cos(2 * np.pi * height * (2.5 + k % 2))
        return np.clip((wave - 0.6) * 10, 0, 1) * (np.abs(height - 0.5) < 0.46)
    checks = np.sign(np.cos(2 * np.pi * around * 8)) * np.sign(np.cos(2 * np.pi * height * 3))
    return (checks > 0).astype(float)


def glaze_material(
    rng: np.random.Generator, plan: MugPlan, distances: Array, inside: str, outside: str, second: str
) -> ProceduralMaterial:
    """The body's texture: its rows run over the profile, its columns once around."""
    rows, columns = 192, 256
    total = float(distances[-1])
    # The outside ends at the rim; the second ring of the rim and 7 inner rings follow.
    along = (np.arange(rows)[::-1, None] + 0.5) / rows * total
    around = ((np.arange(columns)[None] + 0.5) / columns) + 0 * along
    start, rim = float(distances[4 if plan.foot else 1]), float(distances[-8])
    height = np.clip((along - start) / (rim - start), 0, 1) + 0 * around
    field = tx.varied(tx.mottled_field(int(rng.integers(tx.FIELD_VARIANTS))), rng)
    field = np.tile(field, (3, 4))[..., None]
    base, other, inner = (np.array(tone(rng, word)) for word in (outside, second, inside))
    image = base * (0.93 + 0.1 * field)
    if plan.glaze == "motif":
        size = 80
        share = np.zeros((rows, columns))
        row = int(rows * (1 - (start + 0.52 * (rim - start)) / total)) - size // 2
        row = int(np.clip(row, 0, rows - size))
        emblem = _motif(MOTIFS[plan.variant % 4], size)
        for column in (24, 24 + columns // 2):
            share[row : row + size, column : column + size] = emblem
    elif plan.glaze == "speckled":
        noise = tx.spectrum_noise(9100 + plan.variant % 8, rows, columns, (2.2, 2.2), 2.0)
        share = np.clip((noise - 1.7) * 3, 0, 1) * 0.8
    elif plan.glaze == "plain":
        share = np.zeros((rows, columns))
    else:
        share = _second_share(plan, height, around)
    image = image + share[..., None] * (other * (0.95 + 0.08 * field) - image)
    lip = np.where(along > rim, 1.0, 0.0)[..., None] + 0 * around[..., None]
    image = np.where(lip > 0, inner * (0.95 + 0.07 * field), image)
    if chance(rng, 0.2) and plan.glaze in ("plain", "speckled"):
        near = (np.abs(along - rim) < 0.05 * (rim - start))[..., None] & (lip >= 0)
        image = np.where(near, other, image)
    circumference = 2 * np.pi * plan.radius
    painted = np.clip(image, 0, 255).astype(np.uint8)
    label, extent = f"{outside} ceramic", (circumference, total)
    return ProceduralMaterial(painted, extent, "ceramic", outside, label, 0.4, roughness=GLAZE_ROUGHNESS)


def make_mug(rng: np.random.Generator) -> ProceduralShape:
    """One mug, whose handle points to the right of the front at a random angle."""
    plan = draw_plan(rng)
    body, distances = _body(plan)
    handle = _handle(plan)
    outside, second = pick_color(rng), pick_color(rng)
    if second == outside:
        second = "white" if outside not in ("white", "cream") else "navy"
    inside = outside if chance(rng, 0.35) else pick(rng, {"white": 4.0, "cream": 2.0, second: 2.0})
    glaze = glaze_material(rng, plan, distances, inside, outside, second)
    color = tone(rng, second if plan.glaze in ("dipped", "banded") and chance(rng, 0.6) else outside)
    plain = tx.shade(tx.mottled_field(plan.variant % tx.FIELD_VARIANTS), tx.tinted(color, 0.93), tx.tinted(color, 1.03))
    label = f"{outside} ceramic"
    grip = ProceduralMaterial(plain, (0.06, 0.06), "ceramic", outside, label, 0.4, roughness=GLAZE_ROUGHNESS)
    # u spans the mean ring, not the widest, because the body uses mean columns.
    girth = float(np.ptp(body.uvs[: (len(distances)) * 33, 0]))
    glaze = replace(glaze, span=(girth, glaze.span[1]))
    decoration = {
        "dipped": f", dipped in {second}",
        "banded": f" and {second} bands",
        "striped": f" and {second} stripes",
        "dotted": f" and {second} dots",
        "speckled": f" and {second} speckles",
        "checked": f" and {second} checks",
        "motif": f" and {article(f'{second} {MOTIFS[plan.variant % 4]}')}",
    }.get(plan.glaze, "")
    caption = f"{article(f'{outside} {plan.body} mug')} with {article(f'{plan.handle} handle')}{decoration}"
    attributes: dict[str, str | int | float | bool] = {
        "type": "mug",
        "body": plan.body,
        "handle": plan.handle,
        "glaze": plan.glaze,
        "material": "ceramic",
        "color": outside,
        "second_color": second if plan.glaze != "plain" else outside,
        "inside_color": inside,
    }
    return ProceduralShape(
        "mug", SYNSET, "mug", tuple(grounded([body, handle])), {"glaze": glaze, "handle": grip}, caption, attributes
    )
