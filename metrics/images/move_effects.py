"""What moves along directions of attributes do to samples, as a classifier sees it, and how long they had best be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from metrics.images.attribute_labels import label_styles
from metrics.images.classifier import Classifier, attribute_and_value
from sampling.directions import Directions
from sampling.samples import Sample
from sampling.trained_generator import TrainedGenerator

CATEGORY = "category"
# Steps that are tried, in standard deviations: the first, and others where it is too long or too short.
FIRST_STEP, SHORTER_STEP, LONGER_STEP, MIDDLE_STEP = 3.0, 2.0, 4.5, 3.75
# A move that changes the attribute of this share of the samples is long enough.
ENOUGH = 0.8
# Moves that change the category of a larger share of the samples are too long.
CATEGORY_LIMIT = 0.045
# Trials take half of the samples, and the other half only if they change some categories, but not more than this share.
UNCLEAR = 0.15
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


def together(a: MoveEffect, b: MoveEffect) -> MoveEffect:
    """The effect on all samples of two sets."""
    seeds = a.seeds + b.seeds
    shares = (
        (a.seeds * getattr(a, name) + b.seeds * getattr(b, name)) / max(seeds, 1)
        for name in ("reached", "changed", "category")
    )
    return MoveEffect(a.name, a.steps, seeds, *shares)


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


def best_move(measure: Callable[[int, float], MoveEffect], candidates: int) -> tuple[int, float]:
    """Which of several directions of one value to take, and its steps. measure: the effect of some steps along one.

    It is the first whose move changes the attribute often enough and the category of few. Where there is none, it is
    the one that changes the attribute and gives the value most often among those that change the category of few, and
    where all change it of too many, the one that changes it of the fewest.
    """
    trials: list[tuple[int, MoveEffect]] = []
    for candidate in range(candidates):
        tried = _tried(partial(measure, candidate))
        trials += [(candidate, each) for each in tried]
        if any(_good(each) for each in tried):
            break
    gentle = [trial for trial in trials if trial[1].category <= CATEGORY_LIMIT]
    if gentle:
        candidate, best = max(gentle, key=lambda trial: trial[1].changed + trial[1].reached)
    else:
        candidate, best = min(trials, key=lambda trial: trial[1].category)
    return candidate, best.steps


def _good(move: MoveEffect) -> bool:
    return move.changed >= ENOUGH and move.category <= CATEGORY_LIMIT


def _tried(measure: Callable[[float], MoveEffect]) -> list[MoveEffect]:
    """The effects of moves of one to three lengths along one direction, the shortest first."""
    first = measure(FIRST_STEP)
    if first.category > CATEGORY_LIMIT:
        return [measure(SHORTER_STEP), first]
    if first.changed >= ENOUGH:
        return [first]
    longer = measure(LONGER_STEP)
    between = [measure(MIDDLE_STEP)] if longer.category > CATEGORY_LIMIT else []
    return [first, *between, longer]


def best_directions(
    generator: TrainedGenerator,
    classifier: Classifier,
    candidates: Sequence[Directions],
    count: int,
    truncation: float,
    progress: Callable[[], None] = lambda: None,
) -> Directions:
    """The best direction of each attribute's value and its full step, from trials with `count` samples.

    candidates: directions of the same values, the preferred ones first; the first has all names, in the order of the
    result. progress: called after each direction.
    """
    samples = list(generator.sample(range(FIRST_TRIAL_SEED, FIRST_TRIAL_SEED + count), truncation))
    before = predicted(generator, classifier, samples)
    half = (count + 1) // 2
    parts = [
        (samples[rows], {attribute: values[rows] for attribute, values in before.items()})
        for rows in (slice(None, half), slice(half, None))
    ]
    found = candidates[0][[]]
    for name in candidates[0].names:
        usable = [each for each in candidates if name in each.names]

        def measure(candidate: int, steps: float, name: str = name, usable: list[Directions] = usable) -> MoveEffect:
            first, rest = (
                partial(measured_effect, generator, classifier, usable[candidate], name, steps, *part) for part in parts
            )
            of_half = first()
            return together(of_half, rest()) if 0 < of_half.category <= UNCLEAR else of_half

        candidate, steps = best_move(measure, len(usable))
        chosen = usable[candidate][[usable[candidate].row(name)]]
        found = found + replace(chosen, full_steps=(steps,))
        progress()
    return found
