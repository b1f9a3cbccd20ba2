"""--init: what does not fit is named, with the setting and both values."""

from pathlib import Path

import pytest
import torch

from networks.generator import Generator
from tests.training import tiny
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.initialize import InitSource, initialize_from
from training.train_state import build_train_state


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny.config()
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_network(path, Generator(settings), settings.model_dump(mode="json"), 0)
    return path


def started(network: Path, **sections: dict):
    settings = tiny.config(**sections)
    return initialize_from(build_train_state(settings, Ranks()), settings, InitSource(network))


def test_the_note_says_why_tensors_are_new(network: Path) -> None:
    whole = started(network, geometry={"cells": 8, "deformation": 0.1})
    assert whole.fresh == ["the discriminators"] and whole.why == ""
    other = started(network, geometry={"hidden": 16}, texture={"hidden": 8, "features": 6})
    assert len(other.fresh) > 3 and other.note().endswith(
        f"more tensors (geometry.hidden = 8 in {network} and 16 in this run; "
        f"texture.features = 4 in {network} and 6 in this run)."
    )


@pytest.mark.parametrize(
    ("section", "field", "value", "had"),
    [
        ("geometry", "hidden", 16, 8),
        ("geometry", "sdf_scale", 5.0, 0.1),
        ("geometry", "symmetric", True, False),
        ("mapping", "w_dim", 16, 8),
    ],
)
def test_the_texture_stage_refuses_other_shapes(network: Path, section, field, value, had) -> None:
    stage = {"training": {"stage": "texture"}}
    kept = started(network, geometry={"cells": 8, "connect_components": True}, texture={"hidden": 16}, **stage)
    assert all(name.startswith(("texture_head", "discriminator_color")) for name in kept.fresh)
    expected = rf"keeps its shapes, but {section}\.{field} = {had} in it and {value} in this run; leave out --config"
    with pytest.raises(UserError, match=expected):
        started(network, **{section: {field: value}}, **stage)


def test_colors_become_base_colors_and_back(network: Path, tmp_path: Path) -> None:
    """Materials that are taken over from colors are those of a plain dielectric."""
    color, pbr = (tiny.config(texture={"channels": channels}) for channels in ("color", "pbr"))
    before, after, back = (build_train_state(config, Ranks()) for config in (color, pbr, color))
    lit = tmp_path / "lit.safetensors"
    for train_state, config, source in ((before, color, network), (after, pbr, network), (back, color, lit)):
        assert initialize_from(train_state, config, InitSource(source)).fresh == ["the discriminators"]
        save_network(lit, after.generator, pbr.model_dump(mode="json"), 0)
    w_geo, w_tex = before.generator.map(*torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)))
    points, offsets = torch.rand(9, 3) - 0.5, torch.tensor([0, 3, 6, 9])
    planes = before.generator.planes(w_geo, w_tex)[1]
    colors = before.generator.texture(planes, w_tex, points, offsets)
    materials = after.generator.materials(planes, w_tex, points, offsets)
    torch.testing.assert_close(materials[:, :3], colors)
    assert torch.equal(materials[:, 3:], torch.sigmoid(torch.tensor([[-2.0, 0.5]])).expand(9, 2))
    torch.testing.assert_close(back.generator.texture(planes, w_tex, points, offsets), colors)
