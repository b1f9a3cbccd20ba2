"""Work on many items in several processes. An item that fails or whose process dies is a result like any other.

A process dies when the system kills it for want of memory, or when a library crashes. Its item is tried again alone,
because the process may have died of what another item left behind; if it dies again, the item is at fault.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch_utils.failures import failure_line, traceback_of
from torch_utils.files import WriteError
from torch_utils.process import die_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """Why an item has no result, in one line. traceback: of an exception that is not a mistake in a file, else ""."""

    cause: str
    traceback: str = ""


@dataclass
class _Pool(Generic[Item, Result]):
    """Runs `function` on what `prepare` makes of items, which are numbered."""

    function: Callable[[Any], Result]
    prepare: Callable[[Item], Any]
    initialize: Callable[[], None]
    context: multiprocessing.context.BaseContext

    def results(
        self, items: Mapping[int, Item], workers: int, running: list[int]
    ) -> Iterator[tuple[int, Result | Failed]]:
        """The number of each item with its result, as they finish.

        If a process dies: BrokenProcessPool with the cause, and `running` has the numbers of the items in progress.
        """
        pool = ProcessPoolExecutor(workers, mp_context=self.context, initializer=_start_worker,
                                   initargs=(self.initialize,))  # fmt: skip
        pending: dict[Future[Result | Failed], int] = {}
        processes: dict[int, multiprocessing.process.BaseProcess] = {}
        try:
            if self.context.get_start_method() == "fork":
                pool.submit(_ready).result()  # all processes are forked now, before `prepare` starts threads
            # Only a few items are queued ahead of the workers, so that the first starts at once.
            for number, item in items.items():
                ready = _attempt(self.prepare, item)
                if isinstance(ready, Failed):
                    yield number, ready
                    continue
                pending[pool.submit(_attempt, self.function, ready)] = number
                processes |= pool._processes or {}
                if len(pending) >= 2 * workers:
                    yield from _finished(pending)
            while pending:
                yield from _finished(pending)
        except BrokenProcessPool as error:
            running.extend(pending.values())
            # The pool's own thread asks for the status, too, and of two that ask at once one gets a wrong answer.
            pool.shutdown()
            raise BrokenProcessPool(_cause_of_death(processes.values())) from error
        finally:
            for process in processes.values() if pending else ():
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def run_in_workers(
    function: Callable[[Any], Result],
    items: Sequence[Item],
    workers: int,
    *,
    initialize: Callable[[], None],
    prepare: Callable[[Item], Any] | None = None,
    preload: Sequence[str] = (),
    fork: bool = False,
) -> Iterator[tuple[Item, Result | Failed]]:
    """Each item with function(prepare(item)), in the order in which they finish, from `workers` processes.

    A WriteError ends the work, because every other item would meet it; any other exception is the item's `Failed`.
    workers: 0 works in this process, which an item that exhausts the memory then ends. function, initialize, what
    prepare gives and results are pickled. prepare: called in this process before an item is given away; None = as it
    is. initialize: called once in every process. An item is worked on twice if a process died meanwhile, so function
    must stand that.

    fork: copy this process, with all that it has loaded, where the system can; it must have one thread. Otherwise the
    processes are new ones, which find the modules of `preload` imported.
    """
    prepare = prepare or _unchanged
    if workers < 1:
        for item in items:
            ready = _attempt(prepare, item)
            yield item, ready if isinstance(ready, Failed) else _attempt(function, ready)
        return
    pool = _Pool(function, prepare, initialize, _context(preload, fork))
    suspects: dict[int, Item] = {}
    rest = dict(enumerate(items))  # numbered, because equal items may be one object
    while rest:
        running: list[int] = []
        try:
            for number, result in pool.results(rest.copy(), min(workers, len(rest)), running):
                yield rest.pop(number), result
        except BrokenProcessPool:
            suspects |= {number: rest.pop(number) for number in running}
    for number, item in suspects.items():
        try:
            for _, result in pool.results({number: item}, 1, []):
                yield item, result
        except BrokenProcessPool as error:
            yield item, Failed(str(error))


def _attempt(function: Callable[[Any], Result], item: Any) -> Result | Failed:
    """function(item), or why there is no result."""
    try:
        return function(item)
    except WriteError:
        raise
    # A foreign file may break any library in any way, and no item may end the work on all.
    except Exception as error:  # noqa: BLE001
        return Failed(failure_line(error), traceback_of(error))


def _unchanged(item: Any) -> Any:
    return item


def _ready() -> None:
    """Nothing: a process that has done it is there."""


def _finished(pending: dict[Future[Result | Failed], int]) -> Iterator[tuple[int, Result | Failed]]:
    finished, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in finished:
        result: Result | Failed
        try:
            result = future.result()
        except (BrokenProcessPool, WriteError):
            raise
        except Exception as error:  # noqa: BLE001  # of the way between the processes
            result = Failed(failure_line(error), traceback_of(error))
        yield pending.pop(future), result


def _cause_of_death(processes: Iterable[multiprocessing.process.BaseProcess]) -> str:
    """Why a process died, from the exit status of the one that was not ended by the pool."""
    for status in (process.exitcode for process in processes):
        if status is None or status in (0, -signal.SIGTERM):
            continue
        if status == -signal.SIGKILL:
            return "its process was killed (out of memory?)"
        if status < 0:
            return f"its process died of {signal.Signals(-status).name}"
        return f"its process ended with status {status}"
    return "its process died"


def _start_worker(initialize: Callable[[], None]) -> None:
    """Leave Ctrl-C to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    initialize()


def _context(preload: Sequence[str], fork: bool) -> multiprocessing.context.BaseContext:
    """Fork processes from a server that has imported everything and has no threads, hence no locks to copy."""
    methods = multiprocessing.get_all_start_methods()
    if fork and "fork" in methods:
        return multiprocessing.get_context("fork")
    if "forkserver" not in methods:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context
