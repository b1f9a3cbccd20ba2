"""OBJ and MTL: forms of faces, materials, and textures that are not at the stated path."""

import numpy as np
import pytest

from mesh_io.read import read_mesh
from mesh_io.readers.triangulation import clip_ears, is_concave, triangulate
from tests.mesh_io.build import color_square, obj_square, save_image
from torch_utils.errors import UserError

CUBE = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
"""


def write(path, text):
    path.write_text(text)
    return path


def area(part):
    a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def test_quads_uvs_and_texture(tmp_path):
    save_image(tmp_path / "wood.png")
    mesh = read_mesh(obj_square(tmp_path / "square.obj", "newmtl paint\nKd 0.1 0.2 0.3\nmap_Kd wood.png\n"))
    part = mesh.parts[0]
    assert mesh.up == "+Y" and mesh.warnings == () and mesh.num_faces == 2
    np.testing.assert_array_equal(part.vertices[0], [0, 0, 0])
    np.testing.assert_array_equal(part.uvs, [[0, 1], [1, 1], [1, 0], [0, 0]])  # origin top left
    np.testing.assert_array_equal(part.material.image, color_square())
    assert part.material.base_color == (1, 1, 1, 1)  # the map replaces Kd
    assert part.material.name == "paint" and part.material.alpha_mode == "OPAQUE"


def test_kd_is_srgb_already(tmp_path):
    mesh = read_mesh(obj_square(tmp_path / "square.obj", "newmtl paint\nKd 0.5 0.25 0\nPr 0.5\nPm 1\n"))
    assert mesh.parts[0].material.base_color == (0.5, 0.25, 0, 1)
    assert (mesh.parts[0].material.roughness, mesh.parts[0].material.metallic) == (0.5, 1)


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3 4\nf 5 6 7\n",
        "f 1/1 2/1 3/1 4/1\nf 5/1 6/1 7/1\n",
        "f 1//1 2//1 3//1 4//1\nf 5//1 6//1 7//1\n",
        "f 1/1/1 2/1/1 3/1/1 4/1/1\nf 5/1/1 6/1/1 7/1/1\n",
        "f 1/1/ 2/1/ 3/1/ 4/1/\nf 5/ 6/ 7/\n",
        "f 1 2 3 4 # a comment\n  f\t5  6/1   7//1 \n",
        "f -8 -7 -6 -5\nf -4/-1/-1 -3/-1/-1 -2/-1/-1\n",
        "f 1 2 \\\n 3 4\nf 5 6 7\nf 8 8\nf 1\n",
        "g a\no b\ns off\nf 1 2 3 4\r\nl 1 2\np 1\nf 5 6 7",
    ],
)
def test_forms_of_faces(tmp_path, faces):
    mesh = read_mesh(write(tmp_path / "a.obj", CUBE + "vt 0.5 0.5\nvn 0 0 1\n" + faces))
    assert mesh.num_faces == 3
    merged, triangles, _ = mesh.merged()
    assert sorted(map(tuple, merged[triangles[0]])) == [(0, 0, 0), (1, 0, 0), (1, 1, 0)]
    assert area(mesh.parts[0]) == pytest.approx(1.5)


def test_distinct_corners_become_vertices(tmp_path):
    text = CUBE + "vt 0 0\nvt 1 1\nvn 0 0 2\nf 1/1/1 2/1/1 3/1/1\nf 1/2/1 3/1/1 4/1/1\n"
    part = read_mesh(write(tmp_path / "a.obj", text)).parts[0]
    assert len(part.vertices) == 5
    np.testing.assert_array_equal(part.normals, [[0, 0, 1]] * 5)
    np.testing.assert_array_equal(part.uvs[part.faces[1, 0]], [1, 0])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path, encoding):
    text = "# größe\n" + CUBE + "f 1 2 3\n"
    (tmp_path / "a.obj").write_bytes(text.encode(encoding))
    assert read_mesh(tmp_path / "a.obj").num_faces == 1


def test_concave_polygons_are_not_fanned(tmp_path):
    outline = [(0, 0), (4, 0), (4, 4), (3, 4), (3, 1), (1, 1), (1, 4), (0, 4)]  # a U of area 10
    text = "".join(f"v 0 {x} {y}\n" for x, y in outline) + "f " + " ".join(map(str, range(1, 9))) + "\n"
    part = read_mesh(write(tmp_path / "a.obj", text)).parts[0]
    assert len(part.faces) == 6 and area(part) == pytest.approx(10)
    a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
    assert (np.cross(b - a, c - a)[:, 0] > 0).all()


def test_triangulation_of_mixed_polygons_keeps_their_order():
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.7, 0.7, 0]], float)
    corners = np.array([0, 1, 2, 3, 0, 1, 0, 1, 2, 1, 2, 3, 4])  # a quad, a line, a triangle, a dart
    counts = np.array([4, 2, 3, 4])
    triangles, owner = triangulate(points, corners, counts)
    assert owner.tolist() == [0, 0, 2, 3, 3]
    assert sorted(triangles[2].tolist()) == [6, 7, 8]
    a, b, c = np.moveaxis(points[corners[triangles]], 1, 0)
    areas = np.cross(b - a, c - a)[:, 2] / 2
    assert (areas > 0).all()
    np.testing.assert_allclose(areas.sum(), 1 + 0.5 + 0.3)


@pytest.mark.parametrize("concave", [True, False])
def test_a_duplicate_polygon_gives_the_same_triangles(concave):
    rng = np.random.default_rng(3)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = np.where(np.arange(9) % 2, 0.3, 1.0) if concave else np.ones(9)
    points = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.zeros(9)], 1)
    assert is_concave(points[None]).all() == concave
    found = []
    for corners in (np.arange(9), np.roll(np.arange(9), 4), np.roll(np.arange(9)[::-1], 2)):
        triangles, _ = triangulate(points, corners, np.array([9]))
        found.append(sorted(map(sorted, corners[triangles].tolist())))
        a, b, c = np.moveaxis(points[corners[triangles]], 1, 0)
        assert (np.cross(b - a, c - a)[:, 2] * (1 if corners[1] == corners[0] + 1 else -1) > 0).all()
    assert found[0] == found[1] == found[2]


def test_concave_quadrilaterals_are_cut_at_their_reflex_corner(tmp_path):
    dart = [(0, 0), (2, 1), (0, 2), (0.5, 1)]  # reflex at the last corner, area 1.5
    for shift in range(4):
        corners = dart[shift:] + dart[:shift]
        text = "".join(f"v {x} {y} 0\n" for x, y in corners) + "f 1 2 3 4\n"
        part = read_mesh(write(tmp_path / "a.obj", text)).parts[0]
        a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
        areas = np.cross(b - a, c - a)[:, 2] / 2
        assert (areas > 0).all() and areas.sum() == pytest.approx(1.5)


def test_polygons_that_would_take_too_long_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mesh_io.readers.triangulation.WorkLimit.__init__.__defaults__", (20_000,))
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.where(np.arange(40) % 2, 0.3, 1.0)
    star = "".join(f"v {r * np.cos(a)} {r * np.sin(a)} 0\n" for r, a in zip(radius, angles, strict=True))
    face = "f " + " ".join(map(str, range(1, 41))) + "\n"
    with pytest.raises(UserError, match=r"a\.obj: its concave polygons are too complex to be triangulated"):
        read_mesh(write(tmp_path / "a.obj", star + face))
    convex = "".join(f"v {np.cos(a)} {np.sin(a)} 0\n" for a in angles)
    assert read_mesh(write(tmp_path / "b.obj", convex + face)).num_faces == 38


def test_concavity_ignores_scale_and_straight_corners():
    square = np.array([[[0, 0, 0], [0.5, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]])
    assert not is_concave(square * 1e-6 + 100).any()
    square[0, 1, 1] = 0.2
    assert is_concave(square * 1e-3).all()


def test_a_self_intersecting_polygon_is_triangulated(tmp_path):
    bow = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]], float)
    assert clip_ears(bow).shape == (2, 3)
    rng = np.random.default_rng(0)
    assert clip_ears(rng.normal(size=(60, 3))).shape == (58, 3)


def test_vertex_colors(tmp_path):
    rows = ["0 0 0 1 0 0", "1 0 0 0 0.5 0", "0 1 0 0 0 1"]
    text = "".join(f"v {row}\n" for row in rows) + "f 1 2 3\n"
    part = read_mesh(write(tmp_path / "a.obj", text)).parts[0]
    np.testing.assert_allclose(part.vertex_colors[1], [0, 0.5, 0, 1])
    text = text.replace("0.5", "nan")
    mesh = read_mesh(write(tmp_path / "a.obj", text))
    np.testing.assert_allclose(mesh.parts[0].vertex_colors[1], [1, 1, 1, 1])
    assert "NaN vertex colors" in mesh.warnings[0]


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("../images/texture0.png", "images/texture0.png"),
        (".\\tex.png", "models/tex.png"),
        ("maps\\tex.png", "models/maps/tex.png"),
        ("C:\\Users\\Ann Lee\\My Textures\\oak wood.png", "models/oak wood.png"),
        ("/home/ann/textures/oak.png", "images/oak.png"),
        ("D:/art/oak.png", "models/textures/oak.png"),
        ("name with spaces.png", "models/name with spaces.png"),
        ("OAK.PNG", "models/oak.png"),
        ("gone/oak.png", "models/oak.png"),
        ("-bm 1 -blendu on -imfchan r -mm 0 1 oak tree.png", "models/oak tree.png"),
        ('"quoted.png"', "models/quoted.png"),
    ],
)
def test_textures_are_found(tmp_path, reference, place):
    save_image(tmp_path / place)
    mesh = read_mesh(obj_square(tmp_path / "models" / "a.obj", f"newmtl paint\nmap_Kd {reference}  \n"))
    assert mesh.parts[0].material.image is not None and mesh.warnings == ()


def test_exact_name_wins_over_another_case(tmp_path):
    save_image(tmp_path / "textures" / "OAK.png", np.zeros((1, 1, 3), np.uint8))
    save_image(tmp_path / "textures" / "oak.png")
    mesh = read_mesh(obj_square(tmp_path / "a.obj", "newmtl paint\nmap_Kd gone/oak.png\n"))
    assert mesh.parts[0].material.image.shape == (2, 2, 3)


def test_texture_outside_the_tree(tmp_path):
    save_image(tmp_path / "secret.png")
    file = obj_square(tmp_path / "tree" / "shape" / "a.obj", "newmtl paint\nmap_Kd ../../secret.png\n")
    with pytest.raises(UserError, match=r"'\.\./\.\./secret\.png' outside the source folder; add --allow-outside"):
        read_mesh(file, root=tmp_path / "tree")
    assert read_mesh(file, allow_outside=True).parts[0].material.image is not None
    save_image(tmp_path / "tree" / "wood.png")
    file = obj_square(tmp_path / "tree" / "shape" / "b.obj", "newmtl paint\nmap_Kd ../wood.png\n")
    assert read_mesh(file, root=tmp_path / "tree").parts[0].material.image is not None
    (tmp_path / "secret.png").unlink()
    file = obj_square(tmp_path / "tree" / "shape" / "a.obj", "newmtl paint\nmap_Kd ../../secret.png\n")
    assert "is missing" in read_mesh(file, root=tmp_path / "tree").warnings[0]


def test_missing_and_damaged_textures_keep_kd(tmp_path):
    mtl = "newmtl paint\nKd 0.5 0 0\nmap_Kd gone.png\n"
    mesh = read_mesh(obj_square(tmp_path / "a.obj", mtl))
    assert mesh.warnings == ("texture 'gone.png' of material 'paint' is missing",)
    assert mesh.parts[0].material.base_color == (0.5, 0, 0, 1)
    contents = {
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>": "AccessDenied",
        b"version https://git-lfs.github.com/spec/v1\n": "Git LFS pointer",
        b"": "the file is empty",
        save_image(tmp_path / "ok.png").read_bytes()[:40]: "cannot be decoded",
        b"GIF89a": "cannot be decoded",
    }
    for content, words in contents.items():
        (tmp_path / "gone.png").write_bytes(content)
        mesh = read_mesh(tmp_path / "a.obj")
        assert words in mesh.warnings[0] and "'gone.png'" in mesh.warnings[0], mesh.warnings
        assert mesh.parts[0].material.base_color == (0.5, 0, 0, 1)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000 + "b.png", "nul\0.png", "\\" * 300, "/" * 300, "..", "~"])
def test_texture_names_that_no_file_system_takes_are_missing_textures(tmp_path, name):
    mesh = read_mesh(obj_square(tmp_path / "a.obj", f"newmtl paint\nKd 0.5 0 0\nmap_Kd {name}\n"))
    assert "is missing" in mesh.warnings[0] and mesh.parts[0].material.base_color == (0.5, 0, 0, 1)


def test_a_texture_without_uvs_gives_a_warning(tmp_path):
    save_image(tmp_path / "wood.png")
    (tmp_path / "square.mtl").write_text("newmtl paint\nmap_Kd wood.png\n")
    mesh = read_mesh(write(tmp_path / "a.obj", "mtllib square.mtl\n" + CUBE + "usemtl paint\nf 1 2 3\n"))
    assert mesh.parts[0].material.image is None and "has no UVs" in mesh.warnings[0]


def test_material_names_and_libraries_with_spaces(tmp_path):
    (tmp_path / "my colors.mtl").write_text("newmtl light  oak, old \nKd 1 0 0\n")
    (tmp_path / "b.mtl").write_text("newmtl b\nKd 0 1 0\n")
    faces = "usemtl light  oak, old\t \nf 1 2 3\nusemtl b\nf 5 6 7\nusemtl light  oak, old\nf 2 3 4\n"
    text = "mtllib my colors.mtl\nmtllib b.mtl gone.mtl\n" + CUBE + faces
    mesh = read_mesh(write(tmp_path / "a.obj", text))
    assert [part.material.base_color[:3] for part in mesh.parts] == [(1, 0, 0), (0, 1, 0)]
    assert [len(part.faces) for part in mesh.parts] == [2, 1]
    assert mesh.warnings == ("material library 'gone.mtl' is missing",)


def test_an_undefined_material_is_white_with_a_warning(tmp_path):
    mesh = read_mesh(obj_square(tmp_path / "a.obj", "newmtl other\n"))
    assert mesh.parts[0].material.base_color == (1, 1, 1, 1)
    assert mesh.warnings == ("material 'paint' is not defined; it counts as white",)


def test_map_options_move_the_texture(tmp_path):
    save_image(tmp_path / "wood.png")
    mtl = "newmtl paint\nmap_Kd -s 2 4 -o 0.5 0.25 0 -clamp on wood.png\n"
    part = read_mesh(obj_square(tmp_path / "a.obj", mtl)).parts[0]
    np.testing.assert_allclose(part.uvs[2], [2.5, 1 - 4.25])
    assert part.material.wrap == ("clamp", "clamp")


@pytest.mark.parametrize(
    ("statements", "alpha", "mode"),
    [("d 0.5", 0.5, "BLEND"), ("Tr 0.25", 0.75, "BLEND"), ("Tr 1.0", 1, "OPAQUE"), ("d 1", 1, "OPAQUE")],
)
def test_opacity(tmp_path, statements, alpha, mode):
    material = read_mesh(obj_square(tmp_path / "a.obj", f"newmtl paint\n{statements}\n")).parts[0].material
    assert material.base_color[3] == alpha and material.alpha_mode == mode


def test_opacity_map(tmp_path):
    save_image(tmp_path / "wood.png")
    save_image(tmp_path / "mask.png", np.array([[0, 255]], np.uint8))
    mtl = "newmtl paint\nmap_Kd wood.png\nmap_d mask.png\n"
    material = read_mesh(obj_square(tmp_path / "a.obj", mtl)).parts[0].material
    assert material.alpha_mode == "BLEND" and material.image.shape == (2, 2, 4)
    np.testing.assert_array_equal(material.image[:, 0, 3], [0, 0])
    np.testing.assert_array_equal(material.image[..., :3], color_square())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "has no faces$"),
        (CUBE, "has no faces, only points"),
        (CUBE + "f 1 2 9\n", "vertex index 9 is out of range: there are 8"),
        (CUBE + "f 0 1 2\n", "vertex index 0 is out of range"),
        (CUBE + "f -9 1 2\n", "face index -9 is out of range"),
        (CUBE + "f 1 2 x\n", "face corner 'x' is not made of integers"),
        (CUBE + "f 1 2 99999999999999999999999\n", "out of range"),
        (CUBE + "v 1 2\nf 1 2 3\n", "a v line has 2 numbers"),
        (CUBE + "v 1 2 three\nf 1 2 3\n", "a v line does not hold numbers"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "1 of 3 vertices have NaN"),
        ("v 0 0 0\nv 1e400 0 0\nv 0 1 0\nf 1 2 3\n", "NaN or infinite"),
        (CUBE + "f 1 1 2\nf 3 3 3\n", "has no faces"),
    ],
)
def test_broken_files_are_one_clear_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_mesh(write(tmp_path / "a.obj", text))
    assert str(caught.value).startswith(f"{tmp_path / 'a.obj'}: ") and "\n" not in str(caught.value)


def test_duplicate_faces_keep_the_textured_copy(tmp_path):
    save_image(tmp_path / "wood.png")
    (tmp_path / "m.mtl").write_text("newmtl plain\nKd 0.2 0.2 0.2\nnewmtl wood\nmap_Kd wood.png\n")
    faces = "usemtl plain\nf 3 2 1\nf 5 6 7\nusemtl wood\nf 1/1 2/1 3/1\n"
    mesh = read_mesh(write(tmp_path / "a.obj", "mtllib m.mtl\nvt 0 0\n" + CUBE + faces))
    assert [(part.material.name, len(part.faces)) for part in mesh.parts] == [("plain", 1), ("wood", 1)]


BOX = ["1 4 3 2", "5 6 7 8", "1 2 6 5", "3 4 8 7", "2 3 7 6", "4 1 5 8"]


@pytest.mark.parametrize("inner_first", [True, False])
def test_duplicate_faces_keep_the_outward_copy(tmp_path, inner_first):
    outer = "usemtl outer\n" + "".join(f"f {face}\n" for face in BOX)
    inner = "usemtl inner\n" + "".join("f " + " ".join(face.split()[::-1]) + "\n" for face in BOX)
    (tmp_path / "m.mtl").write_text("newmtl outer\nKd 1 0 0\nnewmtl inner\nKd 0 1 0\n")
    text = "mtllib m.mtl\n" + CUBE + (inner + outer if inner_first else outer + inner)
    mesh = read_mesh(write(tmp_path / "a.obj", text))
    assert [(part.material.name, len(part.faces)) for part in mesh.parts] == [("outer", 12)]
    a, b, c = np.moveaxis(mesh.parts[0].vertices[mesh.parts[0].faces], 1, 0)
    assert np.einsum("fi,fi->", a, np.cross(b, c)) / 6 == pytest.approx(1)


def test_unmerged_copies_and_decals(tmp_path):
    again = CUBE.replace("\nv 0 0 0\n", "\nv 0.0 0e0 -0\n")
    mesh = read_mesh(write(tmp_path / "a.obj", CUBE + again + "f 1 2 3\nf 10 9 11\nf 9 10 12\n"))
    assert mesh.num_faces == 2  # the second part repeats the first with its own vertices
    (tmp_path / "m.mtl").write_text("newmtl glass\nd 0.5\n")
    text = "mtllib m.mtl\n" + CUBE + "f 1 2 3\nusemtl glass\nf 1 2 3\n"
    assert read_mesh(write(tmp_path / "a.obj", text)).num_faces == 2
