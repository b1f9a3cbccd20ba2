"""Written files: read back exactly, valid in their formats, complete or absent."""

import json
import os
import re
import struct

import numpy as np
import pytest
import torch

from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from mesh_io.write import write_glb, write_mesh, write_obj, write_usdz
from torch_utils.errors import UserError


def textured(vertices=60, faces=90, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    indices = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(faces)])
    normals = torch.randn(vertices, 3, generator=generator)
    normals[3] = 0  # a degenerate normal must not reach the file
    attributes = {
        "uvs": torch.rand(vertices, 2, generator=generator),
        "normals": normals,
        "textures": {"base_color": torch.rand(8, 4, 3, generator=generator)},
    }
    return Mesh.single(torch.randn(vertices, 3, generator=generator), indices, **{**attributes, **changes})


def parsed(path):
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and 28 + size + binary_size == length
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def rows(part):
    """Every corner of every face as one row: place, uv and normal."""
    values = np.concatenate([part.vertices, part.uvs, part.normals], axis=1)[part.faces]
    return values.reshape(len(part.faces), -1)


def expected_rows(mesh):
    normals = torch.nn.functional.normalize(mesh.normals, dim=1)
    normals[3] = torch.tensor([0.0, 1.0, 0.0])
    return torch.cat([mesh.vertices, mesh.uvs, normals], 1)[mesh.faces.long()].flatten(1).numpy()


@pytest.mark.parametrize("write", [write_glb, write_obj, write_usdz])
def test_round_trip(tmp_path, write, request):
    if write is write_usdz:
        pytest.importorskip("pxr", reason="usd-core is not installed")
    mesh = textured()
    file = tmp_path / f"a b{'.' + write.__name__.removeprefix('write_')}"
    write(file, mesh)
    back = read_mesh(file)
    assert back.warnings == () and len(back.parts) == 1
    part = back.parts[0]
    if write is write_usdz:  # its normals are not read back
        np.testing.assert_allclose(part.vertices[part.faces], mesh.vertices[mesh.faces.long()], rtol=1e-6)
        np.testing.assert_allclose(part.uvs[part.faces], mesh.uvs[mesh.faces.long()], atol=1e-6)
    else:
        np.testing.assert_allclose(rows(part), expected_rows(mesh), atol=3e-7)
        if write is write_glb:
            np.testing.assert_array_equal(part.vertices[part.faces], mesh.vertices[mesh.faces.long()].double())
    image = (mesh.textures["base_color"] * 255).round().byte().numpy()
    np.testing.assert_array_equal(part.material.image, image)
    assert part.material.base_color == (1, 1, 1, 1) and part.material.alpha_mode == "OPAQUE"


def test_glb_structure(tmp_path):
    mesh = textured(faces=91)  # 546 bytes of indices: what follows must be padded
    write_glb(tmp_path / "a.glb", mesh, name="chair 3")
    document, binary = parsed(tmp_path / "a.glb")
    assert document["nodes"] == [{"mesh": 0, "name": "chair 3"}] and "extensionsUsed" not in document
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    assert document["buffers"] == [{"byteLength": len(binary)}]
    primitive = document["meshes"][0]["primitives"][0]
    position = document["accessors"][primitive["attributes"]["POSITION"]]
    used = mesh.vertices[mesh.faces.unique().long()]
    assert np.float32(position["min"]).tolist() == used.min(0).values.tolist()
    assert np.float32(position["max"]).tolist() == used.max(0).values.tolist()
    accessor = document["accessors"][primitive["attributes"]["NORMAL"]]
    view = document["bufferViews"][accessor["bufferView"]]
    normals = np.frombuffer(binary, np.float32, accessor["count"] * 3, view["byteOffset"]).reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    material = document["materials"][0]["pbrMetallicRoughness"]
    assert (material["metallicFactor"], material["roughnessFactor"]) == (0, 1)


def test_index_width_follows_the_vertices(tmp_path):
    for vertices, component in ((65535, 5123), (65536, 5125)):
        faces = torch.arange(vertices - vertices % 3).reshape(-1, 3)
        faces = torch.cat([faces, torch.arange(vertices - 3, vertices)[None]])
        positions = torch.rand(vertices, 3, generator=torch.Generator().manual_seed(0))
        write_glb(tmp_path / "a.glb", Mesh.single(positions, faces))
        document, _ = parsed(tmp_path / "a.glb")
        accessor = document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]
        assert (accessor["componentType"], accessor["count"]) == (component, faces.numel())
        assert read_mesh(tmp_path / "a.glb").num_vertices == vertices


def test_unlit_and_metallic_roughness(tmp_path):
    surfaces = torch.zeros(2, 2, 2)
    surfaces[..., 0], surfaces[..., 1] = 1.0, 0.2
    mesh = textured(textures={"base_color": torch.rand(8, 4, 4), "metallic_roughness": surfaces})
    write_glb(tmp_path / "a.glb", mesh)
    document, binary = parsed(tmp_path / "a.glb")
    material = document["materials"][0]
    assert material["alphaMode"] == "BLEND" and "extensions" not in material
    texture = material["pbrMetallicRoughness"]["metallicRoughnessTexture"]["index"]
    view = document["bufferViews"][document["images"][document["textures"][texture]["source"]]["bufferView"]]
    from io import BytesIO

    from PIL import Image

    pixels = np.asarray(Image.open(BytesIO(binary[view["byteOffset"] :][: view["byteLength"]])))
    np.testing.assert_array_equal(pixels[0, 0], [255, 51, 255])  # roughness in green, metallic in blue
    write_glb(tmp_path / "b.glb", mesh, unlit=True)
    document, _ = parsed(tmp_path / "b.glb")
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert "KHR_materials_unlit" in document["materials"][0]["extensions"]
    assert read_mesh(tmp_path / "b.glb").parts[0].material.unlit
    part = read_mesh(tmp_path / "a.glb").parts[0]
    assert part.material.image.shape == (8, 4, 4) and part.material.alpha_mode == "BLEND"


