"""What a classifier says of generated samples: the labels that directions of attributes are regressed on."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from metrics.images.classifier import Classifier
from sampling.style_images import CHUNK
from sampling.trained_generator import TrainedGenerator

# Views of each sample; a classifier is surer of several than of one.
AZIMUTHS_DEG = (30.0, 150.0, 270.0)


@torch.no_grad()
def label_styles(
    generator: TrainedGenerator,
    classifier: Classifier,
    w_geo: Tensor,
    w_tex: Tensor,
    progress: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Probabilities [N, values] of each attribute, mean over three views, and which samples have a surface [N] bool.

    w_geo, w_tex [N, slots, w_dim]. Images are like a dataset's of base colors: on black, at the training's resolution.
    progress: called after each sample.
    """
    probabilities: dict[str, list[Tensor]] = {name: [] for name in classifier.values}
    seen = []
    for geo, tex in zip(w_geo.split(CHUNK), w_tex.split(CHUNK), strict=True):
        drawn = torch.from_numpy(generator.render(geo, tex, AZIMUTHS_DEG, resolution=generator.resolution, unlit=True))
        seen.append(drawn.flatten(1).amax(1) > 0)
        flat = classifier.probabilities(drawn.flatten(0, 1).permute(0, 3, 1, 2))
        for name, values in flat.items():
            probabilities[name].append(values.view(len(geo), len(AZIMUTHS_DEG), -1).mean(1))
        for _ in geo:
            progress()
    return {name: torch.cat(parts) for name, parts in probabilities.items()}, torch.cat(seen)


# Log-odds are taken of probabilities from here to one less this; those of values that nearly all samples have vary
# only nearer to 1.
SURE, SURER = 0.01, 1e-6


def log_odds(probabilities: Tensor, sure: float = SURE) -> Tensor:
    """ln(p / (1 − p)), bounded: what a linear regression can follow, as probabilities end at 0 and 1."""
    return probabilities.double().clamp(sure, 1 - sure).logit()


def value_columns(classifier: Classifier, probabilities: dict[str, Tensor]) -> dict[str, Tensor]:
    """The probability [N] of every value, by its label "type=armchair"."""
    return {
        f"{name}={value}": probabilities[name][:, column]
        for name, values in classifier.values.items()
        for column, value in enumerate(values)
    }


# Of probabilities that are compared, smaller ones count as this one.
UNLIKELY = 1e-3


def against_commonest(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ln(p / q) [N] of every value, by its label, where q is the probability of the commonest other value of its
    attribute. columns: probabilities [N] by label, of all values."""
    found = {}
    for name, own in columns.items():
        others = [each for each in columns if each != name and each.split("=")[0] == name.split("=")[0]]
        rival = columns[max(others, key=lambda each: float(columns[each].mean()))]
        found[name] = own.double().clamp(min=UNLIKELY).log() - rival.double().clamp(min=UNLIKELY).log()
    return found
