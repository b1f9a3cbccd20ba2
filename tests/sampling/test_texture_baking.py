"""Baking and export: the mesh in the file looks like the generator's own image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from networks.generator import Generator
from rendering.camera import orbit_cameras
from rendering.images import BLACK_BACKGROUND
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from sampling.generate import export_meshes, render_styles, styles
from sampling.latents import latents
from sampling.texture_baking import atlas_points, bake, fill_outside, reduce_covered
from tests.training import tiny


@pytest.fixture(scope="module")
def generator() -> Generator:
    """A small generator whose surface and colors vary: random weights, a strong texture."""
    torch.manual_seed(1)
    settings = tiny.config(geometry={"cells": 14, "sdf_scale": 0.3}, texture={"plane_scale": 8.0})
    return Generator(settings).eval().requires_grad_(False)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pixels [P, 3]."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def test_an_exported_glb_looks_like_the_generators_own_image(generator: Generator, tmp_path: Path) -> None:
    seeds, cameras, side = [0, 1], orbit_cameras([20.0, 160.0]), 512
    w_geo, w_tex = styles(generator, seeds, 1.0)
    files = [tmp_path / "0.glb", tmp_path / "1.glb"]
    assert export_meshes(generator, w_geo, w_tex, files, texture_size_px=512) == files
    own = render_styles(generator, w_geo, w_tex, cameras, side, shading="albedo", background=BLACK_BACKGROUND)
    for file, images in zip(files, own, strict=True):
        views = render_views(build_scene(read_mesh(file)), cameras, side).images
        for mine, theirs in zip(images, views, strict=True):
            alpha = theirs[..., 3:] / 255.0
            on_black = theirs[..., :3] * alpha
            mine_covered, theirs_covered = mine.any(-1), alpha[..., 0] > 0.5
            union = mine_covered | theirs_covered
            assert (mine_covered & theirs_covered).sum() / union.sum() >= 0.98
            assert np.ptp(mine[union].mean(-1)) > 30, "the test needs a texture that varies"
            assert psnr_db(mine[union], on_black[union]) >= 28


def checker(points: torch.Tensor) -> torch.Tensor:
    """A color that varies over the surface, in [0, 1]."""
    return (0.5 + 0.5 * torch.sin(12 * points)).clamp(0, 1)


def test_texels_hold_the_color_of_their_own_surface_point(generator: Generator) -> None:
    mesh = generator.mesh(styles(generator, [0], 1.0)[0]).mesh
    baked = bake(mesh, checker, 256)
    assert baked.uvs is not None and baked.normals is not None
    points, covered = atlas_points(baked, 256)
    error = (baked.textures["base_color"][covered] - checker(points)).abs()
    assert error.median() < 0.01
    assert error.max() < 0.25
    torch.testing.assert_close(baked.normals.norm(dim=1), torch.ones(len(baked.normals)), atol=1e-4, rtol=0)


def test_uncovered_texels_take_the_nearest_color() -> None:
    image = torch.zeros(3, 3, 3)
    covered = torch.zeros(3, 3, dtype=torch.bool)
    covered[0, 0], image[0, 0] = True, 1.0
    covered[2, 2], image[2, 2] = True, 0.5
    filled = fill_outside(image, covered)
    assert filled[0, 1, 0] == 1.0
    assert filled[2, 1, 0] == 0.5
    assert filled.min() == 0.5


def test_reduction_averages_covered_samples_only() -> None:
    colors = torch.full((2, 2, 3), 9.0)
    covered = torch.tensor([[True, False], [False, False]])
    colors[0, 0] = 1.0
    reduced, seen = reduce_covered(colors, covered, 2)
    assert reduced.flatten().tolist() == [1.0, 1.0, 1.0]
    assert bool(seen[0, 0])


def test_baking_takes_one_mesh_at_a_time(generator: Generator) -> None:
    mesh = generator.mesh(styles(generator, [0, 1], 1.0)[0]).mesh
    with pytest.raises(ValueError, match="expected a batch of one mesh, got 2"):
        bake(mesh, checker)


def test_a_glb_keeps_counts_and_image(tmp_path: Path) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = Mesh.single(vertices, torch.tensor([[0, 1, 2]]))
    baked = bake(mesh, lambda points: torch.full((len(points), 3), 0.25), 64)
    write_glb(tmp_path / "triangle.glb", baked)
    read = read_mesh(tmp_path / "triangle.glb")
    assert len(read.parts) == 1
    assert read.parts[0].faces.shape == (1, 3)


def test_a_conditional_network_shows_its_classes_in_turn() -> None:
    torch.manual_seed(0)
    conditional = Generator(tiny.config().model_copy(update={"classes": 3})).eval().requires_grad_(False)
    w_geo, _ = styles(conditional, [0, 3, 1], 1.0)
    z_geo, z_tex = latents([0, 3, 1], conditional.config.mapping.z_dim)
    expected, _ = conditional.map(z_geo, z_tex, labels=torch.tensor([0, 0, 1]))
    torch.testing.assert_close(w_geo, expected)
    other, _ = conditional.map(z_geo, z_tex, labels=torch.tensor([0, 1, 1]))
    assert not torch.equal(w_geo[1], other[1])
