"""Work on mesh files in processes of their own, so that a file that exhausts the memory costs its shape alone."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import torch

from metrics.cache import mark_provisional
from torch_utils.workers import Failed, run_in_workers

Result = TypeVar("Result")
# What a process does with a row; it is forked with it, so nothing but rows and results travels.
_task: Callable[[int], object] | None = None


def in_processes(task: Callable[[int], Result], rows: Iterable[int]) -> list[Result | Failed]:
    """task(row) of each, in order, from as many processes as this one has threads; in such a process, at once.

    Results are pickled: arrays, not tensors. The task reports its own exceptions; what is left is a process that died.
    """
    rows = list(rows)
    if _task is not None:
        return [task(row) for row in rows]
    workers = max(1, min(len(rows), torch.get_num_threads()))
    found = dict(run_in_workers(_run, rows, workers, initialize=partial(_start, task), fork=True))
    if any(isinstance(result, Failed) for result in found.values()):
        mark_provisional()  # with more memory it may succeed
    return [found[row] for row in rows]  # type: ignore[misc]  # what the task gives


def _start(task: Callable[[int], object]) -> None:
    global _task
    torch.set_num_threads(1)
    _task = task


def _run(row: int) -> object:
    assert _task is not None
    return _task(row)
