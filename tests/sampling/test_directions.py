"""Directions of the styles: principal axes, regression of attributes, moves, and their file."""

import math
from pathlib import Path

import pytest
import torch

from networks.generator import Generator
from sampling.directions import (
    Directions,
    attribute_directions,
    file_stems,
    load_directions,
    parse_moves,
    principal_axes,
    principal_directions,
)
from sampling.trained_generator import TrainedGenerator, load
from tests.training import tiny
from torch_utils.checkpoint import load_tensors, save_network, save_tensors
from torch_utils.errors import UserError

SPREAD = torch.tensor([3.0, 1.0, 0.5, 0.4])


def styles(count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Styles of shape and texture [count, 4], and the rotation [4, 4] whose rows are the axes of the shape's."""
    random = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=random)).Q
    w_geo = torch.randn(count, 4, generator=random) * SPREAD @ rotation + 5
    return w_geo, torch.randn(count, 4, generator=random), rotation


def save(path: Path, seed: int = 1) -> TrainedGenerator:
    torch.manual_seed(seed)
    config = tiny.config(geometry={"cells": 8})
    save_network(path, Generator(config), config.model_dump(mode="json"), 8000)
    return load(path)


@pytest.fixture(scope="module")
def g(tmp_path_factory: pytest.TempPathFactory) -> TrainedGenerator:
    return save(tmp_path_factory.mktemp("network") / "network.safetensors")


def test_principal_axes_are_one_standard_deviation_long_and_sorted() -> None:
    w_geo, w_tex, rotation = styles()
    axes = principal_axes(w_geo)
    expected = SPREAD[:, None] * rotation
    expected = expected * expected.gather(1, expected.abs().argmax(1, keepdim=True)).sign()
    assert torch.allclose(axes, expected, atol=0.08)
    found = principal_directions(w_geo, w_tex, 2)
    assert found.names == ("shape-1", "shape-2", "texture-1", "texture-2")
    assert torch.equal(found.w_geo[:2], axes[:2]) and not found.w_geo[2:].any() and not found.w_tex[:2].any()
    assert found.shares[:2] == pytest.approx((SPREAD.square() / SPREAD.square().sum())[:2].tolist(), rel=0.05)


def test_an_attribute_of_the_shape_gets_the_shortest_move_that_changes_it() -> None:
    """The move along C·β changes w·β most for its length in standard deviations; its length is one."""
    w_geo, w_tex, rotation = styles()
    slope = torch.tensor([0.2, 1.0, 0.0, 0.0]) @ rotation
    noise = torch.randn(len(w_geo), generator=torch.Generator().manual_seed(1))
    found = attribute_directions(w_geo, w_tex, {"big=yes": w_geo @ slope + noise, "flat=yes": torch.ones(len(w_geo))})
    assert found.names == ("big=yes",), "an attribute that never changes has no direction"
    covariance = rotation.T @ torch.diag(SPREAD.square()) @ rotation
    expected = covariance @ slope / (slope @ covariance @ slope).sqrt()
    assert torch.allclose(found.w_geo[0], expected, atol=0.05)
    assert not found.w_tex.any(), "the texture has no part in it"
    explained = float(slope @ covariance @ slope)
    assert found.shares[0] == pytest.approx(explained / (explained + 1), abs=0.02)


def test_chance_moves_neither_side() -> None:
    """Few samples and many axes: what noise explains is not taken for a part of the texture."""
    random = torch.Generator().manual_seed(3)
    w_geo, w_tex = torch.randn(2, 300, 40, generator=random)
    found = attribute_directions(w_geo, w_tex, {"a=b": w_geo[:, 0], "c=d": torch.randn(300, generator=random)})
    assert "a=b" in found.names and not found.w_tex[0].any() and found.w_geo[0].any()
    assert found.shares[0] > 0.9 and all(share < 0.15 for share in found.shares[1:])


def test_an_attribute_of_both_moves_both() -> None:
    w_geo, w_tex, rotation = styles()
    value = w_geo @ rotation[1] + 2 * w_tex[:, 0]
    found = attribute_directions(w_geo, w_tex, {"a=b": value})
    assert found.shares[0] == pytest.approx(1, abs=0.01)
    assert torch.allclose(found.w_tex[0], torch.tensor([2.0, 0, 0, 0]) / 5**0.5, atol=0.05)
    assert torch.allclose(found.w_geo[0], rotation[1] / 5**0.5, atol=0.1)


