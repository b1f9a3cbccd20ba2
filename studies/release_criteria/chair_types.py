"""The types of chair in the procedural data, and when the classifier's probabilities count as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# type → attribute and the values that make it; attributes and values are those of the data's meta.json.
TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stool": ("type", ("stool",)),
    "bench": ("type", ("bench",)),
    "armchair": ("type", ("armchair",)),
    "chair without arms": ("type", ("chair",)),
    "four legs": ("legs", ("straight", "tapered", "splayed", "turned")),
    "pedestal": ("legs", ("star", "disc")),
    "sled base": ("legs", ("sled",)),
    "cantilever": ("legs", ("cantilever",)),
    "slats": ("back", ("slats",)),
    "ladder back": ("back", ("ladder",)),
    "spindles": ("back", ("spindles", "hoop")),
    "open or carved back": ("back", ("frame", "splat", "cross")),
    "solid back": ("back", ("panel", "upholstered", "rail")),
    "shell": ("back", ("shell",)),
}
ATTRIBUTES = ("type", "legs", "back", "arms")
# A shape is of a type if its probability exceeds one that at most this share of the other shapes reaches.
FALSE_POSITIVES = 0.005


@dataclass(frozen=True)
class TypeRule:
    """When a shape counts as of a type, and how reliable that is, from held-out shapes.

    threshold: of the probability, mean over the views. share: of the data. recall: share of the shapes of the type
    that pass. false_positives: share of the others that pass.
    """

    name: str
    threshold: float
    share: float
    recall: float
    false_positives: float

    def needed(self, count: int) -> int:
        """How many of `count` shapes must pass for the type to count: more than would by mistake."""
        return 1 + int(self.false_positives * count)


def is_of_type(attributes: Mapping[str, object], name: str) -> bool:
    """Whether a shape with these attributes is of the type."""
    attribute, values = TYPES[name]
    return attributes.get(attribute) in values


def type_probabilities(
    probabilities: Mapping[str, Tensor], values: Mapping[str, Sequence[str]], views: int
) -> dict[str, Tensor]:
    """Probability of every type [shapes], from those of images [shapes · views, values]: the mean over the views."""
    found = {}
    for name, (attribute, members) in TYPES.items():
        columns = [i for i, value in enumerate(values[attribute]) if value in members]
        found[name] = probabilities[attribute][:, columns].sum(1).view(-1, views).mean(1)
    return found


def threshold_of(probability: Tensor, truth: Tensor) -> float:
    """The lowest threshold ≥ 0.5 that at most FALSE_POSITIVES of the others exceed. Both [shapes], truth bool."""
    others = probability[~truth].sort(descending=True).values
    allowed = int(FALSE_POSITIVES * len(others))
    return max(0.5, float(others[allowed])) if len(others) else 0.5


def make_rule(name: str, threshold: float, probability: Tensor, truth: Tensor) -> TypeRule:
    """Recall and false positives of a threshold on these shapes. probability, truth (bool): [shapes]."""
    passed = probability > threshold
    return TypeRule(
        name=name,
        threshold=threshold,
        share=float(truth.double().mean()),
        recall=int((passed & truth).sum()) / max(int(truth.sum()), 1),
        false_positives=int((passed & ~truth).sum()) / max(int((~truth).sum()), 1),
    )


def occurring(rules: Sequence[TypeRule], probabilities: Mapping[str, Tensor]) -> dict[str, int]:
    """How many shapes pass each rule."""
    return {rule.name: int((probabilities[rule.name] > rule.threshold).sum()) for rule in rules}


def truths(attributes: Sequence[Mapping[str, object]]) -> dict[str, Tensor]:
    """Whether each shape is of each type: bool [shapes]."""
    return {name: torch.tensor([is_of_type(one, name) for one in attributes]) for name in TYPES}
