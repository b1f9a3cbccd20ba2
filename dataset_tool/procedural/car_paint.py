"""Materials of cars: paint, glass, lamps and the images on the rims."""

import numpy as np

from dataset_tool.procedural import materials as mt
from dataset_tool.procedural import textures as tx
from dataset_tool.procedural.car_plan import CarPlan
from dataset_tool.procedural.choose import chance, pick
from dataset_tool.procedural.shape import Array, ProceduralMaterial

PAINTS: dict[str, tuple[int, int, int]] = {
    "white": (232, 232, 230), "silver": (176, 180, 184), "gray": (112, 116, 122), "black": (30, 31, 34),
    "red": (178, 26, 30), "burgundy": (98, 20, 34), "blue": (30, 82, 160), "navy": (24, 38, 78),
    "sky blue": (122, 172, 208), "green": (38, 104, 66), "forest green": (24, 62, 46), "yellow": (236, 190, 40),
    "orange": (224, 98, 30), "beige": (204, 190, 160), "brown": (92, 66, 48), "teal": (24, 116, 122),
    "cream": (234, 224, 198), "purple": (86, 48, 110), "pink": (222, 140, 150),
}  # fmt: skip


def _paint(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    base = np.array(PAINTS[color], float) + rng.uniform(-6, 6, 3)
    field = 0.5 + 0.5 * (tx.varied(tx.mottled_field(int(rng.integers(tx.FIELD_VARIANTS))), rng) - 0.5)
    image = tx.shade(field, tx.tinted(base.tolist(), 0.94), tx.tinted(np.clip(base, 0, 255).tolist(), 1.05))
    return ProceduralMaterial(image, (0.8, 0.8), "paint", color, f"{color} paint", 0.6, roughness=0.2)


def rim_image(variant: int, bright: tuple[float, float, float]) -> Array:
    """A wheel's face [128, 128, 3]: spokes, a disc or a hub cap on dark."""
    y, x = (np.mgrid[0:128, 0:128] + 0.5) / 64 - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    spokes = 4 + variant % 5
    wide = 0.25 + 0.4 * (variant % 3) / 2
    metal = np.cos(spokes * angle) > 1 - 2 * wide
    metal |= (radius > 0.86) | (radius < 0.3)
    if variant % 6 == 0:
        metal = (np.abs(radius - 0.62) > 0.06) | (np.cos(16 * angle) > 0)
    share = metal * (0.85 + 0.15 * np.cos(radius * 9)) * (radius > 0.09)
    dark = np.array((26.0, 26.0, 28.0))
    return np.asarray(dark + share[..., None] * (np.array(bright) - dark))


def _rim(rng: np.random.Generator, plan: CarPlan) -> ProceduralMaterial:
    bright = {"silver": (196, 198, 202), "black": (58, 58, 62), "gold": (186, 150, 88), "white": (224, 224, 222)}
    color = pick(rng, {"silver": 6.0, "black": 1.6, "gold": 0.4, "white": 0.5})
    image = rim_image(plan.variant, bright[color]).clip(0, 255).astype(np.uint8)
    # UV 0 is the center of the wheel, so the image is shifted by half.
    image = np.roll(image, (64, 64), axis=(0, 1))
    size = 2 * 0.68 * plan.wheel
    metallic = 1.0 if color in ("silver", "gold") else 0.0
    label = f"{color} rims"
    return ProceduralMaterial(image, (size, size), "metal", color, label, 0.5, metallic, 0.3)


def car_materials(rng: np.random.Generator, plan: CarPlan) -> dict[str, ProceduralMaterial]:
    """The materials of all parts that a car may have."""
    color = pick(rng, {"white": 2.2, "silver": 1.8, "gray": 1.4, "black": 1.5, **dict.fromkeys(list(PAINTS)[4:], 1.0)})
    if "sign" in plan.equipment and chance(rng, 0.7):
        color = str(rng.choice(["yellow", "black", "white"]))
    paint = _paint(rng, color)
    roof = paint
    if "two-tone" in plan.equipment:
        roof = _paint(rng, "white" if color not in ("white", "cream", "silver") and chance(rng, 0.6) else "black")
    skirt = mt.plastic(rng, "charcoal") if "cladding" in plan.equipment else paint
    trim = mt.plastic(rng, "black")
    return {
        "paint": paint,
        "roof": roof,
        "skirt": skirt,
        "trim": trim,
        "glass": _glass(rng),
        "tire": mt.plastic(rng, "black"),
        "arch": ProceduralMaterial(
            tx.shade(tx.mottled_field(0), (16, 16, 17), (22, 22, 23)), (0.5, 0.5), "plastic", "black", "black plastic"
        ),
        "rim": _rim(rng, plan),
        "lamp": _plain((236, 238, 232), "glass", "white"),
        "tail": _plain((186, 24, 26), "glass", "red"),
        "blue": _plain((30, 70, 200), "glass", "blue"),
        "plate": _plain((236, 234, 220), "plastic", "white"),
        "sign": _plain((244, 212, 60), "plastic", "yellow"),
        "handle": mt.metal(rng, "chrome") if chance(rng, 0.4) else paint,
        "seat": mt.leather(rng, str(rng.choice(["black", "cognac", "cream", "burgundy", "tan"]))),
    }


def _plain(color: tuple[int, int, int], kind: str, word: str) -> ProceduralMaterial:
    image = tx.shade(tx.mottled_field(1), tx.tinted(color, 0.92), tx.tinted(color, 1.05))
    return ProceduralMaterial(image, (0.4, 0.4), kind, word, f"{word} {kind}", 0.5, roughness=0.3)


def _glass(rng: np.random.Generator) -> ProceduralMaterial:
    base = tuple(np.array((40, 50, 60)) + rng.uniform(-10, 14, 3))
    image = tx.shade(tx.varied(tx.mottled_field(2), rng), tx.tinted(base, 0.93), tx.tinted(base, 1.03))
    return ProceduralMaterial(image, (1.5, 1.5), "glass", "dark gray", "dark glass", 0.8, roughness=0.05)
