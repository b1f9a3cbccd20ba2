"""The real Blender, where its environment is (make blender): the same images as ours, its light, its end."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_tool.render import blender
from dataset_tool.render.blender import blender_views, find_blender
from dataset_tool.render.lights import environments_of
from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMaterial, SourceMesh
from rendering.camera import orbit_cameras
from rendering.camera_distribution import load_camera_distribution
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from studies.renderer_agreement import foreground_psnr
from tests.dataset_tool.shapes import write_blocks
from tests.rendering.test_textured_views import plane
from torch_utils.errors import UserError


@pytest.fixture
def real_blender():
    try:
        return find_blender()
    except UserError as error:
        pytest.skip(str(error))


def test_blender_shows_what_the_built_in_renderer_shows(real_blender, tmp_path):
    """Blocks, a cut-out and glass before them, a texture with wrapped axes: same silhouettes, same base colors."""
    mesh, _ = normalize(read_mesh(write_blocks(tmp_path / "blocks.obj")), scale=0.7)
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    image = image.repeat(8, 0).repeat(8, 1)
    glass = plane(SourceMaterial(base_color=(1, 0.2, 0.2, 0.4), alpha_mode="BLEND"), depth=0.4, side=0.3)
    leaf = plane(SourceMaterial(image=image, alpha_mode="MASK", wrap=("mirror", "clamp")), depth=-0.4, side=0.8)
    assert leaf.uvs is not None
    leaf = replace(leaf, uvs=leaf.uvs * np.float32(1.7) - np.float32(0.3))
    mesh = SourceMesh(mesh.path, (*mesh.parts, glass, leaf))
    cameras = load_camera_distribution("chair").sample(1, range(2))
    ours = render_views(build_scene(mesh), cameras, 128, supersample=4).images.astype(float) / 255
    theirs = blender_views(mesh, cameras, 128, Look(), supersample=4, samples=64).images.astype(float) / 255
    both = np.minimum(ours[..., 3], theirs[..., 3]).sum() / np.maximum(ours[..., 3], theirs[..., 3]).sum()
    assert both > 0.99
    union = (ours[..., 3] > 0) | (theirs[..., 3] > 0)
    error = (ours[..., :3] * ours[..., 3:] - theirs[..., :3] * theirs[..., 3:])[union]
    assert -10 * np.log10(np.square(error).mean()) > 28


def test_blender_reads_metallic_and_roughness_from_a_texture(real_blender):
    """A checkerboard of rough metal and rough plaster from the front, under the room of previews."""
    fields = np.zeros((4, 4, 3), np.uint8)
    fields[..., 1], fields[..., 2] = 200, 255 * (np.indices((4, 4)).sum(0) % 2)
    surface = fields.repeat(16, 0).repeat(16, 1)
    material = SourceMaterial(base_color=(0.8, 0.5, 0.3, 1), metallic=1.0, roughness=0.9, surface_image=surface)
    mesh = SourceMesh(Path("board"), (plane(material, depth=0.0, side=0.8),))
    cameras, look = orbit_cameras([0.0], 0.0), Look("pbr", environments=environments_of("studio", []))
    ours = render_views(build_scene(mesh), cameras, 64, look).images
    theirs = blender_views(mesh, cameras, 64, look, supersample=2, samples=64).images
    assert foreground_psnr(ours, theirs) > 30


def test_blenders_light_comes_from_above(real_blender, tmp_path):
    mesh, _ = normalize(read_mesh(write_blocks(tmp_path / "blocks.obj")), scale=0.7)
    gray = SourceMesh(mesh.path, tuple(replace(part, material=SourceMaterial()) for part in mesh.parts))
    camera_distribution = load_camera_distribution("chair")
    above, below = (
        camera_distribution.model_copy(
            update={"elevation_deg": camera_distribution.elevation_deg.model_copy(update={"uniform": None, "fixed": e})}
        )
        for e in (80.0, -80.0)
    )
    bright, dark = (
        blender_views(gray, part.sample(0, range(1)), 32, Look("soft", occlusion=True), samples=4).images[0, 16, 16, 0]
        for part in (above, below)
    )
    assert bright > 200
    assert dark < 120


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_card_is_named(real_blender, tmp_path):
    mesh = read_mesh(write_blocks(tmp_path / "blocks.obj"))
    cameras = load_camera_distribution("chair").sample(0, range(1))
    with pytest.raises(UserError, match=r"blocks.obj: Blender failed: --device cuda: Blender finds no CUDA device"):
        blender_views(mesh, cameras, 16, Look(), samples=1, device="cuda")


def test_it_ends_with_its_parent(real_blender, tmp_path):
    """A closed pipe ends it in the middle of a job of an hour."""
    mesh, _ = normalize(read_mesh(write_blocks(tmp_path / "blocks.obj")), scale=0.7)
    job = blender._job(mesh, load_camera_distribution("chair").sample(0, range(500)), tmp_path)
    job |= {"resolution": 256, "samples": 64, "denoise": False, "shading": "albedo", "light": "studio"}
    (tmp_path / "job.json").write_text(json.dumps(job | {"device": "cpu", "threads": 1}))
    command = [str(real_blender), "-I", str(blender.SCRIPT), str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 1
    assert not (tmp_path / "result.json").exists()
