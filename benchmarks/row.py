"""One row of the table: an op, its peer, and the bytes that it must move."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Job:
    """The two calls to time, which do the same work on the same data.

    peer: None where there is none; `peer_absent` says why. moved_bytes: the least that the op must read and write.
    """

    ours: Work
    peer: Work | None
    moved_bytes: int
    peer_absent: str = ""


@dataclass(frozen=True)
class Row:
    """A benchmark. make(device): builds the job. least: threshold of the ratio peer / ours, or None."""

    op: str
    size: str
    peer: str
    make: Callable[[torch.device], Job]
    least: float | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")


@dataclass(frozen=True)
class Result:
    """Medians in milliseconds, and the share of the copy bandwidth."""

    op: str
    size: str
    peer: str
    ours_ms: float
    peer_ms: float | None
    ratio: float | None
    least: float | None
    moved_mb: float
    bandwidth_share: float
    note: str


def tensor_bytes(*tensors: torch.Tensor | None) -> int:
    """Total bytes of the tensors."""
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def _once(work: Work, device: torch.device, clock: Clock = time.perf_counter) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def time_both(
    job: Job, device: torch.device, seconds: float, clock: Clock = time.perf_counter
) -> tuple[float, float | None]:
    """Median seconds of ours and of the peer. They run in turns, so that a busy machine slows both alike."""
    sides = [work for work in (job.ours, job.peer) if work is not None]
    warm = [max(_once(work, device, clock) for _ in range(2)) for work in sides]
    rounds = min(100, max(5, round(seconds / max(sum(warm), 1e-6))))
    times = [[_once(work, device, clock) for work in sides] for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return medians[0], medians[1] if job.peer is not None else None


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second read and written by a copy of 256 MB."""
    source = torch.ones(64 * 2**20, device=device)
    target = torch.empty_like(source)
    seconds = statistics.median([_once(lambda: target.copy_(source), device) for _ in range(7)])
    return 2 * tensor_bytes(source) / seconds


def measure(
    row: Row, device: torch.device, bandwidth: float, seconds: float, clock: Clock = time.perf_counter
) -> Result:
    """Time one row."""
    job = row.make(device)
    ours, peer = time_both(job, device, seconds, clock)
    return Result(
        op=row.op,
        size=row.size,
        peer=row.peer,
        ours_ms=round(ours * 1e3, 3),
        peer_ms=None if peer is None else round(peer * 1e3, 3),
        ratio=None if peer is None else round(peer / ours, 2),
        least=row.least,
        moved_mb=round(job.moved_bytes / 1e6, 1),
        bandwidth_share=round(job.moved_bytes / ours / bandwidth, 3),
        note=job.peer_absent,
    )
