"""Several ranks on this machine, as torchrun would start them."""

import multiprocessing
import os
import socket
from collections.abc import Callable


def free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def be_rank(rank: int, world: int, port: int) -> None:
    """Set the environment variables that torchrun sets."""
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def run_ranks(worker: Callable[..., None], world: int, *arguments: object, timeout: float = 240) -> None:
    """Run `worker(rank, *arguments)` in `world` new processes, all of which must succeed."""
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=worker, args=(rank, *arguments)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout)
    codes = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()  # one that still runs
    assert codes == [0] * world, f"exit statuses {codes}; None: still running after {timeout:g} s"
