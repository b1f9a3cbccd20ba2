"""The add-on in the real Blender (make blender), installed from its zip, against a running page."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="starlette is an extra")
pytest.importorskip("uvicorn", reason="uvicorn is an extra")

from dataset_tool.render.blender import find_blender
from sampling.trained_generator import load
from tests.page_server import started
from torch_utils.errors import UserError
from webpage.mesh_maker import MeshMaker

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the script saw: every press of the button, and the objects after it."""
    try:
        blender = find_blender()
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("blender")
    subprocess.run(["make", "blender-addon", f"ADDON={folder / 'addon.zip'}"], cwd=ROOT, check=True)
    for server in started(MeshMaker(load("chair-64"))):
        done = subprocess.run(
            [blender, Path(__file__).with_name("in_blender.py"), folder / "addon.zip", f"127.0.0.1:{server.port}"],
            env={**os.environ, "BLENDER_USER_RESOURCES": str(folder / "user"), "PYTHONPATH": ""},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("FACTS ")]
        assert len(lines) == 1, done.stdout + done.stderr
        yield json.loads(lines[0].removeprefix("FACTS "))


def test_the_mesh_is_named_placed_and_painted(facts: dict[str, Any]) -> None:
    assert facts["placed"]["message"] == "shape0003_texture0007 of chair-64"
    assert (facts["placed"]["status"], facts["placed"]["failed"]) == ("FINISHED", False)
    (chair,) = facts["objects"]
    assert chair["name"] == chair["data"] == "shape0003_texture0007"
    assert 100 < chair["faces"] <= 200 and chair["selected"]
    assert [64, True] in chair["textures"], "64 px wide, packed into the scene"
    assert chair["lowest"] == pytest.approx(3, abs=5e-3), "it stands at the height of the 3D cursor"
    assert 0.3 < chair["height"] < 1.0
    assert chair["query"] == "shape_seed=3&truncation=0.5&texture_seed=7&faces=200&texture_size=64"


def test_a_second_mesh_leaves_the_first_alone(facts: dict[str, Any]) -> None:
    assert facts["again"]["message"] == "seed0003 of chair-64"
    assert facts["names"] == ["seed0003", "shape0003_texture0007"]


def test_one_undo_takes_one_mesh_away_and_redo_brings_it_back(facts: dict[str, Any]) -> None:
    assert facts["undone"] == ["shape0003_texture0007"]
    assert facts["redone"] == ["seed0003", "shape0003_texture0007"]


def test_errors_are_one_line_in_the_panel_and_place_nothing(facts: dict[str, Any]) -> None:
    for name, text in (
        ("nobody", "no page at http://127.0.0.1:9 ("),
        ("offline", "http://192.0.2.1:8017 is another machine: allow online access in Blender's preferences"),
        ("no address", "expected an address such as"),
        ("unknown attribute", "move: "),
    ):
        outcome = facts[name]
        assert (outcome["status"], outcome["failed"]) == ("CANCELLED", True), name
        assert text in outcome["message"] and "\n" not in outcome["message"], name
    assert facts["names after errors"] == facts["redone"]


def test_disabling_leaves_nothing_behind(facts: dict[str, Any]) -> None:
    assert facts["default"] == "http://127.0.0.1:8017"
    assert facts["gone"] is True
