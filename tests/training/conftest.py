"""Training sets process-wide switches; every test gets them as they were."""

import pytest
import torch


@pytest.fixture(autouse=True)
def process_settings():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
