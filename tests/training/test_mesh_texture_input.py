"""`tetragan texture`: input that is unusual, damaged or too large, and what is kept, said or refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_tool.posed_images import read_images
from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from mesh_io.write import write_glb, write_mesh
from mesh_io.writers.export_mesh import png_bytes
from tests.dataset_tool.shapes import box
from tests.mesh_io.build import Gltf
from tests.mesh_io.gltf_geometry import geometry_bytes
from tests.training.test_mesh_texture import (
    RED,
    SIDE,
    prior_of_flat_images,
    rendered,
    smooth_texture,
    textured_box,
    with_rig,
)
from torch_utils.errors import UserError
from training.mesh_texture.estimate import FitSize, check_fit, fit_bytes
from training.mesh_texture.fit import FitSettings, Parameterization, fit_textures
from training.mesh_texture.prompt import PromptSettings, synthesize_textures
from training.mesh_texture.target import read_target
from training.mesh_texture.write import texture_mesh, texture_mesh_by_prompt


def box_arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and UVs of `textured_box`."""
    part = read_mesh(textured_box(folder / "arrays.glb")).parts[0]
    assert part.uvs is not None
    return part.vertices.astype(np.float32), part.faces.astype(np.uint16), part.uvs


def box_with_uvs(path: Path, uvs: np.ndarray) -> Path:
    """The box of `textured_box` with other UVs, written as they are, NaN or not."""
    vertices, faces, _ = box_arrays(path.parent)
    builder = Gltf()
    primitive = builder.primitive(vertices, faces.reshape(-1), TEXCOORD_0=uvs.astype(np.float32), material=0)
    return builder.scene(primitive, materials=[{"name": "paint"}]).save(path)


def two_boxes(path: Path, images: list[np.ndarray]) -> Path:
    """A box of material 1 and, on its right, one of material 0. images: the texture of each material."""
    vertices, faces, uvs = box_arrays(path.parent)
    builder = Gltf()
    parts = [
        builder.primitive(vertices * 0.6 + np.float32([x, 0, 0]), faces.reshape(-1), TEXCOORD_0=uvs, material=material)
        for x, material in ((-0.25, 1), (0.25, 0))
    ]
    views = [builder.view(png_bytes(image)) for image in images]
    return builder.scene(
        *parts,
        materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": index}}} for index in range(2)],
        textures=[{"source": 0}, {"source": 1}],
        images=[{"bufferView": view, "mimeType": "image/png"} for view in views],
    ).save(path)


def test_each_material_gets_a_texture_of_its_own(tmp_path):
    first = (smooth_texture() * 255).byte().numpy()
    truth = [first, 255 - first]
    path = two_boxes(tmp_path / "boxes.glb", truth)
    folder = rendered(path, tmp_path / "views", views=18)
    texture_mesh(path, folder, tmp_path / "out.glb", FitSettings(size_px=SIDE, steps=36))
    assert geometry_bytes(tmp_path / "out.glb") == geometry_bytes(path)
    target, materials = read_target(path, SIDE), [part.material for part in read_mesh(tmp_path / "out.glb").parts]
    assert target.materials == (1, 0) and [material.index for material in materials] == [1, 0]
    used = target.texels(0, SIDE).covered.numpy()
    for material in materials:
        assert material.image is not None and material.index is not None
        difference = material.image[used].astype(float) - truth[material.index][used]
        assert -10 * np.log10((difference**2).mean() / 255**2) > 25


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_unusable_texture_coordinate_leaves_the_other_texels_alone(tmp_path, bad):
    """The last chart of the box has a vertex without a place; the other charts keep their points, and a note tells."""
    uvs = box_arrays(tmp_path)[2]
    good = read_target(box_with_uvs(tmp_path / "good.glb", uvs), SIDE)
    broken = uvs.copy()
    broken[-1] = bad
    path = box_with_uvs(tmp_path / "bad.glb", broken)
    target = read_target(path, SIDE)
    assert target.notes == ("part '': 1 of 24 texture coordinates are NaN or infinite; taken from neighbors",)
    line = torch.arange(SIDE)
    last_chart = (line[:, None] >= SIDE // 2) & (line >= 2 * SIDE // 3)
    for found in (target, good):
        assert (found.texels(0, SIDE).covered & last_chart).sum() > 100
    pairs = [(t.covered & ~last_chart, t) for t in (target.texels(0, SIDE), good.texels(0, SIDE))]
    assert torch.equal(pairs[0][0], pairs[1][0])
    points = [texels.points[outside[texels.covered]] for outside, texels in pairs]
    assert torch.equal(points[0], points[1])
    folder = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=3, side=32)
    result = texture_mesh(path, folder, tmp_path / "out.glb", FitSettings(size_px=64, steps=2))
    assert result.notes == target.notes
    assert geometry_bytes(tmp_path / "out.glb") == geometry_bytes(path)


