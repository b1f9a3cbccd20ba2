"""An item whose process dies is a result like any other, and workers end with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from torch_utils.errors import UserError
from torch_utils.files import WriteError
from torch_utils.workers import Failed, run_in_workers

ROOT = Path(__file__).parents[2]


def nothing() -> None:
    pass


def square_or_die(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return item * item


def broken(item: int) -> int:
    if item == 1:
        raise IndexError("of a library")
    if item == 2:
        raise UserError("2: is not a mesh")
    return item


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_is_the_result_of_its_item_alone(workers: int) -> None:
    results = dict(run_in_workers(broken, range(4), workers, initialize=nothing, preload=[__name__]))
    failed = results.pop(1)
    assert failed.cause == "IndexError: of a library" and "in broken" in failed.traceback
    assert results == {0: 0, 2: Failed("2: is not a mesh"), 3: 3}


def full(item: int) -> int:
    raise WriteError(Path("a"), "No space left on device")


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_written_ends_the_work(workers: int) -> None:
    with pytest.raises(WriteError, match=r"a: cannot be written \(No space left"):
        list(run_in_workers(full, range(4), workers, initialize=nothing, preload=[__name__]))


def test_forked_processes_get_what_this_one_prepares() -> None:
    here = os.getpid()

    def prepare(item: int) -> int:
        assert os.getpid() == here
        if item == 2:
            raise MemoryError
        return item + 2

    results = dict(run_in_workers(square_or_die, range(3), 2, initialize=nothing, prepare=prepare, fork=True))
    assert results.pop(2).cause == "not enough memory"
    assert results == {0: 4, 1: Failed("its process was killed (out of memory?)")}


def test_a_status_is_not_asked_for_while_another_thread_reads_it(monkeypatch) -> None:
    read = forkserver.read_signed

    def slowly(descriptor: int) -> int:
        time.sleep(0.2)
        return read(descriptor)

    monkeypatch.setattr(forkserver, "read_signed", slowly)
    results = dict(run_in_workers(square_or_die, [3], 1, initialize=nothing, preload=[__name__]))
    assert results == {3: Failed("its process was killed (out of memory?)")}


def test_items_that_kill_their_process_are_named_with_the_cause_and_the_rest_is_done() -> None:
    results = dict(run_in_workers(square_or_die, range(7), 2, initialize=nothing, preload=[__name__]))
    assert results.pop(3) == Failed("its process was killed (out of memory?)")
    assert results.pop(5) == Failed("its process died of SIGSEGV")
    assert results == {item: item * item for item in (0, 1, 2, 4, 6)}


def test_equal_items_are_each_worked_on_when_a_process_dies() -> None:
    results = list(run_in_workers(square_or_die, [7, 7, 7, 7, 3, 7, 7], 1, initialize=nothing, preload=[__name__]))
    assert [result for item, result in results if item == 7] == [49] * 6
    assert [result for item, result in results if item == 3] == [Failed("its process was killed (out of memory?)")]


STARTER = """
import sys
from tests.torch_utils.test_workers import nothing, report_and_sleep
from torch_utils.workers import run_in_workers
for _ in run_in_workers(report_and_sleep, [sys.argv[1]], 1, initialize=nothing):
    pass
"""


def report_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", STARTER, str(path)], cwd=ROOT, stdin=subprocess.DEVNULL)
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
        assert parent.poll() is None
    parent.kill()
    parent.wait()
    stat = Path(f"/proc/{path.read_text()}/stat")
    deadline = time.monotonic() + 20
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)
