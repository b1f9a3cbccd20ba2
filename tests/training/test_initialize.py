"""--init: what does not fit is named, with the setting and both values."""

from pathlib import Path

import pytest
import torch

from networks.generator import Generator
from tests.training import tiny
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.initialize import InitSource, initialize_from, with_own_channels
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
    other = started(network, geometry={"hidden": 4}, texture={"hidden": 8, "features": 2})
    assert len(other.fresh) > 3 and other.note().endswith(
        f"more tensors (geometry.hidden = 8 in {network} and 4 in this run; "
        f"texture.features = 4 in {network} and 2 in this run)."
    )


def test_a_wider_generator_starts_as_the_narrower_one(network: Path) -> None:
    """The same shapes and colors, and new channels that a step can wake."""
    wider = {"backbone": {"channel_base": 256, "channel_max": 24}, "geometry": {"hidden": 12}}
    settings = tiny.config(**wider, texture={"hidden": 16, "features": 6})
    narrow, wide = (build_train_state(config, Ranks()) for config in (tiny.config(), settings))
    initialize_from(narrow, tiny.config(), InitSource(network))
    result = initialize_from(wide, settings, InitSource(network))
    assert result.fresh == ["the discriminators"] and "wider, with no effect at first" in result.note()
    parts = []
    for generator in (narrow.generator, wide.generator):
        w_geo, w_tex = generator.map(*torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)))
        geometry, texture = generator.planes(w_geo, w_tex)
        surface = generator.surface(geometry, w_geo)
        points, offsets = surface.mesh.vertices, surface.mesh.vertex_offsets
        parts.append((points, surface.mesh.faces, generator.texture(texture, w_tex, points, offsets)))
    assert torch.equal(parts[0][1], parts[1][1])
    for before, after in zip(parts[0], parts[1], strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    parts[1][2].square().sum().backward()
    asleep = [
        name
        for name, parameter in wide.generator.named_parameters()
        if name.endswith("affine.bias") and "texture" in name and not parameter.grad.all()
    ]
    assert not asleep


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


def test_channels_are_taken_over_where_the_file_was_read() -> None:
    """Whatever the device of the generator that they are for."""
    color, pbr = (tiny.config(texture={"channels": channels}) for channels in ("color", "pbr"))
    for stored, wanted in ((color, pbr), (pbr, color)):
        with torch.device("meta"):
            generator = Generator(wanted)
        fitted = with_own_channels(Generator(stored).state_dict(), generator)
        assert fitted and all(value.device.type == "cpu" for value in fitted.values())
        assert all(value.shape == generator.state_dict()[name].shape for name, value in fitted.items())


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
