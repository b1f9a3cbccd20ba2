"""Finishes of procedural shapes: one color, material and pattern for a whole shape, so that a short caption is true.

The categories choose materials that go together, such as a red cushion on an oak frame. A text model needs to see that
"red" can hold for a chair, a mug and a plane alike, so a finish paints all parts of any shape.
"""

from dataclasses import dataclass, replace

import numpy as np

from dataset_tool.procedural import materials as mt
from dataset_tool.procedural.shape import ProceduralMaterial, ProceduralShape

# Plain color words, with the shades of `materials.COLORS` that one calls by them.
SHADES: dict[str, tuple[str, ...]] = {
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green", "forest green"),
    "teal": ("teal",),
    "blue": ("blue", "navy"),
    "purple": ("purple",),
    "pink": ("pink",),
    "brown": ("brown",),
    "beige": ("beige",),
    "white": ("white",),
    "gray": ("gray",),
    "black": ("black", "charcoal"),
}
PATTERNS = ("plain", "striped", "checked", "dotted")
# Materials that have a color of their own.
NATURAL: dict[str, tuple[str, ...]] = {
    "wooden": ("oak", "light oak", "pine", "teak", "walnut", "cherry"),
    "golden": ("brass",),
    "silver": ("chrome", "brushed steel"),
    "marble": ("white", "gray", "green"),
}


@dataclass(frozen=True)
class Finish:
    """color: a key of `SHADES`, "" for a material with a color of its own. material: a key of `NATURAL`, or "plain" for
    any colored surface. pattern: one of `PATTERNS`; other than "plain" for colored surfaces only.
    """

    color: str = ""
    material: str = "plain"
    pattern: str = "plain"


def draw_finish(rng: np.random.Generator) -> Finish:
    """A random finish: two in three are colors, a third of them with a pattern."""
    if rng.random() < 0.3:
        return Finish(material=str(rng.choice(list(NATURAL))))
    pattern = str(rng.choice(PATTERNS[1:])) if rng.random() < 0.35 else "plain"
    return Finish(color=str(rng.choice(list(SHADES))), pattern=pattern)


def finish_material(finish: Finish, rng: np.random.Generator) -> ProceduralMaterial:
    """A material that looks so. ValueError for a word that no finish has."""
    if finish.material in NATURAL:
        name = str(rng.choice(NATURAL[finish.material]))
        if finish.material == "wooden":
            return mt.wood(rng, name)
        return mt.marble(rng, name) if finish.material == "marble" else mt.metal(rng, name)
    if finish.color not in SHADES or finish.pattern not in PATTERNS:
        raise ValueError(f"finish_material(): expected known words, got {finish}")
    shade = str(rng.choice(SHADES[finish.color]))
    if finish.pattern != "plain":
        return mt.fabric(rng, shade, finish.pattern)
    maker = (mt.fabric, mt.plastic, mt.painted_wood, mt.painted_metal)[int(rng.integers(4))]
    return maker(rng, shade)


def with_finish(shape: ProceduralShape, finish: Finish, rng: np.random.Generator) -> ProceduralShape:
    """The shape with all its parts of one finish. Geometry stays; so do the caption and the attributes."""
    painted = finish_material(finish, rng)
    low, high = shape.bounds()
    # A pattern has about the same number of repeats on a mug and on a plane, few enough to be seen in a small image.
    size = float((high - low).max()) * (1 if finish.pattern == "plain" else 2)
    scaled = replace(painted, span=(painted.span[0] * size, painted.span[1] * size))
    return replace(shape, materials=dict.fromkeys(shape.materials, scaled))
