"""The environments of `--shading pbr`: the built-in room, one file for all views, or a random one for each view."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from rendering.environment_file import HDR_ENDINGS, read_environment
from rendering.environment_light import EnvironmentLight, environment_light
from rendering.lighting import LightName
from rendering.procedural_light import (
    MEAN_RADIANCE,
    RANDOM_LIGHTS,
    preview_environment,
    random_environment,
)
from torch_utils.errors import UserError
from torch_utils.files import file_hash
from torch_utils.seeding import sample_rng

ROOM, RANDOM = "studio", "random"


def check_light(light: str, shading: str) -> None:
    """UserError for a light that the shading cannot use, and for a file that cannot be read."""
    if shading in ("albedo", "normals"):
        if light != ROOM:
            raise UserError(f"--light {light}: --shading {shading} has no light; use --shading soft or pbr")
        return
    if shading == "soft":
        if light not in get_args(LightName):
            raise UserError(f"--light {light}: --shading soft has studio and sky; others need --shading pbr")
    elif light == "sky":
        raise UserError("--light sky: --shading pbr has studio, random, or an environment file such as room.hdr")
    elif light not in (ROOM, RANDOM):
        _image_of_file(light)


def light_facts(light: str) -> dict[str, Any]:
    """What dataset.json records of the environments, besides the option."""
    if light == RANDOM:
        return {"lights": RANDOM_LIGHTS, "mean_radiance": MEAN_RADIANCE}
    if light == ROOM:
        return {}
    return {"light": Path(light).name, "light_sha256": file_hash(Path(light))}


def light_indices(light: str, seed: int, views: int) -> list[int]:
    """The environment of the random distribution for each view of a shape; [] for other lights."""
    if light != RANDOM:
        return []
    return [int(sample_rng(seed, view, "light").integers(RANDOM_LIGHTS)) for view in range(views)]


def environments_of(light: str, indices: list[int]) -> list[EnvironmentLight]:
    """One environment for each view, or one for all."""
    if light == RANDOM:
        return [random_environment(index) for index in indices]
    return [preview_environment() if light == ROOM else _environment_of_file(light)]


def draw_environments(
    light: str, seed: int, indices: Sequence[int], device: torch.device | str = "cpu"
) -> list[EnvironmentLight]:
    """The environments of generated images with these global indices, one each, or one for all; [] for the light ""."""
    if not light:
        return []
    numbers = [light_indices(light, seed + index, 1)[0] for index in indices] if light == RANDOM else []
    return [environment.to(device) for environment in environments_of(light, numbers)]


@functools.cache
def _environment_of_file(path: str) -> EnvironmentLight:
    return environment_light(_image_of_file(path))


@functools.cache
def _image_of_file(path: str) -> Tensor:
    if not Path(path).is_file():
        known = f"studio, random, or a file that ends in {', '.join(HDR_ENDINGS)} or .png"
        raise UserError(f"--light {path}: no such file; expected {known}")
    return read_environment(path)
