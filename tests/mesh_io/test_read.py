"""The contract of `read_mesh` for every format: clear errors, bounded textures, and `SourceMesh`."""

import numpy as np
import pytest

from mesh_io.image_values import image_values
from mesh_io.read import FORMATS, read_mesh
from mesh_io.readers import texture_images as images
from mesh_io.readers.color import encode_srgb
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart, unit_rows
from tests.mesh_io.build import SQUARE, Gltf, obj_square, save_image
from tests.mesh_io.test_formats import binary_stl, ply, text_rows
from torch_utils.errors import UserError


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><title>Not found</title>", r"an HTML or XML page \(Not found\)"),
        (b"\n <?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r"page \(AccessDenied\)"),
        (b"", "the file is empty"),
        (b"\0\0\0\0", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG image, not "),
        (b"\x1f\x8b\x08", "is a gzip archive, not "),
        (b"\xfe\xed\xfa\xce" * 50, "."),
    ],
)
def test_files_that_are_not_meshes(tmp_path, suffix, data, message):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_mesh(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


def test_paths_and_endings(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_mesh(tmp_path / "gone.obj")
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(UserError, match="a folder, expected a mesh file"):
        read_mesh(tmp_path / "folder.obj")
    with pytest.raises(UserError, match=r"not a mesh format that is read; expected one of \.glb \.gltf \.obj"):
        read_mesh(tmp_path / "a.fbx")
    builder = Gltf()
    builder.scene(builder.primitive()).save(tmp_path / "a.glb").rename(tmp_path / "a.ply")
    with pytest.raises(UserError, match=r"a\.ply: is a GLB file, not PLY as its name says"):
        read_mesh(tmp_path / "a.ply")


def test_large_textures_are_reduced_and_larger_ones_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_TEXTURE_PX", 8)
    save_image(tmp_path / "wood.png", np.arange(32 * 16 * 3, dtype=np.uint32).reshape(16, 32, 3).astype(np.uint8))
    file = obj_square(tmp_path / "a.obj", "newmtl paint\nmap_Kd wood.png\n")
    mesh = read_mesh(file)
    assert mesh.parts[0].material.image.shape == (4, 8, 3)
    assert mesh.warnings == ("texture 'wood.png' has 32×16 px and was reduced to 8×4",)
    monkeypatch.setattr(images, "FREE_BYTES", -10 * (tmp_path / "wood.png").stat().st_size + 32 * 16 * 4 - 1)
    mesh = read_mesh(file)
    assert mesh.parts[0].material.image is None
    assert "'wood.png' of material 'paint': cannot be decoded (32×16 px would take" in mesh.warnings[0]


def test_decompression_bomb_is_refused_undecoded(tmp_path):
    png = bytearray(save_image(tmp_path / "wood.png").read_bytes())
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    (tmp_path / "wood.png").write_bytes(png)
    mesh = read_mesh(obj_square(tmp_path / "a.obj", "newmtl paint\nmap_Kd wood.png\n"))
    assert mesh.parts[0].material.image is None
    assert "60000×60000 px would take 13860 MiB, its file has 1 KiB" in mesh.warnings[0]


def test_many_textures_of_small_files_are_reduced_to_what_their_files_allow(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "FREE_BYTES", 64 * 64 * 12)  # decodes one, keeps four
    mtl, text = "", "mtllib m.mtl\nvt 0 0\n"
    for index in range(6):
        save_image(tmp_path / f"{index}.png", np.full((64, 64, 3), 40 * index, np.uint8))
        mtl += f"newmtl m{index}\nmap_Kd {index}.png\n"
        text += f"v 0 0 {index}\nv 1 0 {index}\nv 0 1 {index}\nusemtl m{index}\nf -1/1 -2/1 -3/1\n"
    (tmp_path / "m.mtl").write_text(mtl)
    (tmp_path / "a.obj").write_text(text)
    mesh = read_mesh(tmp_path / "a.obj")
    sizes = [part.material.image.shape[0] for part in mesh.parts]
    assert sizes[0] == 64 and sizes[5] < 64 and (mesh.parts[5].material.image == 200).all()
    assert "was reduced to" in mesh.warnings[-1]


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 3), ("P", 3), ("1", 3), ("I;16", 3), ("RGBA", 4), ("LA", 4), ("CMYK", 3), ("F", 3)]
)
def test_image_modes(mode, channels):
    from PIL import Image

    image = Image.new("I;16", (2, 1), 65535) if mode == "I;16" else Image.new("RGBA", (2, 1), "white").convert(mode)
    pixels = image_values(image)[0]
    assert pixels.shape == (1, 2, channels) and pixels.dtype == np.uint8
    assert (pixels == 255).all()


def test_sixteen_bits_become_eight():
    from PIL import Image

    pixels = image_values(Image.new("I;16", (1, 1), 100 * 257 + 3))[0]
    assert pixels.tolist() == [[[100, 100, 100]]]


def test_textures_may_be_left_undecoded(tmp_path):
    save_image(tmp_path / "wood.png")
    mesh = read_mesh(obj_square(tmp_path / "a.obj", "newmtl paint\nmap_Kd wood.png\n"), textures=False)
    assert mesh.parts[0].material.image is None and mesh.parts[0].uvs is not None and mesh.warnings == ()


