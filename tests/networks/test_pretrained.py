"""Networks to and from files."""

import copy
import json
from pathlib import Path

import pytest
import torch
import yaml

from networks import pretrained
from networks.export import write_pretrained_folder
from networks.generator import Generator
from networks.model_card import model_card
from networks.pretrained import discriminators_file, load_generator, load_generator_file, load_pretrained_folder
from tests.command_line import run
from tests.networks.helpers import latents, tiny_config
from torch_utils.checkpoint import load_tensors, read_header, save_network, save_tensors
from torch_utils.errors import UserError


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    network = Generator(tiny_config(training={"precision": "bf16"}))
    network.w_average_geo.normal_()
    return network


def test_a_network_comes_back_bit_for_bit(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_network(path, generator, generator.config.model_dump(mode="json"), 3000)
    loaded = load_generator(path)
    assert loaded.config == generator.config and not loaded.training and loaded.precision == "fp32"
    state = loaded.state_dict()
    assert state.keys() == generator.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in generator.state_dict().items())
    generator.precision = "fp32"
    w_geo = generator.map(*latents(generator.config, 1))[0]
    assert torch.equal(generator.mesh(w_geo).mesh.vertices, loaded.mesh(w_geo).mesh.vertices)


def test_the_folder_form_comes_back_and_must_agree_with_itself(generator: Generator, tmp_path: Path) -> None:
    header = {"kind": "network", "config": generator.config.model_dump(mode="json"), "nimg": 5000, "commit": "c0ffee"}
    write_pretrained_folder(tmp_path / "model", generator.state_dict(), header)
    loaded, file = load_pretrained_folder(tmp_path / "model")
    assert torch.equal(loaded.w_average_geo, generator.w_average_geo) and file.commit == "c0ffee"
    assert load_generator(tmp_path / "model").config == generator.config
    config = tmp_path / "model" / "config.json"
    values = json.loads(config.read_text())
    assert values["nimg"] == 5000 and values["model_type"] == "tetragan"
    values["config"]["geometry"]["cells"] = 9
    config.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"geometry.cells = 9 in config.json and \d+ in model.safetensors; save"):
        load_pretrained_folder(tmp_path / "model")
    config.unlink()
    with pytest.raises(UserError, match=r"expected config.json and model.safetensors"):
        load_pretrained_folder(tmp_path / "model")


def test_the_model_card_says_what_the_network_is_and_one_written_by_hand_is_kept(
    generator: Generator, tmp_path: Path
) -> None:
    header = {"config": generator.config.model_dump(mode="json"), "nimg": 5000, "commit": "c0ffee", "data": "stools"}
    assert "license" not in yaml.safe_load(model_card(header, "stool-16").split("---")[1]), "the user knows it"
    card = model_card(header, "stool-16", "Apache-2.0")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "apache-2.0" and front["library_name"] == "tetragan"
    for text in (generator.config.category, "16²", "5,000", "c0ffee", "stools", "tetragan.from_pretrained"):
        assert text in card, text
    write_pretrained_folder(tmp_path / "model", generator.state_dict(), {**header, "kind": "network"})
    readme = tmp_path / "model" / "README.md"
    assert readme.read_text() == model_card(header, "model")
    readme.write_text("# by hand")
    write_pretrained_folder(tmp_path / "model", generator.state_dict(), {**header, "kind": "network"})
    assert readme.read_text() == "# by hand"


def test_weights_of_another_configuration_are_refused(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    other = tiny_config(texture={"hidden": 7})
    save_network(path, generator, other.model_dump(mode="json"), 0)
    with pytest.raises(UserError, match=r"network.safetensors: expected texture_head"):
        load_generator(path)


def test_an_included_network_is_found_by_its_name_and_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    included = tmp_path / "included"
    included.mkdir()
    (included / "stool-64.safetensors").write_bytes(b"")
    monkeypatch.setattr(pretrained, "INCLUDED", included)
    monkeypatch.chdir(tmp_path)
    assert pretrained.network_file("stool-64") == included / "stool-64.safetensors"
    (tmp_path / "stool-64").write_bytes(b"")
    assert pretrained.network_file("stool-64") == Path("stool-64")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"run: a folder without a network: expected network.safetensors"):
        pretrained.network_file("run")
    (tmp_path / "run/network.safetensors").write_bytes(b"")
    assert pretrained.network_file("run") == Path("run/network.safetensors")
    (tmp_path / "run/model.safetensors").write_bytes(b"")
    assert pretrained.network_file("run") == Path("run/model.safetensors")
    assert pretrained.network_file("./stool-65") == Path("./stool-65")


def test_an_unknown_name_is_answered_with_the_nearest_included_one(tmp_path, monkeypatch):
    (tmp_path / "stool-64.safetensors").write_bytes(b"")
    monkeypatch.setattr(pretrained, "INCLUDED", tmp_path)
    with pytest.raises(UserError, match=r"did you mean 'stool-64'.*included: stool-64"):
        pretrained.network_file("stol-64")


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("target", ["copy.safetensors", "folder"])
def test_an_exported_network_is_the_same_one_with_the_same_history(
    generator: Generator, tmp_path: Path, target: str, half: bool
) -> None:
    source = tmp_path / "network.safetensors"
    save_network(source, generator, generator.config.model_dump(mode="json"), 3000, extra={"shading": "soft"})
    command = ["export", "--network", str(source), "--out", str(tmp_path / target), *(["--half"] if half else [])]
    outcome = run(*command)
    assert outcome.status == 0 and ("fp16" if half else "fp32") in outcome.stdout
    copied, file = load_generator_file(tmp_path / target)
    assert file.nimg == 3000 and file.header["shading"] == "soft"
    assert file.header["precision"] == ("fp16" if half else "fp32")
    for name, tensor in generator.state_dict().items():
        expected = tensor.half().float() if half else tensor
        assert torch.equal(copied.state_dict()[name], expected), name
    if target == "folder":
        assert load_pretrained_folder(tmp_path / target)[0].config == generator.config


