"""Text formats as other programs write them: lines, comments, names, and numbers that are not finite."""

import numpy as np
import pytest

from mesh_io.read import read_mesh
from mesh_io.readers.text_lines import joined_lines, line_blocks, parse_numbers, split_words
from tests.mesh_io.build import save_image
from torch_utils.errors import UserError

TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
FACES = "f 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
MTL = "newmtl m\nKd 0.9 0.2 0.1\n"


def read_text(tmp_path, text, name="a.obj", mtl=None):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    if mtl is not None:
        (tmp_path / "m.mtl").write_text(mtl)
    return read_mesh(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("f 1 2 \\\n3\n", ["f 1 2  3"]),
        ("f 1 2 \\ \n3", ["f 1 2  3"]),
        ("f 1 \\\r\n2 \\\r\n3", ["f 1  2  3"]),
        ("# in C:\\models\\\nv 0 0 0", ["# in C:\\models\\", "v 0 0 0"]),
        ("f 1 2 3 # C:\\\nv 0 0 0", ["f 1 2 3 # C:\\", "v 0 0 0"]),
        ("g parts\\solid\\\nv 0 0 0", ["g parts\\solid\\", "v 0 0 0"]),
        ("map_Kd C:\\tex\\\nKd 1 0 0", ["map_Kd C:\\tex\\", "Kd 1 0 0"]),
        ("mtllib a.mtl \\\nb.mtl", ["mtllib a.mtl  b.mtl"]),
        ("v 1 2 3\rv 4 5 6", ["v 1 2 3", "v 4 5 6"]),
        ("o teile\x85\u2028eins\nv 1 2 3", ["o teile\x85\u2028eins", "v 1 2 3"]),
        ("f 1 2 \\", ["f 1 2 "]),
    ],
)
def test_lines(text, lines):
    found = [line for block in joined_lines(text) for line in block]
    assert [line for line in found if line] == lines


def test_blocks_are_cut_between_lines(monkeypatch):
    monkeypatch.setattr("mesh_io.readers.text_lines.BLOCK_CHARACTERS", 10)
    text = "".join(f"line {number}\n" for number in range(50))
    blocks = list(line_blocks(text))
    assert len(blocks) > 10 and [line for block in blocks for line in block] == text.splitlines()
    continued = [line for block in joined_lines("f 1 2 \\\n" * 5 + "3\nv 0 0 0") for line in block]
    assert continued == ["f 1 2  " * 5 + "3", "v 0 0 0"]


@pytest.mark.parametrize(
    "word",
    [
        "nan",
        "-nan",
        "NaN",
        "-nan(ind)",
        "nan(snan)",
        "NaNQ",
        "1.#QNAN",
        "-1.#IND00",
        "1.#IND",
        "1.#SNAN0",
        "1.#J",
        "-1.#INF00",
    ],
)
def test_words_for_numbers_that_are_not_finite(word):
    values, wrong = parse_numbers(["1", word, "2.5"])
    assert wrong is None and not np.isfinite(values[1]) and values[[0, 2]].tolist() == [1, 2.5]


def test_other_words_are_no_numbers():
    for word in ("x", "1,5", "nano", "#", "1.0.0", "--1"):
        values, wrong = parse_numbers(["1", word])
        assert wrong == word and np.isnan(values[1])
    assert parse_numbers(["inf", "-Infinity"])[0].tolist() == [np.inf, -np.inf]


def test_words_are_counted_line_by_line_whatever_separates_them():
    for lines in (["1\t2 3", "1  2"], ["1\xa02 3", "1  2"], ["1 2 3", "4 5 6"], ["1 2", "3"], [""], []):
        words, counts = split_words(lines)
        assert words == [word for line in lines for word in line.split()]
        assert counts.tolist() == [len(line.split()) for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        "# saved in C:\\models\\\nmtllib m.mtl\n" + TETRAHEDRON + "usemtl m\n" + FACES,
        "mtllib m.mtl # C:\\\n" + TETRAHEDRON + "usemtl m # the red one\n" + FACES,
        "o C:\\out\\\nmtllib m.mtl\n" + TETRAHEDRON.replace("\n", " # a corner\n") + "usemtl m\n" + FACES,
        ("mtllib m.mtl\n" + TETRAHEDRON + "usemtl\tm\n" + FACES).replace("v 0", "  V\t0"),
        ("mtllib m.mtl\n" + TETRAHEDRON + "usemtl m\n" + FACES).replace("\n", "\r"),
        ("# gr\xf6\xdfe \x85\nmtllib m.mtl\n" + TETRAHEDRON + "usemtl m\n" + FACES).encode("latin-1"),
        "mtllib m.mtl\n" + TETRAHEDRON + "usemtl m\n" + FACES.replace("f ", "fo ") + "\0\0\0",
    ],
)
def test_obj_statements_survive_comments_names_and_spaces(tmp_path, text):
    mesh = read_text(tmp_path, text, mtl="# C:\\lib\\\n" + MTL)
    assert mesh.num_faces == 4 and mesh.num_vertices == 4 and mesh.warnings == ()
    assert mesh.parts[0].material.base_color == (0.9, 0.2, 0.1, 1)


