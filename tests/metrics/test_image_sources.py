"""Images of all sources: mesh files, views of a dataset, samples of a network, normals and thumbnails."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.generator_schema import TextureConfig
from dataset_tool.dataset import ViewDataset, open_dataset
from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from metrics.images.conditions import Conditions, conditions_of
from metrics.images.normal_images import draw_normals, normal_images
from metrics.protocols import ImageProtocol, Protocol
from metrics.sources.dataset import DatasetSource
from metrics.sources.description import Description
from metrics.sources.folder import FolderSource
from metrics.sources.image_settings import make_image_settings
from metrics.sources.lazy_images import ImageMemory, LazyImages
from metrics.sources.network import NetworkSource
from networks.generator import Generator
from networks.pretrained import load_generator
from rendering.camera import Cameras
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from tests.metrics.boxes import write_boxes, write_boxes_and_network
from tests.training.tiny import config, write_network
from torch_utils.checkpoint import save_network
from torch_utils.errors import UserError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of boxes, their dataset and a network."""
    return write_boxes_and_network(tmp_path_factory.mktemp("files"))


def cube(size: float) -> Mesh:
    from tests.metrics.boxes import BOX, QUADS

    faces = [(q[0], q[k], q[k + 1]) for q in QUADS for k in (1, 2)]
    return Mesh.single((torch.tensor(BOX, dtype=torch.float32) - 0.5) * size, torch.tensor(faces, dtype=torch.int32))


def test_normals_are_world_axes_turned_towards_the_camera() -> None:
    azimuth = torch.tensor([0.0, torch.pi / 2, torch.pi])
    cameras = Cameras.orbit(azimuth, torch.zeros(3), 1.2, 0.86)
    found = draw_normals(cube(0.4), cameras, 32)
    assert found[:, 3, 16, 16].eq(255).all() and found[:, 3, 0, 0].eq(0).all()
    found = found[:, :3]
    assert found[:, :, 16, 16].tolist() == [[128, 128, 255], [255, 128, 128], [128, 128, 0]]
    assert found[:, :, 0, 0].eq(0).all()
    mesh = cube(0.4)
    inside_out = Mesh.single(mesh.vertices, mesh.faces.flip(1))
    assert torch.equal(draw_normals(inside_out, cameras, 32)[:, :3], found)


def test_a_mesh_file_looks_as_the_dataset_renders_it(files: Path) -> None:
    dataset = open_dataset(files / "data")
    settings = make_image_settings(
        Protocol(name="p", version=1, description="", images=ImageProtocol(count=4)), dataset, None
    )
    (files / "one").mkdir()
    shutil.copy(files / "boxes" / "box0.obj", files / "one")
    source = FolderSource(files / "one")
    images = source.images(4, settings)
    drawn = images.draw(range(4))
    stored = torch.stack([torch.from_numpy(dataset.load_premultiplied("box0", v, 16)) for v in range(4)])
    assert torch.equal(images.draw_rgba(range(4)), stored.permute(0, 3, 1, 2)) and drawn.max() > 200
    assert torch.equal(images.masks().draw(range(4)), stored[..., 3:].permute(0, 3, 1, 2).expand(-1, 3, -1, -1))
    # Another unit and place, and a protocol that normalizes: the same images.
    moved = files / "moved"
    moved.mkdir()
    lines = (files / "boxes" / "box0.obj").read_text(encoding="utf-8").splitlines()
    numbers = [[f"{float(x) * 40 + 7:.6f}" for x in line.split()[1:]] for line in lines if line.startswith("v ")]
    faces = [line for line in lines if line.startswith("f ")]
    (moved / "box.obj").write_text("\n".join([*(f"v {' '.join(n)}" for n in numbers), *faces]) + "\n", encoding="utf-8")
    images = ImageProtocol(count=4)
    boxed = Protocol(name="p", version=1, description="", normalization="unit_box", images=images)
    other = FolderSource(moved).images(4, make_image_settings(boxed, dataset, None)).draw(range(4))
    assert (other.int() - drawn.int()).abs().max() <= 2


