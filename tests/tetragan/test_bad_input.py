"""A user's mistake is one clear line and status 2; damaged files never give a traceback or half an output."""

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geometry.mesh import Mesh
from mesh_io.write import write_glb, write_obj
from networks.generator import Generator
from tests.command_line import Outcome, assert_refused, run
from tests.training import tiny
from torch_utils.checkpoint import save_network

ENDINGS = (".png", ".glb", ".obj", ".json", ".yaml", ".npz", ".safetensors")


def textured_triangles() -> Mesh:
    """A square of two triangles with a texture."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    return Mesh.single(
        vertices,
        torch.tensor([[0, 1, 2], [0, 2, 3]]),
        normals=torch.tensor([0.0, 0, 1]).expand(4, 3),
        uvs=vertices[:, :2],
        textures={"base_color": torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))},
    )


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one valid file of each kind: dataset, config, network, meshes."""
    root = tmp_path_factory.mktemp("valid")
    tiny.write_dataset(root / "dataset", shapes=3, views=2)
    tiny.write_config(root / "config.yaml")
    config = tiny.config()
    torch.manual_seed(0)
    save_network(root / "network.safetensors", Generator(config), config.model_dump(mode="json"), 1000)
    (root / "meshes").mkdir()
    write_glb(root / "meshes" / "square.glb", textured_triangles())
    write_obj(root / "meshes" / "square.obj", textured_triangles())
    return root


def commands(root: Path, out: Path) -> dict[str, list[object]]:
    """Every verb that reads files, on the files of `root`."""
    dataset, network = root / "dataset", root / "network.safetensors"
    return {
        "check": ["dataset", "check", dataset, "--quiet"],
        "render": [
            *("dataset", "render", root / "meshes", "--out", out),
            *("--resolution", 16, "--views", 2, "--workers", 1, "--quiet"),
        ],
        "train": ["train", "--config", root / "config.yaml", "--data", dataset, "--out", out, "--quiet"],
        "generate": ["generate", "--network", network, "--seeds", "0", "--texture-size", 64, "--out", out],
        "generate obj": ["generate", "--network", network, "--seeds", "1", "--format", "obj", "--out", out],
        "evaluate": ["evaluate", "--network", network, "--data", dataset, "--out", out, "--split", "train", "--quiet"],
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["check", "render", "train", "generate", "generate obj"])
def test_the_valid_files_are_accepted(verb: str, valid: Path, tmp_path: Path) -> None:
    outcome = run(*commands(valid, tmp_path / "out")[verb])
    assert outcome.status == 0, outcome.stderr


