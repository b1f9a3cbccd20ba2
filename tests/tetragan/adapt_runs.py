"""A tiny network and a tiny prior of random weights, and the command that adapts one by the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from configs.loader import build_config
from networks.generator import Generator
from studies.soak.inputs import SETTINGS
from tests.guidance.tiny_priors import write_prior
from torch_utils.checkpoint import save_network


@contextmanager
def stopped_at_once() -> Iterator[list[int]]:
    """In place of `stop_requests`: Ctrl-C during the first step."""
    yield [2]


def write_inputs(root: Path) -> Path:
    """net.safetensors and prior/ in a folder."""
    torch.manual_seed(0)
    config = build_config({**SETTINGS, "category": "chair"}, "tiny")
    values = config.model_dump(mode="json")
    save_network(root / "net.safetensors", Generator(config), values, 8, extra={"data": "discs"})
    write_prior(root / "prior", "pixel_unet")
    return root


def command(folder: Path, out: Path, *more: object) -> tuple:
    """The arguments of `tetragan` for these inputs."""
    return (
        "adapt", "--network", folder / "net.safetensors", "--prompt", "a red chair", "--prior", folder / "prior",
        "--out", out, "--set", "batch=2", "--set", "supersample=1", "--set", "rate=0.01", *more,
    )  # fmt: skip