def test_names_with_a_number_sign_are_names(tmp_path):
    save_image(tmp_path / "map #3.png")
    text = "mtllib m.mtl\nvt 0 0\n" + TETRAHEDRON + "usemtl Material #25\nf 1/1 2/1 3/1\n"
    part = read_text(tmp_path, text, mtl="newmtl Material #25\nmap_Kd map #3.png\n").parts[0]
    assert part.material.name == "Material #25" and part.material.image is not None
    save_image(tmp_path / "plain.png")
    part = read_text(tmp_path, text, mtl="newmtl Material #25\nmap_Kd plain.png # oak\n").parts[0]
    assert part.material.image is not None


def test_obj_corners_that_name_what_is_not_there(tmp_path):
    for face, words in (
        ("f 1//1 2//1 3//1", "3 face corners name normal index 1, there are 0"),
        ("f 1/1 2/2 3/3", "3 face corners name texture index 1, there are 0"),
        ("f 1/-1/-1 2/-1/-1 3/-1/-1", "a texture index that is not there, there are 0"),
        ("f 1/x/1 2/1.5/nan 3//99999999999999999999", "a texture index that is not there"),
    ):
        mesh = read_text(tmp_path, TETRAHEDRON + face + "\n")
        assert mesh.num_faces == 1 and words in mesh.warnings[0]
        assert mesh.parts[0].uvs is None and mesh.parts[0].normals is None
    assert read_text(tmp_path, TETRAHEDRON + "f 1/0/0 2/0/0 3/0/0\n").warnings == ()