def test_texture_coordinates_that_are_all_unusable_count_as_none(tmp_path):
    path = box_with_uvs(tmp_path / "box.glb", np.full((24, 2), np.nan))
    target = read_target(path, SIDE)
    assert target.materials == (None,)
    assert "no usable texture coordinates" in target.notes[0] and "has no UVs; they are made" in target.notes[1]
    with pytest.raises(UserError, match=r"unwrap it first.*no usable texture coordinates"):
        read_target(with_rig(path), SIDE)


def test_faces_without_area_get_no_atlas(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    with pytest.raises(UserError, match=r"a\.obj: has no UVs, and none can be made: expected faces with an area"):
        read_target(tmp_path / "a.obj", 64)


def test_one_image_is_enough_for_what_it_shows(tmp_path):
    path = textured_box(tmp_path / "box.glb")
    images, target = read_images(rendered(path, tmp_path / "views", views=1)), read_target(path, SIDE)
    fitted = fit_textures(target, images, FitSettings(size_px=SIDE, steps=24))
    texels = target.texels(0, SIDE)
    eye = images.cameras.position()[0]
    seen = ((eye - texels.points) * texels.normals).sum(1) > 0.4 * (eye - texels.points).norm(dim=1)
    assert 0.1 < fitted.seen < 0.5
    error = (fitted.textures[0] - smooth_texture())[texels.covered][seen].square().mean()
    assert -10 * float(error.log10()) > 25
    known, rest = (fitted.textures[0][texels.covered][which] for which in (seen, ~seen))
    assert (rest >= known.amin(0) - 0.1).all() and (rest <= known.amax(0) + 0.1).all()


def test_masks_in_files_of_their_own_take_the_place_of_alpha(tmp_path):
    folder = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=2, side=32)
    expected = read_images(folder)
    values = json.loads((folder / "transforms.json").read_text())
    for frame in values["frames"]:
        image = Image.open(folder / frame["file_path"])
        frame["mask_path"] = f"mask-{frame['file_path']}"
        image.getchannel("A").save(folder / frame["mask_path"])
        image.convert("RGB").save(folder / frame["file_path"])
    (folder / "transforms.json").write_text(json.dumps(values))
    found = read_images(folder)
    assert torch.equal(found.mask, expected.mask) and torch.equal(found.rgb, expected.rgb)
    Image.new("L", (16, 16), 255).save(folder / "mask-001.png")
    with pytest.raises(UserError, match=r"mask-001.png: is 16 × 16 px, and its image 32 × 32"):
        read_images(folder)
    (folder / "mask-001.png").unlink()
    with pytest.raises(UserError, match=r"transforms.json: names mask-001.png, which is not there"):
        read_images(folder)


@pytest.mark.parametrize(
    ("faces", "side", "said"), [(10**6, 256, "simplify"), (12, 4096, "images"), (12, 64, "--size")]
)
def test_what_does_not_fit_into_memory_is_refused_first(monkeypatch, faces: int, side: int, said: str):
    monkeypatch.setattr("training.mesh_texture.estimate.available_memory", lambda device: 10**9)
    assert fit_bytes(FitSize(10**6, 12, 128, 1, 256)) == pytest.approx(1.1e9, rel=0.1)  # 1.07 GB were measured
    check_fit("small.glb", FitSize(10_000, 24, 256, 1, 1024))
    with pytest.raises(UserError, match=f"a.glb: {faces:,} faces, 24 images.* GB are free; .*{said}"):
        check_fit("a.glb", FitSize(faces, 24, side, 1, 2048))


def test_a_fit_asks_whether_there_is_memory(monkeypatch, tmp_path):
    path = textured_box(tmp_path / "box.glb")
    folder = rendered(path, tmp_path / "views", views=2, side=32)
    monkeypatch.setattr("training.mesh_texture.estimate.available_memory", lambda device: 1000)
    with pytest.raises(UserError, match="12 faces, 2 images of 32 px and 1 textures of 64 px need about"):
        texture_mesh(path, folder, tmp_path / "out.glb", FitSettings(size_px=64, steps=1))
    assert not (tmp_path / "out.glb").exists()


