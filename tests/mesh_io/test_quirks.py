"""Real odd and broken files: each is read correctly, or refused with one line that names file and cause."""

import json

import numpy as np
import pytest

from mesh_io.read import FORMATS, read_mesh
from tests.mesh_io.test_obj import area
from torch_utils.errors import UserError

# file → (faces, parts, textured parts, parts with vertex colors, longest side, words of the warnings)
READ = {
    "gltf/AlphaBlendModeTest.glb": (61, 9, 9, 0, 8.6, ()),
    "gltf/cubevc.glb": (48, 1, 0, 1, 2.0, ()),
    "gltf/draco/House_Long-transformed.glb": (2228, 1, 1, 0, 7.791, ()),
    "gltf/draco/Rover_1-transformed.glb": (7346, 1, 1, 0, 5.159, ()),
    "gltf/external_files/chair_A.gltf": (308, 1, 1, 0, 1.258, ()),
    "gltf/mode5.gltf": (2786, 412, 0, 0, 76.118, ()),
    "gltf/primitive_modes/Mesh_PrimitiveMode_05.gltf": (2, 1, 0, 0, 1.0, ()),
    "gltf/specGloss/BoxTextured.gltf": (12, 1, 1, 0, 1.0, ()),
    "gltf/textureTransform/TextureTransformTest.gltf": (24, 12, 12, 0, 3.2, ()),
    "obj/absolute_windows_path/SmallBush2.obj": (320, 1, 0, 0, 2.0, ()),
    "obj/box_UTF16BE.obj": (12, 1, 0, 0, 1.0, ("'Default' is not defined",)),
    "obj/concave_polygon/concave_polygon.obj": (64, 1, 0, 0, 1.485, ()),
    "obj/cube_with_vertexcolors.obj": (12, 1, 0, 1, 1.0, ()),
    "obj/jacked.obj": (12, 1, 0, 0, 1.0, ("'nonexistent.mtl' is missing", "'material0' is not defined")),
    "obj/joined_tetrahedra.obj": (7, 1, 0, 0, 2.0, ()),  # the wall between the two is there once
    "obj/kaolin_avocado/avocado.obj": (682, 1, 1, 0, 0.0629, ()),
    "obj/mtl_name_with_spaces/box_mat_with_spaces.obj": (12, 1, 0, 0, 1.0, ()),
    "obj/nancolor.obj": (12, 1, 0, 1, 1.0, ("NaN vertex colors",)),
    "obj/negative_indices.obj": (12, 1, 0, 0, 2.0, ()),
    # 36 of 1368 faces are copies
    "obj/spider/spider.obj": (1332, 4, 4, 0, 193.382, ("32 of 712 normals are missing, NaN or zero",)),
    "off/ballA.off": (3796, 1, 0, 0, 13.854, ()),
    "ply/fuze.ply": (1000, 1, 1, 0, 0.215, ()),
    "ply/plane.ply": (2, 1, 0, 0, 2.0, ()),
    "ply/reference.ply": (1610, 1, 0, 1, 188.562, ()),
    "stl/featuretype.STL": (3476, 1, 0, 0, 5.0, ()),
    "stl/multibody.stl": (32, 1, 0, 0, 1.088, ()),
}
REFUSED = {
    "broken_downloads/error_page/cow.obj": r"an HTML or XML page \(AccessDenied\), not the file itself",
    "broken_downloads/lfs_pointer/sedan.glb": "a Git LFS pointer, not the file itself",
    "gltf/version1/BoxTextured.glb": "glTF version 1, only 2.0 is read",
    "gltf_broken/BoxWithInfinites-glTF-Binary/BoxWithInfinites.glb": "24 of 24 vertices have NaN or infinite",
    "gltf_broken/IndexOutOfRange/AllIndicesOutOfRange.gltf": "face index 65535 is out of range: there are 24",
    "gltf_broken/IndexOutOfRange/IndexOutOfRange.gltf": "face index 255 is out of range: there are 24",
    "gltf_broken/MissingBin/BoxTextured.gltf": "'BoxTextured0.bin' is missing",
    "gltf_broken/RecursiveNodes/RecursiveNodes.gltf": "node 0 is below itself: the node graph has a cycle",
    "obj/empty.obj": "has no faces$",
    "obj/point_cloud.obj": "has no faces, only points or lines",
    "ply/points_bin.ply": "has no faces, only points or lines",
    "stl/empty.stl": "has no faces",
}


@pytest.fixture
def quirks(shared_data):
    return shared_data / "quirks"


def test_every_quirk_has_an_expected_outcome(quirks):
    found = {str(path.relative_to(quirks)) for path in quirks.rglob("*") if path.suffix.lower() in FORMATS}
    assert found == set(READ) | set(REFUSED)


