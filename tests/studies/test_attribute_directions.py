"""The study of attribute directions: what counts as reached and as changed."""

import torch

from metrics.images.classifier import Classifier
from studies.attribute_directions import MoveEffect, effect, row


def test_shares_are_of_the_seeds_that_did_not_have_the_value() -> None:
    classifier = Classifier("c", "k", {"category": ("chair", "table"), "type": ("a", "b", "c")}, lambda images: {})
    before = {"type": torch.tensor([0, 0, 1, 2, 2]), "category": torch.tensor([0, 0, 0, 0, 0])}
    after = {"type": torch.tensor([1, 2, 0, 1, 2]), "category": torch.tensor([0, 0, 1, 0, 1])}
    found = effect("type=b", 0.5, before, after, classifier)
    # The third seed had b before. Of the others, two have it now, three have changed, one is a table.
    assert found == MoveEffect("type=b", 0.5, 4, 0.5, 0.75, 0.25)
    assert row(found) == "| type=b | 4 | 50% | 50% | 75% | 25% |"
