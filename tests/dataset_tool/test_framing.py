"""Shapes as large as their cameras allow."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dataset_tool.dataset import open_dataset
from dataset_tool.render.framing import MARGIN, fitting_scale
from dataset_tool.sources.orientation import normalize
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart
from rendering.camera_distribution import CameraDistribution, ScalarDistribution, load_camera_distribution
from tests.dataset_tool.shapes import box
from tests.tetragan.test_dataset import finding_kinds, invoke


def block(sides) -> SourceMesh:
    corners, faces = box((0, 0, 0), sides)
    return SourceMesh("block.obj", (SourcePart(corners, faces.astype(np.int32), SourceMaterial()),))


def outermost(mesh: SourceMesh, cameras) -> float:
    """Largest |NDC| of any vertex in any image."""
    points = torch.from_numpy(mesh.parts[0].vertices).float()
    clip = cameras.transform_packed(points, torch.tensor([0, len(points)]))
    assert (clip[:, 3] > 0).all()
    return float((clip[:, :2].abs() / clip[:, 3:]).max())


SIDEWAYS = CameraDistribution(
    radius=ScalarDistribution(uniform=(0.9, 1.5)), target_jitter=0.05, roll_deg=ScalarDistribution(uniform=(-20, 20))
)


@pytest.mark.parametrize("camera_distribution", [load_camera_distribution("chair"), SIDEWAYS])
def test_a_cube_is_made_as_small_as_needed_and_no_smaller(camera_distribution):
    cameras = camera_distribution.sample(0, range(50))
    cameras = replace(cameras, principal=cameras.principal + torch.tensor([0.02, -0.03]))
    mesh, _ = normalize(block((1, 1, 1)), scale=0.9)
    assert outermost(mesh, cameras) > 1
    scale = fitting_scale(mesh, cameras, 0.9)
    fitted, _ = normalize(block((1, 1, 1)), scale=scale)
    assert outermost(fitted, cameras) == pytest.approx(MARGIN, abs=1e-4)


def test_what_fits_keeps_its_scale():
    mesh, _ = normalize(block((1, 0.2, 0.2)), scale=0.7)
    assert fitting_scale(mesh, load_camera_distribution("chair").sample(0, range(20)), 0.7) == 0.7


def test_fit_fixes_what_check_finds(tmp_path):
    """A cube at the published chair scale leaves the images; with --fit it does not, and the scale is noted."""
    corners, faces = box((0, 0, 0), (1, 1, 1))
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "".join(f"f {a} {b} {c}\n" for a, b, c in faces + 1)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/cube.obj").write_text(text)
    options = ("--resolution", 64, "--views", 12, "--workers", 1, "--quiet")
    invoke("render", tmp_path / "source", "--out", tmp_path / "cut", *options)
    assert ("warning", "object cut by the frame") in finding_kinds(tmp_path / "cut")
    invoke("render", tmp_path / "source", "--out", tmp_path / "whole", "--fit", *options)
    assert ("warning", "object cut by the frame") not in finding_kinds(tmp_path / "whole")
    dataset = open_dataset(tmp_path / "whole")
    meta = dataset.meta("cube")
    assert 0.5 < meta["scale"] < 0.69
    assert np.linalg.norm(meta["source_to_world"][0][:3]) == pytest.approx(meta["scale"])
    assert (dataset.header.renderer["fit"], dataset.header.renderer["scale"]) == (True, 0.7)
