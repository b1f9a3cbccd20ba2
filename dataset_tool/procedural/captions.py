"""Short captions of procedural shapes: "a red striped armchair", with synonyms and varied templates."""

import numpy as np

from dataset_tool.procedural.choose import article
from dataset_tool.procedural.finishes import SHADES, Finish

SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green", "emerald"),
    "teal": ("teal", "turquoise"),
    "blue": ("blue", "navy"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "brown": ("brown", "chocolate"),
    "beige": ("beige", "cream"),
    "white": ("white", "ivory"),
    "gray": ("gray", "ashen"),
    "black": ("black", "ebony"),
    "wooden": ("wooden", "wood"),
    "golden": ("golden", "gold", "brass"),
    "silver": ("silver", "chrome", "steel"),
    "marble": ("marble", "stone"),
    "striped": ("striped", "stripy"),
    "checked": ("checked", "checkered", "plaid"),
    "dotted": ("dotted", "spotted"),
    "chair": ("chair", "seat"),
    "armchair": ("armchair",),
    "stool": ("stool",),
    "bench": ("bench",),
    "table": ("table",),
    "lamp": ("lamp", "light"),
    "mug": ("mug", "cup"),
    "car": ("car", "automobile"),
    "plane": ("plane", "airplane", "aircraft"),
}
# Types of each category that have a word of their own.
TYPES: dict[str, tuple[str, ...]] = {
    "chair": ("chair", "armchair", "stool", "bench"),
    "table": ("table", "desk"),
    "car": ("car", "pickup", "van", "convertible"),
    "lamp": ("lamp",),
    "mug": ("mug",),
    "plane": ("plane", "glider", "biplane", "fighter"),
}
TEMPLATES = ("{}", "{}", "{}", "a photo of {}", "a render of {}", "an image of {}", "a 3d model of {}")


def type_word(category: str, kind: str) -> str:
    """The word of a shape's type, such as "stool"; the category's for a type without one of its own."""
    return kind if kind in TYPES.get(category, ()) else category


def finish_words(finish: Finish) -> list[str]:
    """The adjectives of a finish: color or material, then pattern."""
    words = [finish.color if finish.color else finish.material]
    return [word for word in (*words, finish.pattern) if word not in ("", "plain")]


def caption(category: str, kind: str, finish: Finish | None, rng: np.random.Generator | None = None) -> str:
    """ "a red striped chair". finish: None names the shape alone.

    rng: draws synonyms and a template, and calls a shape by its category half of the time; None gives the plain words.
    """
    noun = type_word(category, kind)
    words = finish_words(finish) if finish is not None else []
    if rng is None:
        return article(" ".join([*words, noun]))
    if rng.random() < 0.5:
        noun = category
    drawn = [str(rng.choice(SYNONYMS.get(word, (word,)))) for word in (*words, noun)]
    if len(drawn) == 3 and rng.random() < 0.3:
        drawn[:2] = drawn[1::-1]
    return str(rng.choice(TEMPLATES)).format(article(" ".join(drawn)))


def vocabulary() -> list[str]:
    """Every word that `caption` can use, sorted."""
    text = [*TEMPLATES, "a an", "front side back overhead view"]
    words = {word for line in text for word in line.replace("{}", "").split()}
    for key, others in SYNONYMS.items():
        words |= {key, *others}
    return sorted(words | {word for words in TYPES.values() for word in words} | set(SHADES))