def test_obj_normals_that_are_missing_are_taken_from_the_faces(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 1 0 0\nvn -nan(ind) 0 0\nvn 0 0 0\n"
    mesh = read_text(tmp_path, text + "f 1//1 2//2 3//3\n")
    part = mesh.parts[0]
    np.testing.assert_array_equal(part.normals, [[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert mesh.warnings == ("part '': 2 of 3 normals are missing, NaN or zero; taken from faces",)
    mesh = read_text(tmp_path, text + "f 1//1 2 3//1\n")
    np.testing.assert_array_equal(mesh.parts[0].normals[mesh.parts[0].faces[0]], [[1, 0, 0], [0, 0, 1], [1, 0, 0]])
    mesh = read_text(tmp_path, text + "f 1//2 2//2 3//3\n")
    assert mesh.parts[0].normals is None and "no usable normals" in mesh.warnings[0]


def test_obj_texture_coordinates_that_are_not_numbers_are_taken_from_neighbors(tmp_path):
    text = TETRAHEDRON + "vt 0.5 1\nvt -1.#IND00 -1.#IND00\nvt abc 1\nf 1/1 2/2 3/3\n"
    mesh = read_text(tmp_path, text)
    np.testing.assert_array_equal(mesh.parts[0].uvs, [[0.5, 0], [0.5, 0], [0.5, 0]])
    assert ["'abc'" in line for line in mesh.warnings] == [True, False]
    assert "2 of 3 texture coordinates are NaN or infinite" in mesh.warnings[1]


def test_obj_colors_on_some_vertices_are_kept(tmp_path):
    text = "v 0 0 0 1 0 0\nv 1 0 0\nv 0 1 0 0 0 1 # blue\nf 1 2 3\n"
    mesh = read_text(tmp_path, text)
    np.testing.assert_array_equal(mesh.parts[0].vertex_colors[:, :3], [[1, 0, 0], [1, 1, 1], [0, 0, 1]])
    assert mesh.warnings == ("1 of 3 vertices have no color; they count as white",)
    mesh = read_text(tmp_path, text.replace("1 0 0\nv 1", "255 0 inf\nv 1"))  # one bad number does not set the scale
    np.testing.assert_allclose(mesh.parts[0].vertex_colors[:, :3], [[1, 1, 1], [1, 1, 1], [0, 0, 1 / 255]], atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "colored"),
    [
        ("v 0 0 0 0.9 0.2 0.1\nv 1 0 0 0.9 0.2 0.1\nv 0 1 0 0.9 0.2 0.1\n", False),
        ("v 0 0 0 0.902 0.2 0.102\nv 1 0 0\nv 0 1 0 0.898 0.2 0.098\n", False),  # rounded, and on some
        ("v 0 0 0 0.9 0.2 0.1\nv 1 0 0 0.9 0.2 0.1\nv 0 1 0 0.5 0.2 0.1\n", True),
    ],
)
def test_one_color_as_kd_and_at_the_vertices_counts_once(tmp_path, rows, colored):
    part = read_text(tmp_path, "mtllib m.mtl\nusemtl m\n" + rows + "f 1 2 3\n", mtl=MTL).parts[0]
    assert part.material.base_color[:3] == (0.9, 0.2, 0.1) and (part.vertex_colors is not None) == colored


@pytest.mark.parametrize(
    ("statement", "color", "words"),
    [
        ("Kd nan nan nan", (1, 1, 1), "is not three numbers and counts as white"),
        ("Kd -nan(ind) 0 0", (1, 1, 1), "is not three numbers"),
        ("Kd spectral oak.rfl", (1, 1, 1), "is not three numbers"),
        ("Kd 255 0 51", (1, 0, 0.2), "is taken as 0 to 255"),
        ("Kd 0.5 0.25 0 # half", (0.5, 0.25, 0), None),
        ("Kd\t0.5", (0.5, 0.5, 0.5), None),
    ],
)
def test_kd(tmp_path, statement, color, words):
    text = "mtllib m.mtl\nusemtl m\n" + TETRAHEDRON + FACES
    mesh = read_text(tmp_path, text, mtl=f"newmtl m\n{statement}\n")
    assert mesh.parts[0].material.base_color[:3] == color
    assert (mesh.warnings == ()) if words is None else (words in mesh.warnings[0])


@pytest.mark.parametrize("statement", ["surf 0 1 0 1 1 2 3 4", "call parts.obj"])
def test_obj_geometry_that_is_not_read_is_refused(tmp_path, statement):
    with pytest.raises(UserError, match=r"which is not read; export it as polygons"):
        read_text(tmp_path, TETRAHEDRON + FACES + statement + "\n")


def test_large_obj_files_are_parsed_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("mesh_io.readers.obj.PARSED_AT_ONCE", 3)
    monkeypatch.setattr("mesh_io.readers.text_lines.BLOCK_CHARACTERS", 20)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3)).round(3)
    text = ""
    for number in range(0, 40, 4):
        text += "".join("v {} {} {}\n".format(*point) for point in points[number : number + 4])
        text += "vt 0 0.5\nf -4/-1 -3/-1 -2/-1\nf -4 -2 -1\n"
    mesh = read_text(tmp_path, text)
    assert mesh.num_faces == 20
    merged, faces, _ = mesh.merged()
    found = {tuple(map(tuple, triangle)) for triangle in merged[faces].tolist()}
    expected = {
        tuple(map(tuple, points[[i, *rest]].tolist()))
        for i in range(0, 40, 4)
        for rest in ([i + 1, i + 2], [i + 2, i + 3])
    }
    assert found == expected


FACET = "facet normal 0 0 0\nouter loop\nvertex 0 0 0\nvertex 0 1 0\nvertex 1 0 0\nendloop\nendfacet\n"


@pytest.mark.parametrize(
    "text",
    [
        f"solid cube\n{FACET}end solid cube\n",
        f"solid vertex_cover\n{FACET}endsolid vertex_cover\n",
        f"solid outer vertex 1 2 3 facet\n{FACET}endsolid endsolid vertex\n",
        f"solid facet normal\n{FACET}endsolid",
        f"solid a\n{FACET}endsolid a\n\0\0\0",
        f"solid a\n{FACET}endsolid a\n".replace("endloop", "end loop").replace("endfacet", "end facet"),
        f"solid a {FACET}endsolid a".replace("\n", " "),
        f"solid a\n{FACET}endsolid a\n".replace("\n", "\r"),
        f"\ufeff  solid a\n{FACET}endsolid a\n".replace("normal 0 0 0", "normal -nan(ind) 1.#QNAN nan"),
        f"solid a\n{FACET.replace('outer', 'color 0.5 0.5 0.5' + chr(10) + 'outer')}endsolid a\n",
        f"{FACET}endsolid",
        f"; exported by hand\n# solid\n\tsolid a\n{FACET}endsolid a\n",
    ],
)
def test_text_stl_by_words(tmp_path, text):
    mesh = read_text(tmp_path, text, "a.stl")
    assert mesh.num_faces == 1
    np.testing.assert_array_equal(mesh.bounds(), [[0, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"solid a\n{FACET}", "does not end with endsolid"),
        (f"solid a\n{FACET}endsol", "does not end with endsolid"),
        (f"solid endsolid\n{FACET}facet normal 0 0 0\nouter loop\nvertex 0 0 0\n", "does not end|three vertices"),
        (f"solid a\n{FACET.replace('vertex 1 0 0', 'vertex 1 0')}endsolid\n", "three vertices of three numbers"),
        (f"solid a\n{FACET.replace('endloop', 'vertex 5 5 5 endloop')}endsolid\n", "three vertices"),
        (f"solid a\n{FACET.replace('vertex 1 0 0', 'vertex 1 0 -1.#IND')}endsolid\n", "NaN or infinite coordinates"),
    ],
)
def test_broken_text_stl(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_text(tmp_path, text, "a.stl")


def test_binary_stl_whose_header_says_solid(tmp_path):
    record = b"\0" * 12 + np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).tobytes() + b"\0\0"
    data = b"solid part".ljust(80) + (1).to_bytes(4, "little") + record + b"trailing bytes"
    assert read_text(tmp_path, data, "a.stl").num_faces == 1
    with pytest.raises(UserError, match="its header declares 0 facets, there are 1"):
        read_text(tmp_path, b"solid part".ljust(84, b"\0") + record, "a.stl")


PLY = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
PLY += "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
ROWS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"


@pytest.mark.parametrize(
    "text",
    [
        PLY + ROWS,
        PLY + ROWS.replace("0 0 0\n", "0 0 0 0.5 nan text\n").replace("3 0 1 2", "3 0 1 2 255 0 0"),
        PLY + ROWS.replace("\n", "\n\n") + "\0\0\x1a",
        (PLY + ROWS).replace("\n", "\r\n"),
        (PLY + ROWS).replace("\n", "\r"),
        PLY.replace("element vertex", "comment end_header is below\nobj_info end_header\nelement vertex") + ROWS,
        "\ufeff" + PLY + ROWS.rstrip(),
    ],
)
def test_text_ply_by_lines(tmp_path, text):
    mesh = read_text(tmp_path, text, "a.ply")
    assert (mesh.num_faces, mesh.num_vertices, mesh.warnings) == (2, 4, ())
    np.testing.assert_array_equal(mesh.bounds(), [[0, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.replace("1 0 0\n", "1 0\n"), "'1 0' does not hold what its header declares of 'vertex'"),
        (ROWS.replace("3 0 1 2\n", "4 0 1 2\n"), "'4 0 1 2' does not hold what its header declares of 'face'"),
        (ROWS.replace("0 0 0\n", "0 0 0\n5 5 5\n"), "'5 5 5' does not|declares 6 lines of data, 7 follow"),
        (ROWS + "3 1 2 3\n", "declares 6 lines of data, 7 follow"),
        (ROWS.replace("0 0 0\n1 0 0\n", "0 0 0 1 0 0\n"), "declared|declares"),
        (ROWS.replace("3 0 2 3", "-1 0 2 3"), "does not hold what its header declares"),
        (ROWS.replace("3 0 2 3", "3 0 2 x"), "holds 'x', which is not a number"),
        (ROWS.replace("3 0 2 3", "3 0 2 2.5"), "a face index is not an integer"),
        (ROWS.replace("3 0 2 3", "3 0 2 nan"), "face index nan is out of range"),
        (ROWS.replace("0 1 0\n", "0 -nan(ind) 0\n"), "1 of 4 vertices have NaN"),
    ],
)
def test_text_ply_that_does_not_fit_its_header_is_refused(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_text(tmp_path, PLY + rows, "a.ply")


def test_text_ply_whose_colors_are_not_of_the_declared_type(tmp_path):
    header = PLY.replace("element face", "property uchar red\nproperty uchar green\nproperty uchar blue\nelement face")
    rows = "0 0 0 1 0 0\n1 0 0 0 0.5 0\n1 1 0 0 0 1\n0 1 0 0 -1.#IND 0\n3 0 1 2\n3 0 2 3\n"
    mesh = read_text(tmp_path, header + rows, "a.ply")
    expected = [[1, 0, 0], [0, 0.5, 0], [0, 0, 1], [1, 1, 1]]
    np.testing.assert_allclose(mesh.parts[0].vertex_colors[:, :3], expected)
    assert "NaN vertex colors" in mesh.warnings[0]


def two_textures(
    tmp_path, numbers, comments="comment TextureFile red.png\ncomment TextureFile green.png\n", texcoords=None
):
    save_image(tmp_path / "red.png", np.full((2, 2, 3), [255, 0, 0], np.uint8))
    save_image(tmp_path / "green.png", np.full((2, 2, 3), [0, 255, 0], np.uint8))
    header = PLY.replace("format ascii 1.0\n", "format ascii 1.0\n" + comments)
    extra = "property list uchar float texcoord\nproperty int texnumber\nend_header"
    header = header.replace("end_header", extra)
    texcoords = texcoords or ["6 0 0 1 0 0 1"] * 2
    faces = ["3 0 1 2", "3 0 2 3"]
    rows = "".join(f"{f} {t} {n}\n" for f, t, n in zip(faces, texcoords, numbers, strict=True))
    return read_text(tmp_path, header + "0 0 0\n1 0 0\n1 1 0\n0 1 0\n" + rows, "a.ply")


def test_ply_with_two_textures_is_a_part_for_each(tmp_path):
    mesh = two_textures(tmp_path, [0, 1])
    red, green = mesh.parts
    assert mesh.warnings == () and (len(red.faces), len(green.faces)) == (1, 1)
    assert red.material.image[0, 0].tolist() == [255, 0, 0] and green.material.image[0, 0].tolist() == [0, 255, 0]
    np.testing.assert_allclose(sorted(red.vertices.tolist()), [[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    np.testing.assert_allclose(green.uvs[green.faces[0]], [[0, 1], [1, 1], [0, 0]])
    mesh = two_textures(tmp_path, [7, 1])
    assert mesh.parts[0].material.image is None and "1 faces have a texnumber" in mesh.warnings[0]
    mesh = two_textures(tmp_path, [-1, 0], texcoords=["0", "6 0 0 1 0 0 1"])
    assert [part.material.image is None for part in mesh.parts] == [True, False]
    (tmp_path / "a.ply").write_text((tmp_path / "a.ply").read_text().replace("texnumber", "flags"))
    assert "textures 'green.png' are not used" in read_mesh(tmp_path / "a.ply").warnings[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\nf 1 2 3\n"),
        ("a.off", "OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n2 0 1\n3 0 1 2\n"),
        (
            "a.ply",
            "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
            "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
            "0 0 0\n1 0 0\n0 1 0\n2 0 1\n3 0 1 2\n",
        ),
    ],
)
def test_faces_of_fewer_than_three_corners_are_counted(tmp_path, name, text):
    mesh = read_text(tmp_path, text, name)
    assert mesh.num_faces == 1
    assert mesh.warnings == ("1 face of fewer than three corners left out",)


def test_off_face_colors_of_a_color_map_are_named(tmp_path):
    mesh = read_text(tmp_path, "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2 7\n", "a.off")
    assert mesh.parts[0].vertex_colors is None
    assert mesh.warnings == ("colors of faces that are numbers of a color map are not read",)


def test_off_by_lines(tmp_path):
    square = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
    mesh = read_text(tmp_path, f"OFF # a square\n4 1 0 # counts\n{square}4 0 1 2 3 # a face\n", "a.off")
    assert mesh.num_faces == 2
    with pytest.raises(UserError, match="3 vertices and 1 faces are declared, 5 lines follow"):
        read_text(tmp_path, f"OFF\n3 1 0\n{square}4 0 1 2 3\n", "a.off")
    colors = ["0 0 0 255 0 0 255", "1 0 0", "1 1 0 0 0 255 255", "0 1 0 0 -1.#IND 0 255"]
    mesh = read_text(tmp_path, "COFF\n4 1 0\n" + "\n".join(colors) + "\n4 0 1 2 3\n", "a.off")
    expected = [[1, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 1]]
    np.testing.assert_array_equal(mesh.parts[0].vertex_colors[:, :3], expected)
    assert "1 of 4 vertices have no color" in mesh.warnings[0]
    # C++ streams print 1.0 as 1: whether colors are integers is a matter of the file, not of the row.
    faces = f"OFF\n4 2 0\n{square}3 0 1 2 1 0 0\n3 0 2 3 1 0 0.5\n"
    mesh = read_text(tmp_path, faces, "a.off")
    np.testing.assert_allclose(mesh.parts[0].vertex_colors[mesh.parts[0].faces[0]][:, :3], [[1, 0, 0]] * 3)