def test_words_ask_whether_there_is_memory_before_anything_is_made(monkeypatch, tmp_path):
    corners, faces = box((-0.3, -0.25, -0.2), (0.3, 0.25, 0.2))
    path = tmp_path / "box.stl"
    write_mesh(path, Mesh.single(torch.from_numpy(corners).float(), torch.from_numpy(faces)))
    monkeypatch.setattr("training.mesh_texture.estimate.available_memory", lambda device: 1000)
    monkeypatch.setattr("training.mesh_texture.target.unwrap", lambda *_: pytest.fail("made UVs first"))
    settings = PromptSettings("a red box", size_px=64, steps=1)
    with pytest.raises(UserError, match="12 faces, 2 images of 16 px and 1 textures of 64 px need about"):
        texture_mesh_by_prompt(path, "pixel", tmp_path / "out.glb", settings)


def test_the_making_of_uvs_is_estimated_too(monkeypatch, tmp_path):
    """A million faces without UVs: 2.0 GB and 37 s were measured, 0.3 GB of them before it."""
    needed = [fit_bytes(FitSize(10**6, 2, 16, 1, 1024, has_uvs=uvs)) for uvs in (True, False)]
    assert needed == [pytest.approx(0.86e9, rel=0.02), pytest.approx(2.06e9, rel=0.02)]
    corners, faces = box((-0.3, -0.25, -0.2), (0.3, 0.25, 0.2))
    write_mesh(tmp_path / "box.stl", Mesh.single(torch.from_numpy(corners).float(), torch.from_numpy(faces)))
    monkeypatch.setattr("training.mesh_texture.write.UNWRAP_FACE_S", 5.0)
    folder, said = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=2, side=32), []
    for name in ("box.stl", "box.glb"):
        settings = FitSettings(size_px=64, steps=1)
        texture_mesh(tmp_path / name, folder, tmp_path / "out.glb", settings, say=said.append)
    assert said == [f"{tmp_path / 'box.stl'}: making UVs for 12 faces takes about 1m 00s"]
    sizes = []
    monkeypatch.setattr("training.mesh_texture.write.check_fit", lambda mesh, size: sizes.append(size.has_uvs))
    for name in ("box.stl", "box.glb"):
        texture_mesh(tmp_path / name, folder, tmp_path / "out.glb", settings)
    assert sizes == [False, True]


def test_the_deep_image_prior_takes_most_of_the_memory(monkeypatch):
    """Peak memory of a step at 256², width 128: 0.56 GB."""
    own = fit_bytes(FitSize(12, 1, 16, 1, 256, width=128)) - fit_bytes(FitSize(12, 1, 16, 1, 256))
    assert own == pytest.approx(0.6e9, rel=0.15)
    monkeypatch.setattr("training.mesh_texture.estimate.available_memory", lambda device: 4 * 10**9)
    check_fit("a.glb", FitSize(10**6, 12, 128, 1, 1024))
    with pytest.raises(UserError, match="choose a smaller --size"):
        check_fit("a.glb", FitSize(10**6, 12, 128, 1, 1024, width=128))


def test_work_that_takes_long_is_told_beforehand(monkeypatch, tmp_path):
    path, said = textured_box(tmp_path / "box.glb"), []
    folder = rendered(path, tmp_path / "views", views=2, side=32)
    for module in ("fit", "prompt"):
        monkeypatch.setattr(f"training.mesh_texture.{module}.step_seconds", lambda step: 45.0)
    texture_mesh(path, folder, tmp_path / "a.glb", FitSettings(size_px=64, steps=2), say=said.append)
    settings = PromptSettings("a red box", size_px=64, steps=2)
    texture_mesh_by_prompt(path, "pixel", tmp_path / "b.glb", settings, say=said.append)
    assert [line.startswith(f"{path}: 12 faces, 2 steps: about 1m 3") for line in said] == [True, True]
    monkeypatch.setattr("training.mesh_texture.prompt.step_seconds", lambda step: 0.1)
    texture_mesh_by_prompt(path, "pixel", tmp_path / "c.glb", settings, say=said.append)
    assert len(said) == 2


@pytest.mark.parametrize("parameterization", ["maps", "field", "deep-image-prior"])
def test_an_estimate_changes_nothing(tmp_path, parameterization: Parameterization):
    path = textured_box(tmp_path / "box.glb")
    images = read_images(rendered(path, tmp_path / "views", views=2, side=32))
    target, seconds = read_target(path, SIDE), []
    fit = FitSettings(parameterization, SIDE, steps=2, width=8)
    plain, estimated = (fit_textures(target, images, fit, estimated=told) for told in (None, seconds.append))
    assert torch.equal(plain.textures[0], estimated.textures[0])
    words = PromptSettings("red", parameterization=parameterization, size_px=SIDE, steps=2, width=8)
    prior = prior_of_flat_images(lambda prompt: RED)
    made = [synthesize_textures(target, prior, words, estimated=told) for told in (None, seconds.append)]
    assert torch.equal(made[0][0], made[1][0])
    assert len(seconds) == 2 and min(seconds) > 0


