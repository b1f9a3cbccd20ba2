"""Decoded views in one file, which the ranks of a machine and later runs share.

The file holds premultiplied uint8 RGBA [N, R, R, 4] and nothing else. Its name contains a hash of everything that it
depends on, and it appears under this name only when it is complete. Views are read from it with `pread`. A mapping
would be as fast, but the mapped pages would count as the run's memory.
"""

import errno
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torch_utils.distributed import Ranks, agree, barrier
from torch_utils.files import WriteError, can_write, sync, write_errors

# Opens a progress bar for a number of items; it gives the function to call after each.
Bar = Callable[[int], AbstractContextManager[Callable[[], None]]]
# Free disk space that a cache leaves.
RESERVE_BYTES = 1 << 30
# Age at which the unfinished file of a killed run may go, seconds.
STALE_SECONDS = 86400.0


class CachedViews:
    """Views [count, R, R, 4] uint8 in a complete file."""

    def __init__(self, path: Path, count: int, resolution: int) -> None:
        self.path, self.resolution = path, resolution
        self._bytes = view_bytes(resolution)
        size = path.stat().st_size
        assert size == count * self._bytes, f"{path}: expected {count * self._bytes} bytes, got {size}"
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, indices: Sequence[int], out: Tensor) -> None:
        """Copy views into `out` [len(indices), R, R, 4]."""
        rows = out.numpy().reshape(len(indices), -1)
        for row, index in zip(rows, indices, strict=True):
            done = 0
            while done < self._bytes:
                got = os.preadv(self._file, [row[done:].data], index * self._bytes + done)
                if got == 0:
                    raise OSError(errno.EIO, "the file of decoded views became shorter", str(self.path))
                done += got

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._file)


def view_bytes(resolution: int) -> int:
    """Bytes of one decoded view."""
    return resolution * resolution * 4


def open_cache(
    folder: Path,
    key: str,
    count: int,
    resolution: int,
    decode: Callable[[int], np.ndarray],
    pool: Executor,
    ranks: Ranks,
    bar: Bar | None = None,
) -> tuple[CachedViews | None, str]:
    """The views of `key`, decoded now if no run has done so, and a remark for the log ("" for none).

    None if the folder cannot be written to or has too little space; the remark then says why. Each rank of a machine
    decodes its share. decode: the view of an index, uint8 [R, R, 4]. bar: shows the progress.
    """
    path = folder / "views" / f"{key}-{resolution}.rgba"
    size = count * view_bytes(resolution)
    # One answer for all ranks, so that all of them decode or none does.
    if not agree(not (path.is_file() and path.stat().st_size == size), ranks):
        return CachedViews(path, count, resolution), ""
    problem = _refusal(path.parent, size)
    if agree(bool(problem), ranks):
        return None, f"Views are decoded again whenever they are used: {problem or 'so it is on another rank'}."
    try:
        with write_errors(path):
            _write(path, count, resolution, decode, pool, ranks, bar)
    except WriteError as error:
        if ranks.world > 1:
            raise  # the others wait for this rank's share
        return None, f"Views are decoded again whenever they are used: {error}."
    return CachedViews(path, count, resolution), f"Decoded views: {path} ({size / 1e9:.2f} GB), for later runs, too."


def _refusal(folder: Path, size: int) -> str:
    """Why no file of `size` bytes can be written to the folder; "" if it can."""
    reason = can_write(folder)
    if reason:
        return f"{folder} cannot be written ({reason}); set TETRAGAN_CACHE to another folder"
    free = shutil.disk_usage(folder).free
    if free < size + RESERVE_BYTES:
        return (
            f"{folder} has {free / 1e9:.1f} GB free and they need {size / 1e9:.1f}; set TETRAGAN_CACHE to another disk"
        )
    return ""


def _write(
    path: Path,
    count: int,
    resolution: int,
    decode: Callable[[int], np.ndarray],
    pool: Executor,
    ranks: Ranks,
    bar: Bar | None,
) -> None:
    """Decode this rank's share into the machine's unfinished file, which the first rank then renames."""
    local, world = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    run = os.environ.get("TORCHELASTIC_RUN_ID") or str(os.getpid() if ranks.world == 1 else os.getppid())
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{run}.part")
    if local == 0:
        _remove_stale(path.parent)
        with write_errors(path), part.open("wb") as file:
            try:
                if hasattr(os, "posix_fallocate"):  # macOS has none
                    os.posix_fallocate(file.fileno(), 0, count * view_bytes(resolution))  # a full disk shows now
            except OSError:
                part.unlink()
                raise
    barrier(ranks)
    file_descriptor = os.open(part, os.O_WRONLY)

    def store(index: int) -> None:
        image = np.ascontiguousarray(decode(index))
        if os.pwrite(file_descriptor, image.data, index * view_bytes(resolution)) != image.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mine = range(local, count, world)
    try:
        with nullcontext(lambda: None) if bar is None or not ranks.first else bar(len(mine)) as advance:
            for _ in pool.map(store, mine):
                advance()
        os.fsync(file_descriptor)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    finally:
        os.close(file_descriptor)
    barrier(ranks)
    if local == 0:
        part.replace(path)
        sync(path.parent)
    barrier(ranks)


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left unfinished."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()


def empty_views(count: int, resolution: int, pinned: bool) -> Tensor:
    """Memory for views [count, R, R, 4] uint8; pinned, so that a copy to a GPU does not wait."""
    return torch.empty(count, resolution, resolution, 4, dtype=torch.uint8, pin_memory=pinned)
