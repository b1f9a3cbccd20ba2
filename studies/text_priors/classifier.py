"""The independent classifier: of category, finish and pattern that never meets the priors' images.

Other shapes, shaded under another light, on random backgrounds: a generator that pleases a prior by a trick does not
please the classifier as well.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dataset_tool.procedural.categories import CATEGORIES
from dataset_tool.procedural.finishes import NATURAL, PATTERNS, SHADES
from metrics.images.classifier import attribute_and_value
from studies.one_cycle import train_one_cycle
from studies.text_priors.data import Captioned, Shot, over

VALUES: dict[str, tuple[str, ...]] = {
    "category": tuple(CATEGORIES),
    "finish": (*SHADES, *NATURAL),
    "pattern": PATTERNS,
    "kind": ("chair", "armchair", "stool", "bench"),
}
BATCH = 96
LEARNING_RATE = 4e-3
UNKNOWN = -1


def labels() -> list[str]:
    """ "attribute=value" of every output."""
    return [f"{name}={value}" for name, values in VALUES.items() for value in values]


def make_classifier() -> Any:
    """An untrained residual network in the form of transformers."""
    from transformers import ResNetConfig, ResNetForImageClassification

    names = labels()
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=24,
            hidden_sizes=[32, 64, 96],
            depths=[1, 1, 1],
            layer_type="basic",
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
        )
    )


def columns() -> dict[str, list[int]]:
    """The outputs of each attribute."""
    found: dict[str, list[int]] = {}
    for column, label in enumerate(labels()):
        found.setdefault(attribute_and_value(label)[0], []).append(column)
    return found


def values_of(shot: Shot) -> dict[str, str]:
    """The attributes of a shot that are known: natural materials have no finish."""
    known = {"category": shot.category}
    if shot.category == "chair":
        known["kind"] = shot.kind
    if shot.finish is not None:
        known |= {"finish": shot.finish.color or shot.finish.material, "pattern": shot.finish.pattern}
    return known


def targets(shots: Sequence[Shot]) -> dict[str, Tensor]:
    """Index of the value of each attribute [N], UNKNOWN where it has none."""
    known = [values_of(shot) for shot in shots]
    return {
        name: torch.tensor([values.index(each[name]) if name in each else UNKNOWN for each in known])
        for name, values in VALUES.items()
    }


def varied_images(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """rgba uint8 [B, 4, S, S] over random colors, enlarged up to 1.15 times and moved, some of them softened."""
    count = len(rgba)
    ground = torch.rand(count, 1, generator=generator) * 0.9 + 0.1 * torch.rand(count, 3, generator=generator)
    images = over(rgba, ground)
    zoom = 0.87 + 0.26 * torch.rand(count, generator=generator)
    mirror = (torch.rand(count, generator=generator) < 0.5).float() * 2 - 1
    move = (torch.rand(count, 2, generator=generator) - 0.5) * 0.16
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * mirror, zoom, move
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def train_classifier(model: Any, data: Captioned, steps: int, seed: int) -> list[float]:
    """Train on `steps` minibatches; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    known, where = targets(data.shots), columns()

    def draw_loss() -> Tensor:
        rows = torch.randint(len(data.shots), (BATCH,), generator=generator)
        logits = model(pixel_values=varied_images(data.rgba[rows], generator)).logits
        loss = torch.zeros(())
        for name, target in known.items():
            loss = loss + cross_entropy(logits[:, where[name]], target[rows], ignore_index=UNKNOWN)
        return loss

    return train_one_cycle(model, draw_loss, "training the classifier", steps, rate=LEARNING_RATE, weight_decay=0.05)


@torch.no_grad()
def classifier_accuracy(model: Any, data: Captioned, background: float) -> dict[str, float]:
    """Share of images whose attributes are named right, by attribute."""
    logits = torch.cat([model(pixel_values=part).logits for part in data.on(background).split(256)])
    result = {}
    for name, target in targets(data.shots).items():
        known = target != UNKNOWN
        result[name] = float((logits[known][:, columns()[name]].argmax(1) == target[known]).float().mean())
    return result
