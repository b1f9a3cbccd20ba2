"""Textures for a given mesh: what is kept of its file, and whether a known texture is found again."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_tool.format.transforms_json import frames_json
from dataset_tool.posed_images import read_images
from geometry.mesh import Mesh
from geometry.normals import face_normals
from guidance.priors.prior import DiffusionPrior, Embeddings, NoiseLevels
from mesh_io.read import read_mesh
from mesh_io.readers.gltf_document import open_document
from mesh_io.readers.source_files import SourceFiles
from mesh_io.write import write_glb
from mesh_io.writers.retexture import MaterialTextures, retextured_glb
from rendering.camera import Cameras, orbit_cameras
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from tests.dataset_tool.shapes import box
from tests.mesh_io.build import Gltf
from tests.mesh_io.gltf_geometry import geometry_bytes
from torch_utils.errors import UserError
from training.mesh_texture.fit import FitSettings, fit_textures, images_psnr
from training.mesh_texture.parameterizations import START, DeepImagePrior, TriPlaneField
from training.mesh_texture.projection import project_images
from training.mesh_texture.prompt import PromptMethod, PromptSettings, synthesize_textures
from training.mesh_texture.target import TextureTarget, read_target
from training.mesh_texture.views import prepare_view
from training.mesh_texture.write import texture_mesh

SIDE = 64
RED, BLUE = (0.6, -0.7, -0.7), (-0.7, -0.7, 0.6)


def smooth_texture(side: int = SIDE) -> torch.Tensor:
    line = torch.linspace(0, 1, side)
    v, u = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(9 * u), 0.5 + 0.4 * torch.cos(7 * v), 0.3 + 0.5 * u * v], -1)


def textured_box(path: Path, texture: torch.Tensor | None = None) -> Path:
    """A box with an atlas of six squares in a 3 × 2 grid."""
    corners, faces = box((-0.3, -0.25, -0.2), (0.3, 0.25, 0.2))
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    vertices = np.concatenate([corners[[f[0][0], f[0][1], f[0][2], f[1][2]]] for f in faces.reshape(6, 2, 3)])
    uvs = np.concatenate([(square * 0.9 + 0.05 + [i % 3, i // 3]) / [3, 2] for i in range(6)])
    quads = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * i for i in range(6)])
    mesh = Mesh.single(
        torch.from_numpy(vertices).float(),
        torch.from_numpy(quads),
        uvs=torch.from_numpy(uvs).float(),
        textures={"base_color": smooth_texture() if texture is None else texture},
    )
    write_glb(path, mesh)
    return path


def rendered(path: Path, folder: Path, views: int = 24, side: int = 96) -> Path:
    """Images of a mesh file and their cameras, as a shape's folder of a dataset has them."""
    folder.mkdir()
    azimuths = np.arange(views) * 360 / views
    elevations = np.tile([-35.0, 10.0, 50.0], views)[:views]
    cameras = Cameras.cat([orbit_cameras([a], e) for a, e in zip(azimuths, elevations, strict=True)])
    names = [f"{view:03d}.png" for view in range(views)]
    for name, image in zip(names, render_views(build_scene(read_mesh(path)), cameras, side).images, strict=True):
        Image.fromarray(image).save(folder / name)
    (folder / "transforms.json").write_text(frames_json(cameras, names, side))
    return folder


