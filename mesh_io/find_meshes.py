"""The one way in which folders are searched: for meshes, and for the datasets of other programs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mesh_io.read import FORMATS
from torch_utils.files import printable

MESH_SUFFIXES = tuple(FORMATS)
# Folders that systems and programs make beside the user's.
IGNORED_FOLDERS = ("__MACOSX", "node_modules", "@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN")
Note = Callable[[str], None]


def walk_folder(root: Path, note: Note = lambda line: None) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below `root`, each real folder once, with the names of its files; in a fixed order.

    Hidden entries (among them macOS's ._ files) and `IGNORED_FOLDERS` are passed over. A link to a folder is followed
    after the folders that are not behind a link, and only if it leads to one that was not read yet. note: called with a
    line for what is passed over although it might have been meant: a folder that cannot be listed, a broken link.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        links: list[Path] = []
        for folder in waiting:
            yield from _walk_real(root, folder, seen, links, note)
        waiting = sorted(links)


def _walk_real(
    root: Path, top: Path, seen: set[tuple[int, int]], links: list[Path], note: Note
) -> Iterator[tuple[Path, list[str]]]:
    """The folders at and below `top` that are not behind a link; those that are go to `links`."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            note(f"{printable(folder)} cannot be listed ({error.strerror or error}) and is passed over")
            continue
        names: list[str] = []
        below: list[Path] = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if entry.name not in IGNORED_FOLDERS:
                    (links if entry.is_symlink() else below).append(Path(entry.path))
            elif _is_file(entry):
                names.append(entry.name)
            elif entry.name.lower().endswith(MESH_SUFFIXES):
                what = "a broken link" if entry.is_symlink() else "not a file"
                note(f"{printable(Path(entry.path).relative_to(root))} is {what} and is passed over")
        yield folder, names
        folders += reversed(below)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def find_meshes(root: Path, note: Note = lambda line: None) -> list[Path]:
    """The mesh files below a folder, sorted by path. A file that is reached by several links counts once."""
    found = [
        folder / name
        for folder, names in walk_folder(root, note)
        for name in names
        if name.lower().endswith(MESH_SUFFIXES)
    ]
    links = sorted(path for path in found if path.is_symlink())
    if not links:
        return sorted(found)
    real = {os.path.realpath(path): path for path in found if not path.is_symlink()}
    for path in links:
        first = real.setdefault(os.path.realpath(path), path)
        if first != path:
            names = printable(path.relative_to(root)), printable(first.relative_to(root))
            note(f"{names[0]} is a link to {names[1]}, which is read already")
    return sorted(real.values())
