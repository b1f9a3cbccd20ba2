"""Every verb that writes, into a place where it cannot: one line with the path, status 2, nothing half-written.

Permission bits do not bind root, so the places here are a parent that is a file, a folder in the place of the file, and
calls of the system that answer as a full or read-only disk does.
"""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metrics.cache import ChunkStore
from metrics.evaluate import Options, _cache
from networks.generator import Generator
from tests.command_line import assert_refused, run
from tests.dataset_tool.shapes import write_dataset, write_folder
from tests.metrics.boxes import write_box_dataset, write_boxes
from tests.training import tiny
from tests.training.test_mesh_texture import rendered, textured_box
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from torch_utils.files import WriteError


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs read: meshes, datasets, a network, a configuration."""
    root = tmp_path_factory.mktemp("inputs")
    write_folder(root / "meshes", 1)
    write_dataset(root / "views", count=3)
    write_boxes(root / "boxes", 3, 0)
    write_box_dataset(root / "boxes_data", root / "boxes", train=2)
    rendered(textured_box(root / "box.glb"), root / "posed", views=2, side=16)
    tiny.write_dataset(root / "discs", shapes=3, views=2)
    tiny.write_config(root / "tiny.yaml", training={"total_kimg": 0.016})
    torch.manual_seed(0)
    settings = tiny.config()
    save_network(root / "net.safetensors", Generator(settings), settings.model_dump(mode="json"), 1000)
    return root


def verbs(root: Path, out: Path) -> dict[str, list[object]]:
    """A call of every verb that writes, with an --out of its own."""
    network = ["--network", root / "net.safetensors"]
    return {
        "procedural": ["dataset", "procedural", "--category", "mug", "--count", 1, "--workers", 1, "--out", out],
        "render": ["dataset", "render", root / "meshes", "--out", out, "--resolution", 16, "--views", 1,
                   "--workers", 1],
        "sheet png": ["dataset", "sheet", root / "views", "--out", out / "sheet.png"],
        "sheet html": ["dataset", "sheet", root / "views", "--out", out / "sheet.html"],
        "pack": ["dataset", "pack", root / "views", "--out", out / "data.zip"],
        "pack shards": ["dataset", "pack", root / "views", "--out", out, "--shard-size", 1],
        "merge": ["dataset", "merge", root / "views", "--out", out],
        "subset": ["dataset", "subset", root / "views", "--out", out],
        "train": ["train", "--config", root / "tiny.yaml", "--data", root / "discs", "--out", out],
        "generate": ["generate", *network, "--seeds", 0, "--texture-size", 64, "--out", out],
        "viewer": ["generate", *network, "--seeds", 0, "--texture-size", 64, "--viewer", "--out", out],
        "texture": ["texture", root / "box.glb", "--images", root / "posed", "--size", 64, "--steps", 1,
                    "--out", out / "textured.glb"],
        "interpolate": ["interpolate", *network, "--seeds", "0-1", "--steps", 2, "--out", out],
        "swap": ["swap", *network, "--shape-seeds", 0, "--texture-seeds", 1, "--out", out],
        "perturb": ["perturb", *network, "--count", 1, "--out", out],
        "directions": ["directions", *network, "--axes", 1, "--out", out],
        "turntable": ["turntable", *network, "--seeds", 0, "--frames", 2, "--video", "gif", "--out", out],
        "export": ["export", *network, "--out", out / "net.safetensors"],
        "export folder": ["export", *network, "--out", out],
        "evaluate": ["evaluate", *network, "--data", root / "boxes_data", "--count", 1, "--out", out,
                     "--cache", root / "cache"],
        "diagnose classes": ["diagnose", "classes", *network, "--data", root / "boxes_data", "--by", "type",
                             "--out", out, "--count", 1],
    }  # fmt: skip


VERBS = list(verbs(Path(), Path()))


@pytest.mark.parametrize("verb", VERBS)
def test_a_parent_that_is_a_file_is_named(verb: str, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = run(*verbs(inputs, tmp_path / "file" / "out")[verb])
    assert_refused(outcome, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine" and list(tmp_path.iterdir()) == [tmp_path / "file"]


def failing(number: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the `after`-th on, every new file and folder is refused with an error of this number."""
    count = 0
    open_file, make = os.open, os.mkdir

    def refuse(path) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise OSError(number, os.strerror(number), str(path))

    def guarded_open(path, flags, *more, **options):
        if flags & os.O_CREAT:
            refuse(path)
        return open_file(path, flags, *more, **options)

    def guarded_make(path, *more, **options):
        refuse(path)
        return make(path, *more, **options)

    def guarded_bytes(self: Path, data: bytes) -> int:
        refuse(self)
        descriptor = open_file(self, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            return file.write(data)

    monkeypatch.setattr(os, "open", guarded_open)
    monkeypatch.setattr(os, "mkdir", guarded_make)
    monkeypatch.setattr(Path, "write_bytes", guarded_bytes)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("verb", ["procedural", "render", "merge", "subset", "sheet html"])
def test_a_disk_that_fails_on_the_way_is_one_line(
    verb: str, after: int, number: int, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataset_tool.render import render_dataset

    # In this process, where the system's calls are replaced.
    monkeypatch.setattr(
        render_dataset, "run_in_workers", lambda function, items, *_, **__: [(i, function(i)) for i in items]
    )
    with monkeypatch.context() as patch:
        failing(number, after, patch)
        outcome = run(*verbs(inputs, tmp_path / "out")[verb])
    if outcome.status == 0:
        assert after and verb == "sheet html", "two files were enough"
        return
    assert_refused(outcome, os.strerror(number), str(tmp_path / "out"))
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    if verb in ("merge", "subset"):
        assert not (tmp_path / "out" / "dataset.json").exists() and not (tmp_path / "out" / "shapes").exists()


@pytest.mark.parametrize("verb", ["split", "convert"])
def test_a_read_only_dataset_that_is_to_be_changed_is_one_line(verb: str, inputs: Path, tmp_path: Path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(inputs / ("views/shapes" if verb == "convert" else "views"), data)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    axes = ["--up", "+Y", "--front", "+Z"] if verb == "convert" else []
    with monkeypatch.context() as patch:
        failing(errno.EROFS, 0, patch)
        outcome = run("dataset", verb, data, *axes)
    assert_refused(outcome, os.strerror(errno.EROFS), str(data))
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    assert run("dataset", verb, data, *axes).status == 0


def test_without_a_cache_results_are_kept_beside_the_report(tmp_path: Path, monkeypatch, capsys) -> None:
    """As in a container without a writable home."""
    (tmp_path / "home").write_text("")
    for name in ("XDG_CACHE_HOME", "TETRAGAN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    options = Options(None, tmp_path, None, tmp_path, tmp_path / "out")
    assert _cache(options, Ranks()) == tmp_path / "out" / "cache"
    said = capsys.readouterr().err
    assert said.startswith(
        f"{tmp_path / 'home'}/.cache/tetragan/metrics: cannot be written ({tmp_path / 'home'} is a file)"
    )
    for name in ("cache", "xdg/tetragan/metrics"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        given = replace(options, cache=tmp_path / "cache" if name == "cache" else None)
        assert _cache(given, Ranks()) == tmp_path / name and not capsys.readouterr().err


def test_chunks_that_cannot_be_stored_are_kept_in_memory(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    calls = []

    def compute(rows: range) -> dict[str, torch.Tensor]:
        calls.append(rows)
        return {"square": torch.tensor([float(row * row) for row in rows])}

    store = ChunkStore(tmp_path / "file" / "cache")
    for _ in range(2):
        assert store.rows("a", "key", 5, 2, compute)["square"].tolist() == [0, 1, 4, 9, 16]
    assert len(calls) == 3 and capsys.readouterr().err.count("intermediate results are not kept") == 1
    with pytest.raises(WriteError):  # ranks exchange their results through the folder
        ChunkStore(tmp_path / "file" / "cache", Ranks(world=2)).rows("a", "key", 5, 2, compute)


def test_two_trainings_do_not_share_a_folder(inputs: Path, tmp_path: Path) -> None:
    from torch_utils.locks import owned_folder

    call = verbs(inputs, tmp_path / "out")["train"]
    with owned_folder(tmp_path / "out"):
        assert_refused(run(*call), f"{tmp_path / 'out'}: is in use by process {os.getpid()} on ", "wait for it")
        early = run("train", "--data", inputs / "discs", "--out", tmp_path / "out", "--resume")
        assert_refused(early, "is in use by process")  # not "no state to resume", which it will have soon
    assert run(*call).status == 0
    assert_refused(run(*call), "already holds a run")
    with owned_folder(tmp_path / "out"):
        assert_refused(run(*call), "is in use by process")
    with owned_folder(tmp_path / "out"):
        resumed = run("train", "--data", inputs / "discs", "--out", tmp_path / "out", "--resume")
        assert_refused(resumed, "is in use by process")
    with owned_folder(tmp_path / "report"):
        assert_refused(run(*verbs(inputs, tmp_path / "report")["evaluate"]), "report: is in use by process")
