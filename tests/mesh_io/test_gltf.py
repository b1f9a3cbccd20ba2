"""glTF and GLB: the specification, and errors for broken files."""

import json

import numpy as np
import pytest

from mesh_io.read import read_mesh
from tests.mesh_io.build import SQUARE, SQUARE_FACES, TRIANGLE, Gltf, color_square, glb, save_image
from torch_utils.errors import UserError

UVS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def corners(part):
    """Triangles as positions [F, 3, 3], each starting at its smallest corner, sorted."""
    triangles = []
    for face in part.vertices[part.faces]:
        start = min(range(3), key=lambda i, face=face: tuple(face[i]))
        triangles.append([tuple(face[(start + i) % 3]) for i in range(3)])
    return sorted(triangles)


def normal(part):
    a, b, c = part.vertices[part.faces[0]]
    return np.cross(b - a, c - a)


@pytest.mark.parametrize("name", ["a.glb", "a.gltf"])
def test_plain_mesh(tmp_path, name):
    builder = Gltf()
    mesh = read_mesh(builder.scene(builder.primitive()).save(tmp_path / name))
    assert mesh.up == "+Y" and mesh.warnings == () and mesh.num_faces == 2
    np.testing.assert_array_equal(mesh.bounds(), [[0, 0, 0], [1, 1, 0]])
    assert mesh.parts[0].material.base_color == (1, 1, 1, 1) and not mesh.colored


def test_factor_is_linear_in_the_file_and_srgb_here(tmp_path):
    builder = Gltf()
    primitive = builder.primitive(material=0)
    factor = [0.21404114, 1.0, 0.0, 0.25]
    materials = [{"pbrMetallicRoughness": {"baseColorFactor": factor, "metallicFactor": 0.5}, "alphaMode": "BLEND"}]
    part = read_mesh(builder.scene(primitive, materials=materials).save(tmp_path / "a.glb")).parts[0]
    np.testing.assert_allclose(part.material.base_color, [0.5, 1, 0, 0.25], atol=1e-6)
    assert part.material.alpha_mode == "BLEND" and part.material.metallic == 0.5 and part.material.roughness is None


def test_strip_and_fan_are_the_triangles_of_the_list(tmp_path):
    found = {}
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, 0]], np.float32)
    fan = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [-1, 1, 0]], np.float32)
    cases = {
        "strip": (5, points, None),
        "strip list": (4, points, np.array([0, 1, 2, 2, 1, 3, 2, 3, 4], np.uint8)),
        "fan": (6, fan, None),
        "fan list": (4, fan, np.array([0, 1, 2, 0, 2, 3, 0, 3, 4], np.uint32)),
    }
    for name, (mode, positions, indices) in cases.items():
        builder = Gltf()
        scene = builder.scene(builder.primitive(positions, indices, mode=mode))
        found[name] = corners(read_mesh(scene.save(tmp_path / "a.glb")).parts[0])
    assert found["strip"] == found["strip list"] and len(found["strip"]) == 3
    assert found["fan"] == found["fan list"] and len(found["fan"]) == 3


def test_points_and_lines_are_not_faces(tmp_path):
    builder = Gltf()
    scene = builder.scene(builder.primitive(mode=0), builder.primitive(TRIANGLE, None, mode=4))
    assert read_mesh(scene.save(tmp_path / "a.glb")).num_faces == 1
    builder = Gltf()
    with pytest.raises(UserError, match=r"a\.glb: has no faces"):
        read_mesh(builder.scene(builder.primitive(mode=1)).save(tmp_path / "a.glb"))


def test_nodes_are_placed_and_mirrors_stay_outward(tmp_path):
    half = 0.5**0.5
    nodes = [
        {"children": [1, 2], "translation": [10, 0, 0]},
        {"mesh": 0, "rotation": [0, 0, half, half], "scale": [2, 1, 1]},  # a quarter turn about z
        {"mesh": 0, "scale": [-1, 1, 1]},
    ]
    builder = Gltf()
    first, second = read_mesh(builder.scene(builder.primitive(), nodes=nodes).save(tmp_path / "a.glb")).parts
    np.testing.assert_allclose([first.vertices.min(0), first.vertices.max(0)], [[9, 0, 0], [10, 2, 0]], atol=1e-6)
    np.testing.assert_allclose([second.vertices.min(0), second.vertices.max(0)], [[9, 0, 0], [10, 1, 0]])
    assert normal(first)[2] > 0 and normal(second)[2] > 0


