"""generate, interpolate, swap, perturb and turntable: what they write, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mesh_io.read import read_mesh
from tests.command_line import assert_refused, run
from tests.training import tiny

SMALL = ("--texture-size", 64, "--faces", 200, "--resolution", 24, "--workers", 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_network(tmp_path_factory.mktemp("run") / "network.safetensors")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def record(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_folder_of_a_run_and_a_count_of_seeds(network: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("generate", "--network", network.parent, "--count", 2, *SMALL)
    assert outcome.status == 0, outcome.stderr
    (out,) = (tmp_path / "out").iterdir()
    assert out.name == network.parent.name
    assert sorted(path.name for path in out.iterdir()) == [
        "samples.json", "samples.png", "seed0000.glb", "seed0001.glb",
    ]  # fmt: skip
    assert "2 meshes (glb)" in outcome.stdout and pixels(out / "samples.png").shape == (24, 48, 3)


def test_shape_and_texture_seeds_apart(network: Path, tmp_path: Path) -> None:
    pair = ("--shape-seeds", "3", "--texture-seeds", "0,1")
    assert run("generate", "--network", network, *pair, *SMALL, "--out", tmp_path).status == 0
    first, second = (read_mesh(tmp_path / f"shape0003_texture000{seed}.glb").parts[0] for seed in (0, 1))
    assert np.array_equal(first.vertices, second.vertices) and np.array_equal(first.faces, second.faces)
    assert (first.material.image != second.material.image).any()
    listed = record(tmp_path / "samples.json")["samples"]
    assert [(each["shape_seed"], each["texture_seed"]) for each in listed] == [(3, 0), (3, 1)]


def test_a_table_of_shapes_and_textures(network: Path, tmp_path: Path) -> None:
    table = ("--shape-seeds", "0-1", "--texture-seeds", "5,1,0", "--format", "glb")
    assert run("swap", "--network", network, *table, *SMALL, "--out", tmp_path).status == 0
    cells = pixels(tmp_path / "swap.png").reshape(2, 24, 3, 24, 3).swapaxes(1, 2)
    background = cells[0, 0, 0, 0]
    covered = (np.abs(cells.astype(int) - background) > 40).any(-1)
    assert (cells[0, 0] != cells[0, 1]).any() and (cells[0, 0] != cells[1, 0]).any()
    assert len(list(tmp_path.glob("shape*.glb"))) == 6 and covered.any((2, 3)).all()
    meshes = [read_mesh(tmp_path / f"shape0001_texture000{seed}.glb").parts[0] for seed in (5, 1, 0)]
    assert all(np.array_equal(mesh.vertices, meshes[0].vertices) for mesh in meshes)


def test_variations_begin_with_the_sample_and_go_outward(network: Path, tmp_path: Path) -> None:
    near = ("perturb", "--network", network, "--seed", 3, "--count", 3, "--radius", 0.2, "--format", "ply")
    outcome = run(*near, *SMALL, "--out", tmp_path)
    assert outcome.status == 0, outcome.stderr
    meshes = [read_mesh(tmp_path / f"seed0003_variation{n:02d}.ply").parts[0].vertices for n in range(4)]
    spread = [np.abs(mesh.max(0) - meshes[0].max(0)).sum() for mesh in meshes]
    assert spread[0] == 0 and min(spread[1:]) > 0
    assert record(tmp_path / "perturbations.json")["made_by"]["radius"] == 0.2


def test_an_interpolation_is_a_strip_a_loop_and_meshes(network: Path, tmp_path: Path) -> None:
    path = ("interpolate", "--network", network, "--seeds", "3,7", "--steps", 4, "--loop", "--video", "gif")
    outcome = run(*path, "--format", "stl", *SMALL, "--out", tmp_path)
    assert outcome.status == 0, outcome.stderr
    assert pixels(tmp_path / "interpolation.png").shape == (48, 72, 3), "two paths of three steps"
    with Image.open(tmp_path / "interpolation.gif") as video:
        assert (video.n_frames, video.info["loop"]) == (6, 0)
    assert sorted(path.name for path in tmp_path.glob("*.stl")) == [f"step{n:04d}.stl" for n in range(6)]


@pytest.mark.parametrize("path", ["linear", "w"])
def test_other_paths_have_the_same_ends(path: str, network: Path, tmp_path: Path) -> None:
    strips = []
    for way in ("slerp", path):
        steps = ("--seeds", "3,7", "--steps", 3, "--path", way, "--resolution", 24, "--workers", 1)
        assert run("interpolate", "--network", network, *steps, "--out", tmp_path / way).status == 0
        strips.append(pixels(tmp_path / way / "interpolation.png").reshape(24, 3, 24, 3).swapaxes(0, 1).astype(int))
    assert np.abs(strips[0][[0, 2]] - strips[1][[0, 2]]).max() <= 1
    assert np.abs(strips[0][1] - strips[1][1]).max() > 1


def test_a_turntable_turns(network: Path, tmp_path: Path) -> None:
    common = ("turntable", "--network", network, "--seeds", 3, "--frames", 4, "--resolution", 24)
    outcome = run(*common, "--video", "webp", "--background", "transparent", "--out", tmp_path / "a")
    assert outcome.status == 0, outcome.stderr
    with Image.open(tmp_path / "a" / "turntable0003.webp") as video:
        assert video.n_frames == 4
        frames = []
        for frame in range(4):
            video.seek(frame)
            frames.append(np.asarray(video.convert("RGBA")))
    assert (frames[0] != frames[1]).any()
    assert frames[0][0, 0, 3] == 0 and frames[0][12, 12, 3] == 255
    for again in ("b", "c"):
        assert run(*common, "--out", tmp_path / again).status == 0
    videos = [(tmp_path / name / "turntable0003.mp4").read_bytes() for name in ("b", "c")]
    assert videos[0] == videos[1] and videos[0][4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--seeds", "0", "--count", 2], "one of --seeds, --count"),
        (["generate", "--shape-seeds", "0"], "belong together"),
        (["generate", "--shape-seeds", "0-2", "--texture-seeds", "0,1"], "3 seeds and --texture-seeds 2"),
        (["generate", "--shape-seeds", "x", "--texture-seeds", "0"], "--shape-seeds x: expected numbers"),
        (["generate", "--faces", 11], "--faces 11: expected a number of at least 12, or full"),
        (["generate", "--faces", "few"], "--faces few"),
        (["generate", "--truncation", 3], "--truncation"),
        (["generate", "--class", 1], "--class 1: the network has no such class; it is unconditional"),
        (["generate", "--format", "obj", "--draco"], "for GLB files"),
        (["swap", "--shape-seeds", "0-9", "--texture-seeds", "0-9"], "at most 64 cells"),
        (["turntable", "--background", "transparent"], "MP4 videos have no transparency"),
        (["perturb", "--radius", 0], "--radius"),
        (["interpolate", "--seeds", "3"], "at least two seeds"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(arguments, message, network: Path, tmp_path: Path) -> None:
    verb, *others = arguments
    assert_refused(run(verb, "--network", network, *others, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_another_network_is_refused_and_overwrite_replaces(network: Path, tmp_path: Path) -> None:
    assert run("generate", "--network", network, "--seeds", 0, *SMALL, "--out", tmp_path / "out").status == 0
    other = tiny.write_network(tmp_path / "other.safetensors", seed=2)
    again = ("--network", other, "--seeds", 0, *SMALL, "--out", tmp_path / "out")
    before = (tmp_path / "out" / "samples.png").read_bytes()
    assert_refused(run("generate", *again), "holds samples of the network", "--overwrite")
    assert_refused(run("swap", *again[:2], "--out", tmp_path / "out"), "holds samples of the network")
    assert (tmp_path / "out" / "samples.png").read_bytes() == before
    assert run("generate", *again, "--overwrite").status == 0
    assert record(tmp_path / "out" / "samples.json")["made_by"]["network"]["name"] == "other"
