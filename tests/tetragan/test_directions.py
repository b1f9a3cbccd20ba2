"""`tetragan directions`, and what `generate --move` makes of its file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mesh_io.read import read_mesh
from tests.command_line import assert_refused, run
from tests.metrics.model_folders import write_classifier
from tests.training import tiny
from torch_utils.checkpoint import load_tensors

SMALL = ("--resolution", 24, "--workers", 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_network(tmp_path_factory.mktemp("run") / "network.safetensors")


@pytest.fixture(scope="module")
def found(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two axes a side and a classifier of three types."""
    classifier = write_classifier(tmp_path_factory.mktemp("classifier") / "c", ("type=a", "type=b", "type=c"))
    out = tmp_path_factory.mktemp("directions")
    call = ("directions", "--network", network, "--axes", 2, "--classifier", classifier, "--samples", 60)
    call += ("--trials", 4, "--rows", 1)
    outcome = run(*call, *SMALL, "--out", out)
    assert outcome.status == 0, outcome.stderr
    return out


def test_the_file_and_the_sliders(found: Path) -> None:
    tensors, header = load_tensors(found / "directions.safetensors", "directions")
    names = header["names"]
    assert names[:4] == ["shape-1", "shape-2", "texture-1", "texture-2"]
    attributes = names[4:]
    assert attributes and set(attributes) <= {"type=a", "type=b", "type=c"}
    assert header["shares"][4:] == sorted(header["shares"][4:], reverse=True)
    assert header["full_steps"][:4] == [3.0] * 4 and set(header["full_steps"][4:]) <= {2.0, 3.0, 3.75, 4.5}
    assert not tensors["w_tex"][:2].any() and not tensors["w_geo"][2:4].any() and tensors["w_geo"][4:].any()
    with Image.open(found / "directions.png") as image:
        page = np.asarray(image).astype(int)
    # Five rows of seven images of 24 px under two lines; on the left and above there is ink.
    assert page.shape[0] == 2 * 22 + 5 * 24
    assert (page[:44] < 90).all(-1).any() and (page[44:, :40] < 90).all(-1).any()
    strips = page[44:, -7 * 24 :].reshape(5, 24, 7, 24, 3).swapaxes(1, 2)
    assert (strips[:, 3] == strips[0, 3]).all(), "step 0 is the sample"
    assert all((strip[0] != strip[6]).any() for strip in strips)


def test_a_moved_sample_is_written_and_says_so(network: Path, found: Path, tmp_path: Path) -> None:
    call = ("generate", "--network", network, "--seeds", 0, "--format", "stl", "--faces", "full", *SMALL)
    moves = ("--directions", found / "directions.safetensors", "--move", "shape-1", "--move", "texture-1:-1")
    assert run(*call, "--out", tmp_path / "plain").status == 0
    assert run(*call, *moves, "--out", tmp_path / "moved").status == 0
    meshes = [read_mesh(tmp_path / name / "seed0000.stl").parts[0] for name in ("plain", "moved")]
    assert not np.array_equal(meshes[0].vertices, meshes[1].vertices)
    record = json.loads((tmp_path / "moved" / "samples.json").read_text(encoding="utf-8"))
    assert record["made_by"]["moves"] == {"shape-1": 3.0, "texture-1": -1.0}
    for others in (moves[:4], ()):
        assert_refused(run(*call, *others, "--out", tmp_path / "moved"), "made with moves", "--overwrite")


def test_a_refused_search_leaves_the_directions_alone(network: Path, found: Path) -> None:
    before = (found / "directions.safetensors").read_bytes()
    call = ("directions", "--network", network, "--axes", 1, "--out", found, *SMALL)
    assert_refused(run(*call), "made with", "--overwrite")
    assert (found / "directions.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--move", "shape-1:2"], "--directions and --move belong together"),
        (["generate", "--directions", "{file}"], "--directions and --move belong together"),
        (["generate", "--directions", "{file}", "--move", "shape-9:2"], "no direction 'shape-9'; there are shape-1"),
        (["generate", "--directions", "{file}", "--move", "2"], "--move 2: expected a direction"),
        (["generate", "--directions", "nothing", "--move", "a:2"], "nothing: no such file"),
        (["directions", "--axes", 0], "--axes 0 needs --classifier"),
        (["directions", "--classifier", "nothing"], "--classifier nothing"),
    ],
)
def test_mistakes_are_one_line(arguments, message, network: Path, found: Path, tmp_path: Path) -> None:
    verb, *others = [str(each).format(file=found / "directions.safetensors") for each in arguments]
    assert_refused(run(verb, "--network", network, *others, *SMALL, "--out", tmp_path / "out"), message)


def test_another_network_is_refused(found: Path, tmp_path: Path) -> None:
    other = tiny.write_network(tmp_path / "other.safetensors", seed=2)
    moves = ("--directions", found / "directions.safetensors", "--move", "shape-1:2", "--out", tmp_path / "out")
    assert_refused(run("generate", "--network", other, *moves), "not of other")
