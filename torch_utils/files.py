"""Writing files. A reader sees the old file or the complete new one, and every failure is one line with the path.

All packages write through this module. A full disk, a missing permission, a read-only file system and a parent that is
a file all raise `WriteError`, which the command line prints as one line.
"""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch_utils.errors import UserError

# Temporary files begin and end like this, so that those of a killed process can be told apart and removed.
_BEFORE, _AFTER = ".tetragan-", ".tmp"
# What a file system answers that cannot flush a folder, or does not let it be read.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)


class WriteError(UserError):
    """A file or folder cannot be written. reason: what the system said. `path` is named in the message."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be written ({reason})")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:  # so that it can come back from another process
        return WriteError, (self.path, self.reason)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes at `path`, into a WriteError. The block must read no other files."""
    try:
        yield
    except OSError as error:
        raise WriteError(path, _reason(path, error)) from error


def make_folder(path: Path) -> Path:
    """Make a folder and its parents where they do not exist, and return it. WriteError where that is not possible."""
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def printable(name: str | Path) -> str:
    """A file name as text that can be printed and stored: bytes that are not UTF-8 become \\xNN escapes."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file(path: Path) -> bytes:
    """The bytes of a file; UserError with the path and the cause if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be read ({error.strerror or error})") from None


def parse_json(data: bytes | str, source: str) -> Any:
    """The value of a JSON text; UserError naming `source` for one that is damaged or nested too deeply."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: cannot be read as JSON ({str(error)[:80]})") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, next to `path`; on success it is flushed to disk and renamed to `path`.

    Parents are made. If the block fails, nothing is left behind. WriteError where the file cannot be written.
    """
    make_folder(path.parent)
    temporary = path.with_name(f"{_BEFORE}{secrets.token_hex(6)}{_AFTER}")
    try:
        with write_errors(path):
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    r"""Replace `path` by `text` in UTF-8. What UTF-8 cannot express, such as undecodable file names, becomes \udc…."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_line(path: Path, text: str) -> None:
    """Append one line to a text file. A process that is killed here may leave an incomplete last line."""
    with write_errors(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")


def can_write(folder: Path) -> str:
    """ "" if files can be made in `folder`, which is made where it does not exist; otherwise the reason."""
    try:
        write_bytes(folder / f"{_BEFORE}{secrets.token_hex(6)}.check{_AFTER}", b"tetragan")
    except WriteError as error:
        return error.reason
    remove_leftovers(folder, ".check" + _AFTER)
    return ""


def remove_leftovers(folder: Path, ending: str = _AFTER) -> None:
    """Remove temporary files of killed processes. Only for the owner of a folder: others may be writing theirs."""
    for path in folder.glob(f"{_BEFORE}*{ending}"):
        with suppress(OSError):
            path.unlink()


def is_leftover(name: str) -> bool:
    """Whether a file of this name is a temporary file of `replacing`."""
    return name.startswith(_BEFORE) and name.endswith(_AFTER)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC or not path.is_dir():
            raise


def _reason(path: Path, error: OSError) -> str:
    """What the system said; for a parent or target of the wrong type, which one it is."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        for place in (*reversed(path.parents), path):
            with suppress(OSError):
                if place.exists() and not place.is_dir():
                    return "it is a file" if place == path else f"{place} is a file"
    if error.errno == errno.EISDIR or (error.errno == errno.ENOTEMPTY and path.is_dir()):
        return "it is a folder"
    return error.strerror or str(error) or type(error).__name__
