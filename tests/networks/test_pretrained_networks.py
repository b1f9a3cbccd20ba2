"""The included networks."""

from pathlib import Path

import pytest
import torch

from geometry.topology import count_components
from networks.pretrained import discriminators_file, load_generator_file, network_file, pretrained_networks
from sampling.styles import styles_of_seeds
from torch_utils.checkpoint import load_tensors

CARDS = Path(__file__).parents[2] / "docs" / "networks"


def test_two_networks_of_chairs_and_one_of_cars_are_included() -> None:
    assert pretrained_networks() == ["car-128", "chair-128", "chair-64", "food-64"]


@pytest.mark.parametrize("name", pretrained_networks())
def test_an_included_network_brings_its_discriminators(name: str) -> None:
    file = network_file(name)
    _, header = load_tensors(discriminators_file(file), kind="discriminators")
    assert header["nimg"] == load_generator_file(name)[1].nimg
    assert header["config"]["geometry"]["cells"] >= 32 and discriminators_file(file).stat().st_size <= 10e6


@pytest.mark.parametrize("name", pretrained_networks())
def test_an_included_network_is_small_whole_and_has_a_card(name: str) -> None:
    assert network_file(name).stat().st_size <= 10e6
    generator, file = load_generator_file(name)
    assert file.header["precision"] == "fp16" and file.nimg > 0
    assert generator.config.data.resolution == int(name.rpartition("-")[2])
    with torch.no_grad():
        made = generator.mesh(styles_of_seeds(generator, [0, 1], 1.0)[0])
    assert [count_components(made.mesh[k]) for k in range(2)] == [1, 1]
    assert not made.empty.any() and (made.mesh.face_offsets.diff() > 1000).all()
    assert {"README.md", "config.yaml", "stats.jsonl", "curve.svg", "samples_psi_1.png"} <= {
        path.name for path in (CARDS / name).iterdir()
    }
