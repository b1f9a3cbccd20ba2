"""The image of text control in the README."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from configs.loader import build_config
from networks.generator import Generator
from studies.adapted_sheet import main
from studies.soak.inputs import SETTINGS
from torch_utils.checkpoint import save_network
from training.adapt.sheet import SAMPLES, TILE_PX


def write_network(path: Path, seed: int, adapted: dict[str, str] | None) -> Path:
    torch.manual_seed(seed)
    config = build_config({**SETTINGS, "category": "chair"}, "tiny")
    save_network(
        path, Generator(config), config.model_dump(mode="json"), 8, extra={"adapted": adapted} if adapted else {}
    )
    return path


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    source = write_network(tmp_path / "source.safetensors", 0, None)
    facts = {"network": str(source), "source": "a chair", "method": "dds"}
    made = [
        write_network(tmp_path / f"{color}.safetensors", 1 + k, {**facts, "prompt": f"a {color} chair"})
        for k, color in enumerate(("red", "blue"))
    ]
    return [source, *made]


def test_a_row_for_the_source_and_each_network(networks: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    result = CliRunner().invoke(main, [*map(str, networks[1:]), "--out", str(out)])
    assert result.exit_code == 0, result.output
    with Image.open(out) as image:
        pixels = np.asarray(image)
    assert pixels.shape[1] == SAMPLES * TILE_PX and pixels.shape[0] > 3 * TILE_PX
    first, second, third = (row[-TILE_PX:] for row in pixels.reshape(3, -1, *pixels.shape[1:]))
    assert not np.array_equal(first, second) and not np.array_equal(second, third)


def test_a_network_without_a_prompt_is_refused(networks: list[Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(networks[0]), "--out", str(tmp_path / "sheet.png")])
    assert result.exit_code == 2 and "is no network that tetragan adapt moved to one prompt" in result.output
