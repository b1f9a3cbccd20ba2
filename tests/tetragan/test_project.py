"""`tetragan project`: images, posed images and meshes; its files in other verbs; what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mesh_io.read import read_mesh
from networks.generator import Generator
from tests.command_line import assert_refused, run
from tests.training import tiny
from torch_utils.checkpoint import load_tensors, save_network

QUICK = ("--starts", 8, "--steps", 2, "--texture-size", 64, "--faces", 200, "--resolution", 24, "--workers", 1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    config = tiny.config(geometry={"cells": 8, "sdf_scale": 0.3}, texture={"plane_scale": 8.0})
    path = tmp_path_factory.mktemp("run") / "network.safetensors"
    save_network(path, Generator(config), config.model_dump(mode="json"), 8000)
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red disc on nothing, wider than high."""
    y, x = np.mgrid[:40, :60]
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[(y - 20) ** 2 + (x - 30) ** 2 < 15**2] = (200, 40, 30, 255)
    path = tmp_path_factory.mktemp("images") / "disc.png"
    Image.fromarray(rgba).save(path)
    return path


@pytest.fixture(scope="module")
def projected(network: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("projected")
    outcome = run("project", image, "--network", network, *QUICK, "--camera", "chair", "--out", out)
    assert outcome.status == 0, outcome.stderr
    assert "IoU" in outcome.stdout and "seen from azimuth" in outcome.stdout
    return out


def test_styles_mesh_and_sheet(projected: Path) -> None:
    tensors, header = load_tensors(projected / "disc.safetensors", "styles")
    assert header["names"] == ["disc"] and tensors["w_geo"].shape[0] == 1
    facts = header["facts"][0]
    assert facts["camera"] == "found" and 0 < facts["iou"] <= 1 and 0 <= facts["azimuth_deg"] < 360
    assert len(read_mesh(projected / "disc.glb").parts[0].faces) <= 200
    with Image.open(projected / "projections.png") as page:
        pixels = np.asarray(page).astype(int)
    given, found, lit, behind = pixels[-24:, -96:].reshape(24, 4, 24, 3).swapaxes(0, 1)
    assert given[12, 12] == pytest.approx((200, 40, 30), abs=12), "the given image, in the middle of a square"
    assert (given[0, 0] > 230).all() and (found != lit).any() and (lit != behind).any()


def test_the_file_goes_into_other_verbs(network: Path, projected: Path, tmp_path: Path) -> None:
    file = projected / "disc.safetensors"
    small = ("--resolution", 24, "--workers", 1)
    common = ("--network", network, "--latents", file, *small)
    outcome = run("generate", *common, "--format", "stl", "--faces", 200, "--out", tmp_path / "g")
    assert outcome.status == 0 and (tmp_path / "g" / "disc.stl").is_file(), outcome.stderr
    ends = [read_mesh(path).parts[0].vertices for path in (tmp_path / "g" / "disc.stl", projected / "disc.glb")]
    assert ends[0].max(0) - ends[0].min(0) == pytest.approx(ends[1].max(0) - ends[1].min(0), abs=1e-4)
    other = tmp_path / "other.safetensors"
    Path(other).write_bytes(file.read_bytes())
    assert_refused(run("interpolate", *common, "--out", tmp_path / "i"), "at least two samples")
    assert_refused(
        run("interpolate", *common, "--latents", other, "--out", tmp_path / "i"), "two samples have one name"
    )
    outcome = run("turntable", *common, "--frames", 2, "--video", "gif", "--out", tmp_path / "t")
    assert outcome.status == 0 and (tmp_path / "t" / "turntable_disc.gif").is_file(), outcome.stderr
    for verb in ("generate", "interpolate", "turntable"):
        assert_refused(run(verb, *common, "--seeds", "1-2", "--out", tmp_path / "x"), "--latents: takes the place of")


def test_a_mesh_with_a_bad_image_beside_it(network: Path, image: Path, tmp_path: Path) -> None:
    """Posed views of the mesh; the image without alpha is named at the end, and costs only itself."""
    import trimesh

    trimesh.creation.box((0.6, 0.4, 0.5)).export(tmp_path / "box.ply")
    Image.new("RGB", (20, 20), (9, 9, 9)).save(tmp_path / "flat.png")
    inputs = (tmp_path / "flat.png", tmp_path / "box.ply", image)
    angles = ("--azimuth", 30, "--elevation", 20)
    call = ("project", *inputs, "--network", network, *QUICK, "--camera", "chair", *angles, "--format", "none")
    outcome = run(*call, "--out", tmp_path / "out")
    assert outcome.status == 1, outcome.stderr
    assert f"Error: {tmp_path / 'flat.png'}: has no alpha" in outcome.stderr and "Traceback" not in outcome.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == [
        "box.safetensors", "disc.safetensors",
    ]  # fmt: skip
    facts = load_tensors(tmp_path / "out" / "disc.safetensors", "styles")[1]["facts"][0]
    assert facts["camera"] == "given" and facts["azimuth_deg"] == pytest.approx(30, abs=1e-3)
    assert "seen from" not in outcome.stdout


def test_mistakes_are_one_line(network: Path, image: Path, projected: Path, tmp_path: Path) -> None:
    call = ("project", "--network", network, "--out", tmp_path / "out", "--camera", "chair", "--starts", 8)
    Image.new("RGB", (20, 20), (9, 9, 9)).save(tmp_path / "flat.png")
    Image.new("RGBA", (20, 20), (9, 9, 9, 0)).save(tmp_path / "nothing.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "disc.png").write_bytes(image.read_bytes())
    assert_refused(run(*call, tmp_path / "flat.png"), "flat.png: has no alpha", "rembg")
    assert_refused(run(*call, tmp_path / "nothing.png"), "shows nothing")
    assert_refused(run(*call, tmp_path / "empty"), "no transforms.json there")
    assert_refused(run(*call, tmp_path / "text.png"), "text.png", "not a readable image")
    assert_refused(run(*call, tmp_path / "none.png"), "none.png")
    assert_refused(run(*call, image, "--azimuth", 3), "--azimuth and --elevation belong together")
    assert_refused(run(*call, image, tmp_path / "disc.png"), "another input is called 'disc'")
    assert_refused(run(*call[:5], image), "cameras of the category", "give --camera")
    torch.manual_seed(2)
    config = tiny.config(geometry={"cells": 8})
    save_network(tmp_path / "other.safetensors", Generator(config), config.model_dump(mode="json"), 1)
    other = ("--network", tmp_path / "other.safetensors", "--latents", projected / "disc.safetensors")
    assert_refused(run("generate", *other, "--out", tmp_path / "out"), "not of other")
