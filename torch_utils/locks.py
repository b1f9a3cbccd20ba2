"""One owner of a folder at a time: a lock file that names host, process, start and command.

The lock has two parts. `flock` on the file tells whether the owner lives: the system releases it when the process
ends, however that happens. The file's text tells people who the owner is. Where the file system knows no `flock` (some
network file systems), the file counts as held as long as it exists.

A lock whose owner has certainly ended is taken over. A lock of another machine is not: whether its process lives cannot
be seen from here, so the message gives the command that removes the file.
"""

import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from torch_utils.errors import UserError
from torch_utils.files import is_leftover, make_folder, remove_leftovers, write_errors

LOCK = ".tetragan-lock"
UNFINISHED = ".tetragan-unfinished"
_SHARE = re.compile(re.escape(LOCK) + r"-\d+-of-(\d+)")
_NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """A process that works in a folder.

    boot: id of the running kernel, "" where there is none. started: start of the process, clock ticks since boot; it
    tells a process from a later one with the same number. since: when it took the folder.
    """

    host: str
    boot: str
    pid: int
    started: int
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


@contextmanager
def owned_folder(folder: Path, share: tuple[int, int] = (0, 1)) -> Iterator[None]:
    """Own `folder` during the block; it is made where it does not exist. UserError names the present owner.

    share (i, n): n processes with the shares 0 … n − 1 may own a folder together, and nobody else beside them.
    Temporary files of killed processes are removed, except by one of several owners.
    """
    made = not folder.exists()
    make_folder(folder)
    path = folder / (LOCK if share[1] == 1 else f"{LOCK}-{share[0]}-of-{share[1]}")
    descriptor = _take(path)
    try:
        for other in sorted(folder.glob(f"{LOCK}*")):
            if other != path and not _compatible(other.name, path.name):
                _release(other, _take(other))  # UserError if its owner lives
        if share[1] == 1:
            remove_leftovers(folder)
        yield
    finally:
        if share[1] == 1:
            remove_leftovers(folder)  # of workers that were ended in the middle of a file
        _release(path, descriptor)
        if made:
            with suppress(OSError):
                folder.rmdir()  # nothing was written


@contextmanager
def new_folder(folder: Path, made: tuple[str, ...]) -> Iterator[None]:
    """Own a new or empty folder during the block, which makes the entries `made` in it. If it fails, they are removed.

    A mark stays until the block has ended: what a killed process left, or one that could not remove it, is replaced.
    UserError for a folder that holds something else.
    """
    mark = folder / UNFINISHED
    _refuse_used(folder, made)
    with owned_folder(folder):
        _refuse_used(folder, made)
        with write_errors(folder):
            _remove(folder, made if mark.exists() else ())
            mark.touch()
        try:
            yield
        except BaseException:
            with suppress(OSError):
                _remove(folder, (*made, UNFINISHED))
            raise
        with write_errors(mark):
            mark.unlink()


def _remove(folder: Path, names: Sequence[str]) -> None:
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _refuse_used(folder: Path, made: tuple[str, ...]) -> None:
    if not folder.is_dir():
        return
    ours = (UNFINISHED, *made) if (folder / UNFINISHED).exists() else ()
    if any(not (entry.name in ours or is_lock(entry.name) or is_leftover(entry.name)) for entry in folder.iterdir()):
        raise UserError(f"--out {folder}: is not empty; name a new folder")


def refuse_owner(folder: Path) -> None:
    """UserError if another process owns the folder, or may own it."""
    for path in sorted(folder.glob(f"{LOCK}*")):
        _release(path, _take(path))


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock."""
    return name.startswith(LOCK)


def _compatible(a: str, b: str) -> bool:
    first, second = _SHARE.fullmatch(a), _SHARE.fullmatch(b)
    return first is not None and second is not None and first[1] == second[1]


def _take(path: Path) -> int:
    """Hold the lock file; its descriptor, which must stay open. UserError if another process holds it."""
    while True:
        created = True
        with write_errors(path):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                created = False
                try:
                    descriptor = os.open(path, os.O_RDWR)
                except FileNotFoundError:
                    continue  # released in between
        try:
            with write_errors(path):
                if _hold(path, descriptor, created):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _hold(path: Path, descriptor: int, created: bool) -> bool:
    """Lock an open lock file and write this process into it. False if the file was removed in between."""
    state = _flock(descriptor)
    owner = _read(descriptor)
    if state == "busy" or (state == "unsupported" and not created):
        raise UserError(_refusal(path, owner, state))
    if not _is_same_file(path, descriptor):
        return False
    if owner is not None and not created:
        if owner.host != socket.gethostname() and owner.boot != _boot_id():
            raise UserError(_refusal(path, owner, state))
        if not is_running(owner):  # a copy of the folder of a living process has no owner, and needs no remark
            click.echo(f"{path.parent}: taken over from {owner}, which has ended", err=True)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, (json.dumps(asdict(_self())) + "\n").encode(), 0)
    return True


def _release(path: Path, descriptor: int) -> None:
    with suppress(OSError):
        if _is_same_file(path, descriptor):
            path.unlink()
    os.close(descriptor)


def _flock(descriptor: int) -> Literal["held", "busy", "unsupported"]:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "busy"
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        return "unsupported"
    return "held"


def _is_same_file(path: Path, descriptor: int) -> bool:
    """Whether the name still belongs to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _refusal(path: Path, owner: Owner | None, state: str) -> str:
    folder, remove = path.parent, f"rm {shlex.quote(str(path))}"
    if owner is None:
        return f"{folder}: another process works in it; if none does, remove its lock: {remove}"
    here = owner.boot == _boot_id() or owner.host == socket.gethostname()
    if state == "busy" or (here and is_running(owner)):
        stop = f"stop it with: kill {owner.pid}" if here else "stop it there"
        return f"{folder}: is in use by {owner}; wait for it, or {stop}"
    if here:
        return f"{folder}: was left by {owner}, which has ended; remove its lock: {remove}"
    return (
        f"{folder}: is in use by {owner}; whether that still runs cannot be seen from {socket.gethostname()}: if it "
        f"does not, remove its lock: {remove}"
    )


def is_running(owner: Owner) -> bool:
    """Whether the owner, a process of this machine, still runs; not fooled by a new process of the same number."""
    if owner.boot != _boot_id():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # the process of another user
    return _start_of(owner.pid) in (owner.started, 0)


def _self() -> Owner:
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
    command = shlex.join(["tetragan", *sys.argv[1:]])
    return Owner(socket.gethostname(), _boot_id(), os.getpid(), _start_of(os.getpid()), now, command[:300])


def _read(descriptor: int) -> Owner | None:
    """The owner that a lock file names; None for an empty or damaged one."""
    try:
        return Owner(**json.loads(os.pread(descriptor, 1 << 16, 0)))
    except (ValueError, TypeError):
        return None


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_of(pid: int) -> int:
    """Start of a process, clock ticks since boot; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
