"""A dataset in shards: few large tar files, which network file systems read faster than many small files.

A folder with `dataset.json`, `shards.json` and `shards/000000.tar`, …. The tars are uncompressed, and each holds whole
shapes, in the order that WebDataset readers expect: all files of a view together. `shards.json` says where each file
lies, so that a view is one read of its bytes: {"format": "tetragan-shards", "version": 1, "files": {path: [shard,
offset, size]}}.
"""

import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from torch_utils.errors import UserError
from torch_utils.files import make_folder, replacing, write_json

INDEX = "shards.json"
FORMAT, VERSION = "tetragan-shards", 1
_BLOCK = 512  # of a tar file, bytes


def shard_path(folder: Path, shard: int) -> Path:
    """Where a shard lies."""
    return folder / "shards" / f"{shard:06d}.tar"


class ShardStorage:
    """A dataset in shards, which several threads and forked processes may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            if index["format"] != FORMAT or index["version"] != VERSION:
                raise ValueError(f"format {index['format']}, version {index['version']}")
            self._files: dict[str, tuple[int, int, int]] = {
                str(name): (int(shard), int(offset), int(size))
                for name, (shard, offset, size) in index["files"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path / INDEX}: cannot be read ({error}); pack the dataset again") from None
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes:
        """The content of a file. UserError if it is missing or damaged."""
        if name == "dataset.json":
            return (self.path / name).read_bytes()
        found = self._files.get(name)
        if found is None:
            raise UserError(f"{self.path}: {name} is missing from the shards")
        shard, offset, size = found
        try:
            data = os.pread(self._descriptor(shard), size, offset)
        except OSError as error:
            raise UserError(f"{shard_path(self.path, shard)}: cannot be read ({error.strerror})") from None
        if len(data) != size:
            raise UserError(f"{shard_path(self.path, shard)}: ends before {name}; copy it again")
        return data

    def exists(self, name: str) -> bool:
        """Whether the file exists."""
        return name in self._files or (name == "dataset.json" and (self.path / name).is_file())

    def shape_ids(self) -> list[str]:
        """Names of the folders under shapes/, sorted."""
        parts = (name.split("/") for name in self._files)
        return sorted({part[1] for part in parts if len(part) > 2 and part[0] == "shapes"})

    def _descriptor(self, shard: int) -> int:
        with self._lock:
            if shard not in self._open:
                self._open[shard] = os.open(shard_path(self.path, shard), os.O_RDONLY)
            return self._open[shard]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            with suppress(OSError):
                os.close(descriptor)


def write_shards(
    folder: Path,
    shapes: Iterable[list[tuple[str, Callable[[], bytes]]]],
    header: bytes,
    shard_bytes: int,
    on_shape: Callable[[], None] = lambda: None,
) -> int:
    """Write shapes, each a list of (path, reader), into shards of about `shard_bytes`; returns the number of shards.

    header: dataset.json, written last, so that an interrupted call leaves no dataset.
    """
    make_folder(folder / "shards")
    files: dict[str, list[int]] = {}
    waiting, shard = iter(shapes), 0
    shape = next(waiting, None)
    while shape is not None:
        path = shard_path(folder, shard)
        with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
            while shape is not None and (tar.offset == 0 or tar.offset < shard_bytes):
                for name, read in shape:
                    if name not in files:
                        files[name] = [shard, *_add(tar, name, read())]
                on_shape()
                shape = next(waiting, None)
        shard += 1
    write_json(folder / INDEX, {"format": FORMAT, "version": VERSION, "files": files})
    with replacing(folder / "dataset.json") as temporary:
        temporary.write_bytes(header)
    return shard


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Append a file; its offset and size in the tar. The tar's bytes depend on names and contents only."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, BytesIO(data))
    return tar.offset - -(-len(data) // _BLOCK) * _BLOCK, len(data)