def test_texture_coordinates_that_cover_nothing_are_refused(tmp_path):
    part = read_mesh(textured_box(tmp_path / "box.glb")).parts[0]
    assert part.uvs is not None
    uvs = torch.full((len(part.uvs), 2), 0.3)
    mesh = Mesh.single(torch.from_numpy(part.vertices).float(), torch.from_numpy(part.faces), uvs=uvs)
    write_glb(tmp_path / "a.glb", mesh.replace(textures={"base_color": torch.ones(4, 4, 3)}))
    with pytest.raises(UserError, match="the UVs of texture 0 cover no texel"):
        read_target(tmp_path / "a.glb", SIDE)


@pytest.mark.parametrize("text", ["{", "[]", '{"source_to_world": [[1, 2], [3, 4]]}', '{"source_to_world": "a"}'])
def test_a_damaged_meta_json_is_named(tmp_path, text: str):
    folder = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=1, side=32)
    (folder / "meta.json").write_text(text)
    with pytest.raises(UserError, match=r"meta.json: expected a 4 × 4 source_to_world"):
        read_images(folder)


def test_a_single_image_without_alpha_is_named(tmp_path):
    folder = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=3, side=32)
    Image.open(folder / "001.png").convert("RGB").save(folder / "001.png")
    with pytest.raises(UserError, match=r"1 of 3 images have no alpha.*\(001.png\)"):
        read_images(folder)


@pytest.mark.parametrize("what", ["no transforms", "no alpha", "missing image"])
def test_unusable_images_are_refused(tmp_path, what):
    folder = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=2, side=32)
    if what == "no transforms":
        (folder / "transforms.json").unlink()
    elif what == "missing image":
        (folder / "001.png").unlink()
    else:
        for file in folder.glob("*.png"):
            Image.open(file).convert("RGB").save(file)
    said = {"no transforms": "transforms.json", "no alpha": "alpha", "missing image": "not there"}[what]
    with pytest.raises(UserError, match=said):
        read_images(folder)


def test_a_mesh_without_texture_coordinates_gets_an_atlas(tmp_path):
    corners, faces = box((-0.3, -0.25, -0.2), (0.3, 0.25, 0.2))
    write_mesh(tmp_path / "box.stl", Mesh.single(torch.from_numpy(corners).float(), torch.from_numpy(faces)))
    folder = rendered(textured_box(tmp_path / "box.glb"), tmp_path / "views", views=6, side=48)
    result = texture_mesh(tmp_path / "box.stl", folder, tmp_path / "out.glb", FitSettings(size_px=64, steps=6))
    assert "no UVs" in result.notes[0]
    part = read_mesh(tmp_path / "out.glb").parts[0]
    assert part.uvs is not None and part.material.image is not None
    assert len(part.faces) == 12 and result.psnr > 20


def test_a_rigged_mesh_without_texture_coordinates_is_refused(tmp_path):
    corners, faces = box((-0.3, -0.25, -0.2), (0.3, 0.25, 0.2))
    write_glb(tmp_path / "box.glb", Mesh.single(torch.from_numpy(corners).float(), torch.from_numpy(faces)))
    assert read_target(tmp_path / "box.glb", SIDE).materials == (None,)
    with pytest.raises(UserError, match="unwrap it first"):
        read_target(with_rig(tmp_path / "box.glb"), SIDE)


def test_vertex_colors_are_told(tmp_path):
    path = textured_box(tmp_path / "box.glb")
    assert read_target(path, SIDE).notes == ()
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    values = json.loads(data[20 : 20 + size])
    attributes = values["meshes"][0]["primitives"][0]["attributes"]
    attributes["COLOR_0"] = attributes["POSITION"]
    text = json.dumps(values).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    whole = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
    path.write_bytes(whole + struct.pack("<I4s", len(text), b"JSON") + text + rest)
    assert "vertex colors" in read_target(path, SIDE).notes[0]


def test_shared_and_outside_texels_are_told(tmp_path):
    corners, faces = box((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3))
    uvs = torch.rand(8, 2, generator=torch.Generator().manual_seed(0)) * 1.8
    mesh = Mesh.single(torch.from_numpy(corners).float(), torch.from_numpy(faces), uvs=uvs)
    write_glb(tmp_path / "a.glb", mesh.replace(textures={"base_color": torch.ones(4, 4, 3)}))
    notes = "\n".join(read_target(tmp_path / "a.glb", SIDE).notes)
    assert "cross the border" in notes and "times over" in notes
