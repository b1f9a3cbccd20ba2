"""One owner of a folder: a second is refused by name, a dead one is taken over, one elsewhere is named."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from torch_utils import locks
from torch_utils.errors import UserError
from torch_utils.locks import LOCK, owned_folder

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from torch_utils.locks import owned_folder
folder, index, count = sys.argv[1:]
sys.argv[1:] = ["train", "--out", folder]
with owned_folder(Path(folder), (int(index), int(count))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """A function that starts another process which owns a folder."""
    started: list[subprocess.Popen[str]] = []

    def hold(folder: Path, index: int = 0, count: int = 1) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), str(index), str(count)],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n", process.stderr
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path, holder) -> None:
    process = holder(tmp_path / "run")
    owner = json.loads((tmp_path / "run" / LOCK).read_text())
    assert owner["pid"] == process.pid and owner["command"] == f"tetragan train --out {tmp_path / 'run'}"
    with pytest.raises(UserError) as caught, owned_folder(tmp_path / "run"):
        pass
    for words in (f"{tmp_path / 'run'}: is in use by process {process.pid} on ", " since ", "tetragan train --out",
                  f"stop it with: kill {process.pid}"):  # fmt: skip
        assert words in str(caught.value)
    process.communicate("")  # it ends
    with owned_folder(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_killed_owner_is_taken_over(tmp_path: Path, holder, capsys) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / ".tetragan-12.tmp").write_text("left by it")
    with owned_folder(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert f"taken over from process {process.pid} on " in capsys.readouterr().err


def test_a_lock_of_another_machine_is_named_with_the_command_that_removes_it(tmp_path: Path, monkeypatch) -> None:
    other = replace(locks._self(), host="node7", boot="another boot")
    (tmp_path / LOCK).write_text(json.dumps(asdict(other)))
    with pytest.raises(UserError) as caught, owned_folder(tmp_path):
        pass
    assert "on node7" in str(caught.value) and str(caught.value).endswith(f"remove its lock: rm {tmp_path / LOCK}")
    (tmp_path / LOCK).unlink()
    with owned_folder(tmp_path):
        pass
    # The same machine after a restart is no other machine.
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(locks._self(), boot="before the restart"))))
    with owned_folder(tmp_path):
        pass


def test_a_lock_cut_short_by_a_power_cut_is_taken_over(tmp_path: Path) -> None:
    for text in ("", '{"host": "no'):
        (tmp_path / LOCK).write_text(text)
        with owned_folder(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_without_flock_a_lock_counts_as_held_while_it_exists(tmp_path: Path, holder, monkeypatch) -> None:
    no_flock(monkeypatch)
    with owned_folder(tmp_path):
        with pytest.raises(UserError, match=f"is in use by process {os.getpid()}"), owned_folder(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(locks._self(), pid=ended.pid))))
    message = f"which has ended; remove its lock: rm {tmp_path / LOCK}"
    with pytest.raises(UserError, match=message), owned_folder(tmp_path):
        pass


def test_a_reused_process_number_is_another_process() -> None:
    me = locks._self()
    assert locks.is_running(me)
    assert not locks.is_running(replace(me, started=me.started - 1))
    assert not locks.is_running(replace(me, boot="another"))


def test_shares_own_a_folder_together_and_exclude_everybody_else(tmp_path: Path, holder) -> None:
    holder(tmp_path, 0, 2)
    with owned_folder(tmp_path, (1, 2)):
        pass
    for share in ((0, 2), (0, 1), (1, 3)):
        with pytest.raises(UserError, match="is in use by process"), owned_folder(tmp_path, share):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [f"{LOCK}-0-of-2"]


def test_a_folder_that_stays_empty_is_removed_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bad data"), owned_folder(tmp_path / "new"):
        raise UserError("bad data")
    assert not (tmp_path / "new").exists()
    with owned_folder(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_lock_removed_by_hand_is_not_removed_from_its_next_owner(tmp_path: Path) -> None:
    with owned_folder(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text("of another")
    assert (tmp_path / LOCK).read_text() == "of another"
