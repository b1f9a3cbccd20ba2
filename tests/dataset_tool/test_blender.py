"""Blender as a renderer: how its process is driven, with a stand-in for its Python."""

import json
import sys
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest

from dataset_tool.dataset import open_dataset
from dataset_tool.render import blender
from dataset_tool.render.blender import blender_views
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMaterial, SourceMesh
from rendering.camera_distribution import load_camera_distribution
from rendering.look import Look
from tests.dataset_tool.shapes import write_blocks, write_folder
from tests.rendering.test_textured_views import plane
from tests.tetragan.test_dataset import invoke
from torch_utils.errors import UserError

# Draws what a renderer would: view n is n + 1 rows of half-covered red on nothing; hidden colors are left in it.
STAND_IN = """#!{python}
import json, sys, pathlib
sys.path[:0] = {path!r}
import numpy as np
from PIL import Image
folder = pathlib.Path(sys.argv[-1])
assert sys.argv[1] == "-I"
job = json.loads((folder / "job.json").read_text())
for view in range(len(job["poses"])):
    image = np.zeros((job["resolution"], job["resolution"], 4), np.uint8)
    image[..., 2] = 7
    image[: job["resolution"] // 2] = 255, 0, 0, 128
    Image.fromarray(image).save(folder / f"{{view:03d}}.png")
(pathlib.Path({record!r})).write_text(json.dumps(job))
(folder / "result.json").write_text(json.dumps({{"version": "0", "seconds": [1.0]}}))
"""


def stand_in(folder: Path, monkeypatch, text: str = STAND_IN) -> Path:
    """An executable in place of Blender's Python; returns the file that it notes its job in."""
    program, record = folder / "python", folder / "seen.json"
    program.write_text(text.format(python=sys.executable, path=sys.path, record=str(record)))
    program.chmod(0o755)
    monkeypatch.setenv(blender.BLENDER_VARIABLE, str(program))
    # The server that forks workers may be that of an earlier test, and knows nothing of the variable.
    forkserver._forkserver._stop()
    return record


def test_without_the_environment_one_line_says_what_makes_it(tmp_path, monkeypatch):
    monkeypatch.delenv(blender.BLENDER_VARIABLE, raising=False)
    monkeypatch.setattr(blender, "BLENDER_FOLDER", ".no-such-folder")
    source = write_folder(tmp_path / "source", 1)
    arguments = ("render", source, "--out", tmp_path / "data", "--renderer", "blender")
    text = invoke(*arguments, status=2)
    assert "Blender: no .no-such-folder here; make it with: make blender" in text
    assert not (tmp_path / "data").exists()
    monkeypatch.setenv(blender.BLENDER_VARIABLE, "/nowhere/python")
    assert "TETRAGAN_BLENDER=/nowhere/python: no such file" in invoke(*arguments, status=2)


def test_its_views_become_a_dataset_like_any_other(tmp_path, monkeypatch):
    """Averaged down, black where empty, the same cameras and files; the header says who rendered."""
    record = stand_in(tmp_path, monkeypatch)
    source, out = write_folder(tmp_path / "source", 2), tmp_path / "data"
    options = ("--camera", "car", "--resolution", 16, "--views", 2, "--samples", 16, "--workers", 1)
    invoke("render", source, "--out", out, "--renderer", "blender", *options)
    job = json.loads(record.read_text())
    assert (job["resolution"], job["samples"], job["denoise"], job["shading"]) == (32, 4, False, "albedo")
    assert (job["near"], job["far"]) == (0.1, 10)
    dataset = open_dataset(out)
    assert dataset.header.renderer["name"] == "blender"
    assert dataset.header.renderer["samples"] == 16
    shape = dataset.shape_ids()[0]
    image = dataset.load(shape, 1)
    assert (image[:8] == [255, 0, 0, 128]).all()
    assert not image[8:].any()
    invoke("render", source, "--out", tmp_path / "ours", *options)
    assert open_dataset(tmp_path / "ours").frames(shape).camera_to_world == pytest.approx(
        dataset.frames(shape).camera_to_world
    )
    assert (open_dataset(tmp_path / "ours").points(shape) == dataset.points(shape)).all()


def test_the_job_holds_linear_colors_and_textures_once(tmp_path, monkeypatch):
    record = stand_in(tmp_path, monkeypatch)
    image = np.full((4, 4, 3), 200, np.uint8)
    surface = np.zeros((2, 2, 3), np.uint8)
    textured = plane(
        SourceMaterial(base_color=(0.5, 0.5, 0.5, 1), image=image, wrap=("clamp", "repeat"), surface_image=surface)
    )
    cut = plane(
        SourceMaterial(image=image, alpha_mode="MASK", alpha_cutoff=0.3, metallic=0.2, roughness=0.9), depth=0.1
    )
    mesh = SourceMesh(Path("two.glb"), (textured, cut))
    images = blender_views(mesh, load_camera_distribution("car").sample(0, range(1)), 16, Look("soft")).images
    assert not images[images[..., 3] == 0].any(), "colors of empty pixels"
    first, second = json.loads(record.read_text())["parts"]
    assert first["factor"] == pytest.approx([0.21404] * 3 + [1], abs=1e-4)
    assert first["image"] == second["image"] == "image0.png"
    assert (first["surface_image"], second["surface_image"]) == ("image1.png", None)
    assert (first["wrap"], first["metallic"], first["roughness"]) == (["clamp", "repeat"], 0, 0.5)
    assert (second["alpha_mode"], second["alpha_cutoff"], second["metallic"], second["roughness"]) == (
        "MASK",
        0.3,
        0.2,
        0.9,
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('Error: out of cheese'); raise SystemExit(3)", "box.obj: Blender failed: Error: out of cheese"),
        ("import os; os.kill(os.getpid(), 9)", r"box.obj: Blender died of signal 9 \(out of memory\?\)"),
        ("import bpy", "box.obj: TETRAGAN_BLENDER: that Python has no bpy; make one with: make blender"),
        ("pass", "box.obj: Blender failed: without a word"),
    ],
)
def test_a_failing_blender_is_one_line_and_names_the_mesh(body, message, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "#!{python}\n" + body + "\n")
    with pytest.raises(UserError, match=message):
        blender_views(
            read_mesh(write_blocks(tmp_path / "box.obj")),
            load_camera_distribution("car").sample(0, range(1)),
            16,
            Look(),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--renderer", "blender", "--extra", "depth"), "has no --occlusion and, of --extra, mask only"),
        (("--renderer", "blender", "--shading", "soft", "--occlusion"), "has no --occlusion"),
        (("--renderer", "blender", "--shading", "normals"), "has no --shading normals"),
        (("--shading", "normals", "--occlusion"), "--shading normals has none"),
        (("--occlusion",), "use --shading soft"),
        (("--device", "tpu"), "device tpu: expected auto, cpu, cuda or cuda:N"),
        (("--device", "cuda:77"), "device cuda:77: torch finds"),
    ],
)
def test_choices_that_do_not_go_together(options, message, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch)
    source = write_folder(tmp_path / "source", 1)
    assert message in invoke("render", source, "--out", tmp_path / "data", *options, status=2)
    assert not (tmp_path / "data").exists()