def test_only_network_files_are_exported(tmp_path: Path) -> None:
    (tmp_path / "foreign.safetensors").write_bytes(b"not a network")
    outcome = run("export", "--network", str(tmp_path / "foreign.safetensors"), "--out", str(tmp_path / "out"))
    assert outcome.status == 2 and "foreign.safetensors" in outcome.message


def test_an_export_is_not_named_as_another_format(tmp_path: Path) -> None:
    outcome = run("export", "--network", "chair-64", "--out", str(tmp_path / "chair.pt"))
    assert outcome.status == 2 and f"e.g. {tmp_path / 'chair.safetensors'}" in outcome.message
    assert not list(tmp_path.iterdir())
    assert not (tmp_path / "out").exists()


def test_how_a_network_is_used_can_change_on_export_and_nothing_else(generator: Generator, tmp_path: Path) -> None:
    source, target = tmp_path / "network.safetensors", tmp_path / "other.safetensors"
    save_network(source, generator, generator.config.model_dump(mode="json"), 3000)
    command = ["export", "--network", str(source), "--out", str(target)]
    outcome = run(*command, "--set", "geometry.connect_components=true", "--set", "geometry.cells=9")
    assert outcome.status == 0
    config = load_generator(target).config
    assert config.geometry.connect_components and config.geometry.cells == 9
    same = {
        "connect_components": generator.config.geometry.connect_components,
        "cells": generator.config.geometry.cells,
    }
    assert config.model_copy(update={"geometry": config.geometry.model_copy(update=same)}) == generator.config
    target.unlink()
    for setting, text in (
        ("texture.plane_scale=2", "of a network only geometry.cells"),
        ("geometry.cells=1", "geometry.cells"),
        ("geometry.cell=9", "of a network only geometry.cells"),
    ):
        outcome = run(*command, "--set", setting)
        assert outcome.status == 2 and text in outcome.message
        assert not target.exists()


def test_shapes_from_normals_and_their_textures_become_a_joint_network(generator: Generator, tmp_path: Path) -> None:
    """It is shown as its colors ask for, and goes on from views of colors, without what learned normals."""
    source, textures, target = (tmp_path / f"{name}.safetensors" for name in ("network", "textures", "joined"))
    settings = generator.config.model_dump(mode="json")
    stages = {
        stage: settings | {"training": settings["training"] | {"stage": stage}} for stage in ("geometry", "texture")
    }
    save_network(source, generator, stages["geometry"], 3000, extra={"shading": "normals"})
    save_network(textures, generator, stages["texture"], 40, extra={"shading": "soft"})
    tensors = {"discriminator_rgb/x": torch.ones(1), "discriminator_mask/x": torch.ones(1)}
    header = {key: value for key, value in read_header(source).items() if key != "checksum"}
    save_tensors(discriminators_file(source), tensors, header | {"kind": "discriminators"})
    assert run("export", "--network", str(source), "--textures", str(textures), "--out", str(target)).status == 0
    _, file = load_generator_file(target)
    assert file.header["shading"] == "soft" and file.header["config"]["training"]["stage"] == "joint"
    assert set(load_tensors(discriminators_file(target))[0]) == {"discriminator_mask/x"}


def test_textures_of_colors_replace_materials(generator: Generator, tmp_path: Path) -> None:
    """The discriminator that saw lit surfaces is left out, too."""
    source, textures, target = (tmp_path / f"{name}.safetensors" for name in ("network", "textures", "joined"))
    lit = Generator(tiny_config(training={"precision": "bf16"}, texture={"channels": "pbr"}))
    shapes = {name for name in generator.state_dict() if name not in generator.texture_parameters()}
    lit.load_state_dict({n: v for n, v in generator.state_dict().items() if n in shapes}, strict=False)
    save_network(source, lit, lit.config.model_dump(mode="json"), 3000)
    save_network(textures, generator, generator.config.model_dump(mode="json"), 40)
    tensors = {"discriminator_rgb/x": torch.ones(1), "discriminator_mask/x": torch.ones(1)}
    header = {key: value for key, value in read_header(source).items() if key != "checksum"}
    save_tensors(discriminators_file(source), tensors, header | {"kind": "discriminators"})
    assert run("export", "--network", str(source), "--textures", str(textures), "--out", str(target)).status == 0
    assert load_generator(target).config == generator.config
    assert set(load_tensors(discriminators_file(target))[0]) == {"discriminator_mask/x"}


def test_textures_of_a_texture_stage_join_the_network_it_began_with(generator: Generator, tmp_path: Path) -> None:
    source, textures, target = (tmp_path / f"{name}.safetensors" for name in ("network", "textures", "joined"))
    config = generator.config.model_dump(mode="json")
    save_network(source, generator, config, 3000)
    retextured = copy.deepcopy(generator)
    names = {"w_average_tex", *retextured.texture_parameters()}
    for name in names:
        retextured.state_dict()[name].add_(1)
    save_network(textures, retextured, config | {"category": "of the stage"}, 40)
    command = ["export", "--network", str(source), "--textures", str(textures), "--out", str(target)]
    assert run(*command).status == 0
    joined, file = load_generator_file(target)
    assert file.nimg == 3000 and joined.config == generator.config
    for name, value in joined.state_dict().items():
        assert torch.equal(value, (retextured if name in names else generator).state_dict()[name]), name
    retextured.state_dict()["w_average_geo"].add_(1)
    save_network(textures, retextured, config, 40)
    outcome = run(*command)
    assert outcome.status == 2 and "its shapes are not those of" in outcome.message
