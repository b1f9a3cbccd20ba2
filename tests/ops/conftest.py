"""Fixtures for the tests of the kernels."""

from collections.abc import Iterator

import pytest
import torch

from torch_utils.ops.loading import use_mode


@pytest.fixture
def kernels_required() -> Iterator[None]:
    """A missing kernel fails here: it must not fall back to the reference and agree with itself.

    The number of threads, which a test may change, is restored.
    """
    threads = torch.get_num_threads()
    with use_mode("require"):
        yield
    torch.set_num_threads(threads)
