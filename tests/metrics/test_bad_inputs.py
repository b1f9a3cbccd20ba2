"""One bad mesh, view or shape never ends an evaluation, and what it gave is not kept for the next one."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_tool.dataset import open_dataset
from mesh_io.read import read_mesh
from metrics.cache import ChunkStore, mark_provisional
from metrics.protocols import ImageProtocol, Protocol
from metrics.report.galleries import GalleryMaker
from metrics.shapes.shape_table import TableColumns, shape_table
from metrics.sources import folder
from metrics.sources.dataset import DatasetSource
from metrics.sources.folder import FolderSource
from metrics.sources.image_settings import make_image_settings
from tests.metrics.boxes import write_box_dataset, write_boxes
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError

PROTOCOL = Protocol(name="p", version=1, description="", images=ImageProtocol(count=4))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    write_boxes(root / "boxes", 10, 0)
    write_box_dataset(root / "data", root / "boxes")
    return root


@pytest.fixture
def files(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "files"))


def table(source, cache: Path):
    return shape_table(source, ChunkStore(cache), TableColumns(16, meshes=True))


def test_a_mesh_that_kills_its_process_costs_itself_alone(files: Path, tmp_path: Path, monkeypatch) -> None:
    """As one that the system kills for want of memory."""
    for number in range(3, 10):
        (files / "boxes" / f"box{number}.obj").unlink()
    settings = make_image_settings(PROTOCOL, open_dataset(files / "data"), None)
    source, read, here = folder.FolderSource(files / "boxes"), folder.read_mesh, os.getpid()
    images = source.images(6, settings)
    before = images.draw_rgba(range(6))

    def killed(path: Path, **options: bool):
        assert os.getpid() != here, "read in the process that evaluates"
        if path.name == "box1.obj":
            os.kill(os.getpid(), signal.SIGKILL)
        return read(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_mesh", killed)
        made = table(source, tmp_path / "cache")
        assert made.problems == ["", "its process was killed (out of memory?)", ""]
        assert made.usable.tolist() == [True, False, True] and made.validity[1] is None
        drawn = images.draw_rgba(range(6))
        assert drawn[2:4].eq(0).all() and torch.equal(drawn[[0, 1, 4, 5]], before[[0, 1, 4, 5]])
        assert [shape.problem for shape in source.shapes([1, 2])] == [made.problems[1], ""]
        assert source.thumbnail(1, 16) is None and source.thumbnail(2, 16) is not None
        assert not source.export(1, tmp_path / "a.glb") and source.export(2, tmp_path / "b.glb")
    assert table(source, tmp_path / "cache").problems == ["", "", ""], "it is tried again"


def test_a_mesh_that_could_not_be_read_is_tried_again(files: Path, tmp_path: Path, monkeypatch) -> None:
    """A later version may read it: neither its surface nor its empty images are kept."""
    for number in range(2, 10):
        (files / "boxes" / f"box{number}.obj").unlink()
    settings = make_image_settings(PROTOCOL, open_dataset(files / "data"), None)
    source, store = folder.FolderSource(files / "boxes"), ChunkStore(tmp_path / "cache")

    def drawn():
        images = source.images(4, settings)
        return store.rows("images", "key", 4, 4, lambda rows: {"x": images.draw_rgba(rows)})["x"]

    def fails(path: Path, **options: bool):
        raise TypeError("a fault of this version")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_mesh", fails)
        assert all("a fault of this version" in problem for problem in table(source, tmp_path / "cache").problems)
        assert not drawn().any()
    assert not list((tmp_path / "cache").glob("*"))
    store = ChunkStore(tmp_path / "cache")
    assert table(source, tmp_path / "cache").problems == ["", ""]
    assert drawn().any()
    assert list((tmp_path / "cache").glob("*")), "what was read is kept"


def test_damaged_views_and_points_of_a_dataset_cost_themselves(files: Path, tmp_path: Path) -> None:
    root = files / "data"
    dataset = open_dataset(root)
    ids = dataset.splits["test"]
    settings = make_image_settings(PROTOCOL, dataset, None)
    wanted = DatasetSource(dataset, "test").images(100, settings).draw(range(4))
    (root / "shapes" / ids[0] / "001.png").write_bytes(b"no image")
    (root / "shapes" / ids[1] / "points.npz").unlink()
    (root / "shapes" / ids[1] / "meta.json").write_text("{")
    (root / "shapes" / ids[2] / "points.npz").write_bytes(b"PK")
    source = DatasetSource(open_dataset(root), "test")
    drawn = source.images(100, settings).draw(range(4))
    assert torch.equal(drawn[[0, 2, 3]], wanted[[0, 2, 3]]) and torch.equal(drawn[1], wanted[2])
    assert source.description(1).caption == "" and source.description(0) != source.description(1)
    [note] = source.notes(Ranks())
    assert note.startswith("test split: 2 files could not be read") and "001.png" in note
    made = shape_table(source, ChunkStore(tmp_path / "c"), TableColumns(16))
    assert made.usable.tolist() == [True, False, False, *[True] * (len(ids) - 3)]
    assert made.problems[1].startswith(f"{ids[1]}: has no surface points, which shape scores need")
    assert "points.npz: cannot be read" in made.problems[2]
    shutil.copy(root / "shapes" / ids[0] / "points.npz", root / "shapes" / ids[1])
    again = shape_table(source, ChunkStore(tmp_path / "c"), TableColumns(16))
    assert bool(again.usable[1]), "it was fixed, and the hash of the dataset is the same"


def test_shapes_without_cameras_are_left_out_and_a_split_without_views_is_refused(files: Path) -> None:
    root = files / "data"
    dataset = open_dataset(root)
    ids, settings = dataset.splits["test"], make_image_settings(PROTOCOL, dataset, None)
    (root / "shapes" / ids[0] / "transforms.json").unlink()
    images = DatasetSource(open_dataset(root), "test").images(100, settings)
    assert 0 not in images.shapes and len(images) and images.draw(range(1)).any()
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no view can be read; the first: .*transforms\.json is missing"):
        DatasetSource(open_dataset(root), "test").images(100, settings).draw(range(1))


@pytest.mark.parametrize("world", [1, 2])
def test_provisional_results_are_not_kept(tmp_path: Path, monkeypatch, world: int) -> None:
    """With several ranks they are exchanged through the folder, and removed then."""
    monkeypatch.setattr("metrics.cache.barrier", lambda ranks: None)
    bad = [True]

    def compute(rows: range) -> dict[str, torch.Tensor]:
        if bad and 1 in rows:
            mark_provisional()
        return {"x": torch.tensor(np.array(rows)) + (100 if bad else 0)}

    for rank in range(world):
        store = ChunkStore(tmp_path, Ranks(rank, world))
        if rank < world - 1:
            with pytest.raises(RuntimeError, match="the result of another rank is missing"):
                store.rows("x", "key", 4, 1, compute)
        else:
            assert store.rows("x", "key", 4, 1, compute)["x"].tolist() == [100, 101, 102, 103]
    bad.clear()
    if world == 1:
        assert ChunkStore(tmp_path).rows("x", "key", 4, 1, compute)["x"].tolist() == [100, 1, 102, 103]
    else:
        assert len(list(tmp_path.iterdir())) == 3


def test_a_training_shape_without_its_description_costs_scores_of_meshes_alone(files: Path) -> None:
    (files / "data" / "shapes" / "box1" / "meta.json").unlink()
    source = DatasetSource(open_dataset(files / "data"), "train", None, files / "boxes")
    assert source.missing_mesh(range(4)).startswith("box1: ") and "meta.json" in source.missing_mesh([1])
    assert source.missing_mesh([0]) == ""


def test_shapes_whose_names_are_alike_as_file_names_have_their_own_images(files: Path, tmp_path: Path) -> None:
    (files / "boxes" / "a").mkdir()
    for name in ("a/box.obj", "a_box.obj"):
        shutil.copy(files / "boxes" / f"box{name.count('/')}.obj", files / "boxes" / name)
    source, maker = FolderSource(files / "boxes"), GalleryMaker(tmp_path)
    rows = [source.ids.index(name) for name in ("a/box.obj", "a_box.obj")]
    shown = [maker.item(source, row, "generated") for row in rows]
    again = [maker.item(source, row, "generated") for row in rows]
    assert shown == again and len({item.thumbnail for item in shown} | {item.mesh for item in shown}) == 4
    meshes = [read_mesh(tmp_path / item.mesh).bounds() for item in shown]
    assert not np.allclose(*meshes)
