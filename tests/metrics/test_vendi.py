"""The Vendi score against its definition."""

import numpy as np
import pytest
import torch

from metrics.images.vendi import vendi_score


def test_it_counts_different_directions() -> None:
    assert vendi_score(torch.ones(5, 3)) == pytest.approx(1)
    assert vendi_score(torch.eye(6)[:4] * torch.tensor([[1.0], [2.0], [3.0], [4.0]])) == pytest.approx(4)
    assert vendi_score(torch.eye(2).repeat_interleave(10, 0)) == pytest.approx(2)
    # Shares 3/4 and 1/4: the exponential of their entropy.
    uneven = torch.eye(2)[[0, 0, 0, 1]]
    assert vendi_score(uneven) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


@pytest.mark.parametrize("count", [5, 40])
def test_it_is_the_entropy_of_the_kernel(count: int) -> None:
    features = torch.randn(count, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    unit = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    values = np.linalg.eigvalsh(unit @ unit.T / count)
    values = values[values > 1e-12]
    assert vendi_score(features) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-6)


def test_features_without_direction() -> None:
    assert vendi_score(torch.zeros(3, 4)) == 1
    with pytest.raises(ValueError, match=r"expected features \[N, D\] with N > 0"):
        vendi_score(torch.zeros(0, 4))
