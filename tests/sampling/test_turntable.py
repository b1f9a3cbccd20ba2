"""Turntables: frames drawn as the network's configuration says."""

from pathlib import Path

import pytest
import torch

from networks.generator import Generator
from rendering import deferred
from sampling.trained_generator import load
from sampling.turntable import turntable_frames
from tests.training import tiny
from torch_utils.checkpoint import save_network


@pytest.mark.parametrize("background", ["light", "transparent"])
def test_the_backend_of_the_configuration_draws(tmp_path: Path, monkeypatch, background) -> None:
    torch.manual_seed(1)
    config = tiny.config(geometry={"cells": 8, "sdf_scale": 0.3}, rendering={"backend": "reference"})
    path = tmp_path / "network.safetensors"
    save_network(path, Generator(config), config.model_dump(mode="json"), 8000)
    used, real = [], deferred.rasterizer

    def recorded(backend: str, device: str):
        used.append(backend)
        return real(backend, device)

    monkeypatch.setattr(deferred, "rasterizer", recorded)
    frames = list(turntable_frames(load(path).sample(0), 2, 16, 20.0, "albedo", background))
    assert [frame.shape[-1] for frame in frames] == [4 if background == "transparent" else 3] * 2
    assert used and set(used) == {"reference"}
