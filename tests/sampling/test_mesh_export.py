"""One sample as files: formats, levels of detail, placement, and what the files say of themselves."""

import json
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from sampling.mesh_export import MeshSettings, texture_colors, write_sample
from sampling.styles import styles_of_seeds
from sampling.texture_baking import ColorField
from tests.training import tiny
from torch_utils.errors import UserError


@pytest.fixture(scope="module")
def sample() -> tuple[Mesh, ColorField]:
    generator = tiny.rough_generator(cells=12).eval().requires_grad_(False)
    w_geo, w_tex = styles_of_seeds(generator, [0], 1.0)
    geometry_planes, texture_planes = generator.planes(w_geo, w_tex)
    mesh = generator.surface(geometry_planes, w_geo).mesh
    return mesh, texture_colors(partial(generator.texture, texture_planes, w_tex))


def document(path: Path) -> dict:
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    return json.loads(data[20 : 20 + length])


def bounds(path: Path) -> np.ndarray:
    return np.array(trimesh.load_scene(path, process=False).bounds)


@pytest.mark.parametrize("file_format", ["glb", "obj", "ply", "stl"])
def test_every_format_holds_the_same_shape(sample, file_format, tmp_path) -> None:
    mesh, colors = sample
    settings = MeshSettings(file_format, 64, faces=300)
    record = write_sample(tmp_path, "seed0003", mesh, colors, settings)
    assert (record["faces"], record["closed"]) == (300, True)
    read = read_mesh(tmp_path / f"seed0003.{file_format}")
    assert read.num_faces == 300
    np.testing.assert_allclose(bounds(tmp_path / record["files"][-1] if file_format != "obj" else
        tmp_path / "seed0003.obj")[0, 1], 0, atol=1e-5)  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(record["files"])


def test_a_ply_has_the_colors_of_the_texture_field(sample, tmp_path) -> None:
    mesh, colors = sample
    write_sample(tmp_path, "a", mesh, colors, MeshSettings("ply", faces=None, pivot="source"))
    (part,) = read_mesh(tmp_path / "a.ply").parts
    assert part.vertex_colors is not None
    wanted = colors(torch.from_numpy(part.vertices).float()).numpy()
    np.testing.assert_allclose(part.vertex_colors[:, :3], wanted, atol=3e-3)


def test_splats_lie_on_the_surface_and_face_outward(sample, tmp_path) -> None:
    mesh, colors = sample
    write_sample(tmp_path, "a", mesh, colors, MeshSettings("splats", pivot="source"), about={"seed": 3})
    data = (tmp_path / "a.splats.ply").read_bytes()
    header, _, body = data.partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property")]
    assert b"comment seed 3" in header
    table = np.frombuffer(body, "<f4").reshape(-1, len(names))
    columns = {name: table[:, k] for k, name in enumerate(names)}
    rgb = np.stack([columns[f"f_dc_{k}"] for k in range(3)], 1) * 0.28209479177387814 + 0.5
    points = np.stack([columns[k] for k in "xyz"], 1)
    np.testing.assert_allclose(rgb, colors(torch.from_numpy(points)).numpy(), atol=1e-4)
    w, x, y, z = (columns[f"rot_{k}"].astype(float) for k in range(4))
    turned = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1)
    normals = np.stack([columns[f"n{k}"] for k in "xyz"], 1)
    np.testing.assert_allclose(turned, normals, atol=1e-5)
    assert (columns["scale_2"] < columns["scale_0"] - 2).all(), "flat along the normal"


@pytest.mark.parametrize(
    ("pivot", "height", "low", "high"),
    [("floor", 2.0, 0.0, 2.0), ("center", 2.0, -1.0, 1.0), ("floor", None, 0.0, None)],
)
def test_pivot_and_height_are_kept_and_recorded(sample, pivot, height, low, high, tmp_path) -> None:
    mesh, colors = sample
    settings = MeshSettings("glb", 64, faces=None, pivot=pivot, height_m=height)
    record = write_sample(tmp_path, "a", mesh, colors, settings)
    (part,) = read_mesh(tmp_path / "a.glb").parts
    found = part.vertices
    assert abs(found[:, 1].min() - low) < 1e-5
    if high is not None:
        assert abs(found[:, 1].max() - high) < 1e-5
    for axis in (0, 2):
        assert abs(found[:, axis].min() + found[:, axis].max()) < 1e-5
    matrix = np.array(record["world_to_file"])
    moved = mesh.vertices.double().numpy() @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(moved.min(0), found.min(0), atol=1e-5)
    np.testing.assert_allclose(moved.max(0), found.max(0), atol=1e-5)


