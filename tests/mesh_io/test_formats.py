"""PLY, STL and OFF in their variants."""

import struct

import numpy as np
import pytest

from mesh_io.read import read_mesh
from tests.mesh_io.build import color_square, save_image
from torch_utils.errors import UserError

POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 2, 0]], np.float32)


def ply(
    form, *, vertex="", faces="property list uchar int vertex_indices", rows=b"", points=5, num_faces=2, comment=""
):
    lines = ["ply", f"format {form} 1.0", *([f"comment {comment}"] if comment else []), f"element vertex {points}"]
    lines += ["property float x", "property float y", "property float z", *filter(None, vertex.split("|"))]
    lines += [f"element face {num_faces}", *filter(None, faces.split("|")), "end_header", ""]
    return "\n".join(lines).encode() + rows


def read(tmp_path, data, name="a.ply"):
    (tmp_path / name).write_bytes(data)
    return read_mesh(tmp_path / name)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("faces", [[[0, 1, 2], [0, 2, 3]], [[0, 1, 2, 3], [3, 2, 4]]])
def test_binary_ply(tmp_path, order, faces):
    body = POINTS.astype(order + "f4").tobytes()
    body += b"".join(struct.pack(f"{order}B{len(face)}i", len(face), *face) for face in faces)
    form = "binary_little_endian" if order == "<" else "binary_big_endian"
    mesh = read(tmp_path, ply(form, rows=body))
    assert mesh.num_faces == sum(len(face) - 2 for face in faces)
    used = sorted({index for face in faces for index in face})
    np.testing.assert_array_equal(mesh.bounds(), [POINTS[used].min(0), POINTS[used].max(0)])


def test_binary_ply_with_lists_of_which_one_is_uneven(tmp_path):
    faces = "property list uchar int vertex_indices|property list uchar float texcoord"
    body = POINTS.tobytes() + struct.pack("<B3iB6f", 3, 0, 1, 2, 6, *range(6)) + struct.pack("<B3iB", 3, 0, 2, 3, 0)
    mesh = read(tmp_path, ply("binary_little_endian", faces=faces, rows=body))
    assert mesh.num_faces == 2 and mesh.warnings == ()
    without, textured = mesh.parts  # the second face has no coordinates
    assert without.uvs is None
    np.testing.assert_allclose(textured.uvs[textured.faces[0]], [[0, 0], [2, -2], [4, -4]])


def text_rows(*parts):
    return "\n".join(" ".join(map(str, row)) for part in parts for row in part).encode() + b"\n"


def test_text_ply_with_vertex_colors_uvs_and_normals(tmp_path):
    vertex = "property uchar red|property uchar green|property uchar blue|property float s|property float t"
    vertex += "|property float nx|property float ny|property float nz"
    rows = [[*point, 255, 0, 51, 0.25, 0.25, 0, 0, 3] for point in POINTS]
    part = read(tmp_path, ply("ascii", vertex=vertex, rows=text_rows(rows, [[4, 0, 1, 2, 3], [3, 3, 2, 4]]))).parts[0]
    np.testing.assert_allclose(part.vertex_colors[0], [1, 0, 0.2, 1])
    np.testing.assert_allclose(part.uvs[0], [0.25, 0.75])
    np.testing.assert_allclose(part.normals[0], [0, 0, 1])
    assert len(part.faces) == 3


def test_ply_corner_uvs_and_a_texture_whose_name_has_a_space(tmp_path):
    save_image(tmp_path / "wood uv.png")
    faces = "property list uchar int vertex_indices|property list uchar float texcoord"
    rows = [[4, 0, 1, 2, 3, 8, 0, 0, 1, 0, 1, 1, 0, 1], [3, 3, 2, 4, 6, 0.5, 0.5, 1, 1, 0, 1]]
    data = ply("ascii", faces=faces, rows=text_rows(POINTS, rows), comment="TextureFile  wood uv.png ")
    mesh = read(tmp_path, data)
    part = mesh.parts[0]
    np.testing.assert_array_equal(part.material.image, color_square())
    assert mesh.warnings == () and len(part.vertices) == 6  # point 3 has two places on the texture
    np.testing.assert_allclose(part.uvs[part.faces[2, 0]], [0.5, 0.5])
    np.testing.assert_allclose(part.uvs[part.faces[0, 1]], [1, 1])


