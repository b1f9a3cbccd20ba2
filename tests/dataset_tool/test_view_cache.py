"""Decoded views on disk: made once, shared, and never half a file."""

import errno
import json
import os
import resource
import time

import numpy as np
import pytest
import torch

from dataset_tool import view_cache
from dataset_tool.dataset import ViewDataset, open_dataset
from dataset_tool.edit import resplit
from dataset_tool.image_bank import ImageBank
from tests.dataset_tool.shapes import write_dataset
from tests.processes import be_rank, free_ports, run_ranks
from torch_utils import distributed
from torch_utils.errors import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("cached") / "data", count=6)


def files_in(folder):
    return sorted(path.name for path in (folder / "views").iterdir())


def test_a_second_run_decodes_nothing(data, tmp_path, monkeypatch):
    plain = ImageBank(open_dataset(data), "train")
    first = ImageBank(open_dataset(data), "train", cache=tmp_path)
    assert "Decoded views:" in first.remark and len(files_in(tmp_path)) == 1
    assert (tmp_path / "views" / files_in(tmp_path)[0]).stat().st_size == len(first) * 16 * 16 * 4
    monkeypatch.setattr(ViewDataset, "load_premultiplied", lambda *_: pytest.fail("decoded again"))
    second = ImageBank(open_dataset(data), "train", cache=tmp_path)
    assert second.remark == ""
    monkeypatch.undo()
    everything = range(len(plain))
    for bank in (first, second):
        assert torch.equal(bank.batch(everything)[0], plain.batch(everything)[0])


def test_each_resolution_split_and_content_has_its_own_file(data, tmp_path):
    for resolution in (16, 8):
        ImageBank(open_dataset(data), "train", resolution, cache=tmp_path)
    ImageBank(open_dataset(data), ["s0"], cache=tmp_path)
    assert len(files_in(tmp_path)) == 3
    other = write_dataset(tmp_path / "other", count=6)
    resplit(other, {"train": ["s0", "s1"], "val": [], "test": ["s2"]})
    ImageBank(open_dataset(other), "train", cache=tmp_path)
    assert len(files_in(tmp_path)) == 4


def test_an_incomplete_file_is_made_again_and_old_remains_are_removed(data, tmp_path):
    expected = ImageBank(open_dataset(data), "train", cache=tmp_path).batch([4])[0]
    path = tmp_path / "views" / files_in(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-1])
    old, new = (path.with_name(name) for name in (".a.part", ".b.part"))
    for part in (old, new):
        part.write_bytes(b"")
    os.utime(old, (0, time.time() - 2 * view_cache.STALE_SECONDS))
    assert torch.equal(ImageBank(open_dataset(data), "train", cache=tmp_path).batch([4])[0], expected)
    assert files_in(tmp_path) == [".b.part", path.name]


def test_a_damaged_view_leaves_no_file(tmp_path):
    data = write_dataset(tmp_path / "data", count=6)
    victim = open_dataset(data).splits["train"][0]
    image = data / f"shapes/{victim}/001.png"
    image.write_bytes(image.read_bytes()[:40])
    with pytest.raises(UserError, match=r"001.png: not a readable image"):
        ImageBank(open_dataset(data), "train", cache=tmp_path)
    assert files_in(tmp_path) == []


def test_without_room_views_are_decoded_when_used(data, tmp_path, monkeypatch):
    monkeypatch.setattr(view_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    bank = ImageBank(open_dataset(data), "train", cache=tmp_path)
    assert "0.0 GB free" in bank.remark and "set TETRAGAN_CACHE to another disk" in bank.remark
    assert torch.equal(bank.batch([1])[0], ImageBank(open_dataset(data), "train").batch([1])[0])
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert f"cannot be written ({blocked} is a file)" in ImageBank(open_dataset(data), "train", cache=blocked).remark


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_disk_that_fills_up_costs_only_the_cache(data, tmp_path, monkeypatch, call):
    """Also where the system writes a part of a view without an error."""

    def full(*_args):
        if call == "pwrite":
            return 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(view_cache.os, call, full)
    bank = ImageBank(open_dataset(data), "train", cache=tmp_path)
    assert bank.remark.startswith("Views are decoded again") and "(No space left on device)" in bank.remark
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(bank.batch([1])[0], ImageBank(open_dataset(data), "train").batch([1])[0])


def _decode_share(rank, port, data, folder):
    be_rank(rank, 2, port)
    ranks = distributed.start("cpu")
    load, dataset, seen = ViewDataset.load_premultiplied, open_dataset(data), []
    ViewDataset.load_premultiplied = lambda self, *view: seen.append(view) or load(self, *view)
    bank = ImageBank(dataset, "train", cache=folder, ranks=ranks)
    (folder / f"{rank}.json").write_text(json.dumps([len(seen), float(bank.batch(range(len(bank)))[0].sum())]))
    distributed.stop(ranks)


def test_ranks_divide_the_decoding(data, tmp_path):
    run_ranks(_decode_share, 2, *free_ports(1), data, tmp_path)
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    bank = ImageBank(open_dataset(data), "train")
    assert sorted(count for count, _ in results) == [len(bank) // 2, len(bank) - len(bank) // 2]
    expected = float(bank.batch(range(len(bank)))[0].sum())
    assert [total for _, total in results] == pytest.approx([expected, expected])


def test_memory_does_not_grow_with_the_number_of_views(tmp_path):
    """60 MB of views, of which a batch holds 1 MB."""
    count, side = 60, 512
    path = tmp_path / "views.rgba"
    np.zeros((count, side, side, 4), np.uint8).tofile(path)
    views = view_cache.CachedViews(path, count, side)
    out = view_cache.empty_views(1, side, pinned=False)
    views.read([0], out)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(count):
        views.read([index], out)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10, "KiB"


def test_a_system_that_cannot_reserve_disk_space_decodes_all_the_same(data, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)  # macOS
    bank = ImageBank(open_dataset(data), "train", cache=tmp_path)
    assert torch.equal(bank.batch([0, 1])[0], ImageBank(open_dataset(data), "train").batch([0, 1])[0])
