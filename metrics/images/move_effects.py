"""What moves along directions of attributes do to samples, as a classifier sees it, and how long they had best be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metrics.images.attribute_labels import label_styles
from metrics.images.classifier import Classifier, attribute_and_value
from sampling.directions import Directions
from sampling.samples import Sample
from sampling.trained_generator import TrainedGenerator

CATEGORY = "category"
# Steps that are tried, in standard deviations, the shortest first.
STEPS = (2.0, 3.0, 4.5)
# Moves that change the category of a larger share of the samples are too long.
CATEGORY_LIMIT = 0.05
# Trials use these seeds from the first on, which nobody measures directions with.
FIRST_TRIAL_SEED = 10_000


@dataclass(frozen=True)
class MoveEffect:
    """Of a move. seeds: how many samples did not have its value before. reached, changed, category: shares of these
    that have the value now, another value of the attribute, and another category."""

    name: str
    steps: float
    seeds: int
    reached: float
    changed: float
    category: float


def predicted(generator: TrainedGenerator, classifier: Classifier, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """The likeliest value [N] of each attribute of N samples."""
    w_geo, w_tex = torch.cat([each.w_geo for each in samples]), torch.cat([each.w_tex for each in samples])
    probabilities, _ = label_styles(generator, classifier, w_geo, w_tex)
    return {name: values.argmax(1) for name, values in probabilities.items()}


def others_than(name: str, before: dict[str, Tensor], classifier: Classifier) -> list[int]:
    """Which samples do not have the value of a direction such as "type=stool"; before: as `predicted` returns it."""
    attribute, value = attribute_and_value(name)
    return torch.nonzero(before[attribute] != classifier.values[attribute].index(value)).view(-1).tolist()


def effect(
    name: str, steps: float, before: dict[str, Tensor], after: dict[str, Tensor], classifier: Classifier
) -> MoveEffect:
    """The effect on N samples that do not have the value, from what was predicted before and after the move."""
    attribute, value = attribute_and_value(name)
    count = len(before[attribute])
    reached = int((after[attribute] == classifier.values[attribute].index(value)).sum())
    changed = int((after[attribute] != before[attribute]).sum())
    category = int((after[CATEGORY] != before[CATEGORY]).sum()) if CATEGORY in before else 0
    return MoveEffect(name, steps, count, *(number / max(count, 1) for number in (reached, changed, category)))


def measured_effect(
    generator: TrainedGenerator,
    classifier: Classifier,
    directions: Directions,
    name: str,
    steps: float,
    samples: Sequence[Sample],
    before: dict[str, Tensor],
) -> MoveEffect:
    """The effect of a move on those of N samples that do not have its value. before [N]: of `predicted`."""
    rows = others_than(name, before, classifier)
    own = {attribute: values[rows] for attribute, values in before.items()}
    if not rows:
        return effect(name, steps, own, own, classifier)
    moved = [directions.moved(samples[row], {name: steps}) for row in rows]
    return effect(name, steps, own, predicted(generator, classifier, moved), classifier)


def best_steps(trials: Sequence[MoveEffect]) -> float:
    """Of moves of one direction, the shortest first: the steps that change the attribute most often and the category
    of few; where all change it of too many, those that change it of the fewest."""
    gentle = [trial for trial in trials if trial.category <= CATEGORY_LIMIT]
    if gentle:
        return max(gentle, key=lambda trial: trial.changed).steps
    return min(trials, key=lambda trial: trial.category).steps


def with_best_steps(
    generator: TrainedGenerator,
    classifier: Classifier,
    directions: Directions,
    count: int,
    truncation: float,
    progress: Callable[[], None] = lambda: None,
) -> Directions:
    """The directions with a full step for each attribute's, from trials with `count` samples; others keep theirs.

    progress: called after each direction.
    """
    samples = list(generator.sample(range(FIRST_TRIAL_SEED, FIRST_TRIAL_SEED + count), truncation))
    before = predicted(generator, classifier, samples)
    full_steps = []
    for name, steps in zip(directions.names, directions.full_steps, strict=True):
        if "=" not in name:
            full_steps.append(steps)
            continue
        trials = [measured_effect(generator, classifier, directions, name, steps, samples, before) for steps in STEPS]
        full_steps.append(best_steps(trials))
        progress()
    return replace(directions, full_steps=tuple(full_steps))
