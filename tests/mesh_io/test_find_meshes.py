"""The one search for meshes: what is hidden, linked, broken or undecodable."""

import os

import pytest

from mesh_io.find_meshes import find_meshes, walk_folder


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(root, notes=None):
    found = find_meshes(root, (lambda line: None) if notes is None else notes.append)
    return [path.relative_to(root).as_posix() for path in found]


def test_hidden_entries_and_side_files_of_systems_are_passed_over(tmp_path):
    for name in (
        "a.obj",
        "._a.obj",
        ".git/b.obj",
        "__MACOSX/a.obj",
        "__MACOSX/._a.obj",
        "sub/B.GLB",
        "sub/@eaDir/b.glb",
    ):
        touch(tmp_path / name)
    (tmp_path / "folder.obj").mkdir()
    assert names(tmp_path) == ["a.obj", "sub/B.GLB"]


def test_each_real_folder_is_read_once_under_its_own_name(tmp_path):
    touch(tmp_path / "in" / "z" / "real.obj")
    touch(tmp_path / "elsewhere" / "deep" / "far.obj")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "in" / "z")  # before it in order, but a link
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "deep" / "cycle").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in") == ["again/deep/far.obj", "z/real.obj"]
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert names(tmp_path / "link") == ["again/deep/far.obj", "z/real.obj"]


def test_links_to_files_count_once_and_broken_ones_are_named(tmp_path):
    touch(tmp_path / "in" / "b.obj")
    touch(tmp_path / "out.obj")
    (tmp_path / "in" / "a.obj").symlink_to(tmp_path / "in" / "b.obj")
    (tmp_path / "in" / "c.obj").symlink_to(tmp_path / "out.obj")
    (tmp_path / "in" / "d.obj").symlink_to(tmp_path / "gone.obj")
    (tmp_path / "in" / "e.obj").symlink_to(tmp_path / "in" / "e.obj")
    os.mkfifo(tmp_path / "in" / "f.obj")
    notes = []
    assert names(tmp_path / "in", notes) == ["b.obj", "c.obj"]
    assert notes == [
        "d.obj is a broken link and is passed over",
        "e.obj is a broken link and is passed over",
        "f.obj is not a file and is passed over",
        "a.obj is a link to b.obj, which is read already",
    ]


def test_names_that_are_no_utf8_are_found_and_printable(tmp_path):
    name = os.fsdecode(b"caf\xe9.obj")
    try:
        touch(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (tmp_path / os.fsdecode(b"\xe9.obj")).symlink_to("gone.obj")
    notes = []
    assert names(tmp_path, notes) == [name]
    assert notes == ["\\xe9.obj is a broken link and is passed over"]


def test_a_folder_that_vanishes_is_named(tmp_path):
    notes = []
    assert list(walk_folder(tmp_path / "gone", notes.append)) == []
    assert "gone cannot be listed (No such file or directory)" in notes[0]