def test_matrix_is_column_major(tmp_path):
    matrix = [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1]
    builder = Gltf()
    scene = builder.scene(builder.primitive(), nodes=[{"mesh": 0, "matrix": matrix}])
    np.testing.assert_allclose(read_mesh(scene.save(tmp_path / "a.glb")).bounds(), [[5, 6, 7], [7, 7, 7]])


def test_vertex_colors_are_linear_in_the_file(tmp_path):
    builder = Gltf()
    bytes_ = builder.accessor(np.array([[55, 255, 0, 255]] * 4, np.uint8), normalized=True)
    floats = np.array([[0.21404114, 1, 0]] * 4, np.float32)
    scene = builder.scene(builder.primitive(COLOR_0=bytes_), builder.primitive(SQUARE + 2, COLOR_0=floats))
    first, second = read_mesh(scene.save(tmp_path / "a.glb")).parts
    np.testing.assert_allclose(first.vertex_colors[0], [0.5018, 1, 0, 1], atol=1e-3)
    np.testing.assert_allclose(second.vertex_colors[0], [0.5, 1, 0, 1], atol=1e-6)


def test_texture_with_its_uv_set_wrap_and_factor(tmp_path):
    save_image(tmp_path / "tex ture.png")
    info = {"index": 0, "texCoord": 1}
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": info, "baseColorFactor": [1, 0.21404114, 1, 1]}}]
    builder = Gltf().texture({"uri": "tex%20ture.png"}, wrapS=33071, wrapT=33648, magFilter=9728)
    uvs = builder.accessor((UVS * 65535).astype(np.uint16), normalized=True)
    primitive = builder.primitive(material=0, TEXCOORD_0=UVS * 0, TEXCOORD_1=uvs)
    mesh = read_mesh(builder.scene(primitive, materials=materials).save(tmp_path / "a.gltf"))
    part = mesh.parts[0]
    np.testing.assert_array_equal(part.material.image, color_square())
    np.testing.assert_allclose(part.uvs, UVS)
    np.testing.assert_allclose(part.material.base_color[:3], [1, 0.5, 1], atol=1e-6)
    assert part.material.wrap == ("clamp", "mirror") and part.material.nearest and mesh.warnings == ()


def test_images_inside_the_file_are_shared(tmp_path):
    image = save_image(tmp_path / "t.png").read_bytes()
    builder = Gltf()
    builder.texture({"bufferView": builder.view(image), "mimeType": "image/png"})
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}} for _ in range(2)]
    primitives = [builder.primitive(SQUARE + i, TEXCOORD_0=UVS, material=i) for i in range(2)]
    first, second = read_mesh(builder.scene(*primitives, materials=materials).save(tmp_path / "a.glb")).parts
    assert first.material.image is second.material.image and first.material.image.shape == (2, 2, 3)


def test_texture_transform_is_offset_rotation_scale(tmp_path):
    save_image(tmp_path / "t.png")
    transform = {"offset": [0.5, 0.25], "rotation": np.pi / 2, "scale": [2, 3]}
    info = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    builder = Gltf().texture({"uri": "t.png"})
    primitive = builder.primitive(TEXCOORD_0=UVS, material=0)
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": info}}]
    part = read_mesh(builder.scene(primitive, materials=materials).save(tmp_path / "a.gltf")).parts[0]
    # Scaled to (2u, 3v), turned counter-clockwise on the image (v is downward): (u, v) → (v, −u), then moved.
    np.testing.assert_allclose(part.uvs, np.stack([3 * UVS[:, 1] + 0.5, -2 * UVS[:, 0] + 0.25], 1), atol=1e-6)


