"""Named materials in the colors of real furniture. Each function draws one from a random generator."""

from typing import NamedTuple

import numpy as np

from dataset_tool.procedural import textures as tx
from dataset_tool.procedural.shape import ProceduralMaterial

Rgb = tuple[int, int, int]


class WoodTone(NamedTuple):
    """A species of wood: darkest and lightest grain (sRGB 0 … 255) and a plain color word."""

    dark: Rgb
    light: Rgb
    color: str


WOODS: dict[str, WoodTone] = {
    "oak": WoodTone((150, 105, 62), (206, 164, 112), "brown"),
    "light oak": WoodTone((186, 146, 98), (226, 194, 150), "beige"),
    "birch": WoodTone((205, 176, 134), (238, 217, 184), "beige"),
    "beech": WoodTone((190, 140, 96), (228, 186, 142), "beige"),
    "pine": WoodTone((196, 142, 76), (238, 200, 138), "yellow"),
    "walnut": WoodTone((70, 44, 28), (132, 90, 58), "brown"),
    "teak": WoodTone((132, 78, 38), (190, 128, 72), "brown"),
    "cherry": WoodTone((124, 58, 34), (180, 100, 64), "reddish brown"),
    "mahogany": WoodTone((78, 30, 20), (134, 62, 42), "reddish brown"),
    "wenge": WoodTone((48, 35, 29), (90, 69, 56), "dark brown"),
    "black stained wood": WoodTone((36, 35, 36), (72, 69, 67), "black"),
    "gray ash": WoodTone((116, 108, 98), (172, 164, 152), "gray"),
    "whitewashed wood": WoodTone((198, 190, 176), (238, 233, 223), "white"),
}

COLORS: dict[str, tuple[Rgb, ...]] = {
    "red": ((176, 38, 36), (196, 52, 44)),
    "burgundy": ((112, 28, 44), (128, 38, 50)),
    "orange": ((214, 110, 38), (202, 94, 40)),
    "rust": ((164, 82, 50), (178, 96, 62)),
    "mustard": ((206, 158, 48), (190, 142, 40)),
    "yellow": ((232, 196, 66), (224, 184, 48)),
    "olive": ((112, 114, 62), (126, 124, 72)),
    "green": ((62, 118, 74), (78, 136, 84)),
    "forest green": ((36, 74, 54), (44, 84, 60)),
    "sage": ((146, 160, 134), (160, 172, 146)),
    "teal": ((32, 110, 112), (44, 124, 122)),
    "sky blue": ((124, 170, 200), (140, 182, 208)),
    "blue": ((48, 88, 150), (58, 100, 164)),
    "navy": ((38, 50, 90), (46, 60, 100)),
    "purple": ((94, 66, 116), (108, 76, 126)),
    "pink": ((214, 154, 156), (222, 170, 166)),
    "brown": ((110, 78, 56), (124, 90, 66)),
    "beige": ((202, 184, 156), (212, 196, 170)),
    "cream": ((232, 222, 200), (226, 214, 188)),
    "white": ((236, 234, 228), (228, 226, 220)),
    "light gray": ((186, 186, 184), (174, 176, 178)),
    "gray": ((130, 132, 134), (118, 120, 124)),
    "charcoal": ((74, 76, 80), (66, 68, 74)),
    "black": ((46, 46, 48), (54, 54, 57)),
}

VIVID = ("red", "orange", "mustard", "yellow", "green", "teal", "sky blue", "blue", "pink", "purple")
MUTED = ("rust", "olive", "sage", "navy", "burgundy", "forest green", "brown")
NEUTRAL = ("beige", "cream", "white", "light gray", "gray", "charcoal", "black")


def pick_color(rng: np.random.Generator, families: tuple[tuple[str, ...], ...] = (VIVID, MUTED, NEUTRAL)) -> str:
    """A color word, each family equally likely."""
    family = families[int(rng.integers(len(families)))]
    return str(family[int(rng.integers(len(family)))])


