"""Packing, joining, splitting anew, reducing."""

import json
import os
import shutil
import tarfile
import zipfile

import pytest

from dataset_tool.check import check_dataset
from dataset_tool.dataset import open_dataset
from dataset_tool.edit import merge, pack, pack_shards, resplit, subset
from dataset_tool.format.writer import SHAPE_FILES
from tests.dataset_tool.shapes import write_dataset
from tests.tetragan.test_dataset import invoke
from torch_utils.errors import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("archive") / "data", count=6)


def other(tmp_path, data, ids=("s8", "s9"), **header):
    """A dataset of the same kind with other ids."""
    folder = shutil.copytree(data, tmp_path / "other")
    for index in range(6):
        if index < len(ids):
            (folder / f"shapes/s{index}").rename(folder / "shapes" / ids[index])
        else:
            shutil.rmtree(folder / f"shapes/s{index}")
    values = json.loads((folder / "dataset.json").read_text())
    values |= {"splits": {"train": [ids[0]], "val": [], "test": list(ids[1:])}, "content": "", **header}
    (folder / "dataset.json").write_text(json.dumps(values))
    return folder


def contents(path):
    dataset = open_dataset(path)
    return {i: [dataset.load(i, v).tobytes() for v in range(3)] for i in dataset.shape_ids()}


def test_a_packed_dataset_is_the_same_dataset(data, tmp_path):
    pack(open_dataset(data), tmp_path / "data.zip")
    packed = open_dataset(tmp_path / "data.zip")
    assert packed.hash() == open_dataset(data).hash()
    assert contents(tmp_path / "data.zip") == contents(data)
    assert check_dataset(packed) == []
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    pack(packed, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "data.zip").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        pack(packed, tmp_path / "again.zip")


def test_shards_are_the_same_dataset(data, tmp_path):
    count = pack_shards(open_dataset(data), tmp_path / "shards", 40000)
    packed = open_dataset(tmp_path / "shards")
    assert packed.hash() == open_dataset(data).hash() and check_dataset(packed) == []
    assert contents(tmp_path / "shards") == contents(data)
    assert packed.storage.shape_ids() == open_dataset(data).storage.shape_ids()
    tars = sorted((tmp_path / "shards/shards").iterdir())
    assert [path.name for path in tars] == [f"{shard:06d}.tar" for shard in range(count)] and 1 < count < 6
    names = []
    for path in tars:  # as any other program reads them
        with tarfile.open(path) as tar:
            for member in tar:
                names.append(member.name)
                assert tar.extractfile(member).read() == packed.storage.read(member.name)
    assert names == sorted(names) and "shapes/s0/000.png" in names
    pack_shards(packed, tmp_path / "again", 40000)
    assert [path.read_bytes() for path in sorted((tmp_path / "again/shards").iterdir())] == [
        t.read_bytes() for t in tars
    ]
    pack(packed, tmp_path / "back.zip")
    assert contents(tmp_path / "back.zip") == contents(data)
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        pack_shards(packed, tmp_path / "again", 40000)


def test_damaged_shards_are_one_line(data, tmp_path):
    pack_shards(open_dataset(data), tmp_path / "shards", 10**9)
    tar = tmp_path / "shards/shards/000000.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    dataset = open_dataset(tmp_path / "shards")
    with pytest.raises(UserError, match=r"000000.tar: ends before shapes/.*; copy it again"):
        contents(tmp_path / "shards")
    tar.unlink()
    with pytest.raises(UserError, match=r"000000.tar: cannot be read \(No such file"):
        dataset.load("s0", 0)
    (tmp_path / "shards/shards.json").write_text('{"format": "other"}')
    with pytest.raises(UserError, match=r"shards.json: cannot be read .*; pack the dataset again"):
        open_dataset(tmp_path / "shards")


def test_an_interrupted_pack_into_shards_is_no_dataset(data, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_shards(open_dataset(data), tmp_path / "shards", 40000, stop)
    assert not any(path.is_file() for path in (tmp_path / "shards").rglob("*"))


def test_an_interrupted_pack_leaves_nothing(data, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(open_dataset(data), tmp_path / "data.zip", stop)
    assert list(tmp_path.iterdir()) == []


def test_merge_keeps_splits_and_images(data, tmp_path):
    second = other(tmp_path, data)
    header = merge([open_dataset(data), open_dataset(second)], tmp_path / "both")
    joined = open_dataset(tmp_path / "both")
    assert contents(tmp_path / "both") == contents(data) | contents(second)
    before = open_dataset(data).splits
    assert joined.splits["train"] == sorted([*before["train"], "s8"])
    assert joined.splits["test"] == sorted([*before["test"], "s9"])
    assert header.content
    assert [finding for finding in check_dataset(joined) if finding.level == "error"] == []


def test_merge_takes_a_shape_twice_only_if_it_is_the_same(data, tmp_path):
    again = shutil.copytree(data, tmp_path / "again")
    merge([open_dataset(data), open_dataset(again)], tmp_path / "both")
    assert contents(tmp_path / "both") == contents(data)
    (again / "shapes/s3/meta.json").write_text("{}")
    with pytest.raises(UserError, match=r"s3 is in .* too and differs"):
        merge([open_dataset(data), open_dataset(again)], tmp_path / "neither")
    assert not (tmp_path / "neither").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 32}, "its resolution is 32, that of .* is 16"),
        ({"renderer": {"shading": "soft"}}, "its renderer's shading is soft"),
        ({"camera_distribution": {"radius": 2}}, "its camera_distribution is"),
        ({"views": 5}, "its views is 5, that of .* is 3"),
        ({"renderer": {"light": "sky"}}, "its renderer's light is sky, that of .* is not set; render both alike"),
        ({"renderer": {"occlusion": True}}, "its renderer's occlusion is True"),
    ],
)
def test_merge_refuses_what_was_rendered_otherwise(data, tmp_path, change, message):
    second = other(tmp_path, data, **change)
    with pytest.raises(UserError, match=message):
        merge([open_dataset(data), open_dataset(second)], tmp_path / "both")