def test_specular_glossiness_diffuse(tmp_path):
    save_image(tmp_path / "t.png")
    gloss = {"diffuseFactor": [0.21404114, 1, 1, 1], "diffuseTexture": {"index": 0}, "glossinessFactor": 0.25}
    materials = [{"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}}]
    builder = Gltf().texture({"uri": "t.png"})
    scene = builder.scene(builder.primitive(TEXCOORD_0=UVS, material=0), materials=materials)
    material = read_mesh(scene.save(tmp_path / "a.gltf")).parts[0].material
    assert material.image is not None
    assert material.base_color[0] == pytest.approx(0.5, abs=1e-6)
    assert (material.metallic, material.roughness) == (0, 0.75)


def test_sparse_and_interleaved_accessors(tmp_path):
    builder = Gltf()
    rows = np.zeros(4, np.dtype([("position", "<f4", 3), ("normal", "<f4", 3)]))
    rows["position"], rows["normal"] = SQUARE, [0, 0, 2]
    view = builder.view(rows.tobytes(), byteStride=24)
    for offset in (0, 12):
        entry = {"bufferView": view, "byteOffset": offset, "componentType": 5126, "count": 4, "type": "VEC3"}
        builder.json["accessors"].append(entry)
    indices, values = builder.view(np.array([2], np.uint16).tobytes()), builder.view(np.float32([9, 9, 0]).tobytes())
    sparse = {
        "count": 1,
        "indices": {"bufferView": indices, "componentType": 5123},
        "values": {"bufferView": values},
    }
    builder.json["accessors"][0]["sparse"] = sparse
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1}, "indices": builder.accessor(SQUARE_FACES)}
    part = read_mesh(builder.scene(primitive).save(tmp_path / "a.glb")).parts[0]
    np.testing.assert_array_equal(part.vertices, [[0, 0, 0], [1, 0, 0], [9, 9, 0], [0, 1, 0]])
    np.testing.assert_array_equal(part.normals, [[0, 0, 1]] * 4)


def skinned(weights):
    builder = Gltf()
    inverse = np.stack([np.eye(4), np.eye(4)]).astype(np.float32)
    inverse[1, 3, 0] = -1  # column-major: the second joint's bind place is x = 1
    joints = np.array([[0, 1, 0, 0]] * 4, np.uint8)
    primitive = builder.primitive(JOINTS_0=joints, WEIGHTS_0=np.asarray(weights, np.float32))
    skin = {"joints": [1, 2], "inverseBindMatrices": builder.accessor(inverse.reshape(2, 16))}
    nodes = [
        {"children": [1, 2, 3]},
        {"translation": [0, 5, 0]},
        {"translation": [1, 0, 4]},
        {"mesh": 0, "skin": 0, "translation": [100, 100, 100]},  # a skinned mesh does not follow its own node
    ]
    return builder.scene(primitive, nodes=nodes, skins=[skin])


def test_skins_are_read_in_their_rest_pose(tmp_path):
    weights = [[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0], [2, 0, 0, 0]]
    part = read_mesh(skinned(weights).save(tmp_path / "a.glb")).parts[0]
    expected = SQUARE + np.array([[0, 5, 0], [0, 0, 4], [0, 2.5, 2], [0, 5, 0]])
    np.testing.assert_allclose(part.vertices, expected)


