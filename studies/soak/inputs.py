"""What the soak works on: small meshes, datasets and networks, made by the commands themselves."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from configs.loader import build_config, dump_config
from torch_utils.checkpoint import load_tensors

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tetragan"]
# 16² images, a grid of 6 cells, few weights: a step takes a hundredth of a second, a state a few.
SETTINGS = {
    "data": {"resolution": 16},
    "mapping": {"z_dim": 8, "w_dim": 8, "layers": 2, "lr_multiplier": 0.1},
    "backbone": {"plane_resolution": 8, "plane_channels": 4, "channel_base": 64, "channel_max": 8},
    "geometry": {"cells": 6, "hidden": 8, "box": 1.0},
    "texture": {"hidden": 8, "features": 4},
    "rendering": {"supersample": 1},
    "discriminator": {"channel_base": 64, "channel_max": 8, "mask_channel_base": 64, "mapping_layers": 1},
    "loss": {"gamma": 1.0, "r1_interval": 3},
    "training": {
        "batch": 8, "total_kimg": 8.0, "log_kimg": 0.04, "state_kimg": 0.04, "snapshot_kimg": 0.4,
        "precision": "fp32", "threads": 1, "seed": 3, "validation_images": 0,
    },
}  # fmt: skip


@dataclass(frozen=True)
class SoakInputs:
    """Folders of meshes (`meshes`, `few`), a dataset of `few`, a configuration, a network and its state.

    foreign: the dataset's views as NeRF stores them. mesh, views: one shape, and the folder of its images.
    """

    meshes: Path
    few: Path
    data: Path
    config: Path
    network: Path
    state: Path
    foreign: Path
    mesh: Path
    views: Path


def environment() -> dict[str, str]:
    """Of the commands: one thread, this checkout."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def tetragan(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `tetragan ARGUMENTS` to its end; RuntimeError unless it succeeds."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"tetragan {shlex.join(map(str, arguments))}: status {done.returncode}\n{done.stderr}")
    return done


def make_soak_inputs(folder: Path, shapes: int) -> SoakInputs:
    """Make the inputs in `folder`. shapes: number of meshes to render; 0 makes none."""
    meshes, few, data = folder / "meshes", folder / "few", folder / "data"
    for path, count in ((meshes, shapes), (few, 12))[shapes == 0 :]:
        tetragan("dataset", "procedural", "--category", "mug", "--count", count, "--out", path, "--quiet")
    tetragan("dataset", "render", few, "--out", data, "--resolution", 16, "--views", 4, "--workers", 1, "--quiet")
    config = folder / "soak.yaml"
    config.write_text(dump_config(build_config(SETTINGS, "soak")), encoding="utf-8")
    run = folder / "run"
    tetragan("train", "--config", config, "--data", data, "--out", run, "--set", "training.total_kimg=0.04", "--quiet")
    foreign = folder / "foreign"  # the same views, as folders of transforms.json and images
    shutil.copytree(data / "shapes", foreign)
    network, state = run / "network.safetensors", sorted(run.glob("state-*.safetensors"))[-1]
    mesh, views = sorted(few.rglob("*.obj"))[0], sorted((data / "shapes").iterdir())[0]
    return SoakInputs(meshes, few, data, config, network, state, foreign, mesh, views)


def same_tensors(a: Path, b: Path) -> int:
    """How many tensors two files hold; RuntimeError unless all are bitwise equal."""
    first, second = load_tensors(a)[0], load_tensors(b)[0]
    if first.keys() != second.keys():
        raise RuntimeError(f"{a} and {b}: other tensors")
    for name, value in first.items():
        if not torch.equal(value, second[name]):
            raise RuntimeError(f"{a} and {b}: {name} differs")
    return len(first)
