"""What a prompt names, in the words of the captions: an attribute and its value, and the colors that belong to it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dataset_tool.procedural.captions import SYNONYMS
from dataset_tool.procedural.choose import article
from dataset_tool.procedural.finishes import NATURAL, PATTERNS, SHADES, Finish, finish_material
from studies.text_priors.classifier import VALUES
from torch_utils.errors import UserError

# The adjective that stands before a noun, or the noun.
ATTRIBUTES = ("finish", "pattern", "kind")
PLAIN = {"pattern": "plain", "kind": "chair"}
# Materials drawn for the colors of a finish.
DRAWS = 48


@dataclass(frozen=True)
class Target:
    """attribute: one of `ATTRIBUTES`. value: a word of `VALUES[attribute]`. noun: the thing, such as "chair"."""

    attribute: str
    value: str
    noun: str


def parse_target(prompt: str) -> Target:
    """What a prompt such as "a red chair" or "a stool" names. UserError where it names nothing that is known.

    Synonyms count: "crimson" is red. Of several, the finish comes before the pattern, and that before the type.
    """
    words = [word.strip(",.").lower() for word in prompt.replace("-", " ").split()]
    plain = {synonym: word for word, others in SYNONYMS.items() for synonym in others}
    known = [plain.get(word, word) for word in words]
    noun = next((word for word in reversed(known) if word in (*VALUES["category"], *VALUES["kind"])), "chair")
    for attribute in ATTRIBUTES:
        for word in known:
            if word in VALUES[attribute] and word != PLAIN.get(attribute):
                return Target(attribute, word, noun)
    expected = ", ".join(value for name in ATTRIBUTES for value in VALUES[name] if value != PLAIN.get(name))
    raise UserError(f"prompt {prompt!r}: names nothing that can be measured; expected one of {expected}")


def choices(target: Target) -> tuple[str, ...]:
    """The values that a CLIP chooses from: of a color the other colors alone, because materials come in them, too.

    Marble, for example, is white, gray or green, so a dark green mug is rightly called green and rightly marble.
    """
    return tuple(SHADES) if target.value in SHADES else VALUES[target.attribute]


def texts_of(target: Target) -> list[str]:
    """One text for each of a target's choices."""
    if target.attribute == "kind":
        return [article(value) for value in choices(target)]
    return [article(target.noun if value == "plain" else f"{value} {target.noun}") for value in choices(target)]


def category_texts() -> tuple[list[str], list[str]]:
    """Texts of all categories in every finish, and the category of each; chairs by all their types."""
    nouns = [(noun, "chair") for noun in VALUES["kind"]]
    nouns += [(noun, noun) for noun in VALUES["category"] if noun != "chair"]
    pairs = [(f"{word} {noun}".strip(), category) for word in ("", *VALUES["finish"]) for noun, category in nouns]
    return [article(text) for text, _ in pairs], [category for _, category in pairs]


def reference_colors(target: Target) -> Tensor | None:
    """Mean colors [K, 3] of materials of a finish; None for a target that has no color of its own."""
    if target.attribute != "finish":
        return None
    finish = Finish(material=target.value) if target.value in NATURAL else Finish(color=target.value)
    assert finish.color in ("", *SHADES) and finish.pattern in PATTERNS
    rng = np.random.default_rng(0)
    colors = [np.asarray(finish_material(finish, rng).image)[..., :3].reshape(-1, 3).mean(0) for _ in range(DRAWS)]
    return torch.tensor(np.stack(colors) / 255, dtype=torch.float32)