def test_levels_of_detail_halve_faces_and_texture(sample, tmp_path) -> None:
    mesh, colors = sample
    record = write_sample(tmp_path, "a", mesh, colors, MeshSettings("glb", 128, faces=400, lods=3))
    assert record["files"] == ["a.glb", "a_lod1.glb", "a_lod2.glb"]
    read = [read_mesh(tmp_path / name) for name in record["files"]]
    assert [each.num_faces for each in read] == [400, 200, 100]
    assert [each.parts[0].material.image.shape[0] for each in read] == [128, 64, 32]


def test_a_glb_says_what_made_it_and_holds_the_normal_map(sample, tmp_path) -> None:
    mesh, colors = sample
    about = {"shape_seed": 3, "network": "chair-128", "license": "Apache-2.0"}
    write_sample(tmp_path, "seed0003", mesh, colors, MeshSettings("glb", 64, faces=300, normal_map=True), about=about)
    made = document(tmp_path / "seed0003.glb")
    assert made["asset"]["copyright"] == "Apache-2.0"
    assert made["asset"]["extras"] == made["nodes"][0]["extras"]
    assert made["asset"]["extras"].items() >= about.items() and "world_to_file" in made["asset"]["extras"]
    assert {made[key][0]["name"] for key in ("nodes", "meshes", "materials")} == {"seed0003"}
    assert "TANGENT" in made["meshes"][0]["primitives"][0]["attributes"]
    assert made["materials"][0]["normalTexture"]["index"] == 1


@pytest.mark.parametrize(("option", "extension"), [({"draco": True}, "KHR_draco_mesh_compression"),
                                                   ({"image_format": "webp"}, "EXT_texture_webp")])  # fmt: skip
def test_compressed_files_read_back(sample, option, extension, tmp_path) -> None:
    mesh, colors = sample
    write_sample(tmp_path, "plain", mesh, colors, MeshSettings("glb", 64, faces=300))
    write_sample(tmp_path, "small", mesh, colors, MeshSettings("glb", 64, faces=300, **option))
    assert document(tmp_path / "small.glb")["extensionsRequired"] == [extension]
    plain, small = (read_mesh(tmp_path / f"{name}.glb").parts[0] for name in ("plain", "small"))
    assert len(small.faces) == len(plain.faces)
    np.testing.assert_allclose(small.vertices.min(0), plain.vertices.min(0), atol=1e-3)
    np.testing.assert_array_equal(small.material.image, plain.material.image)


def test_an_open_mesh_is_refused_if_watertight_ones_are_wanted(sample, tmp_path) -> None:
    mesh, colors = sample
    opened = Mesh.single(mesh.vertices, mesh.faces[1:])
    record = write_sample(tmp_path, "a", opened, colors, MeshSettings("glb", 64, watertight=True))
    assert record == {"files": [], "refused": "it is not watertight"} and not list(tmp_path.iterdir())
    assert write_sample(tmp_path, "a", mesh, colors, MeshSettings("glb", 64, watertight=True))["closed"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (MeshSettings("obj", draco=True), "--draco and --webp are for GLB"),
        (MeshSettings("stl", normal_map=True), "holds no normal map"),
        (MeshSettings("splats", lods=2), "no levels of detail"),
    ],
)
def test_options_that_exclude_each_other(settings, message) -> None:
    with pytest.raises(UserError, match=message):
        settings.check()


def test_obj_files_of_alike_names_have_their_own_textures(sample, tmp_path) -> None:
    mesh, colors = sample
    for step, factor in (("-1", 0.0), ("+1", 1.0)):
        record = write_sample(
            tmp_path, f"shape-1_{step}", mesh, lambda p, factor=factor: colors(p) * factor, MeshSettings("obj", 64)
        )
        assert record["files"] == [f"shape-1_{step}{ending}" for ending in (".mtl", ".obj", ".png")]
    dark, bright = (read_mesh(tmp_path / f"shape-1_{step}.obj").parts[0].material.image for step in ("-1", "+1"))
    assert not dark.any() and bright.any()


def test_the_files_of_an_obj_have_names_that_mtl_can_hold(sample, tmp_path) -> None:
    mesh, colors = sample
    for name in ("-my chair #1", "stuhl ä"):
        record = write_sample(tmp_path, name, mesh, colors, MeshSettings("obj", 64))
        assert len(record["files"]) == 3 and all((tmp_path / file).is_file() for file in record["files"])
        read = read_mesh(tmp_path / f"{name}.obj")
        assert read.warnings == () and read.parts[0].material.image is not None
