"""glTF: scenes, instances, compressed attributes, and faults in data that are not needed."""

import json

import numpy as np
import pytest

from mesh_io.read import read_mesh
from tests.mesh_io.build import SQUARE, SQUARE_FACES, TRIANGLE, Gltf, glb, save_image
from torch_utils.errors import UserError

UVS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
BYTES = np.array([[100, 20, 60, 255]] * 4, np.uint8)


def centers(mesh):
    """Middle of the box of every face, sorted."""
    vertices, faces, _ = mesh.merged()
    corners = vertices[faces]
    return sorted(tuple(row) for row in ((corners.min(1) + corners.max(1)) / 2).round(5).tolist())


def instanced(builder, **attributes):
    extension = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    node = {"mesh": 0, "translation": [100, 0, 0], "extensions": extension}
    scene = builder.scene(builder.primitive(TRIANGLE, None), nodes=[node], extensionsUsed=["EXT_mesh_gpu_instancing"])
    scene.json["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    return scene


def test_instances_are_built(tmp_path):
    builder = Gltf()
    half = 0.5**0.5
    scene = instanced(
        builder,
        TRANSLATION=builder.accessor(np.float32([[0, 5, 0], [0, 0, 7]])),
        ROTATION=builder.accessor(np.float32([[0, 0, 0, 1], [0, 0, half, half]])),
        SCALE=builder.accessor(np.float32([[1, 1, 1], [2, -2, 2]])),
        _ID=builder.accessor(np.float32([1, 2])),
    )
    mesh = read_mesh(scene.save(tmp_path / "a.glb"))
    assert mesh.num_faces == 2 and mesh.warnings == ()
    vertices, faces, _ = mesh.merged()
    np.testing.assert_allclose(vertices[faces[0]].min(0), [100, 5, 0])
    # The second is scaled to (2, −2, 2), turned by 90° about z: (x, y) → (2y, 2x), and its winding is kept outward.
    np.testing.assert_allclose(sorted(vertices[faces[1]].tolist()), [[100, 0, 7], [100, 2, 7], [102, 0, 7]], atol=1e-5)
    a, b, c = vertices[faces[1]]
    assert np.cross(b - a, c - a)[2] > 0


def test_instances_with_normalized_rotations_and_none_at_all(tmp_path):
    builder = Gltf()
    turned = builder.accessor(np.array([[0, 0, 127, 0], [0, 0, 0, 127]], np.int8), normalized=True)
    assert centers(read_mesh(instanced(builder, ROTATION=turned).save(tmp_path / "a.glb"))) == [
        (99.5, -0.5, 0),
        (100.5, 0.5, 0),
    ]
    assert read_mesh(instanced(Gltf()).save(tmp_path / "a.glb")).num_faces == 1


def test_instances_that_cannot_be_built_are_refused(tmp_path):
    builder = Gltf()
    three, two = builder.accessor(np.float32([[0, 0, 0]] * 3)), builder.accessor(np.float32([[1, 1, 1]] * 2))
    with pytest.raises(UserError, match="instances of node 0 differ in number: TRANSLATION 3, SCALE 2"):
        read_mesh(instanced(builder, TRANSLATION=three, SCALE=two).save(tmp_path / "a.glb"))
    builder = Gltf()
    with pytest.raises(UserError, match="ROTATION does not have 4 numbers each"):
        read_mesh(instanced(builder, ROTATION=builder.accessor(np.float32([[0, 0, 0]]))).save(tmp_path / "a.glb"))


def test_instances_of_a_small_file_are_bounded(tmp_path, monkeypatch):
    builder = Gltf()
    count = 300
    builder.json["accessors"].append({"componentType": 5126, "count": count, "type": "VEC3"})  # zeros: takes no bytes
    scene = instanced(builder, TRANSLATION=0)
    assert read_mesh(scene.save(tmp_path / "a.glb")).num_faces == 1  # all in one place
    monkeypatch.setattr("mesh_io.readers.gltf.MAX_FACES", count - 1)
    with pytest.raises(UserError, match="more than 299 faces once every node's mesh is placed"):
        read_mesh(tmp_path / "a.glb")


def scenes(nodes, roots, **extra):
    builder = Gltf()
    builder.scene(builder.primitive(TRIANGLE, None), nodes=nodes)
    del builder.json["scene"]
    builder.json |= {"scenes": [{"nodes": list(each)} for each in roots], **extra}
    return builder


NODES = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}, {"name": "empty"}]


