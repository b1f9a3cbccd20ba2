"""Whole files or none, and one line with the path where a file cannot be written."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch

from torch_utils.checkpoint import save_safetensors
from torch_utils.files import (
    WriteError,
    append_line,
    can_write,
    is_leftover,
    make_folder,
    remove_leftovers,
    replacing,
    write_bytes,
    write_text,
)


def refusing(number: int):
    def refuse(*_args, **_more):
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two" and [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write_bytes", "replace", "os.fsync"])
def test_an_error_names_the_path_and_keeps_the_old_file(tmp_path: Path, monkeypatch, number: int, call: str) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    if (call, number) == ("os.fsync", errno.EACCES):
        return  # no answer of fsync
    place = os if call == "os.fsync" else Path
    monkeypatch.setattr(place, call.removeprefix("os."), refusing(number))
    with pytest.raises(WriteError) as caught:
        write_text(path, "new")
    assert str(caught.value) == f"{path}: cannot be written ({os.strerror(number)})"
    monkeypatch.undo()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_device(tmp_path: Path) -> None:
    """/dev/full takes no byte: the error is the system's own."""
    with pytest.raises(WriteError, match=r"/dev/full: cannot be written \(No space left on device\)"):
        append_line(Path("/dev/full"), "text")
    target = tmp_path / "net.safetensors"

    message = r"net.safetensors: cannot be written \(No space left on device\)"
    with pytest.raises(WriteError, match=message), replacing(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 10)
    assert not list(tmp_path.iterdir())


def test_tensors_on_a_full_disk_are_a_write_error(tmp_path: Path, monkeypatch) -> None:
    import safetensors.torch

    def full(*_args, **_more):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(WriteError, match=r"a.safetensors: cannot be written \(No space left on device\)"):
        save_safetensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    assert not list(tmp_path.iterdir())


def test_parents_and_targets_of_the_wrong_type_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for action, message in (
        (lambda: write_text(tmp_path / "file" / "a" / "b.txt", ""), f"{tmp_path / 'file'} is a file"),
        (lambda: make_folder(tmp_path / "file"), "it is a file"),
        (lambda: write_bytes(tmp_path / "folder", b""), "it is a folder"),
        (lambda: write_bytes(tmp_path / ("n" * 300), b""), "File name too long"),
    ):
        with pytest.raises(WriteError) as caught:
            action()
        assert str(caught.value).endswith(f"cannot be written ({message})"), caught.value
    assert can_write(tmp_path / "file") == "it is a file"
    assert can_write(tmp_path / "folder") == "" and [e.name for e in (tmp_path / "folder").iterdir()] == ["full"]


def test_a_long_name_is_as_good_as_any(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".txt")
    write_text(path, "text")
    assert path.read_text() == "text"


def test_text_that_utf8_cannot_express_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", '{"name": "caf\udce9.obj"}')
    assert (tmp_path / "a.json").read_bytes() == b'{"name": "caf\\udce9.obj"}'


def test_leftovers_are_those_of_killed_writers(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as temporary:
        assert is_leftover(temporary.name) and not is_leftover("a")
        temporary.write_text("")
        temporary.rename(tmp_path / "kept")
        (tmp_path / temporary.name).write_text("left")
        remove_leftovers(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
        temporary.write_text("")


def test_a_write_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(WriteError(Path("a"), "full")))
    assert isinstance(error, WriteError) and str(error) == "a: cannot be written (full)"
