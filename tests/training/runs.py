"""The contents of a run's folder."""

import json
from pathlib import Path

import torch

from torch_utils.checkpoint import load_tensors


def state_tensors(folder: Path) -> dict[str, torch.Tensor]:
    name = json.loads((folder / "latest.json").read_text())["state"]
    return load_tensors(folder / name)[0]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def learned(folder: Path) -> list[dict]:
    """The lines of stats.jsonl without what depends on the machine."""
    timed = {"seconds", "other_seconds", "images_per_second", "memory_peak_mb"}
    return [{key: value for key, value in line.items() if key not in timed} for line in lines(folder)]


def length(total_kimg: float) -> tuple[str, str]:
    return "--set", f"training.total_kimg={total_kimg}"
