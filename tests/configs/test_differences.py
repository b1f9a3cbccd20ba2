"""Differences of configurations, and which of them change a generator's tensors."""

from typing import Any, get_args

import pytest
import torch
from click import UsageError

from configs.differences import GENERATOR_SIZES, differences, differing, size_differences
from configs.loader import build_config, field_paths
from configs.schema import Config
from networks.generator import Generator

SMALL = {
    "mapping": {"z_dim": 8, "w_dim": 8, "layers": 2},
    "backbone": {"plane_resolution": 8, "plane_channels": 4, "channel_base": 64, "channel_max": 12},
    "geometry": {"cells": 6, "hidden": 8, "volume_resolution": 8, "volume_channel_base": 64, "volume_channel_max": 12},
    "texture": {"hidden": 8, "features": 4},
}
# Values that differ from the small ones where no rule makes one.
OTHER = {
    "classes": 3,
    "geometry.deformation": 0.0,
    "geometry.deformation_hidden_layers": 3,
    "geometry.hidden_layers": 2,
}


def changed(network: str, path: str) -> Config | None:
    """The small configuration with another value of one setting; None where it cannot stand alone."""
    values = {name: dict(section) for name, section in SMALL.items()}
    values["geometry"]["network"] = network
    base = build_config(values, "small").model_dump()
    section, _, field = path.rpartition(".")
    group = base[section] if section else base
    model = Config.model_fields[section].annotation if section else Config
    choices = [value for value in get_args(model.model_fields[field].annotation) if value != group[field]]
    value: Any = group[field]
    if path in OTHER:
        value = OTHER[path]
    elif isinstance(value, bool):
        value = not value
    elif isinstance(value, int | float) and not choices:
        value = 2 * value
    elif choices and not isinstance(choices[0], type):
        value = choices[0]
    group[field] = value
    try:
        return build_config(base, path)
    except UsageError:
        return None


def tensors(config: Config) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: value.shape for name, value in Generator(config).state_dict().items()}


@pytest.mark.parametrize("network", ["triplane", "volume"])
def test_sizes_are_what_changes_the_tensors(network: str) -> None:
    plain = changed(network, "data.balance")
    assert plain is not None
    expected, seen = tensors(plain), set()
    for path in field_paths():
        config = changed(network, path)
        if config is None or not differences(plain, config):
            continue
        seen.add(path)
        assert bool(size_differences(plain, config)) == (tensors(config) != expected), path
    assert seen | {"geometry.network"} >= GENERATOR_SIZES, GENERATOR_SIZES - seen


def test_a_message_names_settings_and_both_values() -> None:
    old = build_config(SMALL, "old")
    new = build_config({**SMALL, "texture": {"hidden": 9, "features": 5}, "category": "cup", "classes": 2}, "new")
    found = differences(old, new)
    assert list(found) == ["category", "classes", "texture.features", "texture.hidden"]
    assert differing(found, "FILE", "this run", most=2) == (
        "category = object in FILE and cup in this run; classes = 0 in FILE and 2 in this run; and 2 more"
    )
    assert differing({}, "a", "b") == ""
