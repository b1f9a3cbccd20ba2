"""Effects of moves along directions: what counts as reached and as changed, and how full steps are chosen."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from metrics.images import move_effects
from metrics.images.classifier import Classifier
from metrics.images.move_effects import MoveEffect, best_steps, effect, others_than, with_best_steps
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


@pytest.mark.parametrize(
    ("changed", "category", "expected"),
    [
        ((0.6, 0.8, 0.9), (0.0, 0.02, 0.05), 4.5),
        ((0.6, 0.8, 0.9), (0.0, 0.02, 0.06), 3.0),
        ((0.8, 0.8, 0.7), (0.0, 0.0, 0.0), 2.0),
        ((0.6, 0.8, 0.9), (0.07, 0.06, 0.4), 3.0),
    ],
)
def test_the_most_changes_with_few_of_the_category_win(changed, category, expected) -> None:
    trials = [
        MoveEffect("type=b", steps, 40, 0.5, own, other)
        for steps, own, other in zip(move_effects.STEPS, changed, category, strict=True)
    ]
    assert best_steps(trials) == expected


def test_each_attribute_gets_a_full_step_and_axes_keep_theirs(monkeypatch, tmp_path: Path) -> None:
    g = load(tiny.write_network(tmp_path / "network.safetensors"))
    unit = torch.eye(g.network.config.mapping.w_dim)[:3]
    names = ("shape-1", "type=b", "type=c")
    directions = Directions(names, unit, torch.zeros_like(unit), (0.5, 0.4, 0.3), (3.0, 3.0, 3.0))
    start = torch.cat([each.w_geo[:, 0] for each in g.sample(range(10_000, 10_004))])[:, :3]

    def predicted(_generator: object, _classifier: object, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """Value b from 4 steps on along its direction, c from 1.5; more than 2.5 steps along that make a table."""
        moved = torch.cat([each.w_geo[:, 0] for each in samples])[:, :3] - start
        kind = torch.where(moved[:, 1] > 4, 1, torch.where(moved[:, 2] > 1.5, 2, 0))
        return {"type": kind, "category": (moved[:, 2] > 2.5).long()}

    monkeypatch.setattr(move_effects, "predicted", predicted)
    done: list[int] = []
    found = with_best_steps(g, CLASSIFIER, directions, 4, 0.7, lambda: done.append(1))
    assert found.full_steps == (3.0, 4.5, 2.0) and found.names == names and len(done) == 2
