"""Labels of generated samples: what a value is compared with."""

import math

import pytest
import torch

from metrics.images.attribute_labels import against_commonest


def test_a_value_is_compared_with_the_commonest_other_one_of_its_attribute() -> None:
    columns = {
        "back=panel": torch.tensor([0.1, 0.8, 0.0]),
        "back=none": torch.tensor([0.6, 0.1, 0.4]),
        "back=rail": torch.tensor([0.3, 0.1, 0.6]),
        "type=stool": torch.tensor([0.99, 0.5, 0.9]),
        "type=chair": torch.tensor([0.01, 0.5, 0.1]),
    }
    found = against_commonest(columns)
    assert found.keys() == columns.keys()
    assert found["back=panel"].tolist() == pytest.approx(
        [math.log(1 / 6), math.log(8), math.log(0.001 / 0.4)], rel=1e-4
    )
    # The commonest one itself, with the second.
    assert found["back=none"].tolist() == pytest.approx([math.log(2), 0, math.log(0.4 / 0.6)], abs=1e-4)
    assert torch.allclose(found["type=stool"], -found["type=chair"])