def tone(rng: np.random.Generator, color: str) -> tuple[float, float, float]:
    """A shade of a color word with a slight random variation."""
    shades = COLORS[color]
    a, b = np.array(shades[0], float), np.array(shades[-1], float)
    value = np.clip(a + rng.uniform(-0.2, 1.2) * (b - a) + rng.uniform(-5, 5, 3), 6, 248)
    return float(value[0]), float(value[1]), float(value[2])


def _variant(rng: np.random.Generator) -> int:
    return int(rng.integers(tx.FIELD_VARIANTS))


def wood(rng: np.random.Generator, species: str | None = None) -> ProceduralMaterial:
    """A solid or veneered species of `WOODS` (None = random)."""
    name = species or str(rng.choice(list(WOODS)))
    dark, light, color = WOODS[name]
    change = rng.uniform(0.92, 1.08)
    field = tx.varied(tx.wood_field(_variant(rng)), rng)
    image = tx.shade(field, tx.tinted(dark, min(change, 1.05)), tx.tinted(light, change if change <= 1 else 1.0))
    across = rng.uniform(0.26, 0.42)
    return ProceduralMaterial(image, (across, across * 2.4), "wood", color, name, 0.12, roughness=0.55)


def painted_wood(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    """Painted wood with a faintly visible grain."""
    base = tone(rng, color)
    field = 0.6 * tx.varied(tx.wood_field(_variant(rng)), rng) + 0.4
    image = tx.shade(field, tx.tinted(base, 0.84), tx.tinted(base, 1.03))
    return ProceduralMaterial(image, (0.4, 0.9), "painted wood", color, f"{color} painted wood", 0.15, roughness=0.4)


METALS: dict[str, tuple[Rgb, Rgb, str]] = {
    "chrome": ((158, 162, 168), (222, 225, 228), "silver"),
    "brushed steel": ((140, 142, 144), (196, 198, 200), "silver"),
    "brass": ((160, 118, 52), (214, 174, 96), "gold"),
    "copper": ((146, 84, 58), (206, 136, 100), "copper"),
    "black metal": ((42, 42, 45), (68, 68, 71), "black"),
    "dark bronze": ((58, 46, 38), (96, 80, 66), "dark brown"),
}

METAL_ROUGHNESS = {
    "chrome": 0.08,
    "brushed steel": 0.35,
    "brass": 0.25,
    "copper": 0.28,
    "black metal": 0.4,
    "dark bronze": 0.38,
}


def metal(rng: np.random.Generator, finish: str | None = None) -> ProceduralMaterial:
    """A brushed or polished metal of `METALS` (None = random)."""
    name = finish or str(rng.choice(list(METALS)))
    dark, light, color = METALS[name]
    image = tx.shade(tx.varied(tx.brushed_field(_variant(rng)), rng), dark, light)
    return ProceduralMaterial(image, (0.22, 0.5), "metal", color, name, 0.6, 1.0, METAL_ROUGHNESS[name])


def _mottled(rng: np.random.Generator, base: tx.Color, dark: float, light: float) -> tx.Image:
    """An image [H, W, 3] uint8 that varies softly between `dark` and `light` times `base`."""
    field = tx.varied(tx.mottled_field(_variant(rng)), rng)
    return tx.shade(field, tx.tinted(base, dark), tx.tinted(base, light))


def painted_metal(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    """Powder-coated metal."""
    base = tone(rng, color)
    image = _mottled(rng, base, 0.93, 1.02)
    return ProceduralMaterial(image, (0.3, 0.3), "metal", color, f"{color} metal", 0.3, roughness=0.45)


def plastic(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    """Molded plastic of an almost uniform color."""
    base = tone(rng, color)
    image = _mottled(rng, base, 0.95, 1.02)
    return ProceduralMaterial(image, (0.5, 0.5), "plastic", color, f"{color} plastic", 0.35, roughness=0.3)


def ceramic(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    """Glazed ceramic."""
    base = tone(rng, color)
    image = _mottled(rng, base, 0.9, 1.06)
    return ProceduralMaterial(image, (0.16, 0.16), "ceramic", color, f"{color} ceramic", 0.4, roughness=0.12)


def marble(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    """Veined stone: "white", "black", "green" or any color word."""
    base = tone(rng, color)
    bright = sum(base) > 360
    vein = tx.tinted(base, 0.66) if bright else tx.tinted(base, 1.5)
    image = tx.shade(tx.varied(tx.marble_field(_variant(rng)), rng), vein, base)
    return ProceduralMaterial(image, (0.7, 0.7), "marble", color, f"{color} marble", 0.4, roughness=0.2)


LEATHERS: dict[str, Rgb] = {
    "black": (56, 53, 52),
    "dark brown": (74, 50, 38),
    "brown": (122, 80, 52),
    "cognac": (168, 100, 54),
    "tan": (192, 142, 92),
    "cream": (224, 212, 188),
    "white": (230, 228, 222),
    "burgundy": (104, 34, 40),
    "forest green": (44, 70, 54),
    "navy": (44, 54, 80),
}


def leather(rng: np.random.Generator, color: str | None = None) -> ProceduralMaterial:
    """A hide of `LEATHERS` (None = random)."""
    name = color or str(rng.choice(list(LEATHERS)))
    field = tx.varied(tx.leather_field(_variant(rng)), rng)
    base = LEATHERS[name]
    image = tx.shade(field, tx.tinted(base, 0.74), tx.tinted(base, 1.05))
    return ProceduralMaterial(image, (0.3, 0.3), "leather", name, f"{name} leather", 0.25, roughness=0.5)


WEAVES = ("plain", "twill", "melange", "boucle")


def fabric(rng: np.random.Generator, color: str, pattern: str = "plain") -> ProceduralMaterial:
    """Cloth of pattern "plain", "striped", "checked" or "dotted", whose two colors match."""
    weave = WEAVES[int(rng.integers(len(WEAVES)))] if pattern == "plain" else "plain"
    field = tx.varied(tx.cloth_field(weave, _variant(rng)), rng)
    base = tone(rng, color)
    if pattern == "plain":
        image = tx.cloth(field, base, 0.13 if weave == "boucle" else 0.15)
        return ProceduralMaterial(image, (0.16, 0.16), "fabric", color, f"{color} fabric", 0.02, roughness=0.95)
    second = companion(rng, color, base)
    if pattern == "striped":
        layout = str(rng.choice(["even", "pin", "triple"]))
        third = tx.tinted(base, 0.7)
        image = tx.striped(field, (base, second, third) if layout == "triple" else (base, second), layout)
    elif pattern == "checked":
        image = tx.checked(field, base, second, str(rng.choice(["gingham", "tartan"])))
    else:
        image = tx.spotted(field, base, second)
    span = float(rng.uniform(0.16, 0.3))
    return ProceduralMaterial(image, (span, span), "fabric", color, f"{pattern} {color} fabric", 0.02, roughness=0.95)


def companion(rng: np.random.Generator, color: str, base: tuple[float, float, float]) -> tuple[float, float, float]:
    """The second color of a pattern: cream or white for a color, a contrasting neutral for a neutral."""
    if color in ("white", "cream", "beige", "light gray"):
        return tone(rng, str(rng.choice(["navy", "charcoal", "sage", "rust", "sky blue"])))
    if rng.random() < 0.7:
        return tone(rng, str(rng.choice(["cream", "white", "beige"])))
    return tx.tinted(base, 1.45)


def glass(rng: np.random.Generator, color: str) -> ProceduralMaterial:
    """Opal glass of even brightness, opaque like the globe of a lamp."""
    base = tone(rng, color)
    image = _mottled(rng, base, 0.98, 1.1)
    return ProceduralMaterial(image, (0.3, 0.3), "glass", color, f"{color} glass", 0.5, roughness=0.1)