def test_a_direction_leaves_kept_values_alone_and_changes_others_little() -> None:
    w_geo, w_tex, _ = styles()
    axes = principal_axes(w_geo)
    size, legs, category = (w_geo @ axes[row] / axes[row].square().sum() for row in range(3))
    values = {"type=big": size + legs + category, "type=small": -size, "legs=star": legs}
    kept = {"category=chair": category}
    free, bound = (attribute_directions(w_geo, w_tex, values, each) for each in (None, kept))
    coordinates = [found.w_geo[0] @ axes[:3].T / axes[:3].square().sum(1) for found in (free, bound)]
    assert coordinates[0][2] > 0.5, "without being kept the category would change"
    for size_step, legs_step, category_step in coordinates[1:]:
        assert abs(category_step) < 1e-3
        assert 0 < legs_step < 0.7 * size_step, "less of what only the other attribute needs"
    ignoring = attribute_directions(w_geo, w_tex, values, kept, math.inf).w_geo[0] @ axes[:3].T
    size_step, legs_step, category_step = (ignoring / axes[:3].square().sum(1)).tolist()
    assert abs(category_step) < 1e-3 and legs_step == pytest.approx(size_step, rel=0.05)
    assert bound.w_geo[0] @ free.w_geo[0] > 0 and bound.names == free.names
    alone = (
        attribute_directions(w_geo, w_tex, {"type=big": size + legs}).w_geo[0] @ axes[:2].T / axes[:2].square().sum(1)
    )
    assert torch.allclose(alone[0], alone[1], atol=0.05), "nothing else is there to be left alone"


def test_a_move_adds_to_all_slots_and_keeps_the_seed(g: TrainedGenerator) -> None:
    w_dim = g.network.config.mapping.w_dim
    geo = torch.randn(2, w_dim)
    directions = Directions(
        ("a", "b"), geo, torch.stack([torch.zeros(w_dim), torch.ones(w_dim)]), (0.5, 0.4), (2.0, 4.5)
    )
    sample = g.sample(3)
    assert directions.moved(sample, {"a": 0.0}) is sample
    moved = directions.moved(sample, {"a": 2.0, "b": -1.0})
    assert torch.allclose(moved.w_geo - sample.w_geo, (2 * geo[0] - geo[1]).expand_as(sample.w_geo), atol=1e-5)
    assert torch.allclose(moved.w_tex - sample.w_tex, -torch.ones_like(sample.w_tex), atol=1e-5)
    assert moved.seed == 3 and bool(moved.z_geo.isnan().all())
    assert torch.equal(directions.moved(sample, {"a": 2.0}).w_tex, sample.w_tex)
    with pytest.raises(UserError, match="no direction 'c'; there are a, b"):
        directions.moved(sample, {"c": 1.0})
    assert directions[[1]].names == ("b",) and directions[[1]].full_steps == (4.5,)
    assert torch.equal(directions[[1, 0]].w_geo, geo.flip(0)) and len(directions[[]]) == 0
    assert directions.sorted().names == ("a", "b") and (directions + directions).names == ("a", "b", "a", "b")
    assert (directions + directions).full_steps == (2.0, 4.5, 2.0, 4.5)
    assert directions.moves(["b", "a:-1"]) == {"b": 4.5, "a": -1.0}
    with pytest.raises(UserError, match="expected a direction and a number"):
        directions.moves(["c"])


def test_the_file_comes_back_and_belongs_to_one_network(g: TrainedGenerator, tmp_path: Path) -> None:
    w_dim = g.network.config.mapping.w_dim
    directions = principal_directions(torch.randn(50, w_dim), torch.randn(50, w_dim), 2)
    directions.save(tmp_path / "d.safetensors", g.identity())
    again = load_directions(tmp_path / "d.safetensors", g)
    assert again.names == directions.names and again.shares == pytest.approx(directions.shares)
    assert again.full_steps == directions.full_steps == (3.0,) * 4
    assert torch.equal(again.w_geo, directions.w_geo) and torch.equal(again.w_tex, directions.w_tex)
    tensors, header = load_tensors(tmp_path / "d.safetensors", "directions")
    old = {key: value for key, value in header.items() if key != "full_steps"}
    save_tensors(tmp_path / "old.safetensors", tensors, old)
    assert load_directions(tmp_path / "old.safetensors", g).full_steps == (3.0,) * 4
    with pytest.raises(UserError, match=r"is of the network .*, not of other"):
        load_directions(tmp_path / "d.safetensors", save(tmp_path / "other.safetensors", 2))
    with pytest.raises(UserError, match="expected a directions file"):
        load_directions(g.source, g)


@pytest.mark.parametrize("text", ["type=stool", "type=stool:", ":2", "a:x", "a:nan", "a:11", ""])
def test_moves_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="expected a direction and a number from -10 to 10"):
        parse_moves([text])


def test_moves() -> None:
    assert parse_moves(["type=stool:2", "shape-1:-0.5"]) == {"type=stool": 2.0, "shape-1": -0.5}


def test_names_for_files_hold_no_path() -> None:
    names = ["shape-1", "type=SUV/4x4", "type=SUV-4x4", "type=arm chair", "a=..\\b"]
    expected = ["shape-1", "type-SUV-4x4", "type-SUV-4x4-2", "type-arm chair", "a-..-b"]
    assert file_stems(names) == expected
