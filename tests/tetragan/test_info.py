"""`tetragan info` and the published sizes."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from configs.loader import load_config, preset_names
from configs.schema import Config
from networks.describe import describe
from networks.discriminator import Discriminator
from networks.export import export_network
from networks.generator import Generator
from networks.pretrained import load_generator_file
from tests.command_line import run
from tests.networks.helpers import tiny_config
from torch_utils.checkpoint import save_network


def test_car_get3d_has_the_published_sizes() -> None:
    backbone, rest, rgb, mask = describe(load_config("car-get3d"))
    assert backbone.parameters == pytest.approx(30.0e6, rel=0.02)
    assert backbone.multiply_adds == pytest.approx(48.0e9, rel=0.02)
    assert rgb.parameters + mask.parameters == pytest.approx(60.3e6, rel=0.02)
    for part in (backbone, rgb, mask):
        assert sum(layer.parameters for layer in part.layers) == part.parameters
    shapes = {layer.name: layer.shape for layer in backbone.layers}
    assert shapes["blocks.6.convolution"] == (128, 256, 256)
    assert shapes["blocks.5.to_texture"] == (96, 128, 128)
    assert sum(layer.parameters for layer in rest.layers) == rest.parameters


SIZES = ("", "-128", "-256", "-512")


def parameter_shapes(config: Config) -> str:
    """Everything of a configuration on which the shapes of parameters depend."""
    values = config.model_dump(include={"mapping", "backbone", "texture", "discriminator", "classes"})
    geometry = config.geometry.model_dump(exclude={"box", "cells", "deformation", "connect_components"})
    return f"{values} {config.data.resolution} {geometry} {config.geometry.deformation > 0}"


def test_every_preset_can_be_built() -> None:
    """On the meta device: nothing is allocated. Presets that differ in nothing but γ or the grid are built once."""
    built = {}
    for name in (f"{preset}{size}" for preset in preset_names() for size in SIZES):
        config = load_config(name)
        if parameter_shapes(config) in built:
            continue
        with torch.device("meta"):
            networks = [Generator(config), *(Discriminator(config, channels) for channels in (3, 1))]
        built[parameter_shapes(config)] = name
        assert all(parameter.is_meta for network in networks for parameter in network.parameters())
        assert networks[1].resolution == config.data.resolution
    assert len(built) >= 12, "small, published and volume networks at four resolutions"


@pytest.mark.parametrize("preset", ["car-get3d", "chair", "chair-128"])
def test_info_of_a_preset(preset: str) -> None:
    outcome = run("info", preset)
    assert outcome.status == 0, outcome.stderr
    assert "blocks.1.upsampling" in outcome.stdout
    assert "backbone: " in outcome.stdout and "discriminators: " in outcome.stdout
    assert len(run("info", preset, "--no-layers").stdout.splitlines()) < 16
    assert re.search(r"memory of training, fp32: about [0-9.]+ GiB at batch (16|32) in one process", outcome.stdout)
    assert ("on 8 GPUs, bf16: about" in outcome.stdout) == (preset == "car-get3d")


def test_info_of_a_network_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny_config()
    source = tmp_path / "network.safetensors"
    save_network(source, Generator(config), config.model_dump(mode="json"), 12000)
    export_network(source, tmp_path / "model")
    for path in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        outcome = run("info", path)
        assert outcome.status == 0 and "12 kimg" in outcome.stdout
    assert run("info", path, "--set", "loss.gamma=1").status == 2


def test_info_of_a_name_that_is_both_leads_to_the_network() -> None:
    hint = run("info", "chair-64", "--no-layers").stdout.splitlines()[1]
    told = run("info", shlex.split(hint)[-1]).stdout.splitlines()[0]
    assert told.endswith(load_generator_file("chair-64")[1].commit)
    assert "tetragan info" not in run("info", "car").stdout


@pytest.mark.parametrize("argument", ["chiar", "nothing.safetensors", "nothing.yaml"])
def test_info_of_nothing(argument: str) -> None:
    outcome = run("info", argument)
    assert outcome.status == 2 and "Error" in outcome.stderr
