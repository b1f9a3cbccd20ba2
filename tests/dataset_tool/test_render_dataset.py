"""Whole renders: the same bytes in any order and number of processes, killed and continued, with bad shapes in them."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dataset_tool.format.writer
import dataset_tool.render.render_shape
from dataset_tool.dataset import open_dataset
from dataset_tool.render.render_dataset import render_dataset
from dataset_tool.sources.find_shapes import find_shapes
from metrics.sources.dataset import DatasetSource
from tests.dataset_tool.shapes import box, settings, write_blocks, write_folder
from torch_utils.errors import UserError

ROOT = Path(__file__).parents[2]


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def render(source: Path, out: Path, **options):
    order = options.pop("order", 1)
    given = options.pop("settings", settings())
    return render_dataset(find_shapes(source)[::order], out, given, category="blocks", **options)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source"), 5)


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    """The files of an undisturbed render in one process."""
    out = tmp_path_factory.mktemp("expected") / "data"
    result = render(source, out)
    assert (len(result.rendered), result.failures, result.warnings) == (5, {}, {})
    return tree(out)


def test_the_dataset_is_as_the_contract_says(expected, source, tmp_path):
    shape = "shapes/shape_3/"
    names = {name.removeprefix(shape) for name in expected if name.startswith(shape)}
    assert names == {"000.png", "001.png", "002.png", "transforms.json", "points.npz", "meta.json"}
    header = json.loads(expected["dataset.json"])
    assert header["renderer"] == {"name": "built-in", "shading": "albedo", "supersample": 2, "scale": 0.7, "extras": []}
    assert [len(header["splits"][name]) for name in ("train", "val", "test")] == [4, 0, 1]
    meta = json.loads(expected[shape + "meta.json"])
    assert meta["source"] == "shape_3.obj"
    assert set(meta["files"]) == names - {"meta.json"}


def test_neither_order_nor_workers_nor_shards_change_a_byte(source, expected, tmp_path):
    render(source, tmp_path / "reversed", order=-1)
    assert tree(tmp_path / "reversed") == expected
    render(source, tmp_path / "workers", workers=2)
    assert tree(tmp_path / "workers") == expected
    for index in (1, 0):
        render(source, tmp_path / "shards", shard=(index, 2))
    assert tree(tmp_path / "shards") == expected


def test_a_finished_render_is_left_alone(source, expected, tmp_path, monkeypatch):
    shutil.copytree(write_tree(expected, tmp_path / "a"), tmp_path / "b")
    monkeypatch.setattr(dataset_tool.render.render_shape, "render_shape", lambda *_: pytest.fail("rendered again"))
    result = render(source, tmp_path / "b")
    assert (result.rendered, len(result.skipped)) == ([], 5)
    assert tree(tmp_path / "b") == expected


def write_tree(files: dict[str, bytes], root: Path) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


KILLED = """
import sys, time
import dataset_tool.format.writer as writer
encode, count = writer.encode_arrays, 0
write_bytes = writer.Path.write_bytes
def slow(self, data):
    global count
    count += 1
    if count > 15:
        print("half", flush=True)
        time.sleep(60)
    return write_bytes(self, data)