def test_lit_datasets_are_compared_under_their_light(files: Path) -> None:
    dataset = open_dataset(files / "data")
    lit_header = dataset.header.model_copy(update={"renderer": {"shading": "pbr", "light": "random", "scale": 0.7}})
    protocol = Protocol(name="p", version=1, description="", images=ImageProtocol(count=4))
    plain = make_image_settings(protocol, dataset, None)
    lit = make_image_settings(protocol, ViewDataset(dataset.storage, lit_header), None)
    assert (plain.light, lit.light, lit.shading) == ("", "random", "pbr") and "light" not in plain.key
    boxes = _boxes(files).images(2, lit).draw(range(2)).int()
    assert (boxes - _boxes(files).images(2, plain).draw(range(2)).int()).abs().amax((1, 2, 3)).min() > 20
    generator = Generator(config().model_copy(update={"texture": TextureConfig(channels="pbr", hidden=8, features=8)}))
    source = NetworkSource(files / "net.safetensors", generator, 2, 1.0)
    first, again = (source.images(2, lit).draw(range(2)).int() for _ in range(2))
    assert torch.equal(first, again)
    assert (first - source.images(2, plain).draw(range(2)).int()).abs().amax((1, 2, 3)).min() > 5


def test_images_of_a_gray_background(files: Path) -> None:
    dataset = open_dataset(files / "data")
    images = ImageProtocol(count=6, background=0.5, resolution=8)
    settings = make_image_settings(Protocol(name="p", version=1, description="", images=images), dataset, None)
    for shown in (
        DatasetSource(dataset, "test").images(6, settings),
        _boxes(files).images(6, settings),
    ):
        drawn = shown.draw(range(len(shown)))
        assert tuple(drawn.shape) == (6, 3, 8, 8) and (drawn.min(), drawn.max()) == (128, 255)
        mask = shown.masks().draw(range(6))
        assert (mask.min(), mask.max()) == (0, 255) and drawn[mask == 0].eq(128).all()
    with pytest.raises(UserError, match="resolution 7 does not divide the stored 16"):
        wrong = images.model_copy(update={"resolution": 7})
        make_image_settings(Protocol(name="p", version=1, description="", images=wrong), dataset, None)


def _boxes(files: Path) -> FolderSource:
    return FolderSource(files / "boxes")


def test_normals_of_references_need_their_meshes(files: Path) -> None:
    dataset = open_dataset(files / "data")
    settings = make_image_settings(
        Protocol(name="p", version=1, description="", images=ImageProtocol(count=4)), dataset, None
    )
    views = DatasetSource(dataset, "test").images(8, settings)
    at_hand = DatasetSource(dataset, "test", None, files / "boxes")
    assert at_hand.missing_mesh(views.shapes) == ""
    shaded = normal_images(at_hand, views, settings).draw(range(8))
    seen = views.draw(range(8)).amax(1) > 0
    # Normals of a box are never black where the box is: the silhouettes agree, up to the antialiased rim.
    assert (shaded.amax(1) > 0).eq(seen).double().mean() > 0.97
    elsewhere = DatasetSource(dataset, "test", None, files)
    assert elsewhere.missing_mesh(views.shapes).startswith("box4: its source mesh is not at hand")
    assert normal_images(elsewhere, views, settings).draw(range(8)).eq(0).all()