@pytest.mark.parametrize("verb", ["render", "train", "generate", "check", "evaluate"])
def test_a_missing_path_is_named(verb: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    outcome = run(*commands(root, tmp_path / "out")[verb])
    assert_refused(outcome, "nowhere")
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_of_meshes(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    assert_refused(run(*commands(tmp_path, tmp_path / "out")["render"]), "meshes")


def test_unknown_presets_and_settings_name_the_nearest(valid: Path, tmp_path: Path) -> None:
    arguments = ["--data", valid / "dataset", "--out", tmp_path / "out"]
    assert_refused(run("train", "--config", "chiar", *arguments), "chiar", "did you mean 'chair'")
    outcome = run("train", "--config", "chair", *arguments, "--set", "loss.gama=3")
    assert_refused(outcome, "loss.gama", "did you mean 'loss.gamma'")
    assert_refused(run("train", "--config", "chair", *arguments, "--set", "loss.gamma"), "path.to.field=value")
    assert_refused(run("train", "--config", "chair", *arguments, "--set", "loss.gamma=-1"), "loss.gamma")


@pytest.mark.parametrize("seeds", ["a", "3-1", "1,,2", "-1"])
def test_bad_seeds(seeds: str, valid: Path, tmp_path: Path) -> None:
    assert_refused(run("generate", "--network", valid / "network.safetensors", f"--seeds={seeds}", "--out", tmp_path))


def test_a_pickle_is_never_loaded(valid: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "network.pt")
    outcome = run("generate", "--network", tmp_path / "network.pt", "--out", tmp_path / "out")
    assert_refused(outcome, "network.pt", "pickle")


def test_a_dataset_of_an_unfit_resolution(valid: Path, tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path / "config.yaml", data={"resolution": 32})
    outcome = run("train", "--config", config, "--data", valid / "dataset", "--out", tmp_path / "out")
    assert_refused(outcome, "16", "32")


def test_a_dataset_without_cameras(valid: Path, tmp_path: Path) -> None:
    shutil.copytree(valid / "dataset", tmp_path / "dataset")
    next((tmp_path / "dataset" / "shapes").glob("*/transforms.json")).unlink()
    outcome = run("train", "--config", valid / "config.yaml", "--data", tmp_path / "dataset", "--out", tmp_path / "out")
    assert_refused(outcome, "transforms.json")


def test_a_truncated_image_is_named(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAGAN_CACHE", str(tmp_path / "cache"))  # where no earlier test has decoded the image
    shutil.copytree(valid / "dataset", tmp_path / "dataset")
    image = sorted((tmp_path / "dataset" / "shapes").glob("*/000.png"))[0]
    image.write_bytes(image.read_bytes()[:40])
    outcome = run("train", "--config", valid / "config.yaml", "--data", tmp_path / "dataset", "--out", tmp_path / "out")
    assert_refused(outcome, "000.png")


def test_a_mesh_that_cannot_be_read_is_listed_and_the_rest_rendered(valid: Path, tmp_path: Path) -> None:
    shutil.copytree(valid / "meshes", tmp_path / "meshes")
    (tmp_path / "meshes" / "broken.glb").write_bytes(b"not a mesh")
    outcome = run(*commands(tmp_path, tmp_path / "out")["render"])
    assert "broken.glb" in outcome.stdout + outcome.stderr
    rendered = {path.parent.name for path in (tmp_path / "out" / "shapes").glob("*/transforms.json")}
    assert len(rendered) == 2
    assert not any("broken" in name for name in rendered)


def mutate(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Truncated, with flipped bytes, with a piece of zeros, or emptied."""
    if kind == "truncate":
        return data[: int(rng.integers(0, max(len(data), 1)))]
    if kind == "empty":
        return b""
    changed = bytearray(data)
    if kind == "flip":
        for position in rng.integers(0, len(changed), 1 + len(changed) // 200):
            changed[position] ^= int(rng.integers(1, 256))
    else:
        start = int(rng.integers(0, len(changed)))
        changed[start : start + 64] = bytes(len(changed[start : start + 64]))
    return bytes(changed)


def assert_clean(outcome: Outcome, out: Path, what: str) -> None:
    """Status 0 or 2 (1 where `check` found errors), no traceback, no temporary file left behind, no half image."""
    assert outcome.status in (0, 1, 2), f"{what}: status {outcome.status}\n{outcome.stderr}"
    assert "Traceback" not in outcome.stdout + outcome.stderr, what
    for path in out.rglob("*") if out.exists() else []:
        assert ".tmp" not in path.name, f"{what}: {path} left behind"
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()


# A file of each kind, and the command that reads it.
TARGETS = [
    ("dataset/dataset.json", "check"),
    ("dataset/dataset.json", "train"),
    ("dataset/shapes/shape0/000.png", "train"),
    ("dataset/shapes/shape0/transforms.json", "train"),
    ("dataset/shapes/shape1/points.npz", "check"),
    ("dataset/shapes/shape1/meta.json", "check"),
    ("network.safetensors", "generate"),
    ("network.safetensors", "evaluate"),
    ("config.yaml", "train"),
    ("meshes/square.glb", "render"),
    ("meshes/square.obj", "render"),
]


@pytest.mark.parametrize("kind", ["truncate", "flip", "zeros", "empty"])
@pytest.mark.parametrize(("name", "verb"), TARGETS, ids=[f"{name.split('/')[-1]}-{verb}" for name, verb in TARGETS])
def test_damaged_files_never_give_a_traceback(name: str, verb: str, kind: str, valid: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{name} {verb} {kind}".encode()))
    for trial in range(2):
        root, out = tmp_path / f"root{trial}", tmp_path / f"out{trial}"
        shutil.copytree(valid, root)
        target = root / name
        target.write_bytes(mutate(target.read_bytes(), kind, rng))
        assert_clean(run(*commands(root, out)[verb]), out, f"{name} {kind} {trial}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_swapped_endings_never_give_a_traceback(ending: str, valid: Path, tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    for source in (valid / "meshes" / "square.glb", valid / "network.safetensors", valid / "config.yaml"):
        shutil.copy(source, tmp_path / "meshes" / f"{source.stem}{ending}")
    out = tmp_path / "out"
    assert_clean(run(*commands(tmp_path, out)["render"]), out, ending)
    foreign = tmp_path / "meshes" / f"square{ending}"
    assert_clean(run("generate", "--network", foreign, "--seeds", "0", "--out", out), out, ending)
    assert_clean(run("train", "--config", foreign, "--data", valid / "dataset", "--out", out / "run"), out, ending)


@pytest.mark.parametrize("verb", ["generate", "interpolate", "export"])
def test_a_grid_too_fine_for_the_memory(verb: str, valid: Path, tmp_path: Path) -> None:
    outcome = run(verb, "--network", "chair-64", "--out", tmp_path / "out.safetensors", "--cells", "1024")
    assert_refused(outcome, "--cells 1024: the grid and", "GB are free; use --cells")
    assert not (tmp_path / "out.safetensors").exists()