@pytest.mark.parametrize("name", READ)
def test_read(quirks, name):
    mesh = read_mesh(quirks / name)
    faces, parts, textured, colored, longest, warnings = READ[name]
    assert (mesh.num_faces, len(mesh.parts)) == (faces, parts)
    assert sum(part.material.image is not None for part in mesh.parts) == textured
    assert sum(part.vertex_colors is not None for part in mesh.parts) == colored
    low, high = mesh.bounds()
    assert (high - low).max() == pytest.approx(longest, rel=1e-3)
    assert len(mesh.warnings) == len(warnings)
    assert all(words in warning for words, warning in zip(warnings, mesh.warnings, strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(quirks, name):
    with pytest.raises(UserError, match=REFUSED[name]) as caught:
        read_mesh(quirks / name)
    assert str(caught.value).startswith(f"{quirks / name}: ") and "\n" not in str(caught.value)


def test_draco_positions_fill_their_declared_box(quirks):
    for name in ("Rover_1-transformed.glb", "House_Long-transformed.glb"):
        path = quirks / "gltf" / "draco" / name
        data = path.read_bytes()
        document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        accessor = next(a for a in document["accessors"] if "max" in a)
        node = document["nodes"][0]
        shift = np.array(node.get("translation", [0, 0, 0]))
        scale = np.array(node.get("scale", [1, 1, 1]))
        expected = np.array([accessor["min"], accessor["max"]]) * scale + shift
        np.testing.assert_allclose(read_mesh(path).bounds(), expected, atol=2e-3)


def test_colors_are_the_right_ones(quirks):
    spaces = read_mesh(quirks / "obj/mtl_name_with_spaces/box_mat_with_spaces.obj").parts[0].material
    assert spaces.base_color == (0.2, 0.2, 0.2, 1)
    bush = read_mesh(quirks / "obj/absolute_windows_path/SmallBush2.obj").parts[0].material
    assert bush.base_color == (0.64, 0.64, 0.64, 1)
    cube = read_mesh(quirks / "gltf/cubevc.glb").parts[0]
    np.testing.assert_array_equal(cube.vertex_colors, [[1, 0, 1, 1]] * len(cube.vertices))
    modes = read_mesh(quirks / "gltf/AlphaBlendModeTest.glb").parts
    assert {part.material.alpha_mode for part in modes} == {"OPAQUE", "MASK", "BLEND"}
    assert {part.material.alpha_cutoff for part in modes} == {0.25, 0.5, 0.75}
    spider = read_mesh(quirks / "obj/spider/spider.obj").parts
    assert {part.material.image_name for part in spider} == {
        ".\\SpiderTex.jpg", ".\\wal67ar_small.jpg", ".\\drkwood2.jpg", ".\\engineflare1.jpg",
    }  # fmt: skip


def test_polygon_of_66_corners_is_a_ring(quirks):
    """A fan over the notch would cover the disc: its area is the box's, the ring's is a small share of it."""
    part = read_mesh(quirks / "obj/concave_polygon/concave_polygon.obj").parts[0]
    a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
    signed = np.cross(b - a, c - a)[:, 0]
    assert (signed >= 0).all() or (signed <= 0).all()
    assert area(part) < 0.2 * 1.485**2


def test_texture_transforms_point_the_arrows_at_the_marks(quirks):
    """The arrow's tip lies at (0.69, 0.69) of its image; the file puts a green mark where it should be drawn."""
    parts = read_mesh(quirks / "gltf/textureTransform/TextureTransformTest.gltf").parts
    marks = [part.vertices.mean(0) for part in parts if part.material.name == "Correct"]
    for name in ("Rotation", "Scale", "All"):
        part = next(part for part in parts if part.material.name == name)
        corner, u_end, v_end = part.uvs[0], part.uvs[1], part.uvs[3]
        place = np.linalg.solve(np.stack([u_end - corner, v_end - corner], 1), np.array([0.69, 0.69]) - corner)
        tip = part.vertices[0] + place @ np.stack([part.vertices[1], part.vertices[3]]) - place.sum() * part.vertices[0]
        assert min(np.linalg.norm((mark - tip)[:2]) for mark in marks) < 0.15, name


@pytest.mark.parametrize("folder", ["seating", "vehicle", "food", "animal", "shapenet_layout"])
def test_collections_are_read_without_a_warning_or_with_its_cause(shared_data, folder):
    for path in sorted((shared_data / folder).rglob("*")):
        if path.suffix.lower() in FORMATS:
            mesh = read_mesh(path, textures=False)
            assert mesh.colored or any(part.uvs is not None for part in mesh.parts), path
            assert mesh.warnings == () or path.name == "qe_Wasp.glb", path  # three of its vertices have NaN weights