@pytest.mark.parametrize(
    ("roots", "extra", "xs", "words"),
    [
        ([[0], [1]], {"scene": 1}, [5.5], None),
        ([[2], [1]], {"scene": 0}, [5.5], "default scene 0 has no meshes; read instead: scene 1"),
        ([[], [1], [0]], {"scene": 0}, [0.5, 5.5], "read instead: scene 1, 2"),
        ([[0], [1]], {}, [0.5, 5.5], None),
        ([[0, 1], [1]], {}, [0.5, 5.5], None),
        ([[0, 0]], {"scene": 0}, [0.5], None),
    ],
)
def test_scenes(tmp_path, roots, extra, xs, words):
    mesh = read_mesh(scenes(NODES, roots, **extra).save(tmp_path / "a.glb"))
    assert [x for x, _, _ in centers(mesh)] == xs
    assert (mesh.warnings == ()) if words is None else (words in mesh.warnings[0])


def test_a_node_that_is_listed_twice_in_one_place_is_read_once(tmp_path):
    parent = {"children": [1], "translation": [0, 3, 0]}
    mesh = read_mesh(scenes([parent, {"mesh": 0}], [[0, 1]], scene=0).save(tmp_path / "a.glb"))
    assert centers(mesh) == [(0.5, 3.5, 0)]
    mesh = read_mesh(scenes([parent | {"children": [1, 1]}, {"mesh": 0}], [[1, 0]], scene=0).save(tmp_path / "a.glb"))
    assert centers(mesh) == [(0.5, 3.5, 0)]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"translation": None}, "the translation of a node is not 3 finite numbers"),
        ({"translation": [1, 2]}, "the translation of a node is not 3 finite numbers"),
        ({"scale": [1, float("nan"), 1]}, "the scale of a node is not 3 finite numbers"),
        ({"matrix": [1] * 12}, "the matrix of a node is not 16 finite numbers"),
    ],
)
def test_a_place_that_is_not_numbers_is_named(tmp_path, place, words):
    with pytest.raises(UserError, match=words):
        read_mesh(scenes([{"mesh": 0} | place], [[0]], scene=0).save(tmp_path / "a.glb"))


