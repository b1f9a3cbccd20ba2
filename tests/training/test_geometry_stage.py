"""The geometry stage: shapes alone learn, from images of normals that look as a dataset's views of normals do."""

import pytest
import torch

from dataset_tool.dataset import open_dataset
from dataset_tool.format.dataset_json import Header
from dataset_tool.format.writer import write_header
from geometry.normals import face_normals
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart
from networks.generator import Generator
from rendering.deferred import composite, rasterize_mesh, visible_normals
from rendering.lighting import normal_colors
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from tests.command_line import assert_refused, run
from tests.rendering.scenes import orbit
from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import MinibatchSource, draw_latents
from training.fakes import render_fakes
from training.train_state import build_train_state

STAGE = {"stage": "geometry"}


def dataset_of_normals(root):
    """The tiny dataset, said to show normals."""
    tiny.write_dataset(root)
    header = open_dataset(root).header
    write_header(root, Header(**{**vars(header), "renderer": {"name": "built-in", "shading": "normals"}}))
    return root


def test_shapes_alone_learn():
    settings = tiny.config(training=STAGE, loss={"color_weight": 0.3})
    before = build_train_state(settings, Ranks()).generator.state_dict()
    state, figures = tiny.run_steps(settings, 2)
    assert state.color_discriminator is None, "normals are no colors"
    texture = set(state.generator.texture_parameters())
    for name, value in state.generator.state_dict().items():
        moved = not torch.equal(before[name], value)
        assert moved == (name not in texture), name
    assert {"loss/generator_rgb", "loss/generator_mask"} <= set(figures)


def test_the_discriminators_see_no_texture():
    settings = tiny.config(training=STAGE)
    state, source = build_train_state(settings, Ranks()), MinibatchSource(settings, tiny.data(settings), Ranks())
    batch, side = source.draw(0, 0), settings.data.resolution
    with torch.no_grad():
        seen = render_fakes(state.generator, batch, settings, side)[0].rgb
        for parameter in state.generator.texture_parameters().values():
            parameter.add_(1)
        assert torch.equal(render_fakes(state.generator, batch, settings, side)[0].rgb, seen)
    assert seen.std() > 0.1


def test_views_of_normals_and_generated_ones_are_the_same_images(tmp_path):
    """The dataset tool and the generator draw one surface alike, up to rounding to bytes."""
    generator = Generator(tiny.config()).eval()
    latents = draw_latents(0, range(1), generator.config.mapping.z_dim)
    cameras = orbit([20.0, 200.0], 25.0)
    with torch.no_grad():
        w_geo, _ = generator.map(latents.geometry, latents.texture)
        rendered = generator.render_normals(w_geo, cameras, 64, 2)
    mesh = rendered.surface.mesh
    part = SourcePart(mesh.vertices.numpy(), mesh.faces.numpy(), SourceMaterial())
    views = render_views(build_scene(SourceMesh(tmp_path, (part,))), cameras, 64, Look("normals")).images
    drawn = torch.cat([(rendered.rgb + 1) / 2, rendered.mask], 1).permute(0, 2, 3, 1)
    real = torch.from_numpy(views).float() / 255
    real[..., :3] *= real[..., 3:]  # views are stored with straight alpha
    assert (drawn[..., 3] > 0.99).sum() > 200
    assert (drawn - real).abs().max() < 1.5 / 255


def test_gradients_of_normals_are_those_of_differences():
    """Inside the outline, where coverage is constant, the colors follow the vertices through the normals alone."""
    generator = Generator(tiny.config()).eval()
    latents = draw_latents(0, range(1), generator.config.mapping.z_dim)
    with torch.no_grad():
        mesh = generator.mesh(generator.map(latents.geometry, latents.texture)[0]).mesh
    mesh = mesh.replace(vertices=mesh.vertices.double())
    weights = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def total(vertices):
        raster = rasterize_mesh(mesh.replace(vertices=vertices), orbit([20.0], 25.0), 32)
        normals = visible_normals(raster, orbit([20.0], 25.0), face_normals(raster.mesh))
        rgb, mask = composite(raster, normal_colors(normals))
        assert (mask > 0.999).sum() > 50
        return (rgb * weights * (mask > 0.999)).sum()

    vertices = mesh.vertices.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(vertices), vertices)
    step = torch.zeros_like(mesh.vertices)
    step[:, 2] = 1e-7
    step *= torch.randn(len(step), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = total(mesh.vertices + step) - total(mesh.vertices - step)
    assert float(difference) == pytest.approx(float(2 * (gradient * step).sum()), rel=0.02)


def test_a_run_of_normals_then_textures(tmp_path):
    """From views of normals to a network, whose shapes a texture stage keeps."""
    normals, colors = dataset_of_normals(tmp_path / "normals"), tiny.write_dataset(tmp_path / "colors")
    config = tiny.write_config(tmp_path / "tiny.yaml", training=STAGE)
    outcome = run("train", "--config", config, "--data", normals, "--out", tmp_path / "shapes")
    assert outcome.status == 0, outcome.stderr
    assert (tmp_path / "shapes" / "network.safetensors").is_file()
    options = [f"training.{name}" for name in ("stage=texture", "texture_shapes=12")]
    settings = [part for option in options for part in ("--set", option)]
    outcome = run("train", "--init", tmp_path / "shapes", "--data", colors, "--out", tmp_path / "textured", *settings)
    assert outcome.status == 0, outcome.stderr


def test_views_of_the_wrong_kind_are_refused(tmp_path, data):
    normals = dataset_of_normals(tmp_path / "normals")
    geometry = tiny.write_config(tmp_path / "geometry.yaml", training=STAGE)
    joint = tiny.write_config(tmp_path / "joint.yaml")
    outcome = run("train", "--config", geometry, "--data", data, "--out", tmp_path / "run")
    assert_refused(outcome, "--shading normals")
    outcome = run("train", "--config", joint, "--data", normals, "--out", tmp_path / "run")
    assert_refused(outcome, "training.stage=geometry")
    assert not (tmp_path / "run").exists()