def test_ply_face_colors_and_strips(tmp_path):
    faces = "property list uchar int vertex_indices|property uchar red|property uchar green|property uchar blue"
    data = ply("ascii", faces=faces, rows=text_rows(POINTS, [[4, 0, 1, 2, 3, 255, 0, 0], [3, 3, 2, 4, 0, 0, 255]]))
    part = read(tmp_path, data).parts[0]
    np.testing.assert_array_equal(part.vertex_colors[part.faces[0]], [[1, 0, 0, 1]] * 3)
    np.testing.assert_array_equal(part.vertex_colors[part.faces[2]], [[0, 0, 1, 1]] * 3)
    strip = ply("ascii", rows=text_rows(POINTS, [[8, 0, 1, 3, 2, 4, -1, 0, 1]]), num_faces=1).replace(
        b"face", b"tristrips"
    )
    mesh = read(tmp_path, strip)
    assert mesh.num_faces == 3
    a, b, c = np.moveaxis(mesh.parts[0].vertices[mesh.parts[0].faces], 1, 0)
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_strips_in_lists_of_their_own_are_apart(tmp_path):
    points = "0 0 0\n1 0 0\n0 1 0\n5 0 0\n6 0 0\n5 1 0\n"
    header = "element vertex 6\nproperty float x\nproperty float y\nproperty float z\nelement tristrips 2\n"
    header += "property list int int vertex_indices\nend_header\n"
    text = f"ply\nformat ascii 1.0\n{header}{points}3 0 1 2\n3 3 4 5\n"
    (tmp_path / "a.ply").write_text(text)
    assert sorted(read_mesh(tmp_path / "a.ply").parts[0].faces.tolist()) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ply\nformat ascii 1.0\nelement vertex 3\n", "header is cut short"),
        (b"nothing here", "not PLY"),
        (ply("ascii", rows=text_rows(POINTS, [[3, 0, 1, 9], [3, 0, 1, 2]])), "face index 9 is out of range"),
        (ply("ascii", rows=text_rows(POINTS, [[3, 0, 1, -1], [3, 0, 1, 2]])), "face index -1 is out of range"),
        (ply("ascii", rows=text_rows(POINTS, [[3, 0, 1, 2]])), "less data than the 2 'face'"),
        (ply("binary_little_endian", rows=POINTS.tobytes()), "less data than the 2 'face'"),
        (ply("binary_little_endian", rows=POINTS.tobytes()[:50]), "less data than the 5 'vertex'|truncated"),
        (ply("ascii", rows=text_rows(POINTS), num_faces=0), "has no faces, only points"),
        (ply("ascii", rows=b"x " * 15 + b"3 0 1 2 3 0 1 2"), "not a number"),
        (ply("ascii", vertex="property magic m"), "header line 'property magic m' is not understood"),
        (ply("ascii", rows=text_rows(np.full_like(POINTS, np.nan), [[3, 0, 1, 2], [3, 0, 2, 3]])), "NaN"),
    ],
)
def test_broken_ply(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, data)


TRIANGLES = np.float32([POINTS[[0, 1, 2]], POINTS[[0, 2, 3]]])


def binary_stl(triangles, header=b"made by a test"):
    records = b"".join(b"\0" * 12 + triangle.astype("<f4").tobytes() + b"\0\0" for triangle in triangles)
    return header.ljust(80) + struct.pack("<I", len(triangles)) + records


def text_stl(triangles, name="a"):
    facets = ""
    for triangle in triangles:
        rows = "".join(f"vertex {x:e} {y} {z}\n" for x, y, z in triangle)
        facets += f" facet normal 0 0 1\n outer loop\n{rows} endloop\n endfacet\n"
    return f"solid {name}\n{facets}endsolid {name}\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        binary_stl(TRIANGLES),
        binary_stl(TRIANGLES, b"solid of a CAD program facet"),
        text_stl(TRIANGLES),
        text_stl(TRIANGLES[:1]) + text_stl(TRIANGLES[1:], "b"),
        text_stl(TRIANGLES).upper(),
    ],
)
def test_stl(tmp_path, data):
    mesh = read(tmp_path, data, "a.STL")
    assert mesh.up == "+Z" and mesh.num_faces == 2 and mesh.num_vertices == 4
    np.testing.assert_array_equal(mesh.bounds(), [[0, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"solid Empty\nendsolid Empty", "has no faces"),
        (binary_stl(TRIANGLES)[:-60], "truncated: its header declares 2 facets, there are 0"),
        (text_stl(TRIANGLES)[:-40], "truncated: a text STL|damaged"),
        (text_stl(TRIANGLES).replace(b"vertex", b"vertex x", 1), "damaged"),
        (binary_stl(np.full_like(TRIANGLES, np.inf)), "NaN or infinite"),
        (b"short", "less than an STL header"),
    ],
)
def test_broken_stl(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, data, "a.stl")


SQUARE = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


@pytest.mark.parametrize(
    ("text", "color"),
    [
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3\n", None),
        (f"OFF 4 1 0\n# comment\n\n{SQUARE}4 0 1 2 3\n", None),
        (f"OFF4 1 0\n{SQUARE}4 0 1 2 3\n", None),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3 255 0 51\n", [1, 0, 0.2, 1]),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3 1.0 0 0.2 0.5\n", [1, 0, 0.2, 0.5]),
        (f"OFF\n4 2 0\n{SQUARE}3 0 1 2 1.0 0 0.2\n3 0 2 3 255 0 51\n", [1, 0, 0.2, 1]),  # of either range
        ("COFF\n4 1 0\n" + SQUARE.replace("\n", " 255 0 51 255\n") + "4 0 1 2 3\n", [1, 0, 0.2, 1]),
        ("CNOFF\n4 1 0\n" + SQUARE.replace("\n", " 0 0 1 1 0 0.2\n") + "4 0 1 2 3\n", [1, 0, 0.2, 1]),
    ],
)
def test_off(tmp_path, text, color):
    mesh = read(tmp_path, text.encode(), "a.off")
    assert mesh.num_faces == 2 and mesh.num_vertices == 4
    if color is None:
        assert mesh.parts[0].vertex_colors is None
    else:
        np.testing.assert_allclose(mesh.parts[0].vertex_colors[0], color)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OFF\n4 2 0\n" + SQUARE + "4 0 1 2 3\n", "truncated: 4 vertices and 2 faces"),
        ("OFF\n4 1 0\n" + SQUARE + "4 0 1 2 4\n", "face index 4 is out of range"),
        ("OFF\n4 1 0\n" + SQUARE + "4 0 1 2\n", "fewer corners"),
        ("OFF\n4 1 0\n" + SQUARE + "4 0 1 2 x\n", "not made of integers"),
        ("OFF\nfour 1 0\n", "not the numbers of vertices"),
        ("OFF BINARY\n....", "binary OFF"),
        ("4OFF\n1 1 0\n", "three dimensions"),
        ("FOO\n4 1 0\n", "does not begin with an OFF header"),
        ("OFF\n4 0 0\n" + SQUARE, "has no faces"),
    ],
)
def test_broken_off(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text.encode(), "a.off")
