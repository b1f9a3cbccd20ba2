"""A trained generator in Python: samples by seed, images, meshes, files, and the Hugging Face form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from configs.loader import build_config
from geometry.mesh import Mesh
from mesh_io.read import read_mesh
from networks.grid_memory import extraction_bytes
from networks.pretrained import load_generator_file
from sampling.latents import latents, spherical_path
from sampling.samples import Sample
from sampling.styles import styles_of_seeds
from sampling.trained_generator import Samples, TrainedGenerator, from_pretrained, load
from tests.geometry.measures import is_watertight
from tests.training import tiny
from torch_utils.errors import UserError


def save(path: Path, classes: int = 0, shading: str = "albedo", half: bool = False) -> Path:
    """A small network of random weights with a strong texture."""
    extra = {"shading": shading, "data": "discs"}
    return tiny.write_network(path, cells=10, classes=classes, half=half, extra=extra)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("network") / "network.safetensors")


@pytest.fixture(scope="module")
def g(file: Path) -> TrainedGenerator:
    return load(file)


@pytest.mark.parametrize("cells", [20, 31])
def test_any_number_of_cells_gives_the_same_surface_finer_and_closed(
    file: Path, g: TrainedGenerator, cells: int
) -> None:
    fine = load(file, cells=cells)
    assert fine.network.config.geometry.cells == cells and g.network.config.geometry.cells == 10
    for name, value in g.network.state_dict().items():
        assert torch.equal(value, fine.network.state_dict()[name])
    w_geo, _ = styles_of_seeds(g.network, [0, 1], 0.7)
    with torch.no_grad():
        coarse_mesh, fine_mesh = g.network.mesh(w_geo).mesh, fine.network.mesh(w_geo).mesh
    for b in range(2):
        assert is_watertight(fine_mesh[b])
        assert fine_mesh[b].faces.shape[0] > 3 * coarse_mesh[b].faces.shape[0]
        assert torch.cdist(fine_mesh[b].vertices, coarse_mesh[b].vertices).amin(1).max() < 1.5 * 0.1


def test_a_grid_too_fine_for_the_memory_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("networks.grid_memory.available_memory", lambda device: 2 * 10**9)
    with pytest.raises(
        UserError, match=r"--cells 200: .* need about .* GB, and 2\.0 GB are free; use --cells (\d+) or"
    ) as e:
        load(file, cells=200)
    fits = int(str(e.value).rpartition("--cells ")[2].split()[0])
    config = load(file, cells=20).network.config
    needed = [
        extraction_bytes(build_config({**config.model_dump(), "geometry": {"cells": n}}, "t"), 8)
        for n in (fits, fits + 1)
    ]
    assert needed[0] <= 2e9 < needed[1]


def test_one_seed_gives_one_sample_and_several_give_several(g: TrainedGenerator) -> None:
    for sample in (g.sample(3), g.sample(seed=3), g.sample(seeds=3), g.sample(range(2, 5))[1], g.sample([3])[0]):
        assert sample.seed == 3 and sample.truncation == 0.7 and sample.label is None
        torch.testing.assert_close(sample.w_geo, g.sample(3).w_geo)
    samples = g.sample((0, 5, 1), truncation=1.0)
    assert isinstance(samples, Samples) and [sample.seed for sample in samples] == [0, 5, 1]
    assert [sample.seed for sample in samples[1:]] == [5, 1] and samples[-1].seed == 1
    assert torch.equal(samples[1:].w_tex, samples.w_tex[1:])
    w_geo, w_tex = styles_of_seeds(g.network, [0, 5, 1], 1.0)
    torch.testing.assert_close((samples.w_geo, samples.w_tex), (w_geo, w_tex))
    assert torch.equal(samples[1].w_geo, g.sample(5, truncation=1.0).w_geo), "the same bits in any company"
    with pytest.raises(IndexError):
        samples[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of seeds and seed"),
        ({"seeds": 1, "seed": 2}, "one of seeds and seed"),
        ({"seeds": []}, "seeds of 0 or more, got none"),
        ({"seed": -1}, r"seeds of 0 or more, got \[-1\]"),
        ({"seed": 1, "labels": 0}, "no labels: the network is unconditional"),
    ],
)
def test_seeds_that_cannot_be_are_refused(g: TrainedGenerator, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        g.sample(**arguments)


def test_a_conditional_network_takes_labels_or_its_classes_in_turn(tmp_path: Path) -> None:
    g = load(save(tmp_path / "network.safetensors", classes=3))
    assert g.sample([0, 4, 5]).labels == [0, 1, 2]
    assert g.sample([0, 4], labels=2).labels == [2, 2] and g.sample([0, 4], labels=[2, 0]).labels == [2, 0]
    assert g.sample(4, labels=2).label == 2
    assert not torch.equal(g.sample(4, labels=2).w_geo, g.sample(4).w_geo)
    for labels in (3, [0], [0, -1]):
        with pytest.raises(ValueError, match="expected 2 labels from 0 to 2"):
            g.sample([0, 1], labels=labels)
    path = g.interpolate(1, 5, steps=3)
    assert path.labels == [1, 1, 1]
    with pytest.raises(ValueError, match="one truncation and one class"):
        g.interpolate(g.sample(1), g.sample(2))


def test_an_interpolation_runs_from_sample_to_sample(g: TrainedGenerator) -> None:
    path = g.interpolate(3, 7, steps=5)
    assert len(path) == 5 and path.seeds == (None,) * 5 and path.truncation == 0.7
    torch.testing.assert_close(path[0].w_geo, g.sample(3).w_geo)
    torch.testing.assert_close(path[-1].w_tex, g.sample(7).w_tex)
    z_geo, _ = latents([3, 7], g.network.config.mapping.z_dim)
    assert torch.equal(path.z_geo, spherical_path(*z_geo, 5))
    a, b = g.sample(3, truncation=0.4), g.sample(7, truncation=0.4)
    for same in (g.interpolate(a, b, 5), g.interpolate(3, b, 5), g.interpolate(a, 7, 5), g.interpolate(3, 7, 5, 0.4)):
        assert same.truncation == 0.4
        torch.testing.assert_close(same.w_geo, g.interpolate(a, b, 5).w_geo)
    assert torch.equal(g.interpolate_all([a, b, a], 5).z_tex[:5], g.interpolate(a, b, 5).z_tex)
    with pytest.raises(ValueError, match="at least 2 samples and 2 steps, got 2 and 1"):
        g.interpolate(3, 7, steps=1)


def test_images_have_a_side_a_background_and_one_axis_per_list(g: TrainedGenerator) -> None:
    samples = g.sample([0, 1])
    assert samples.render().shape == (2, 32, 32, 3), "twice the training images"
    assert samples.render([0.0, 90.0, 180.0], resolution=24).shape == (2, 3, 24, 24, 3)
    assert samples[1].render(resolution=24).shape == (24, 24, 3)
    assert samples[1].render([0.0, 90.0], resolution=24).shape == (2, 24, 24, 3)
    lit, unlit = (samples[0].render(unlit=bare) for bare in (False, True))
    assert lit.dtype == np.uint8 and (lit[0, 0] > 200).all() and not unlit[0, 0].any()
    difference = samples[0].render().astype(int) - samples.render()[0]
    assert np.abs(difference).max() <= 1
    assert (samples[0].render(0.0) != samples[0].render(180.0)).any()


def test_a_sample_goes_to_files_and_to_trimesh(g: TrainedGenerator, tmp_path: Path) -> None:
    sample = g.sample(seed=3)
    assert sample.export(tmp_path / "chair.glb", texture_size=64, pivot="source") == tmp_path / "chair.glb"
    converted = sample.to_trimesh(texture_size=64)
    (loaded,) = trimesh.load_scene(tmp_path / "chair.glb", process=False).geometry.values()
    assert isinstance(converted, trimesh.Trimesh)
    np.testing.assert_allclose(converted.vertices, loaded.vertices, atol=1e-6)
    np.testing.assert_array_equal(converted.faces, loaded.faces)
    np.testing.assert_allclose(converted.visual.uv, loaded.visual.uv, atol=1e-6)
    np.testing.assert_allclose(converted.vertex_normals, loaded.vertex_normals, atol=1e-5)
    images = [np.asarray(each.visual.material.baseColorTexture.convert("RGB")) for each in (converted, loaded)]
    np.testing.assert_array_equal(*images)
    assert np.ptp(images[0]) > 30, "the test needs a texture that varies"
    assert converted.is_winding_consistent and converted.volume > 0
    with pytest.raises(UserError, match=r"chair.fbx: .*\.glb, \.obj, \.usdz, \.ply or \.stl"):
        sample.export(tmp_path / "chair.fbx", texture_size=64)


def test_several_samples_go_to_a_folder(g: TrainedGenerator, tmp_path: Path) -> None:
    done = []
    files = g.sample([0, 12]).export(tmp_path, "obj", 64, progress=lambda: done.append(1))
    assert [file.name for file in files] == ["seed0000.obj", "seed0012.obj"] and len(done) == 2
    assert all(read_mesh(file).parts for file in files)
    files = g.interpolate(0, 1, steps=2).export(tmp_path, texture_size=64)
    assert [file.name for file in files] == ["step0000.glb", "step0001.glb"]


def test_shaded_networks_are_exported_unlit(tmp_path: Path) -> None:
    for shading in ("albedo", "soft"):
        g = load(save(tmp_path / "network.safetensors", shading=shading))
        assert g.shaded == (shading == "soft")
        mesh = read_mesh(g.sample(0).export(tmp_path / "mesh.glb", texture_size=64))
        assert mesh.parts[0].material.unlit == g.shaded


def test_a_sample_without_a_surface_says_so(g: TrainedGenerator, tmp_path: Path) -> None:
    with torch.no_grad():
        empty = TrainedGenerator(*load_generator_file(save(tmp_path / "network.safetensors")))
        empty.network.geometry.sdf.layers[-1].bias.fill_(50.0)
    with pytest.raises(UserError, match=r"seed 3.*has no surface"):
        empty.sample(seed=3).mesh()
    assert empty.sample([3]).export(tmp_path) == []


@pytest.mark.parametrize("half", [False, True])
def test_save_pretrained_and_from_pretrained_are_bitwise_inverse(tmp_path: Path, half: bool) -> None:
    g = load(save(tmp_path / "network.safetensors", half=half))
    folder = g.save_pretrained(tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    again = from_pretrained(folder)
    for name, tensor in g.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    assert again.header == {**g.header, "format_version": again.header["format_version"]}
    assert again.header["precision"] == ("fp16" if half else "fp32")
    assert json.loads((folder / "config.json").read_text())["nimg"] == 8000
    a, b = g.sample(5).mesh(64), again.sample(5).mesh(64)
    assert torch.equal(a.vertices, b.vertices) and torch.equal(a.textures["base_color"], b.textures["base_color"])
    assert load(folder).network.config == g.network.config
    again.save_pretrained(tmp_path / "other")
    assert (tmp_path / "other" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_an_included_network_loads_by_name_and_a_wrong_one_is_told_the_nearest() -> None:
    g = load("chair-64")
    assert (g.category, g.resolution, g.classes, g.shaded) == ("chair", 64, 0, False)
    assert repr(g) == "TrainedGenerator(chair, 64 px, cpu)" and repr(g.sample(seed=1)).startswith("Sample(seed 1,")
    with pytest.raises(UserError, match="did you mean 'chair-64'"):
        load("chiar-64")
    with pytest.raises(UserError, match=r"^device cuda:77: torch finds"):
        load("chair-64", device="cuda:77")
    with pytest.raises(UserError, match=r"chair-64: expected config.json"):
        from_pretrained("chair-64")


def test_half_precision_gives_nearly_the_same_shapes_and_the_default_is_single(file: Path, g: TrainedGenerator) -> None:
    half = load(file, precision="bf16")
    planes = [each.network.planes(*(g.sample(3).w_geo, g.sample(3).w_tex))[0] for each in (g, half)]
    error = (planes[1] - planes[0]).norm() / planes[0].norm()
    assert 0 < error < 0.02
    assert torch.equal(load(file, precision="fp32").sample(3).mesh(64).vertices, g.sample(3).mesh(64).vertices)
    with pytest.raises(UserError, match="precision fp16: expected one of fp32, bf16, auto"):
        load(file, precision="fp16")


def test_latents_and_styles_that_are_not_finite_are_refused(g: TrainedGenerator) -> None:
    z_geo, z_tex = g.latents([0, 1])
    w_geo, w_tex = g.styles(z_geo, z_tex)
    for value in (float("nan"), float("inf")):
        for tensors, make, what in (
            ((z_geo, z_tex), g.from_latents, "latents"),
            ((z_geo, z_tex), g.styles, "latents"),
            ((w_geo, w_tex), g.from_styles, "styles"),
        ):
            for bad in range(2):
                broken = [tensor.clone() for tensor in tensors]
                broken[bad][1].view(-1)[-1] = value
                with pytest.raises(ValueError, match=rf"expected finite {what}, got NaN or infinity"):
                    make(*broken)
    with pytest.raises(ValueError, match="expected no labels: the network is unconditional"):
        g.from_latents(z_geo, z_tex, labels=[0, 7])


def test_an_open_mesh_that_is_refused_is_said_and_no_file_of_the_list(
    g: TrainedGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surface = Sample.surface

    def opened(sample: Sample):
        mesh, colors = surface(sample)
        return Mesh.single(mesh.vertices, mesh.faces[1:]), colors

    monkeypatch.setattr(Sample, "surface", opened)
    with pytest.raises(UserError, match=r"a\.glb: not written, it is not watertight"):
        g.sample(seed=0).export(tmp_path / "a.glb", 64, watertight=True)
    assert g.sample([0]).export(tmp_path, "glb", 64, watertight=True) == [] and not list(tmp_path.iterdir())


def test_samples_of_one_seed_and_several_classes_are_several_files(tmp_path: Path) -> None:
    g = load(save(tmp_path / "network.safetensors", classes=2))
    files = g.sample([3, 3, 4], labels=[0, 1, 0]).export(tmp_path / "out", "stl", faces=None)
    assert [file.name for file in files] == ["seed0003_class0.stl", "seed0003_class1.stl", "seed0004.stl"]
    assert len({file.read_bytes() for file in files}) == 3


def test_a_number_of_numpy_gives_one_sample(g: TrainedGenerator) -> None:
    assert isinstance(g.sample(np.int64(3)), Sample)  # type: ignore[call-overload]


def test_styles_and_latents_follow_a_network_to_another_device(
    file: Path, g: TrainedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, (z_geo, z_tex) = load(file), g.latents([3])
    sample = moved.sample(seed=3)
    moved.network.to("meta")
    assert moved.from_latents(z_geo, z_tex).w_geo.device.type == "meta"
    devices = []
    monkeypatch.setattr(moved.network, "planes", lambda *w: devices.extend(each.device.type for each in w) or w)
    monkeypatch.setattr(moved.network, "surface", lambda planes, w_geo: devices.append(w_geo.device.type))
    with pytest.raises(AttributeError):  # there is no surface
        sample.surface()
    assert devices == ["meta", "meta", "meta"]