def test_hidden_nodes_are_not_read(tmp_path):
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}, "children": [1]}
    nodes = [hidden, {"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}]
    assert centers(read_mesh(scenes(nodes, [[0, 2]], scene=0).save(tmp_path / "a.glb"))) == [(5.5, 0.5, 0)]


def test_a_deep_chain_of_nodes_is_read_in_linear_time(tmp_path):
    count = 30_000
    nodes = [{"children": [i + 1], "translation": [0, 1, 0]} for i in range(count)] + [{"mesh": 0}]
    mesh = read_mesh(scenes(nodes, [range(count + 1)], scene=0).save(tmp_path / "a.glb"))
    assert centers(mesh) == [(0.5, count + 0.5, 0)]
    nodes[-1] = {"mesh": 0, "children": [0]}
    with pytest.raises(UserError, match="is below itself: the node graph has a cycle"):
        read_mesh(scenes(nodes, [[0]], scene=0).save(tmp_path / "a.glb"))


@pytest.mark.parametrize("padding", [b"\0\0\0\0", b" \0\n\0"])
def test_json_padded_with_nul(tmp_path, padding):
    builder = Gltf()
    builder.scene(builder.primitive()).save(tmp_path / "a.glb")
    text = json.dumps(builder.json).encode() + padding
    (tmp_path / "a.glb").write_bytes(glb(text, bytes(builder.data)))
    assert read_mesh(tmp_path / "a.glb").num_faces == 2


def draco_square(attributes, accessors, mode=4, faces=SQUARE_FACES):
    """A Draco-compressed square. attributes: name → values; accessors: name → fields that differ."""
    draco = pytest.importorskip("DracoPy")
    types = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
    components = {"uint8": 5121, "int8": 5120, "uint16": 5123, "float32": 5126}
    colors = attributes.get("COLOR_0")
    data = draco.encode(
        SQUARE.astype(np.float64), faces.reshape(-1, 3), quantization_bits=14, preserve_order=True,
        colors=colors, generic_attributes={7: attributes["TEXCOORD_0"]} if "TEXCOORD_0" in attributes else None,
    )  # fmt: skip
    decoded = draco.decode(data)
    ids = {}
    for attribute in decoded.attributes:
        values = np.asarray(attribute["data"])
        for name, expected in {"POSITION": SQUARE, **attributes}.items():
            if name not in ids.values() and values.shape == expected.shape and np.allclose(values, expected, atol=1e-3):
                ids[attribute["unique_id"]] = name
    by_name = {name: number for number, name in ids.items()}
    builder = Gltf()
    view = builder.view(data)
    names = {}
    for name, values in {"POSITION": SQUARE, **attributes}.items():
        entry = {"componentType": components[values.dtype.name], "count": 4, "type": types[values.shape[1]]}
        builder.json["accessors"].append(entry | accessors.get(name, {}))
        names[name] = len(builder.json["accessors"]) - 1
    builder.json["accessors"].append({"componentType": 5123, "count": 6, "type": "SCALAR"})
    extension = {"KHR_draco_mesh_compression": {"bufferView": view, "attributes": by_name}}
    primitive = {"attributes": names, "indices": len(names), "extensions": extension, "mode": mode}
    return builder.scene(primitive)


def test_draco_colors_of_integers_are_those_of_the_plain_file(tmp_path):
    plain = Gltf()
    colors = plain.accessor(BYTES, normalized=True)
    expected = read_mesh(plain.scene(plain.primitive(COLOR_0=colors)).save(tmp_path / "a.glb")).parts[0]
    scene = draco_square({"COLOR_0": BYTES}, {"COLOR_0": {"normalized": True}})
    found = read_mesh(scene.save(tmp_path / "b.glb"))
    np.testing.assert_allclose(found.parts[0].vertex_colors, expected.vertex_colors)
    assert found.warnings == () and expected.vertex_colors[0, 0] == pytest.approx(0.6593, abs=1e-3)


def test_draco_triangles_are_a_list_whatever_the_mode(tmp_path):
    assert read_mesh(draco_square({}, {}, mode=5).save(tmp_path / "a.glb")).num_faces == 2


def test_a_draco_attribute_that_is_missing_costs_itself(tmp_path):
    scene = draco_square({}, {})
    scene.json["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 0
    scene.json["meshes"][0]["primitives"][0]["extensions"]["KHR_draco_mesh_compression"]["attributes"]["COLOR_0"] = 99
    mesh = read_mesh(scene.save(tmp_path / "a.glb"))
    assert mesh.num_faces == 2


def test_integer_colors_that_are_not_declared_normalized(tmp_path):
    builder = Gltf()
    scene = builder.scene(builder.primitive(COLOR_0=BYTES))
    mesh = read_mesh(scene.save(tmp_path / "a.glb"))
    assert mesh.parts[0].vertex_colors[0, 0] == pytest.approx(0.6593, abs=1e-3)
    assert "not declared normalized" in mesh.warnings[0]


def test_unneeded_attributes_cost_themselves(tmp_path):
    for name, values, words in (
        ("NORMAL", np.float32([[0, 0, 1]] * 3), "attribute NORMAL has 3 elements, POSITION 4"),
        ("TEXCOORD_0", np.float32([[0, 0, 1]] * 4), "attribute TEXCOORD_0 has 3 numbers per vertex, expected 2"),
        ("COLOR_0", 99, "refers to accessors[99]"),
        ("TANGENT", 99, None),
        ("_CUSTOM", 99, None),
        ("JOINTS_0", 99, None),
    ):
        builder = Gltf()
        scene = builder.scene(builder.primitive(**{name: values}))
        mesh = read_mesh(scene.save(tmp_path / "a.glb"))
        assert mesh.num_faces == 2, name
        assert (mesh.warnings == ()) if words is None else (words in mesh.warnings[0]), mesh.warnings


def test_malformed_materials_and_textures_cost_themselves(tmp_path):
    save_image(tmp_path / "t.png")
    cases = [
        ({"pbrMetallicRoughness": {"baseColorFactor": [1, 2]}}, "counts as white"),
        ({"pbrMetallicRoughness": {"baseColorTexture": {"index": 9}}}, "a texture of material '0' is not read"),
        ({"pbrMetallicRoughness": {"baseColorTexture": {}}}, "a texture of material '0' is not read"),
        ({"alphaCutoff": "x"}, "counts as white"),
    ]
    for material, words in cases:
        builder = Gltf().texture({"uri": "t.png"})
        scene = builder.scene(builder.primitive(TEXCOORD_0=UVS, material=0), materials=[material])
        mesh = read_mesh(scene.save(tmp_path / "a.gltf"))
        assert words in mesh.warnings[0] and mesh.parts[0].material.image is None
    builder = Gltf()
    mesh = read_mesh(builder.scene(builder.primitive(material=3)).save(tmp_path / "a.glb"))
    assert "material 3 is malformed and counts as white" in mesh.warnings[0]


def test_textures_outside_the_tree_are_still_refused(tmp_path):
    (tmp_path / "tree").mkdir()
    save_image(tmp_path / "t.png")
    builder = Gltf().texture({"uri": "../t.png"})
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    scene = builder.scene(builder.primitive(TEXCOORD_0=UVS, material=0), materials=materials)
    with pytest.raises(UserError, match="outside the source folder; add --allow-outside"):
        read_mesh(scene.save(tmp_path / "tree" / "a.gltf"))


def test_zero_and_nan_normals_are_taken_from_the_faces(tmp_path):
    builder = Gltf()
    normals = np.float32([[1, 0, 0], [0, 0, 0], [np.nan, 0, 0], [1, 0, 0]])
    mesh = read_mesh(builder.scene(builder.primitive(NORMAL=normals)).save(tmp_path / "a.glb"))
    np.testing.assert_array_equal(mesh.parts[0].normals, [[1, 0, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert "2 of 4 normals" in mesh.warnings[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_unusable_texture_coordinates_stay_near_those_of_their_faces(tmp_path, bad):
    """Vertices 1 and 3 of the square belong to one face each; the other corners of both are 0 and 2."""
    builder = Gltf()
    uvs = np.where(np.array([[0, 0], [1, 1], [0, 0], [0, 1]], bool), np.float32(bad), UVS * 0.5 + np.float32(0.25))
    mesh = read_mesh(builder.scene(builder.primitive(TEXCOORD_0=uvs)).save(tmp_path / "a.glb"))
    np.testing.assert_array_equal(mesh.parts[0].uvs, [[0.25, 0.25], [0.5, 0.5], [0.75, 0.75], [0.5, 0.5]])
    assert mesh.warnings == ("part '': 2 of 4 texture coordinates are NaN or infinite; taken from neighbors",)
    every = builder.scene(builder.primitive(TEXCOORD_0=np.full_like(UVS, bad)))
    mesh = read_mesh(every.save(tmp_path / "b.glb"))
    assert mesh.parts[0].uvs is None
    assert mesh.warnings == ("part '' has no usable texture coordinates (NaN or infinite)",)


def test_morph_targets_move_texture_coordinates_and_a_bad_one_costs_itself(tmp_path):
    builder = Gltf()
    target = {
        "POSITION": builder.accessor(np.float32([[0, 0, 8]] * 4)),
        "TEXCOORD_0": builder.accessor(np.float32([[0.5, 0]] * 4)),
        "NORMAL": builder.accessor(np.float32([[0, 0, 8]] * 3)),
    }
    primitive = builder.primitive(targets=[target], TEXCOORD_0=UVS, NORMAL=np.float32([[0, 0, 1]] * 4))
    mesh = read_mesh(builder.scene(primitive, nodes=[{"mesh": 0, "weights": [0.5]}]).save(tmp_path / "a.glb"))
    np.testing.assert_allclose(mesh.bounds()[:, 2], [4, 4])
    np.testing.assert_allclose(mesh.parts[0].uvs, UVS + np.float32([0.25, 0]))
    assert "a morph target's NORMAL is not read" in mesh.warnings[0]


def test_meshopt_placeholders_are_refused_by_name(tmp_path):
    builder = Gltf()
    scene = builder.scene(builder.primitive())
    scene.save(tmp_path / "a.gltf")
    name = "EXT_meshopt_compression"
    scene.json["buffers"].append({"byteLength": 999, "extensions": {name: {"fallback": True}}})
    view = {"buffer": 1, "byteLength": 48, "extensions": {name: {"buffer": 0, "byteLength": 20}}}
    scene.json["bufferViews"][0] = view
    (tmp_path / "a.gltf").write_text(json.dumps(scene.json))
    with pytest.raises(UserError, match="buffer view 0 is compressed with EXT_meshopt_compression, which is not read"):
        read_mesh(tmp_path / "a.gltf")
