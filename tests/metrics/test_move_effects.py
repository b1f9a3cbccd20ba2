"""Effects of moves along directions: what counts as reached and as changed, and how full steps are chosen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metrics.images import move_effects
from metrics.images.classifier import Classifier
from metrics.images.move_effects import MoveEffect, best_directions, best_move, effect, others_than, together
from sampling.directions import Directions
from sampling.samples import Sample
from sampling.trained_generator import load
from tests.training import tiny

CLASSIFIER = Classifier("c", "k", {"category": ("chair", "table"), "type": ("a", "b", "c")}, lambda images: {})


def test_shares_are_of_the_samples_that_did_not_have_the_value() -> None:
    before = {"type": torch.tensor([0, 0, 1, 2, 2]), "category": torch.tensor([0, 0, 0, 0, 0])}
    rows = others_than("type=b", before, CLASSIFIER)
    assert rows == [0, 1, 3, 4]
    # Two have b now, three have changed, one is a table.
    after = {"type": torch.tensor([1, 2, 1, 2]), "category": torch.tensor([0, 0, 0, 1])}
    own = {name: values[rows] for name, values in before.items()}
    assert effect("type=b", 3.0, own, after, CLASSIFIER) == MoveEffect("type=b", 3.0, 4, 0.5, 0.75, 0.25)


def test_effects_on_two_sets_are_weighed_by_their_samples() -> None:
    effects = MoveEffect("type=b", 3.0, 30, 0.5, 0.8, 0.1), MoveEffect("type=b", 3.0, 10, 0.1, 0.4, 0.3)
    assert together(*effects) == MoveEffect("type=b", 3.0, 40, *map(pytest.approx, (0.4, 0.7, 0.15)))


def trial_table(effects: dict[tuple[int, float], tuple[float, float]]):
    """A measure for `best_move` of shares of changed attributes and categories, and the list of what was measured."""
    measured: list[tuple[int, float]] = []

    def measure(candidate: int, steps: float) -> MoveEffect:
        measured.append((candidate, steps))
        return MoveEffect("type=b", steps, 40, 0.5, *effects[candidate, steps])

    return measure, measured


@pytest.mark.parametrize(
    ("effects", "expected", "tried"),
    [
        # Enough at once.
        ({(0, 3.0): (0.9, 0.0)}, (0, 3.0), 1),
        # Too long, and a shorter move is enough.
        ({(0, 3.0): (0.9, 0.1), (0, 2.0): (0.86, 0.0)}, (0, 2.0), 2),
        # Too short; the longer one changes the category, one between is enough.
        ({(0, 3.0): (0.5, 0.0), (0, 4.5): (0.95, 0.1), (0, 3.75): (0.9, 0.02)}, (0, 3.75), 3),
        # The first direction never is; the second is.
        ({(0, 3.0): (0.5, 0.0), (0, 4.5): (0.6, 0.0), (1, 3.0): (0.9, 0.0)}, (1, 3.0), 3),
        # None is: the one that changes most, with few of the category.
        (
            {
                (0, 3.0): (0.5, 0.0),
                (0, 4.5): (0.6, 0.0),
                (1, 3.0): (0.7, 0.0),
                (1, 4.5): (0.9, 0.3),
                (1, 3.75): (0.8, 0.2),
            },
            (1, 3.0),
            5,
        ),
        # All change too many categories: the one that changes the fewest.
        (
            {(0, 3.0): (0.9, 0.3), (0, 2.0): (0.9, 0.2), (1, 3.0): (0.9, 0.1), (1, 2.0): (0.5, 0.05)},
            (1, 2.0),
            4,
        ),
    ],
)
def test_the_first_move_that_is_enough_and_keeps_the_category_wins(effects, expected, tried) -> None:
    measure, measured = trial_table(effects)
    assert best_move(measure, 1 + max(candidate for candidate, _ in effects)) == expected
    assert len(measured) == tried == len(set(measured))


def test_each_value_gets_a_direction_and_a_full_step(monkeypatch, tmp_path: Path) -> None:
    g = load(tiny.write_network(tmp_path / "network.safetensors"))
    unit = torch.eye(g.network.config.mapping.w_dim)[:4]
    names = ("type=b", "type=c", "type=d")
    first = Directions(names, unit[:3], torch.zeros_like(unit[:3]), (0.5, 0.4, 0.3), (3.0, 3.0, 3.0))
    second = Directions(("type=d",), unit[3:], torch.zeros_like(unit[3:]), (0.2,), (3.0,))
    start = torch.cat([each.w_geo[:, 0] for each in g.sample(range(10_000, 10_004))])[:, :4]

    def predicted(_generator: object, _classifier: object, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """Value b from 4 steps on along its direction, c from 1.5 along its own, and d from 2.5 along the second for
        d; more than 2.5 steps to c make a table."""
        moved = (
            torch.cat([each.w_geo[:, 0] for each in samples])[:, :4]
            - start[[(each.seed or 0) - 10_000 for each in samples]]
        )
        kind = torch.zeros(len(moved), dtype=torch.long)
        for value, (row, steps) in enumerate(((0, 4.0), (1, 1.5), (3, 2.5)), 1):
            kind[moved[:, row] > steps] = value
        return {"type": kind, "category": (moved[:, 1] > 2.5).long()}

    monkeypatch.setattr(move_effects, "predicted", predicted)
    done: list[int] = []
    classifier = replace(CLASSIFIER, values={**CLASSIFIER.values, "type": ("a", "b", "c", "d")})
    found = best_directions(g, classifier, [first, second], 4, 0.7, lambda: done.append(1))
    assert found.names == names and found.full_steps == (4.5, 2.0, 3.0) and len(done) == 3
    assert found.shares == (0.5, 0.4, 0.2) and torch.equal(found.w_geo, unit[[0, 1, 3]])