def with_rig(path: Path) -> Path:
    """The same GLB with a skin, a morph target, an animation and a second node, with odd values in all of them."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    values, binary = json.loads(data[20 : 20 + size]), bytearray(data[28 + size :])
    count = values["accessors"][values["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]["count"]
    rng = np.random.default_rng(0)

    def add(array: np.ndarray, kind: str, component: int) -> int:
        binary.extend(b"\0" * (-len(binary) % 4))
        values["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        binary.extend(array.tobytes())
        entry = {"bufferView": len(values["bufferViews"]) - 1, "componentType": component, "count": len(array)}
        values["accessors"].append({**entry, "type": kind})
        return len(values["accessors"]) - 1

    primitive = values["meshes"][0]["primitives"][0]
    joints = np.zeros((count, 4), np.uint8)
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    primitive["attributes"] |= {"JOINTS_0": add(joints, "VEC4", 5121), "WEIGHTS_0": add(weights, "VEC4", 5126)}
    primitive["targets"] = [{"POSITION": add(rng.normal(size=(count, 3)).astype(np.float32), "VEC3", 5126)}]
    values["nodes"] = [
        {"mesh": 0, "skin": 0, "name": "body", "extras": {"keep": [1.5, "me"]}},
        {"name": "joint", "children": [2]},
        {"name": "tip", "translation": [0.1, 0.2, 0.3]},
    ]
    values["scenes"] = [{"nodes": [0, 1]}]
    inverse = np.tile(np.eye(4, dtype=np.float32).reshape(1, 16), (2, 1))
    values["skins"] = [{"joints": [1, 2], "inverseBindMatrices": add(inverse, "MAT4", 5126)}]
    times, moves = add(np.array([0, 1], np.float32), "SCALAR", 5126), add(np.eye(2, 4, dtype=np.float32), "VEC4", 5126)
    values["animations"] = [
        {
            "samplers": [{"input": times, "output": moves}],
            "channels": [{"sampler": 0, "target": {"node": 1, "path": "rotation"}}],
        }
    ]
    binary.extend(b"\0" * (-len(binary) % 4))
    values["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(values).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + bytes(binary)
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
    return path


def test_a_rigged_file_keeps_everything_but_its_materials(tmp_path):
    path = with_rig(textured_box(tmp_path / "box.glb"))
    before, chunk = geometry_bytes(path), open_document(SourceFiles(path)).binary
    folder = rendered(textured_box(tmp_path / "plain.glb"), tmp_path / "views", views=3, side=48)
    result = texture_mesh(path, folder, tmp_path / "out.glb", FitSettings(size_px=64, steps=2))
    assert geometry_bytes(tmp_path / "out.glb") == before
    written = open_document(SourceFiles(tmp_path / "out.glb"))
    assert chunk is not None and written.binary is not None and written.binary.startswith(chunk.rstrip(b"\0"))
    assert written.json["asset"] == open_document(SourceFiles(path)).json["asset"]
    assert result.notes == () and result.seen > 0.3
    image = read_mesh(tmp_path / "out.glb").parts[0].material.image
    assert image is not None and image.shape == (64, 64, 3)


def test_a_known_texture_is_found_from_its_renders(tmp_path):
    path = textured_box(tmp_path / "box.glb")
    images = read_images(rendered(path, tmp_path / "views"))
    target = read_target(path, SIDE)
    assert images.rgb.shape == (24, 3, 96, 96) and target.notes == ()
    views = [prepare_view(target, images.cameras[view : view + 1], 96) for view in range(24)]
    assert images_psnr([smooth_texture()], views, images) > 53, "edges inside a side of the box are no silhouettes"
    projected = fit_textures(target, images, FitSettings(size_px=SIDE, steps=0))
    fitted = fit_textures(target, images, FitSettings(size_px=SIDE, steps=72))
    assert projected.seen > 0.95
    assert fitted.psnr > 33 and fitted.psnr > projected.psnr
    used = target.texels(0, SIDE).covered
    error = (fitted.textures[0] - smooth_texture())[used].square().mean()
    assert float(-10 * error.log10()) >= 30


def test_what_is_hidden_gets_no_color_of_what_hides_it(tmp_path):
    """A black box inside a white one: no view sees it, so none of its texels is known."""
    outer = read_mesh(textured_box(tmp_path / "outer.glb", torch.ones(SIDE, SIDE, 3)))
    images = read_images(rendered(tmp_path / "outer.glb", tmp_path / "views", views=6, side=64))
    part = outer.parts[0]
    inner = replace(part, vertices=part.vertices * 0.5, material=replace(part.material, index=1))
    corners = [torch.from_numpy(np.concatenate([p.vertices for p in (part, inner)]).astype(np.float32))]
    faces = np.concatenate([part.faces, inner.faces + len(part.vertices)])
    assert part.uvs is not None
    both = Mesh.single(corners[0], torch.from_numpy(faces), uvs=torch.from_numpy(part.uvs).repeat(2, 1))
    both = both.replace(normals=face_corner_normals(both))
    texture = torch.arange(2).repeat_interleave(len(part.faces))
    _, seen = project_images(TextureTarget(both, texture, (0, 1)), images, SIDE)
    assert seen[0].sum() > 1000
    assert not seen[1].any()


def face_corner_normals(mesh: Mesh) -> torch.Tensor:
    """Of vertices that the faces of one side alone share."""
    normals = torch.empty_like(mesh.vertices)
    normals[mesh.faces.long()] = face_normals(mesh)[:, None]
    return normals


def test_other_parameterizations_give_maps_of_the_same_form():
    torch.manual_seed(0)
    prior = DeepImagePrior(5, 2, 64, width=8)
    maps = prior()
    assert [tuple(image.shape) for image in maps] == [(64, 64, 5)] * 2
    field = TriPlaneField(5, torch.tensor([-1.0, -1, -1]), torch.tensor([1.0, 1, 1]), resolution=8, features=4)
    values = field(torch.rand(10, 3))
    for found in (*maps, values):
        assert found.min() > 0 and found.max() < 1
    (sum(image.sum() for image in maps) + values.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for m in (prior, field) for p in m.parameters())


def prior_of_flat_images(color_of: Callable[[str], tuple[float, float, float]]) -> DiffusionPrior:
    """A prior whose every image has one color in [−1, 1], that of the prompt."""
    return DiffusionPrior(
        network=lambda x_t, timestep, embeddings: embeddings.tensors["color"][:, :, None, None].expand_as(x_t),
        prediction_type="sample",
        levels=NoiseLevels(torch.linspace(0.999, 0.01, 1000)),
        embed=lambda prompts: Embeddings({"color": torch.tensor([color_of(prompt) for prompt in prompts])}),
        encode=lambda images: images,
        decode=lambda images: images,
        pixel_space=True,
        resolution=32,
        channels=3,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def test_a_prior_moves_the_texture_to_what_it_sees(tmp_path):
    """The base color turns red, whatever the parameterization."""
    prior = prior_of_flat_images(lambda prompt: RED)
    target = read_target(textured_box(tmp_path / "box.glb"), SIDE)
    for parameterization, steps in (("field", 30), ("maps", 30)):
        settings = PromptSettings(
            "red", method="sds", parameterization=parameterization, size_px=SIDE, steps=steps, views=1
        )
        textures = synthesize_textures(target, prior, settings)
        assert textures[0].shape == (SIDE, SIDE, 5)
        color = textures[0][..., :3][target.texels(0, SIDE).covered].mean(0)
        assert color[0] > color[1] + 0.15 and color[0] > color[2] + 0.15
    again = synthesize_textures(target, prior, settings)
    assert torch.equal(again[0], textures[0])


def test_small_priors_say_what_the_words_add(tmp_path):
    """A prior that sees blue wherever no word asks for red: its mode turns the texture with sds alone."""
    prior = prior_of_flat_images(lambda prompt: RED if "red" in prompt else BLUE)
    target = read_target(textured_box(tmp_path / "box.glb"), SIDE)

    def made(prompt: str, method: PromptMethod | None) -> torch.Tensor:
        textures = synthesize_textures(target, prior, PromptSettings(prompt, method=method, size_px=SIDE, steps=30))
        return textures[0][target.texels(0, SIDE).covered].mean(0)

    red, plain, blue = made("red", None), made("a box", None), made("a box", "sds")
    assert red[0] > red[2] + 0.15
    assert (plain[:3] - plain[:3].mean()).abs().max() < 0.02, "words that add nothing"
    assert blue[2] > blue[0] + 0.15
    assert torch.allclose(red[3:], torch.tensor(START[3:])), "small priors know no light, so nothing moves the surface"


def test_the_prompt_says_where_an_image_is_seen_from(tmp_path):
    """A prior that knows blue backs paints the back blue, and the front only where the words are left out."""
    prior = prior_of_flat_images(lambda prompt: BLUE if "back view" in prompt else RED)
    target = read_target(textured_box(tmp_path / "box.glb"), SIDE)
    normals = target.mesh.normals[target.mesh.faces.long()].mean(1)

    def redness(view_words: bool | None, z: float) -> float:
        settings = PromptSettings(
            "a box", method="sds", view_words=view_words, size_px=SIDE, steps=60, scale=20, views=2
        )
        colors = synthesize_textures(target, prior, settings)[0][..., :3]
        faces = target.mesh.faces[normals[:, 2] * z > 0.9].long()
        middle = (target.mesh.uvs[faces].mean(1) * SIDE).long()
        color = colors[middle[:, 1], middle[:, 0]].mean(0)
        return float(color[0] - color[2])

    assert redness(True, 1) > 0.1 and redness(True, -1) < -0.1
    assert redness(None, -1) > 0.1, "a prior of 32 px has learned no words for views"


def test_material_textures_take_the_place_of_the_former_ones(tmp_path):
    path = textured_box(tmp_path / "box.glb")
    surface = np.zeros((8, 8, 2), np.uint8)
    surface[..., 1] = 200
    data = retextured_glb(path, {0: MaterialTextures(np.full((8, 8, 3), 90, np.uint8), surface)})
    (tmp_path / "new.glb").write_bytes(data)
    material = read_mesh(tmp_path / "new.glb", surfaces=True).parts[0].material
    assert material.image is not None and (material.image == 90).all()
    assert material.surface_image is not None and material.surface_image[0, 0].tolist() == [255, 200, 0]
    assert (material.metallic, material.roughness, material.wrap) == (1.0, 1.0, ("clamp", "clamp"))
    with pytest.raises(UserError, match="materials"):
        retextured_glb(path, {3: MaterialTextures(np.zeros((8, 8, 3), np.uint8))})


def test_a_material_of_specular_and_glossiness_is_converted(tmp_path):
    name = "KHR_materials_pbrSpecularGlossiness"
    gloss = {"diffuseFactor": [1, 0, 0, 1], "diffuseTexture": {"index": 0, "texCoord": 1}, "glossinessFactor": 0.25}
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    gltf = Gltf()
    gltf.json |= {"extensionsUsed": [name], "extensionsRequired": [name]}
    gltf.json["materials"] = [{"extensions": {name: gloss}}]
    Image.new("RGB", (4, 4)).save(tmp_path / "black.png")
    gltf.texture({"uri": "black.png"})
    gltf.scene(gltf.primitive(TEXCOORD_0=uvs, TEXCOORD_1=uvs / 2, material=0))
    gltf.save(tmp_path / "a.glb")
    green = np.full((4, 4, 3), (0, 255, 0), np.uint8)
    (tmp_path / "b.glb").write_bytes(retextured_glb(tmp_path / "a.glb", {0: MaterialTextures(green)}))
    assert name.encode() not in (tmp_path / "b.glb").read_bytes()
    part = read_mesh(tmp_path / "b.glb").parts[0]
    assert (part.material.image == green).all() and part.material.base_color == (1, 1, 1, 1)
    assert (part.material.metallic, part.material.roughness) == (0, 0.75) and part.uvs.max() == 0.5


def test_images_in_files_keep_their_format(tmp_path):
    """Of a .gltf with images beside it, one for each format that is read."""
    path = textured_box(tmp_path / "box.glb")
    document = open_document(SourceFiles(path))
    values, names = document.json, ("a.png", "b.jpg", "c.webp")
    for name in names:
        Image.fromarray(np.full((4, 4, 3), 99, np.uint8)).save(tmp_path / name)
    values["images"] = [{"uri": name} for name in names]
    (tmp_path / "box.bin").write_bytes(document.binary)
    values["buffers"][0]["uri"] = "box.bin"
    (tmp_path / "box.gltf").write_text(json.dumps(values))
    (tmp_path / "out.glb").write_bytes(retextured_glb(tmp_path / "box.gltf", {}))
    written = open_document(SourceFiles(tmp_path / "out.glb"))
    assert [image["mimeType"] for image in written.json["images"]] == ["image/png", "image/jpeg", "image/webp"]
    for image, name in zip(written.json["images"], names, strict=True):
        assert bytes(written.view(image["bufferView"])[0]) == (tmp_path / name).read_bytes()
