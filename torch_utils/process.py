"""Settings of a process that works for long: threads, determinism, memory, and requests to stop."""

import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path

import torch

# Two signals within this time, seconds, are one request to stop.
REPEAT_SECONDS = 1.0
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
_MIB = 1 << 20


def prepare_process(threads: int, device: torch.device) -> None:
    """Set threads, determinism and memory for training.

    threads: CPU threads; 0 = one per available core (`use_threads`).
    """
    use_threads(threads)
    use_determinism(device)
    keep_freed_memory()
    freeze_long_lived_objects()


def use_threads(threads: int) -> int:
    """Set the number of CPU threads of this process and return it.

    0 = one per core that the process may use, divided among the ranks on this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = threads or max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(threads)
    return threads


def use_determinism(device: torch.device) -> None:
    """Make results on the CPU bitwise reproducible. CUDA keeps its faster, nondeterministic kernels."""
    torch.use_deterministic_algorithms(device.type == "cpu")
    # A debugging aid that deterministic mode turns on. It would cost a pass over every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next step instead of returning them to the system. False without glibc.

    A training step frees and allocates the same hundreds of buffers again. Mapping their pages each time took a tenth
    of a step. Peak memory does not change.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = {_M_MMAP_THRESHOLD: 32 * _MIB, _M_TRIM_THRESHOLD: 1024 * _MIB, _M_TOP_PAD: 64 * _MIB}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def return_freed_memory() -> bool:
    """Return what has been freed to the system, also from between blocks in use. False without glibc.

    A process that is forked copies the pages that it writes to, freed ones too, and both copies stay.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    return bool(trim(0))


def freeze_long_lived_objects() -> None:
    """Exclude all objects alive now, such as modules and networks, from garbage collection: they stay anyway."""
    gc.collect()
    gc.freeze()


def die_with_parent() -> None:
    """End this worker process as soon as the process that started it has ended, even if that was killed.

    Otherwise the workers of a killed job would wait for work forever, and finish theirs beside the job's next start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory of this process, MiB: memory of `device` if that is a GPU, otherwise of the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free on a GPU, or that the system can give without swapping; None where it does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list, so that a step is never interrupted halfway.

    A further signal more than REPEAT_SECONDS after the first raises KeyboardInterrupt. Signals closer together count as
    one request: Ctrl-C reaches every process of a terminal, and torchrun forwards its own to the ranks.
    """
    received: list[int] = []
    first = 0.0
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals
        return

    def note(number: int, _frame: object) -> None:
        nonlocal first
        if received and time.monotonic() - first > REPEAT_SECONDS:
            raise KeyboardInterrupt
        if not received:
            first = time.monotonic()
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
