"""Storage of a dataset: a folder, an uncompressed zip or shards behind the same interface."""

import os
import posixpath
import threading
import zipfile
from pathlib import Path
from typing import Protocol

from dataset_tool.format.shards import INDEX, ShardStorage
from torch_utils.errors import UserError


class Storage(Protocol):
    """Files, named by their path inside the dataset with "/" as separator."""

    path: Path

    def read(self, name: str) -> bytes:
        """The bytes of a file. UserError if it is missing or damaged."""

    def exists(self, name: str) -> bool:
        """Whether the file exists."""

    def shape_ids(self) -> list[str]:
        """Names of the complete folders under shapes/, sorted."""


def open_storage(path: Path) -> Storage:
    """The folder, shards or zip at `path`. UserError if there is none."""
    if path.is_dir():
        return ShardStorage(path) if (path / INDEX).is_file() else FolderStorage(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipStorage(path)
    if path.is_file():
        raise UserError(f"{path}: expected a dataset folder or a zip; make one with: tetragan dataset render")
    raise UserError(f"{path}: no such dataset; make one with: tetragan dataset render SOURCE --out {path}")


def join(folder: str, name: str) -> str:
    """The normalized path of `name` relative to `folder`. It begins with ".." if it leads out of the dataset."""
    return posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))


class FolderStorage:
    """A dataset in a folder. Paths outside of the folder are rejected."""

    def __init__(self, path: Path):
        self.path = path

    def _locate(self, name: str) -> Path:
        if name.startswith(("..", "/")) or (os.name == "nt" and ":" in name):
            raise UserError(
                f"{self.path}: {name} lies outside the dataset, where nothing is read; move it into the folder"
            )
        return self.path / name

    def read(self, name: str) -> bytes:
        """The content of a file. UserError if it cannot be read or lies outside of the folder."""
        try:
            return self._locate(name).read_bytes()
        except OSError as error:
            raise UserError(f"{self.path / name}: cannot be read ({error.strerror})") from None

    def exists(self, name: str) -> bool:
        """Whether the file exists. UserError if it lies outside of the folder."""
        return self._locate(name).is_file()

    def shape_ids(self) -> list[str]:
        """Names of the folders under shapes/, sorted, without hidden (unfinished) ones."""
        folder = self.path / "shapes"
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


class ZipStorage:
    """A dataset in an uncompressed zip, which several threads and forked processes may read."""

    def __init__(self, path: Path):
        self.path = path
        self._process = 0
        self._lock = threading.Lock()
        self._names = {info.filename: info for info in self._archive().infolist()}
        packed = next((name for name, info in self._names.items() if info.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None:
            raise UserError(f"{path}: {packed} is compressed; expected a stored zip, as `tetragan dataset pack` writes")

    def _archive(self) -> zipfile.ZipFile:
        with self._lock:
            if self._process != os.getpid():
                try:
                    self._file = zipfile.ZipFile(self.path)
                except (OSError, zipfile.BadZipFile) as error:
                    raise UserError(f"{self.path}: not a readable zip ({error})") from None
                self._process = os.getpid()
            return self._file

    def read(self, name: str) -> bytes:
        """The content of a member. UserError if it is missing or damaged."""
        info = self._names.get(name)
        if info is None:
            raise UserError(f"{self.path}: {name} is missing from the zip")
        try:
            return self._archive().read(info)
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{self.path}: {name} is damaged ({error})") from None

    def exists(self, name: str) -> bool:
        """Whether the member exists."""
        return name in self._names

    def shape_ids(self) -> list[str]:
        """Names of the folders under shapes/, sorted, without hidden ones."""
        parts = (name.split("/") for name in self._names)
        ids = {part[1] for part in parts if len(part) > 2 and part[0] == "shapes"}
        return sorted(name for name in ids if not name.startswith("."))