def test_skin_with_nan_weights_is_read_with_a_warning(tmp_path):
    weights = [[np.nan] * 4, [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    mesh = read_mesh(skinned(weights).save(tmp_path / "a.glb"))
    assert np.isfinite(mesh.parts[0].vertices).all() and "joint weight" in mesh.warnings[0]


def test_morph_targets_at_their_default_weights(tmp_path):
    builder = Gltf()
    target = {"POSITION": builder.accessor(np.array([[0, 0, 8]] * 4, np.float32))}
    scene = builder.scene(builder.primitive(targets=[target]), nodes=[{"mesh": 0, "weights": [0.25]}])
    np.testing.assert_allclose(read_mesh(scene.save(tmp_path / "a.glb")).bounds()[:, 2], [2, 2])


def test_draco(tmp_path):
    draco = pytest.importorskip("DracoPy")
    data = draco.encode(
        SQUARE.astype(np.float64), SQUARE_FACES.reshape(-1, 3), quantization_bits=20, preserve_order=True
    )
    builder = Gltf()
    view = builder.view(data)
    count = {"componentType": 5126, "count": 4, "type": "VEC3"}
    builder.json["accessors"] = [count, {"componentType": 5123, "count": 6, "type": "SCALAR"}]
    extension = {"KHR_draco_mesh_compression": {"bufferView": view, "attributes": {"POSITION": 0}}}
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "extensions": extension}
    scene = builder.scene(primitive, extensionsRequired=["KHR_draco_mesh_compression"])
    mesh = read_mesh(scene.save(tmp_path / "a.glb"))
    assert mesh.num_faces == 2
    np.testing.assert_allclose(mesh.bounds(), [[0, 0, 0], [1, 1, 0]], atol=1e-4)
    builder.data[8:] = bytes(len(builder.data) - 8)
    with pytest.raises(UserError, match=r"Draco"):
        read_mesh(builder.save(tmp_path / "b.glb"))


def test_only_the_default_scene_is_read(tmp_path):
    builder = Gltf()
    scene = builder.scene(builder.primitive(), nodes=[{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}])
    scene.json |= {"scenes": [{"nodes": [0]}, {"nodes": [1]}], "scene": 1}
    assert read_mesh(scene.save(tmp_path / "a.glb")).bounds()[0, 0] == 5
    del scene.json["scenes"], scene.json["scene"]
    assert read_mesh(scene.save(tmp_path / "a.glb")).num_faces == 4


def test_missing_texture_keeps_the_factor(tmp_path):
    pbr = {"baseColorTexture": {"index": 0}, "baseColorFactor": [0, 1, 0, 1]}
    builder = Gltf().texture({"uri": "gone.png"})
    materials = [{"name": "leaf", "pbrMetallicRoughness": pbr}]
    scene = builder.scene(builder.primitive(TEXCOORD_0=UVS, material=0), materials=materials)
    mesh = read_mesh(scene.save(tmp_path / "a.gltf"))
    assert mesh.warnings == ("texture 'gone.png' of material 'leaf' is missing",)
    assert mesh.parts[0].material.image is None and mesh.parts[0].material.base_color == (0, 1, 0, 1)


def test_buffers_next_to_the_file_and_outside_the_tree(tmp_path):
    builder = Gltf()
    scene = builder.scene(builder.primitive())
    (tmp_path / "tree" / "shape").mkdir(parents=True)
    file = scene.save(tmp_path / "tree" / "shape" / "a.gltf", buffer_uri="../mesh%20data.bin")
    with pytest.raises(UserError, match=r"'\.\./mesh%20data\.bin' is missing"):
        read_mesh(file)
    (tmp_path / "tree" / "mesh data.bin").write_bytes(scene.data)
    with pytest.raises(UserError, match=r"outside the source folder; add --allow-outside"):
        read_mesh(file)
    assert read_mesh(file, root=tmp_path / "tree").num_faces == 2
    assert read_mesh(file, allow_outside=True).num_faces == 2


def test_link_out_of_the_tree_is_outside(tmp_path):
    builder = Gltf()
    (tmp_path / "tree").mkdir()
    scene = builder.scene(builder.primitive())
    (tmp_path / "secret.bin").write_bytes(scene.data)
    (tmp_path / "tree" / "a.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(UserError, match="outside the source folder"):
        read_mesh(scene.save(tmp_path / "tree" / "a.gltf", buffer_uri="a.bin"))


def broken(change):
    """A file with one thing wrong: `change` edits the builder after the scene is there."""
    builder = Gltf()
    builder.scene(builder.primitive())
    change(builder)
    return builder


def put(path, value):
    def change(builder):
        target = builder.json
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


BROKEN = {
    "cycle": (put(["nodes"], [{"children": [1]}, {"children": [0], "mesh": 0}]), "cycle"),
    "two parents": (
        put(["nodes"], [{"children": [1, 2]}, {"children": [3]}, {"children": [3]}, {"mesh": 0}]),
        "node 3 has two places, under node 2 and under node 1",
    ),
    "own child": (put(["nodes"], [{"children": [0], "mesh": 0}]), "node 0 is below itself"),
    "no such node": (put(["nodes"], [{"children": [7]}]), r"nodes\[7\], but the file has 1"),
    "no such mesh": (put(["nodes"], [{"mesh": -1}]), r"meshes\[-1\]"),
    "long accessor": (put(["accessors", 0, "count"], 50), "truncated: accessor 0 reads past"),
    "huge accessor": (put(["accessors", 0, "count"], 10**12), "claims 1000000000000 elements"),
    "long view": (put(["bufferViews", 0, "byteLength"], 9999), "truncated: buffer view 0"),
    "negative offset": (put(["bufferViews", 0, "byteOffset"], -4), "buffer view 0"),
    "network": (put(["images"], []), "has no faces"),
    "text index": (put(["accessors", 0, "componentType"], "x"), "malformed glTF"),
    "version": (put(["asset", "version"], "1.0"), "glTF version 1.0, only 2.0 is read"),
    "extension": (put(["extensionsRequired"], ["EXT_meshopt_compression"]), "needs the glTF extension EXT_meshopt"),
    "mode": (put(["meshes", 0, "primitives", 0, "mode"], 9), "primitive mode 9"),
    "no nodes": (put(["scenes"], [{"nodes": []}]), "has no faces"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_structure_is_one_clear_line(tmp_path, name):
    change, message = BROKEN[name]
    if name == "network":
        message = "not a local file"
        file = broken(lambda builder: None).save(tmp_path / "a.gltf", buffer_uri="https://example.org/a.bin")
    else:
        file = broken(change).save(tmp_path / "a.glb")
    with pytest.raises(UserError, match=message) as caught:
        read_mesh(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_used_vertices_are_finite(tmp_path, bad):
    points = np.concatenate([SQUARE, [[bad, 0, 0]]]).astype(np.float32)
    builder = Gltf()
    assert read_mesh(builder.scene(builder.primitive(points)).save(tmp_path / "a.glb")).num_vertices == 4
    builder = Gltf()
    with pytest.raises(UserError, match="1 of 4 vertices have NaN or infinite"):
        read_mesh(
            builder.scene(builder.primitive(points, np.array([0, 1, 4, 0, 1, 2], np.uint8))).save(tmp_path / "a.glb")
        )


def test_face_index_out_of_range(tmp_path):
    builder = Gltf()
    with pytest.raises(UserError, match="face index 4 is out of range: there are 4 vertices"):
        read_mesh(builder.scene(builder.primitive(SQUARE, np.array([0, 1, 4], np.uint8))).save(tmp_path / "a.glb"))


def test_damaged_containers(tmp_path):
    builder = Gltf()
    whole = builder.scene(builder.primitive()).save(tmp_path / "a.glb").read_bytes()
    old = glb(json.dumps({"asset": {"version": "1.0"}}).encode(), b"", version=1)
    cases = {
        whole[:-40]: "truncated: the header says",
        whole[:10]: "truncated: 10 bytes",
        b"glTF" + whole[4:12] + b"\xff" * (len(whole) - 12): "truncated: a chunk",
        old: "glTF version 1",
        whole[:20] + b"?" + whole[21:]: "JSON does not parse",
        b"hello, world": "not glTF, or damaged",
        b"[1, 2, 3]   ": "its JSON is not an object",
    }
    for data, message in cases.items():
        (tmp_path / "b.glb").write_bytes(data)
        with pytest.raises(UserError, match=message):
            read_mesh(tmp_path / "b.glb")


def test_deep_json_is_refused(tmp_path):
    (tmp_path / "a.gltf").write_text("[" * 100_000)
    with pytest.raises(UserError, match="JSON does not parse"):
        read_mesh(tmp_path / "a.gltf")