def test_collapsed_faces_and_unused_vertices_are_dropped(tmp_path):
    """The box in the file is then that of the visible mesh."""
    vertices = torch.tensor([[9.0, 9, 9], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = torch.tensor([[1, 2, 3], [2, 2, 3]])
    for write, name in ((write_glb, "a.glb"), (write_obj, "a.obj")):
        write(tmp_path / "deep" / name, Mesh.single(vertices, faces))
        mesh = read_mesh(tmp_path / "deep" / name)
        assert (mesh.num_faces, mesh.num_vertices) == (1, 3) and mesh.parts[0].normals is None
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.glb", "a.obj"]
    document, _ = parsed(tmp_path / "deep" / "a.glb")
    assert document["accessors"][0]["max"] == [1, 1, 0]
    assert document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]["count"] == 3


def test_the_ending_chooses_the_format(tmp_path):
    mesh = textured()
    write_mesh(tmp_path / "a.glb", mesh, unlit=True)
    write_glb(tmp_path / "b.glb", mesh, unlit=True, name="a")
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    write_mesh(tmp_path / "a.obj", mesh)
    assert read_mesh(tmp_path / "a.obj").num_faces == read_mesh(tmp_path / "a.glb").num_faces
    with pytest.raises(UserError, match=r"a\.fbx: .* ends in \.glb, \.obj, \.usdz, \.ply or \.stl"):
        write_mesh(tmp_path / "a.fbx", mesh)


def test_names_and_texts_that_utf_8_cannot_express(tmp_path):
    path = tmp_path / os.fsdecode(b"stuhl \xfc.glb")
    write_mesh(path, textured(), about={"prompt": "\udcfc"})
    document, _ = parsed(path)
    assert document["nodes"][0]["name"] == path.stem and document["asset"]["extras"] == {"prompt": "\udcfc"}


def test_obj_names_its_files_without_spaces(tmp_path):
    for name in ("my chair (2)", "-x", "stuhl ä"):
        write_obj(tmp_path / f"{name}.obj", textured())
        ending = re.search(r"mtllib (\S+)\.mtl", (tmp_path / f"{name}.obj").read_text())
        assert ending and re.fullmatch(r"\w[\w-]*", ending[1], re.ASCII)
        assert (tmp_path / f"{ending[1]}.png").is_file()
        assert read_mesh(tmp_path / f"{name}.obj").warnings == ()


def test_obj_files_of_alike_names_keep_their_own_textures(tmp_path):
    colors = {"a b": 0.2, "a_b": 0.8, "a#b": 0.6}
    for name, color in colors.items():
        mesh = textured()
        write_obj(tmp_path / f"{name}.obj", mesh.replace(textures={"base_color": torch.full((4, 4, 3), color)}))
    for name, color in colors.items():
        image = read_mesh(tmp_path / f"{name}.obj").parts[0].material.image
        assert (image == round(255 * color)).all()


def test_what_cannot_be_written(tmp_path):
    mesh = textured()
    with pytest.raises(ValueError, match=r"write_glb\(\): expected a batch of 1 mesh, got 2"):
        write_glb(tmp_path / "a.glb", Mesh.pack([mesh, mesh]))
    with pytest.raises(ValueError, match=r"expected a mesh with faces"):
        write_obj(tmp_path / "a.obj", Mesh.single(mesh.vertices, mesh.faces[:0]))
    with pytest.raises(ValueError, match="expected finite vertices"):
        write_glb(tmp_path / "a.glb", mesh.replace(vertices=mesh.vertices * float("nan")))
    with pytest.raises(ValueError, match="expected uvs for texture 'base_color'"):
        write_glb(tmp_path / "a.glb", mesh.replace(uvs=None))
    with pytest.raises(ValueError, match=r"expected texture 'base_color' \[H, W, 3 or 4\], got \(8, 4, 1\)"):
        write_glb(tmp_path / "a.glb", mesh.replace(textures={"base_color": torch.rand(8, 4, 1)}))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written"):
        write_glb(tmp_path / "file" / "a.glb", mesh)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.glb"
    write_glb(file, textured())
    before = file.read_bytes()

    def full(self, data):
        self.open("wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        write_glb(file, textured(seed=1))
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["a.glb"]


def test_usdz_without_usd_core_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pxr", None)
    with pytest.raises(UserError, match=r"pip install -c constraints\.txt usd-core"):
        write_usdz(tmp_path / "a.usdz", textured())
    (tmp_path / "a.usda").write_text("#usda 1.0\n")
    with pytest.raises(UserError, match=r"pip install -c constraints\.txt usd-core"):
        read_mesh(tmp_path / "a.usda")
