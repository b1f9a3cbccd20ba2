"""Texture fields that emit base color, metallic and roughness."""

from functools import partial

import pytest
import torch

from dataset_tool.render.lights import RANDOM, draw_environments
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from networks.generator import Generator
from rendering.environment_light import environment_light
from rendering.procedural_light import random_environment
from sampling.mesh_export import texture_colors
from sampling.texture_baking import bake
from tests.networks.helpers import cameras, latents, tiny_config
from torch_utils.errors import UserError
from training.data import light_of


class FakeDataset:
    """A dataset's header, for `light_of`."""

    def __init__(self, **renderer) -> None:
        self.header = type("Header", (), {"renderer": renderer})


def make(channels: str) -> Generator:
    torch.manual_seed(0)
    return Generator(tiny_config(texture={"channels": channels, "hidden": 16, "features": 8}))


def test_light_falls_on_materials_and_every_parameter_learns() -> None:
    generator = make("pbr")
    w_geo, w_tex = generator.map(*latents(generator.config, 2))
    seen = cameras(4)
    lights = [random_environment(number) for number in range(4)]
    plain = generator.render(w_geo, w_tex, seen)
    lit = generator.render(w_geo, w_tex, seen, environments=lights)
    assert torch.equal(plain.mask, lit.mask)
    assert (plain.rgb - lit.rgb).abs().mean() > 0.01
    swapped = generator.render(w_geo, w_tex, seen, environments=lights[::-1])
    assert (swapped.rgb - lit.rgb).abs().amax((1, 2, 3)).min() > 0.01, "each image under its own light"
    black = generator.render(w_geo, w_tex, seen, environments=[environment_light(torch.full((4, 8, 3), 1e-6))])
    assert (black.rgb[lit.mask.expand_as(lit.rgb) == 1] < -0.98).all()
    (lit.rgb * torch.randn_like(lit.rgb)).mean().backward()
    for name, parameter in generator.texture_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    last = list(generator.texture_head.rgb.layers)[-1]
    assert last.bias.grad is not None and (last.bias.grad != 0).all(), "metallic and roughness, too"


def test_a_color_network_is_as_before_and_ignores_light() -> None:
    generator = make("color")
    w_geo, w_tex = generator.map(*latents(generator.config, 1))
    rendered = [
        generator.render(w_geo, w_tex, cameras(1), environments=light) for light in ((), [random_environment(1)])
    ]
    assert torch.equal(rendered[0].rgb, rendered[1].rgb)
    assert len(list(generator.texture_head.rgb.layers)[-1].bias) == 3


def test_exported_materials_are_those_of_the_field(tmp_path) -> None:
    generator = make("pbr")
    w_geo, w_tex = generator.map(*latents(generator.config, 1))
    with torch.no_grad():
        geometry, texture = generator.planes(w_geo, w_tex)
        mesh = generator.surface(geometry, w_geo).mesh
        baked = bake(mesh, texture_colors(partial(generator.materials, texture, w_tex)), 64, faces=200)
        values = generator.materials(texture, w_tex, mesh.vertices, torch.tensor([0, len(mesh.vertices)]))
    write_glb(tmp_path / "a.glb", baked.mesh)
    image = read_mesh(tmp_path / "a.glb", surfaces=True).parts[0].material.surface_image
    assert image is not None
    found = torch.from_numpy(image[..., [2, 1]].astype("float32") / 255).flatten(0, 1)
    low, high = values[:, 3:].amin(0) - 0.02, values[:, 3:].amax(0) + 0.02
    assert ((found >= low) & (found <= high)).all()
    assert values.shape[1] == 5 and (values[:, 3] < 0.5).all(), "it starts as a dielectric"


def test_generated_images_get_lights_of_the_dataset() -> None:
    drawn = draw_environments(RANDOM, 3, range(10, 16), torch.device("cpu"))
    again = draw_environments(RANDOM, 3, range(12, 16), torch.device("cpu"))
    assert all(torch.equal(a.mirror, b.mirror) for a, b in zip(drawn[2:], again, strict=True))
    assert len({float(environment.mirror.sum()) for environment in drawn}) > 1
    assert len(draw_environments("studio", 3, range(5), torch.device("cpu"))) == 1
    assert draw_environments("", 3, range(5), torch.device("cpu")) == []


def test_datasets_without_a_known_light_are_refused() -> None:
    assert light_of(FakeDataset(shading="pbr", light="random"), "data") == "random"  # type: ignore[arg-type]
    lit_softly = {"shading": "soft", "light": "studio"}
    for renderer in ({"shading": "albedo"}, {"shading": "pbr", "light": "room.hdr"}, lit_softly):
        with pytest.raises(UserError, match="--shading pbr"):
            light_of(FakeDataset(**renderer), "data")  # type: ignore[arg-type]
