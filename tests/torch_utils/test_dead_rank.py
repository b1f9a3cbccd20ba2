"""A rank that dies: the others stop at once, with one line, and leave no thread that could abort their exit."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.processes import be_rank, free_ports
from torch_utils import distributed
from torch_utils.errors import UserError


def die_or_wait(rank: int, world: int, port: int, said: "multiprocessing.Queue[str]") -> None:
    be_rank(rank, world, port)
    torch.set_num_threads(1)
    ranks = distributed.start("cpu")
    distributed.barrier(ranks)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        try:
            distributed.barrier(ranks)
        finally:  # as the commands do, while the error is on its way
            distributed.stop(ranks)
            said.put(", ".join(name for name in thread_names() if "gloo" in name))
    except UserError as error:
        said.put(str(error))


def thread_names() -> list[str]:
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed in /proc")
def test_the_others_stop_with_one_line() -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    (port,) = free_ports(1)
    ranks = [context.Process(target=die_or_wait, args=(rank, 2, port, said)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        assert said.get(timeout=240) == "", "threads of the group that still run"
        line = said.get(timeout=240)
        assert line.startswith("rank 0: lost the connection to another rank, so all stop (") and "\n" not in line
        ranks[0].join(60)
        assert [rank.exitcode for rank in ranks] == [0, -signal.SIGKILL]
    finally:
        for rank in ranks:
            rank.kill()
        said.close()