writer.Path.write_bytes = slow
from tests.dataset_tool.test_render_dataset import render
from pathlib import Path
render(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_render_continues_and_leaves_no_half_shape(source, expected, tmp_path):
    """SIGKILL in the middle of the third shape's files."""
    out = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    whole = [path for path in (out / "shapes").iterdir() if not path.name.startswith(".")]
    assert len(whole) == 2
    assert [path for path in (out / "shapes").iterdir() if path.name.startswith(".")], "expected the half shape's files"
    with pytest.raises(UserError, match="its render was not finished; run the same"):
        open_dataset(out)
    before = {path: path.stat().st_mtime_ns for path in whole}
    result = render(source, out)
    assert (len(result.skipped), len(result.rendered)) == (2, 3)
    assert tree(out) == expected
    assert {path: path.stat().st_mtime_ns for path in whole} == before


def test_bad_meshes_are_listed_and_the_rest_is_rendered(source, expected, tmp_path):
    """Empty, not a mesh, without faces, NaN: each named with its file; good shapes come out as always."""
    mixed = tmp_path / "mixed"
    shutil.copytree(source, mixed)
    (mixed / "empty.obj").write_text("")
    (mixed / "page.glb").write_text("<!DOCTYPE html><html>404</html>")
    (mixed / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    (mixed / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (mixed / "dot.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    result = render(mixed, tmp_path / "data")
    assert set(result.failures) == {"empty", "page", "points", "nan", "dot"}
    for name, failure in result.failures.items():
        assert str(mixed / name) in failure
        assert "\n" not in failure
    assert json.loads((tmp_path / "data/failures.json").read_text()) == dict(sorted(result.failures.items()))
    got = tree(tmp_path / "data")
    assert {name for name in got if name.startswith("shapes/")} == {n for n in expected if n.startswith("shapes/")}
    assert all(got[name] == data for name, data in expected.items() if name.startswith("shapes/"))


def test_nothing_but_bad_meshes_is_an_error(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/empty.obj").write_text("")
    with pytest.raises(UserError, match=r"none of 1 shapes could be rendered; the first: .*empty\.obj"):
        render(tmp_path / "source", tmp_path / "data")


def test_a_mesh_without_color_is_rendered_and_named(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/tri.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    result = render(tmp_path / "plain", tmp_path / "data")
    assert result.warnings["tri"] == ("has no texture and no colors; rendered white",)
    assert (open_dataset(tmp_path / "data").load("tri", 0)[16, 13] == 255).all()


def test_notes_are_stored_as_they_are_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Path("in")  # its name is part of many words
    source.mkdir()
    (source / "tri.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1//1 2//1 3//1\n")
    result = render(source, tmp_path / "data")
    assert "normal index 1, there are 0" in result.warnings["tri"][0]
    assert tuple(open_dataset(tmp_path / "data").meta("tri")["warnings"]) == result.warnings["tri"]


def test_missing_and_empty_sources(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        find_shapes(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no meshes in it"):
        find_shapes(tmp_path / "empty")


def test_an_output_folder_that_holds_something_else_is_left_alone(source, expected, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no dataset; name a new folder"):
        render(source, tmp_path / "full")
    assert tree(tmp_path / "full") == {"notes.txt": b"mine"}
    write_tree(expected, tmp_path / "data")
    with pytest.raises(UserError, match="holds a dataset whose resolution is 32, not 16"):
        render(source, tmp_path / "data", settings=settings(16))
    with pytest.raises(UserError, match="holds a dataset whose seed is 0, not 1"):
        render(source, tmp_path / "data", settings=settings(seed=1))
    with pytest.raises(UserError, match=r"holds a dataset whose renderer is .*albedo.*, not .*soft"):
        render(source, tmp_path / "data", settings=settings(shading="soft"))
    assert tree(tmp_path / "data") == expected


def test_shards_may_start_at_the_same_moment(source, expected, tmp_path):
    """What the other shard has made before its dataset.json is there does not count as somebody's data."""
    (tmp_path / "data/shapes").mkdir(parents=True)
    (tmp_path / "data/.tetragan-123.tmp").write_text("{")
    render(source, tmp_path / "data")
    assert tree(tmp_path / "data") == expected


def test_a_full_disk_stops_the_job_and_leaves_no_half_shape(source, expected, tmp_path, monkeypatch):
    write, count = Path.write_bytes, 0

    def full(self, data):
        nonlocal count
        count += 1
        if count > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match=r"No space left on device\); make room and run the same command again"):
            render(source, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data/shapes").iterdir()] == ["shape_0"]
    render(source, tmp_path / "data")
    assert tree(tmp_path / "data") == expected


def test_a_worker_that_dies_costs_one_shape(source, expected, tmp_path, monkeypatch):
    """One shape kills its process (as the kernel does when memory runs out): it is named, the others are rendered."""
    monkeypatch.setattr("dataset_tool.render.render_dataset.run_shape", dying_run_shape)
    result = render(source, tmp_path / "data", workers=2)
    assert list(result.failures) == ["shape_2"]
    assert result.failures["shape_2"] == f"{source / 'shape_2.obj'}: its process ended with status 9"
    assert len(result.rendered) == 4


def test_a_worker_that_dies_after_its_shape_costs_nothing(source, expected, tmp_path, monkeypatch):
    """The shape is whole and its report is lost with the process: it is taken from the folder, warnings and all."""
    plain = tmp_path / "plain"
    shutil.copytree(source, plain)
    for path in plain.glob("*.mtl"):
        path.unlink()
    monkeypatch.setattr("dataset_tool.render.render_dataset.run_shape", finishing_then_dying)
    reports = []
    result = render(plain, tmp_path / "data", workers=2, on_shape=reports.append)
    assert (len(result.rendered), result.failures) == (5, {})
    assert set(result.warnings) == {f"shape_{i}" for i in range(5)}
    assert {report.faces for report in reports} == {48}
    assert len(reports) == 5


def finishing_then_dying(source, settings, root):
    there = (root / "shapes" / source.id).is_dir()
    report = dataset_tool.render.render_shape.run_shape(source, settings, root)
    if source.id == "shape_2" and not there:
        os._exit(9)
    return report


def dying_run_shape(source, settings, root):
    if source.id == "shape_2":
        time.sleep(0.2)
        os._exit(9)
    return dataset_tool.render.render_shape.run_shape(source, settings, root)


def test_given_splits_are_kept_and_new_shapes_find_theirs(source, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("shape_1\n")
    (lists / "val.txt").write_text("shape_4\n")
    (lists / "test.txt").write_text("# held out\n02958343/shape_0\n")
    sources = find_shapes(source, split_lists=lists)
    render_dataset(sources, tmp_path / "data", settings(), category="blocks")
    assert open_dataset(tmp_path / "data").splits == {"train": ["shape_1"], "val": ["shape_4"], "test": ["shape_0"]}


def test_classes_become_labels(tmp_path):
    write_blocks(tmp_path / "source/sofa/a.obj")
    write_blocks(tmp_path / "source/chair/b.obj")
    render(tmp_path / "source", tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    assert dataset.classes == ("chair", "sofa")
    assert [dataset.label(name) for name in ("chair_b", "sofa_a")] == [0, 1]


def test_a_damaged_meta_json_does_not_end_the_next_run(tmp_path):
    write_folder(tmp_path / "source", 2)
    render(tmp_path / "source", tmp_path / "data")
    (tmp_path / "data/shapes/shape_0/meta.json").write_text("{")
    write_folder(tmp_path / "source", 3)
    render(tmp_path / "source", tmp_path / "data")
    assert len(open_dataset(tmp_path / "data").shape_ids()) == 3


def test_a_file_whose_id_an_earlier_run_gave_to_another_is_named(tmp_path):
    """Names in another alphabet have ids that depend on the files beside them."""
    write_folder(tmp_path / "source", 3)
    for number, name in enumerate(("椅", "桌", "杯")):
        (tmp_path / "source" / f"shape_{number}.obj").rename(tmp_path / "source" / f"{name}.obj")
    (tmp_path / "source" / "杯.obj").rename(tmp_path / "杯.obj")
    first = render_dataset(find_shapes(tmp_path / "source"), tmp_path / "data", settings(16, 1))
    assert len(first.rendered) == 2 and not first.failures
    again = render_dataset(find_shapes(tmp_path / "source"), tmp_path / "data", settings(16, 1))
    assert len(again.skipped) == 2 and not again.failures
    (tmp_path / "杯.obj").rename(tmp_path / "source" / "杯.obj")
    added = render_dataset(find_shapes(tmp_path / "source"), tmp_path / "data", settings(16, 1))
    assert added.failures and all("of an earlier run; rename one of them" in text for text in added.failures.values())


def test_a_second_source_of_another_class_gives_labels_to_both(tmp_path):
    for name in ("chair", "sofa"):
        write_folder(tmp_path / name / name, 2)
        render_dataset(find_shapes(tmp_path / name), tmp_path / "data", settings(16, 1), category="seat")
    dataset = open_dataset(tmp_path / "data")
    assert dataset.classes == ("chair", "sofa")
    assert [dataset.label(f"{name}_shape_1") for name in ("chair", "sofa")] == [0, 1]


def test_extras_are_stored(source, tmp_path):
    import numpy as np

    render(source, tmp_path / "data", settings=settings(extras=("depth", "mask", "normal")))
    folder = tmp_path / "data/shapes/shape_0"
    alpha = open_dataset(tmp_path / "data").load("shape_0", 1)[..., 3]
    with np.load(folder / "mask.npz") as mask, np.load(folder / "depth.npz") as depth:
        assert (mask["mask"][1] == alpha).all()
        assert ((depth["depth"][1] > 0) >= (alpha > 250)).all()
        assert depth["depth"].max() < 1.8
    with np.load(folder / "normal.npz") as normal:
        assert normal["normal"].shape == (3, 32, 32, 3)


def test_a_shape_that_torch_has_no_memory_for_is_listed(source, tmp_path, monkeypatch):
    def exhausted(*_):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 byte")

    monkeypatch.setattr(dataset_tool.render.render_shape, "render_shape", exhausted)
    shape = next(iter(find_shapes(source)))
    report = dataset_tool.render.render_shape.run_shape(shape, settings(), tmp_path)
    assert report.failure is not None and "not enough memory" in report.failure


def test_any_exception_of_a_shape_is_its_failure_and_the_traceback_is_in_a_log(source, expected, tmp_path, monkeypatch):
    render_shape = dataset_tool.render.render_shape.render_shape

    def broken(shape, given):
        if shape.id == "shape_2":
            raise KeyError("no such part")
        return render_shape(shape, given)

    with monkeypatch.context() as patch:
        patch.setattr(dataset_tool.render.render_shape, "render_shape", broken)
        result = render(source, tmp_path / "data")
    assert result.failures == {"shape_2": f"{source / 'shape_2.obj'}: KeyError: 'no such part'"}
    log = (tmp_path / "data/failures.log").read_text()
    assert log.startswith("shape_2\nTraceback") and "in broken" in log and log.count("Traceback") == 1
    render(source, tmp_path / "data")  # the next run renders it, and removes what is no longer true
    assert tree(tmp_path / "data") == expected


def test_a_second_render_into_the_folder_is_refused(source, tmp_path):
    from torch_utils.locks import owned_folder

    with owned_folder(tmp_path / "data"), pytest.raises(UserError, match="data: is in use by process"):
        render(source, tmp_path / "data")
    with owned_folder(tmp_path / "shards", (0, 2)):
        render(source, tmp_path / "shards", shard=(1, 2))
        with pytest.raises(UserError, match="shards: is in use by process"):
            render(source, tmp_path / "shards")


def test_visible_points_leave_out_what_is_inside(tmp_path):
    corners, faces = box((-0.5, -0.4, -0.3), (0.5, 0.4, 0.3))
    vertices, triangles = np.concatenate([corners, corners * 0.5]), np.concatenate([faces, faces + 8]) + 1
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"f {a} {b} {c}" for a, b, c in triangles]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "nested.obj").write_text("\n".join(lines) + "\n")
    inside = []
    for visible in (False, True):
        out = tmp_path / str(visible)
        render_dataset(find_shapes(tmp_path / "source"), out, settings(16, 1, visible_points=visible))
        dataset = open_dataset(out)
        assert dataset.header.renderer.get("visible_points", False) is visible
        assert DatasetSource(dataset, "train").visible_points is visible
        points = np.abs(dataset.points("nested"))
        inside.append((points < 0.9 * points.max(0)).all(1).mean())
    assert inside[0] > 0.1 and inside[1] == 0
