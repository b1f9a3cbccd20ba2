"""Baking and export: the mesh in the file looks like the generator's own image."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from networks.generator import Generator
from rendering.camera import orbit_cameras
from rendering.images import BLACK_BACKGROUND
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from sampling.latents import latents
from sampling.mesh_export import texture_colors
from sampling.style_images import render_styles
from sampling.styles import styles_of_seeds
from sampling.texture_baking import atlas_points, bake, fill_outside
from tests.training import tiny
from torch_utils.ops.interpolate import interpolate


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny.rough_generator(cells=14).eval().requires_grad_(False)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pixels [P, 3]."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def test_an_exported_glb_looks_like_the_generators_own_image(generator: Generator, tmp_path: Path) -> None:
    seeds, cameras, side = [0, 1], orbit_cameras([20.0, 160.0]), 512
    w_geo, w_tex = styles_of_seeds(generator, seeds, 1.0)
    files = [tmp_path / "0.glb", tmp_path / "1.glb"]
    for row, file in enumerate(files):
        mesh, colors = surface(generator, w_geo[row : row + 1], w_tex[row : row + 1])
        write_glb(file, bake(mesh, colors, 512, faces=len(mesh.faces) * 2 // 3).mesh)
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


def surface(generator: Generator, w_geo: torch.Tensor, w_tex: torch.Tensor):
    """The full surface of one sample, and its colors."""
    geometry_planes, texture_planes = generator.planes(w_geo, w_tex)
    mesh = generator.surface(geometry_planes, w_geo).mesh
    return mesh, texture_colors(partial(generator.texture, texture_planes, w_tex))


def checker(points: torch.Tensor) -> torch.Tensor:
    """A color that varies over the surface, in [0, 1]."""
    return (0.5 + 0.5 * torch.sin(12 * points)).clamp(0, 1)


def test_texels_hold_the_color_of_their_own_surface_point(generator: Generator) -> None:
    mesh = generator.mesh(styles_of_seeds(generator, [0], 1.0)[0]).mesh
    baked = bake(mesh, checker, 256).mesh
    assert baked.uvs is not None and baked.normals is not None
    texels = atlas_points(baked, 256)
    error = (baked.textures["base_color"][texels.covered] - checker(texels.points)).abs()
    assert error.max() < 1e-5
    torch.testing.assert_close(baked.normals.norm(dim=1), torch.ones(len(baked.normals)), atol=1e-4, rtol=0)


def test_texels_outside_the_charts_continue_the_nearest_colors() -> None:
    image = torch.zeros(5, 5, 1)
    covered = torch.zeros(5, 5, dtype=torch.bool)
    covered[0, 0], image[0, 0] = True, 1.0
    covered[4, 4], image[4, 4] = True, 0.5
    filled = fill_outside(image, covered)
    assert (filled[:2, :2] == 1.0).all() and (filled[4, 4] == 0.5).all()
    assert ((filled >= 0.5) & (filled <= 1.0)).all(), "no undefined color is mixed in"


def test_the_normal_map_gives_back_the_normals_of_the_full_surface(generator: Generator) -> None:
    full, colors = surface(generator, *styles_of_seeds(generator, [0], 1.0))
    baked = bake(full, colors, 512, faces=len(full.faces) // 16, normal_map=True).mesh
    assert baked.tangents is not None and baked.normals is not None
    texels = atlas_points(baked, 512)
    frame, _ = interpolate(torch.cat([baked.normals, baked.tangents], 1), texels.rast, baked.faces)
    n, t, w = frame[0][texels.covered].split([3, 3, 1], 1)
    x, y, z = (baked.textures["normal"][texels.covered] * 2 - 1).unsqueeze(-1).unbind(1)
    mapped = torch.nn.functional.normalize(x * t + y * w * torch.linalg.cross(n, t) + z * n, dim=1)
    nearest = cKDTree(full.vertices.numpy()).query(texels.points.numpy())[1]
    wanted = vertex_normals(full)[nearest]
    plain = torch.nn.functional.normalize(n, dim=1)
    errors = [torch.arccos((got * wanted).sum(1).clamp(-1, 1)).rad2deg() for got in (mapped, plain)]
    assert errors[0].median() < 0.75 * errors[1].median()
    assert errors[0].quantile(0.9) < 25


def test_baking_takes_one_mesh_at_a_time(generator: Generator) -> None:
    mesh = generator.mesh(styles_of_seeds(generator, [0, 1], 1.0)[0]).mesh
    with pytest.raises(ValueError, match="expected a batch of one mesh, got 2"):
        bake(mesh, checker)


def test_a_glb_keeps_counts_and_image(tmp_path: Path) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = Mesh.single(vertices, torch.tensor([[0, 1, 2]]))
    baked = bake(mesh, lambda points: torch.full((len(points), 3), 0.25), 64).mesh
    write_glb(tmp_path / "triangle.glb", baked)
    read = read_mesh(tmp_path / "triangle.glb")
    assert len(read.parts) == 1
    assert read.parts[0].faces.shape == (1, 3)


def test_a_conditional_network_shows_its_classes_in_turn() -> None:
    torch.manual_seed(0)
    conditional = Generator(tiny.config().model_copy(update={"classes": 3})).eval().requires_grad_(False)
    w_geo, _ = styles_of_seeds(conditional, [0, 3, 1], 1.0)
    z_geo, z_tex = latents([0, 3, 1], conditional.config.mapping.z_dim)
    expected, _ = conditional.map(z_geo, z_tex, labels=torch.tensor([0, 0, 1]))
    torch.testing.assert_close(w_geo, expected)
    other, _ = conditional.map(z_geo, z_tex, labels=torch.tensor([0, 1, 1]))
    assert not torch.equal(w_geo[1], other[1])