def test_encoding_follows_the_srgb_curve():
    values = np.linspace(0, 1, 257)
    srgb = encode_srgb(values)
    decoded = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(decoded, values, atol=1e-6)
    np.testing.assert_allclose(encode_srgb([0, 0.0031308, 0.5, 1, 2]), [0, 0.04045, 0.735357, 1, 1], atol=1e-6)
    assert encode_srgb(1.0) == 1


def square_mesh(tmp_path, normals=None):
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    part = SourcePart(SQUARE.astype(np.float64), faces, SourceMaterial(), normals=normals)
    return SourceMesh(tmp_path / "a.obj", (part, part))


def test_transforms_keep_faces_outward_and_normals_perpendicular(tmp_path):
    mesh = square_mesh(tmp_path, unit_rows(np.array([[0, 0, 1.0]] * 4)))
    rng = np.random.default_rng(0)
    for sign in (1, -1):
        matrix = np.eye(4)
        matrix[:3, :3] = rng.normal(size=(3, 3))
        if np.sign(np.linalg.det(matrix)) != sign:
            matrix[:3, 0] *= -1
        part = mesh.transformed(matrix).parts[0]
        a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
        geometric = unit_rows(np.cross(b - a, c - a))
        # A mirror reverses the winding, and the stored normals agree with it.
        np.testing.assert_allclose(geometric[0], part.normals[0], atol=1e-6)


def test_merged_and_counts(tmp_path):
    mesh = square_mesh(tmp_path)
    vertices, faces, owner = mesh.merged()
    assert vertices.shape == (8, 3) and faces.max() == 7 and owner.tolist() == [0, 0, 1, 1]
    assert (mesh.num_faces, mesh.num_vertices, mesh.colored) == (4, 8, False)


def test_unit_rows_survive_extremes():
    rows = unit_rows(np.array([[3, 0, 4], [0, 0, 0], [1e-300, 0, 0], [1e300, 1e300, 0]]))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows[:2], [[0.6, 0, 0.8], [0, 1, 0]], atol=1e-6)


def seeds(tmp_path):
    """One valid file of each format."""
    builder = Gltf()
    builder.texture(
        {"bufferView": builder.view(save_image(tmp_path / "wood.png").read_bytes()), "mimeType": "image/png"}
    )
    uvs = np.random.default_rng(0).random((4, 2)).astype(np.float32)
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}, "alphaMode": "MASK"}]
    scene = builder.scene(builder.primitive(TEXCOORD_0=uvs, COLOR_0=uvs.repeat(2, 1), material=0), materials=materials)
    obj = obj_square(tmp_path / "seed.obj", "newmtl paint\nKd 1 0 0\nmap_Kd wood.png\n").read_bytes()
    rows = [[*point, 9, 9, 9] for point in SQUARE]
    colors = "property uchar red|property uchar green|property uchar blue"
    body = SQUARE.tobytes() + b"\x04" + np.arange(4, dtype="<i4").tobytes()
    return {
        ".glb": scene.save(tmp_path / "seed.glb").read_bytes(),
        ".gltf": scene.save(tmp_path / "seed.gltf").read_bytes(),
        ".obj": obj,
        ".ply": ply("ascii", vertex=colors, rows=text_rows(rows, [[4, 0, 1, 2, 3]]), points=4, num_faces=1),
        ".PLY": ply("binary_little_endian", rows=body, points=4, num_faces=1),
        ".stl": binary_stl(SQUARE[None, :3]),
        ".off": b"OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3 255 0 0\n",
    }


def mutate(data, rng):
    data = bytearray(data)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        for place in rng.integers(len(data), size=rng.integers(1, 6)):
            data[place] = rng.integers(256)
    elif kind == 2:
        place = int(rng.integers(len(data)))
        data[place : place + int(rng.integers(1, 20))] = b""
    elif kind == 3:  # other digits: the structure stays, the numbers are wrong
        places = [i for i, byte in enumerate(data) if 48 <= byte < 58]
        for place in rng.choice(places, size=3) if places else []:
            data[place] = rng.integers(48, 58)
    else:
        place, length = int(rng.integers(len(data))), int(rng.integers(1, 40))
        data[place:place] = data[place : place + length] * 2
    return bytes(data)


def test_mutated_files_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(7)
    outcomes = {"read": 0, "refused": 0}
    files = seeds(tmp_path)
    for suffix, data in files.items():
        (tmp_path / f"b{suffix}").write_bytes(data)
        assert read_mesh(tmp_path / f"b{suffix}").num_faces >= 1
        others = [other for name, other in files.items() if name.lower() != suffix.lower()]
        for content in [*(mutate(data, rng) for _ in range(120)), *others]:
            (tmp_path / f"b{suffix}").write_bytes(content)
            try:
                mesh = read_mesh(tmp_path / f"b{suffix}")
            except UserError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
            else:
                vertices, faces, _ = mesh.merged()
                assert np.isfinite(vertices).all() and faces.min() >= 0 and faces.max() < len(vertices)
                outcomes["read"] += 1
    assert min(outcomes.values()) > 100, outcomes
