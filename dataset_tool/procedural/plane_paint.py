"""Liveries: the image on the fuselage and the colors of the other parts."""

import numpy as np

from dataset_tool.procedural import materials as mt
from dataset_tool.procedural import textures as tx
from dataset_tool.procedural.car_paint import PAINTS
from dataset_tool.procedural.choose import chance, pick
from dataset_tool.procedural.plane_plan import PlanePlan
from dataset_tool.procedural.shape import Array, ProceduralMaterial, ProceduralPart


def livery_image(rng: np.random.Generator, plan: PlanePlan, base: Array, second: Array, third: Array) -> Array:
    """The image of the fuselage [128, 256, 3]: columns from the belly over the back to the belly, rows tail to nose."""
    rows, columns = 256, 128
    along = ((np.arange(rows)[::-1, None] + 0.5) / rows) + np.zeros((1, columns))
    # 0 on the belly, 1 on the back.
    up = 1 - np.abs(2 * (np.arange(columns)[None] + 0.5) / columns - 1) + np.zeros((rows, 1))
    image = np.ones((rows, columns, 1)) * base
    if plan.livery == "cheatline":
        image[(np.abs(up - 0.5) < 0.07) & (along < 0.95)] = second
        if plan.variant % 2:
            image[np.abs(up - 0.4) < 0.02] = third
    elif plan.livery == "tail":
        image[along < 0.16 + 0.24 * up] = second
    elif plan.livery == "belly":
        image[up < 0.36] = second
    elif plan.livery == "bands":
        image[np.abs(along - 0.3) < 0.035] = second
        image[along > 0.93] = second
    elif plan.livery == "diagonal":
        edge = along + 0.35 * up
        image[edge < 0.62] = second
        image[np.abs(edge - 0.66) < 0.02] = third
    elif plan.livery == "camouflage":
        noise = tx.spectrum_noise(9300 + plan.variant % 12, rows, columns, (40, 30), 2.4)
        image[noise > 0.35] = second
        image[noise < -0.75] = third
    if plan.kind in ("airliner", "business jet", "turboprop"):
        dots = 34 if plan.kind == "airliner" else 9
        window = (np.abs(up - 0.58) < 0.028) & (np.cos(2 * np.pi * along * dots) > 0.1)
        image[window & (along > 0.2) & (along < 0.84)] = (38, 44, 54)
    return np.clip(image * (0.97 + 0.05 * rng.random((rows, columns, 1))), 0, 255)


def plane_materials(
    rng: np.random.Generator, plan: PlanePlan, fuselage: ProceduralPart
) -> tuple[dict[str, ProceduralMaterial], str, str]:
    """Materials by part name, and the two main color words."""
    military = plan.kind == "fighter"
    light = {"white": 6.0, "silver": 2.0, "cream": 1.0, "gray": 0.6, "yellow": 0.7, "red": 0.7, "sky blue": 0.5}
    if plan.kind in ("biplane", "light plane"):
        light = {
            "white": 2.5,
            "red": 2.0,
            "yellow": 2.0,
            "blue": 1.2,
            "cream": 1.0,
            "orange": 0.8,
            "green": 0.7,
            "silver": 0.7,
        }
    if military:
        light = {"gray": 4.0, "silver": 2.0, "forest green": 1.5, "beige": 1.2, "navy": 0.8, "black": 0.8}
    first = pick(rng, light)
    bright = ["red", "blue", "navy", "green", "orange", "yellow", "teal", "burgundy", "purple", "sky blue", "black"]
    dull = ["gray", "forest green", "brown", "beige", "navy"]
    others = [word for word in (dull if military else bright) if word != first]
    second = str(rng.choice(others))
    third = str(rng.choice([word for word in others if word != second]))
    rgb = [np.array(PAINTS[word], float) for word in (first, second, third)]
    girth = float(np.ptp(fuselage.uvs[:, 0]))
    # The fuselage has u = 0 on its back, but the first column of the image is on the belly.
    livery = np.roll(livery_image(rng, plan, *rgb).astype(np.uint8), 64, axis=1)
    body = ProceduralMaterial(livery, (girth, _length(fuselage)), "paint", first, f"{first} paint", 0.4, roughness=0.25)
    wing_word = second if plan.livery in ("belly", "plain") and chance(rng, 0.35) else first
    if plan.livery == "camouflage":
        tile = tx.spectrum_noise(9400 + plan.variant % 12, 128, 128, (30, 30), 2.4)[..., None]
        image = np.where(tile > 0.35, rgb[1], np.where(tile < -0.75, rgb[2], rgb[0])).astype(np.uint8)
        wing = ProceduralMaterial(image, (0.5, 0.5), "paint", first, f"{first} paint", 0.3, roughness=0.25)
    else:
        wing = _even(rng, PAINTS[wing_word], wing_word)
    fin_word = second if plan.livery in ("cheatline", "tail", "bands", "diagonal", "belly") else first
    engine_word = second if chance(rng, 0.3) else "white" if first == "white" else "silver"
    materials = {
        "body": body,
        "wing": wing,
        "fin": wing if plan.livery == "camouflage" else _even(rng, PAINTS[fin_word], fin_word),
        "engine": _even(rng, PAINTS[engine_word], engine_word),
        "accent": _even(rng, PAINTS[second], second),
        "dark": _even(rng, (40, 41, 44), "black"),
        "glass": _even(rng, (44, 58, 74), "dark gray"),
        "propeller": mt.metal(rng, "black metal" if chance(rng, 0.5) else "brushed steel"),
    }
    return materials, first, second


def _length(fuselage: ProceduralPart) -> float:
    """How far the unrolled bands of the fuselage run along v."""
    return float(fuselage.uvs[: 25 * 20, 1].max())


def _even(rng: np.random.Generator, color: tuple[int, int, int], word: str) -> ProceduralMaterial:
    field = tx.varied(tx.mottled_field(int(rng.integers(tx.FIELD_VARIANTS))), rng)
    image = tx.shade(field, tx.tinted(color, 0.95), tx.tinted(color, 1.03))
    return ProceduralMaterial(image, (0.4, 0.4), "paint", word, f"{word} paint", 0.4, roughness=0.3)