@pytest.mark.parametrize("named", ["absolute", "above", "long"])
def test_a_dataset_names_no_mesh_outside_the_folder_of_meshes(files: Path, tmp_path: Path, named: str) -> None:
    data = shutil.copytree(files / "data", tmp_path / "data")
    (tmp_path / "meshes").mkdir()
    (tmp_path / "secret.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    source = {"absolute": str(tmp_path / "secret.obj"), "above": "../secret.obj", "long": "x" * 5000}[named]
    for path in data.glob("shapes/*/meta.json"):
        values = json.loads(path.read_text()) | {"source": source}
        del values["sha256"]
        path.write_text(json.dumps(values))
    shapes = DatasetSource(open_dataset(data), "test", 1, tmp_path / "meshes")
    assert "its source mesh is not at hand" in shapes.missing_mesh([0])


def test_the_coverage_of_a_network_is_where_its_image_differs_from_the_background(files: Path) -> None:
    source = NetworkSource(files / "net.safetensors", Generator(config()), 2, 1.0)
    dataset, drawn = open_dataset(files / "data"), []
    for background in (0, 1):
        images = ImageProtocol(count=4, resolution=16, background=background)
        settings = make_image_settings(Protocol(name="p", version=1, description="", images=images), dataset, None)
        drawn.append(source.images(2, settings).draw_rgba(range(2)).int())
    black, white = drawn
    # Networks premultiply in [−1, 1]: over black and over white, a pixel differs by 1 − α.
    assert (255 - (white - black)[:, :3] - black[:, 3:]).abs().max() <= 2
    assert torch.equal(black[:, 3], white[:, 3]) and 0 < black[:, 3].float().mean() < 255


def test_images_are_drawn_once_for_several_scores() -> None:
    calls: list[range] = []

    def draw(part: range) -> Tensor:
        calls.append(part)
        return torch.full((len(part), 4, 2, 2), part.start, dtype=torch.uint8)

    cameras = Cameras.orbit(torch.zeros(6), torch.zeros(6), 1.0, 1.0)
    memory = ImageMemory(limit=4 * 16)
    for name in ("a", "a", "b"):
        kept = memory.keep(LazyImages(range(6), cameras, draw, {"name": name}))
        for part in (range(3), range(3, 6)):
            assert kept.draw(part).eq(part.start).all() and kept.masks().draw(part).eq(part.start).all()
    # The first chunk of "a" fits; everything else is drawn for each of its two uses.
    assert calls.count(range(3)) == 1 + 2 and calls.count(range(3, 6)) == 6


def test_thumbnails_show_the_whole_shape_and_its_colors(tmp_path: Path) -> None:
    folder = tmp_path / "meshes"
    folder.mkdir()
    box = cube(40.0)
    colors = torch.tensor([[200, 30, 30]], dtype=torch.uint8).expand(4, 4, 3) / 255
    painted = Mesh.single(box.vertices, box.faces, uvs=torch.zeros(8, 2), textures={"base_color": colors})
    write_glb(folder / "red.glb", painted, unlit=True)
    write_glb(folder / "clay.glb", box, unlit=False)
    clay, red = (FolderSource(folder).thumbnail(row, 64) for row in (0, 1))
    assert clay is not None and red is not None
    for image in (clay, red):
        assert image.shape == (64, 64, 4) and image[32, 32, 3] == 255
        assert not any(edge.any() for edge in (image[0], image[-1], image[:, 0], image[:, -1]))
    assert np.abs(red[32, 32, :3].astype(int) - (200, 30, 30)).max() <= 2
    assert np.ptp(clay[32, 32, :3].astype(int)) < 40


def test_captions_of_a_folder(files: Path, tmp_path: Path) -> None:
    folder = write_boxes(tmp_path / "boxes", 3, 1)
    entries = {"box0.obj": "a red chair", "box1.obj": {"caption": "a blue stool", "attributes": {"red": False}}}
    (folder / "captions.json").write_text(json.dumps(entries), encoding="utf-8")
    source = FolderSource(folder)
    found = conditions_of(source, Conditions())
    assert found == [Description("a red chair", {}), Description("a blue stool", {"red": "false"}), Description("", {})]
    everywhere = Conditions("x", {"type": "chair"})
    assert conditions_of(source, everywhere)[1] == Description("x", {"red": "false", "type": "chair"})
    for text, message in (("[1]", "expected an object"), ("{", "as JSON"), ('{"a": 1}', "a: expected a caption")):
        (folder / "captions.json").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            conditions_of(FolderSource(folder), Conditions())


def test_the_samples_of_a_conditional_network_are_described_by_their_class(files: Path, tmp_path: Path) -> None:
    settings = config().model_copy(update={"classes": 2})
    save_network(tmp_path / "net.safetensors", Generator(settings), settings.model_dump(mode="json"), 0)
    file, generator = tmp_path / "net.safetensors", Generator(settings)
    source = NetworkSource(file, generator, 3, 1.0, first_seed=5, classes=("chair", "stool"))
    assert [d.attributes for d in conditions_of(source, Conditions())] == [
        {"class": "stool"},
        {"class": "chair"},
        {"class": "stool"},
    ]
    others = NetworkSource(file, generator, 3, 1.0, classes=("chair", "stool", "bench"))
    assert others.description(0) == Description()
    training = DatasetSource(open_dataset(files / "data"), "train")
    assert training.ids[3] == "box3"
    assert training.description(3) == Description("a red stool", {"type": "stool", "red": "true"})


def test_the_views_of_ln3diff_climb_a_hemisphere() -> None:
    cameras = CAMERA_DISTRIBUTIONS["ln3diff"].sample(0, range(100))
    elevation = cameras.elevation_rad().rad2deg()
    assert elevation[0] == pytest.approx(0, abs=1e-4) and elevation[49] == pytest.approx(88.2, abs=1e-3)
    assert torch.equal(cameras.camera_to_world[:50], cameras.camera_to_world[50:])
    assert torch.allclose(cameras.camera_to_world[:, :3, 3].norm(dim=1), torch.tensor(1.2))
    assert cameras.focal[0, 0] == pytest.approx(2 * 525 / 512)


@pytest.mark.parametrize("shading", ["albedo", "soft"])
def test_a_network_of_shaded_views_is_exported_unlit(tmp_path: Path, shading: str) -> None:
    file = write_network(tmp_path / "net.safetensors", extra={"shading": shading})
    source = NetworkSource(file, load_generator(file), 1, 1.0)
    assert source.export(0, tmp_path / "a.glb")
    assert read_mesh(tmp_path / "a.glb").parts[0].material.unlit == (shading == "soft")
