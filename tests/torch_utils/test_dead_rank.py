"""A rank that dies: the others stop at once, with one line."""

import multiprocessing
import os
import signal

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
        distributed.barrier(ranks)
    except UserError as error:
        said.put(str(error))


def test_the_others_stop_with_one_line() -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    (port,) = free_ports(1)
    ranks = [context.Process(target=die_or_wait, args=(rank, 2, port, said)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        line = said.get(timeout=60)
        assert line.startswith("rank 0: lost the connection to another rank, so all stop (") and "\n" not in line
        ranks[0].join(60)
        assert [rank.exitcode for rank in ranks] == [0, -signal.SIGKILL]
    finally:
        for rank in ranks:
            rank.kill()
        said.close()
