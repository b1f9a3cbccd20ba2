"""Work on mesh files in processes of their own, so that a file that exhausts the memory costs its shape alone."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import torch

from metrics.cache import mark_provisional, watch_provisional
from torch_utils.workers import Failed, run_in_workers

Result = TypeVar("Result")
# What a process does with a row; it is forked with it, so nothing but rows and results travels.
_task: Callable[[int], object] | None = None


def in_processes(task: Callable[[int], Result], rows: Iterable[int]) -> list[Result | Failed]:
    """task(row) of each, in order, from as many processes as this one has threads; in such a process, at once.

    Results are pickled: arrays, not tensors. The task reports its own exceptions; what is left is a process that died.
    What a task marks as provisional is so here, too.
    """
    rows = list(rows)
    if _task is not None:
        return [task(row) for row in rows]
    workers = max(1, min(len(rows), torch.get_num_threads()))
    found: dict[int, Result | Failed] = {}
    for row, outcome in run_in_workers(_run, rows, workers, initialize=partial(_start, task), fork=True):
        result, provisional = (outcome, True) if isinstance(outcome, Failed) else outcome
        found[row] = result  # type: ignore[assignment]  # what the task gives
        if provisional:
            mark_provisional()
    return [found[row] for row in rows]


def _start(task: Callable[[int], object]) -> None:
    global _task
    torch.set_num_threads(1)
    _task = task


def _run(row: int) -> tuple[object, bool]:
    assert _task is not None
    return watch_provisional(partial(_task, row))