def test_a_dataset_whose_shapes_are_gone_keeps_its_splits(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(folder / "shapes")
    with pytest.raises(UserError, match="has no shapes to split"):
        resplit(folder, None)
    assert open_dataset(folder).splits == open_dataset(data).splits


def test_merged_shapes_of_other_programs_may_differ_in_their_number_of_views(data, tmp_path):
    facts = {"renderer": {"name": "foreign"}}
    first = other(tmp_path, data, ("s6", "s7"), **facts).rename(tmp_path / "first")
    second = other(tmp_path, data, views=5, **facts)
    assert merge([open_dataset(first), open_dataset(second)], tmp_path / "both").views == 5


def test_merge_gives_labels_by_class(data, tmp_path):
    def classed(folder, name):
        for path in folder.glob("shapes/*/meta.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"class": name}))
        return open_dataset(folder)

    sofas = classed(other(tmp_path, data), "sofa")
    chairs = classed(shutil.copytree(data, tmp_path / "chairs"), "chair")
    merge([sofas, chairs], tmp_path / "both")
    joined = open_dataset(tmp_path / "both")
    assert joined.classes == ("chair", "sofa")
    assert [joined.label(i) for i in ("s0", "s8")] == [0, 1]


def test_subset(data, tmp_path):
    dataset = open_dataset(data)
    subset(dataset, tmp_path / "few", splits=["train", "test"], count=1)
    few = open_dataset(tmp_path / "few")
    assert [len(few.splits[name]) for name in ("train", "val", "test")] == [1, 0, 1]
    assert contents(tmp_path / "few").items() <= contents(data).items()
    subset(dataset, tmp_path / "named", ids=["s4", "s1"])
    assert sorted(open_dataset(tmp_path / "named").shape_ids()) == ["s1", "s4"]
    with pytest.raises(UserError, match="has no shape s77"):
        subset(dataset, tmp_path / "none", ids=["s77"])
    with pytest.raises(UserError, match="--class sofa: expected one of none"):
        subset(dataset, tmp_path / "none", class_name="sofa")
    assert not (tmp_path / "none").exists()


def test_a_subset_of_a_zip(data, tmp_path):
    pack(open_dataset(data), tmp_path / "data.zip")
    subset(open_dataset(tmp_path / "data.zip"), tmp_path / "few", ids=["s2"])
    assert contents(tmp_path / "few") == {"s2": contents(data)["s2"]}


def test_resplit(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    resplit(folder, {"train": ["s0", "s5", "unknown"], "test": ["s1"]})
    assert open_dataset(folder).splits == {"train": ["s0", "s5"], "val": [], "test": ["s1"]}
    resplit(folder, None)
    assert open_dataset(folder).splits == open_dataset(data).splits
    with pytest.raises(UserError, match="none of the listed ids"):
        resplit(folder, {"train": ["unknown"]})


def test_the_commands(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("s0\ns1\n")
    assert "2 shapes (train 2, val 0, test 0)" in invoke("split", folder, "--lists", lists)
    assert "6 shapes (train 4, val 1, test 1)" in invoke("split", folder)
    assert "6 shapes packed" in invoke("pack", folder, "--out", tmp_path / "data.zip")
    assert "a zip or shards cannot be changed" in invoke("split", tmp_path / "data.zip", status=2)
    assert "1 shape (" in invoke("subset", folder, "--out", tmp_path / "few", "--split", "test")
    assert "8 shapes" in invoke("merge", folder, other(tmp_path, data), "--out", tmp_path / "both")
    assert "is not empty" in invoke("merge", folder, "--out", tmp_path / "both", status=2)


@pytest.mark.parametrize("make", ["subset", "shards"])
def test_what_a_killed_copy_left_is_replaced_and_nothing_else(data, tmp_path, make):
    out = tmp_path / "out"

    def copy(on_shape=lambda: None):
        if make == "subset":
            subset(open_dataset(data), out, on_shape=on_shape)
        else:
            pack_shards(open_dataset(data), out, 40000, on_shape)

    child = os.fork()
    if child == 0:
        try:
            copy(lambda: os._exit(9))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert any(out.iterdir()) and not (out / "dataset.json").exists()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        copy()
    (out / "mine.txt").unlink()
    copy()
    assert open_dataset(out).hash() == open_dataset(data).hash()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        copy()


def test_a_zip_of_materials_can_be_packed_again(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    for place in (folder / "shapes").iterdir():
        for name in SHAPE_FILES:
            if not (place / name).exists():
                (place / name).write_bytes(b"data")
    pack(open_dataset(folder), tmp_path / "data.zip")
    pack(open_dataset(tmp_path / "data.zip"), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "data.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "again.zip") as archive:
        assert {f"shapes/s0/{name}" for name in SHAPE_FILES} <= set(archive.namelist())


def test_shapes_in_no_split_are_packed_as_the_content_hash_counts_them(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    resplit(folder, {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3"]})
    pack(open_dataset(folder), tmp_path / "data.zip")
    pack_shards(open_dataset(folder), tmp_path / "shards", 40000)
    for path in (folder, tmp_path / "data.zip", tmp_path / "shards"):
        assert [(each.level, each.kind) for each in check_dataset(open_dataset(path))] == [
            ("warning", "shapes in no split")
        ]
