"""Statistics against NumPy, nested phase times, and exchanges of a single rank."""

import numpy as np
import pytest
import torch

from torch_utils.distributed import Ranks, average_gradients, shares_of_mean
from torch_utils.timing import phase, recording
from training.run.step_statistics import Statistics


def test_mean_and_std_since_the_last_read():
    statistics = Statistics()
    first, second = torch.randn(4, 3), torch.randn(5)
    statistics.add("b", first.requires_grad_())
    statistics.add("b", second)
    statistics.add("a", torch.tensor(2.0))
    result = statistics.read(Ranks())
    values = np.concatenate([first.detach().numpy().ravel(), second.numpy()])
    assert list(result) == ["a", "b"] and result["a"] == (2.0, 0.0)
    assert result["b"] == pytest.approx((values.mean(), values.std()), rel=1e-5)
    assert statistics.read(Ranks()) == {}


def test_nested_phases_share_the_time_between_them():
    clock = iter([0.0, 1.0, 3.0, 4.0, 7.0, 12.0])
    with phase("outside"):
        pass
    with recording(torch.device("cpu"), lambda: next(clock)) as times, phase("outer"):
        for _ in range(2):
            with phase("inner"):
                pass
    assert times.calls == {"outer": 1, "inner": 2}
    assert times.seconds == {"outer": 7.0, "inner": 5.0}


def test_one_rank_exchanges_nothing():
    parameter = torch.nn.Parameter(torch.ones(2))
    average_gradients([parameter], Ranks())
    assert parameter.grad is None and shares_of_mean([3], Ranks()) == [1.0]
    assert Ranks(1, 4).slice(16) == slice(4, 8)
    with pytest.raises(ValueError, match="multiple of 4 ranks, got 10"):
        Ranks(1, 4).slice(10)
