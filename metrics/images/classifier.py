"""Classifiers of attributes, from a folder of a `transformers` image-classification model.

Labels (`id2label` in config.json) have the form `attribute=value`, e.g. "type=stool", "arms=none". A label without "="
is a value of the attribute "class". One model may classify several attributes; the probabilities of each are the
softmax over its own labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metrics.images.model_folder import load_model_folder
from torch_utils.errors import UserError

# Images that go through the model together.
BATCH = 32


@dataclass(frozen=True)
class Classifier:
    """values: the values of each attribute, in the order of the columns of its probabilities.

    probabilities(images [B, 3, H, W] uint8) -> [B, values] float32 on the CPU, by attribute. label: for the report.
    key: changes with the weights.
    """

    label: str
    key: str
    values: dict[str, tuple[str, ...]]
    probabilities: Callable[[Tensor], dict[str, Tensor]]

    @property
    def identity(self) -> str:
        """The label and the start of the hash of the weights."""
        return f"{self.label}, {self.key[:12]}"


def attribute_and_value(label: str) -> tuple[str, str]:
    """The two parts of a classifier's label: "type=stool" → ("type", "stool"), "stool" → ("class", "stool")."""
    name, equals, value = label.partition("=")
    return (name.strip(), value.strip()) if equals else ("class", label.strip())


def load_classifier(path: Path, device: torch.device | str = "cpu") -> Classifier:
    """The classifier of a folder. UserError where it is none, or has fewer than two labels for an attribute."""
    folder = load_model_folder("--classifier", path, "AutoModelForImageClassification", device)
    labels = folder.model.config.id2label
    columns: dict[str, list[int]] = {}
    values: dict[str, list[str]] = {}
    for column in sorted(labels):
        name, value = attribute_and_value(labels[column])
        columns.setdefault(name, []).append(column)
        values.setdefault(name, []).append(value)
    for name, known in values.items():
        if len(set(known)) < max(2, len(known)):
            raise UserError(
                f"--classifier {path}: expected two or more different values of attribute {name} in id2label of "
                f"config.json, got {', '.join(known)}"
            )

    @torch.no_grad()
    def probabilities(images: Tensor) -> dict[str, Tensor]:
        parts = [folder.model(**folder.inputs(part)).logits.float().cpu() for part in images.split(BATCH)]
        logits = torch.cat(parts)
        if not torch.isfinite(logits).all():
            raise UserError(f"--classifier {path}: returned numbers that are not finite")
        return {name: logits[:, where].softmax(1) for name, where in columns.items()}

    return Classifier(path.name, folder.key, {name: tuple(known) for name, known in values.items()}, probabilities)
