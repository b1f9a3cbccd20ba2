"""Metallic-roughness renders of datasets: true materials, environments, what is recorded."""

import json

import numpy as np
import pytest
import torch

from dataset_tool.procedural.categories import make_shape
from dataset_tool.procedural.write import write_shape_folder
from dataset_tool.render.lights import check_light, light_facts, light_indices
from dataset_tool.render.render_shape import render_shape, shape_seed
from dataset_tool.sources.find_shapes import find_shapes
from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMaterial
from mesh_io.write import write_glb
from rendering.environment_file import write_environment
from rendering.environment_light import environment_light
from rendering.look import Look
from tests.dataset_tool.shapes import settings
from tests.rendering.scenes import orbit
from tests.rendering.test_textured_views import images, plane
from torch_utils.errors import UserError


def test_procedural_materials_are_written_and_rendered(tmp_path):
    shape = make_shape("chair", 0, 4)
    write_shape_folder(shape, tmp_path / "chairs" / "03001627" / "abc", {})
    path = tmp_path / "chairs/03001627/abc/models/model_normalized.obj"
    wanted = {name: (m.metallic, round(m.roughness, 2)) for name, m in shape.materials.items()}
    read = {p.material.name: (p.material.metallic, p.material.roughness) for p in read_mesh(path).parts}
    assert read == {name: wanted[name] for name in read}
    source = find_shapes(tmp_path / "chairs")[0]
    record, _ = render_shape(source, settings(32, shading="pbr", light="random", extras=("material",), views=2))
    assert record.meta["lights"] == light_indices("random", shape_seed(0, source.id), 2)
    again, _ = render_shape(source, settings(32, shading="pbr", light="random", extras=("material",), views=2))
    assert np.array_equal(record.images, again.images)
    material = record.extras["material.npz"]["material"]
    inside = record.images[..., 3] == 255
    found = {tuple(row) for row in material[inside].tolist()}
    true = {(round(m * 255), round(r * 255)) for m, r in read.values()}
    assert found & true, "pixels inside one part have its values"
    assert material[..., 1][inside].min() >= min(r for _, r in true) - 1


def test_textures_of_metallic_and_roughness_are_read_and_seen(tmp_path):
    corners = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    uvs = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    halves = torch.zeros(16, 16, 2)
    halves[:, 8:, 0], halves[..., 1] = 1, 0.25
    mesh = Mesh.single(
        corners,
        torch.tensor([[0, 1, 2], [0, 2, 3]]),
        uvs=uvs,
        textures={"base_color": torch.full((16, 16, 3), 0.5), "metallic_roughness": halves},
    )
    write_glb(tmp_path / "plate.glb", mesh)
    assert read_mesh(tmp_path / "plate.glb").parts[0].material.surface_image is None
    part = read_mesh(tmp_path / "plate.glb", surfaces=True).parts[0]
    image = part.material.surface_image
    assert image is not None and image[0, 0].tolist()[1:] == [64, 0] and image[0, 15].tolist()[1:] == [64, 255]
    assert part.material.index == 0
    lit = environment_light(torch.ones(16, 32, 3) * 0.5)
    seen = images(part, look=Look("pbr", environments=[lit]))[0]
    dielectric, metal = seen[16, 10, :3], seen[16, 22, :3]
    # In a uniform room: half of the reflected share, 0.214 linear base color.
    assert abs(int(metal[0]) - 93) <= 3
    assert dielectric[0] > metal[0] + 2, "the coat adds to the diffuse base"


def test_each_view_has_its_own_environment():
    white = plane(SourceMaterial(roughness=1.0))
    rooms = [environment_light(torch.full((8, 16, 3), value)) for value in (0.2, 0.5)]
    seen = images(white, cameras=orbit([0.0, 0.0]), look=Look("pbr", environments=rooms))[:, 16, 16, 0]
    assert seen.tolist() == pytest.approx([124, 188], abs=2)
    with pytest.raises(ValueError, match="expected 1 or 2 environments"):
        images(white, cameras=orbit([0.0, 0.0]), look=Look("pbr"))


def test_lights_are_checked_and_recorded(tmp_path):
    for shading in ("albedo", "normals"):
        check_light("studio", shading)
        with pytest.raises(UserError, match=f"--light random: --shading {shading} has no light"):
            check_light("random", shading)
    with pytest.raises(UserError, match="--shading pbr"):
        check_light("random", "soft")
    with pytest.raises(UserError, match="sky"):
        check_light("sky", "pbr")
    with pytest.raises(UserError, match="no such file"):
        check_light("room.hdr", "pbr")
    write_environment(tmp_path / "room.hdr", torch.ones(4, 8, 3))
    check_light(str(tmp_path / "room.hdr"), "pbr")
    facts = settings(32, shading="pbr", light=str(tmp_path / "room.hdr")).facts()
    assert facts["shading"] == "pbr" and facts["light"] == "room.hdr" and len(facts["light_sha256"]) == 64
    assert json.loads(json.dumps(light_facts("random")))["lights"] == 64
    assert light_indices("random", 5, 8) != light_indices("random", 6, 8)
    assert light_indices("studio", 5, 8) == []
