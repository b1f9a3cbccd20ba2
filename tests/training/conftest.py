"""Process-wide settings are restored after every test. Many tests share one small run."""

from pathlib import Path

import pytest
import torch

from tests.command_line import run
from tests.training import tiny


@pytest.fixture(autouse=True)
def process_settings():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return tiny.write_dataset(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> Path:
    return tiny.write_config(tmp_path_factory.mktemp("config") / "tiny.yaml")


@pytest.fixture(scope="session")
def finished(data, config, tmp_path_factory) -> Path:
    """A complete run of ten minibatches."""
    out = tmp_path_factory.mktemp("run") / "out"
    outcome = run("train", "--config", config, "--data", data, "--out", out)
    assert outcome.status == 0, outcome.stderr
    return out
