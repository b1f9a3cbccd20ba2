"""Work on many items in several processes. An item whose process dies is a result like any other.

A process dies when the system kills it for want of memory, or when a library crashes. Its item is tried again alone,
because the process may have died of what another item left behind; if it dies again, the item is at fault.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch_utils.process import die_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """The process that worked on an item ended without a result. cause: in words."""

    cause: str


@dataclass
class _Pool(Generic[Item, Result]):
    """Runs `function` on items. running: items in progress when a process died."""

    function: Callable[[Item], Result]
    initialize: Callable[[], None]
    preload: Sequence[str]

    def results(self, items: Sequence[Item], workers: int, running: list[Item]) -> Iterator[tuple[Item, Result | Died]]:
        """Each item with its result, as they finish. BrokenProcessPool with a cause if a process dies."""
        pool = ProcessPoolExecutor(workers, mp_context=_context(self.preload), initializer=_start_worker,
                                   initargs=(self.initialize,))  # fmt: skip
        pending: dict[Future[Result], Item] = {}
        processes: dict[int, multiprocessing.process.BaseProcess] = {}
        queue = iter(items)
        try:
            # Only a few items are queued ahead of the workers, so that the first starts at once.
            for item in queue:
                pending[pool.submit(self.function, item)] = item
                processes |= pool._processes or {}
                if len(pending) >= 2 * workers:
                    yield from _finished(pending)
            while pending:
                yield from _finished(pending)
        except BrokenProcessPool as error:
            running.extend(pending.values())
            raise BrokenProcessPool(_cause_of_death(processes.values())) from error
        finally:
            for process in processes.values() if pending else ():
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def run_in_workers(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    *,
    initialize: Callable[[], None],
    preload: Sequence[str] = (),
) -> Iterator[tuple[Item, Result | Died]]:
    """Each item with function(item), in the order in which they finish, from `workers` processes.

    function, initialize, items and results are pickled. initialize: called once in every process. preload: modules that
    processes find imported. An item is worked on twice if a process died meanwhile, so function must stand that.
    """
    pool = _Pool(function, initialize, preload)
    suspects: list[Item] = []
    rest = list(items)
    while rest:
        done: list[int] = []
        left: list[Item] = []
        try:
            for item, result in pool.results(rest, min(workers, len(rest)), left):
                done.append(id(item))
                yield item, result
        except BrokenProcessPool:
            suspects += left
            done += map(id, left)
        rest = [item for item in rest if id(item) not in set(done)]
    for item in suspects:
        try:
            yield from pool.results([item], 1, [])
        except BrokenProcessPool as error:
            yield item, Died(str(error))


def _finished(pending: dict[Future[Result], Item]) -> Iterator[tuple[Item, Result]]:
    finished, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in finished:
        result = future.result()
        yield pending.pop(future), result


def _cause_of_death(processes: Iterable[multiprocessing.process.BaseProcess]) -> str:
    """Why a process died, from the exit status of the one that was not ended by the pool."""
    for process in processes:
        process.join(1)
        status = process.exitcode
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


def _context(preload: Sequence[str]) -> multiprocessing.context.BaseContext:
    """Fork processes from a server that has imported everything and has no threads, hence no locks to copy."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context
