"""Ranks of a run started by `torchrun` (one rank without it): set-up and communication.

Ranks take contiguous slices of the global batch and every random number belongs to a global sample index, so the
number of ranks does not change a run beyond rounding. Gradients are averaged by one all-reduce of one flat tensor. The
model is so small that latency dominates, and a step has two backward passes over different networks, so the buckets of
DistributedDataParallel would not help.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor

from torch_utils.devices import pick_device
from torch_utils.errors import UserError

# How long a rank waits for the others. They decode views and measure shapes on the host, and the first one alone draws
# and writes; NCCL would end all of them after ten minutes. That a rank died is seen by torchrun, without waiting.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Ranks:
    """This process among `world` processes. device: where its tensors live."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files and logs."""
        return self.rank == 0

    def slice(self, total: int) -> slice:
        """This rank's contiguous slice of `total` samples (a multiple of `world`)."""
        if total % self.world:
            raise ValueError(f"slice(): expected a multiple of {self.world} ranks, got {total}")
        share = total // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


def start(device_name: str = "auto") -> Ranks:
    """Join the ranks that `torchrun` started, or be the only one.

    device_name: "cpu" (gloo), "cuda" (nccl, one card a rank), "auto" (cuda where there is a card), or, for a single
    process, "cuda:N". UserError for a card that is missing, and for one card named for several ranks.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device(device_name)
    if device.type == "cuda":
        if device.index is not None and world > 1:
            raise UserError(f"device {device_name}: each of the {world} ranks takes its own card; use cuda")
        if world > 1 and not torch.distributed.is_nccl_available():
            raise UserError(
                f"device {device_name}: this torch has no NCCL, which {world} ranks need; install a CUDA build of "
                "torch for Linux, or start one process without torchrun"
            )
        if device.index is None:
            device = pick_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(device)
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Ranks(int(os.environ.get("RANK", "0")), world, device)


def restarted() -> bool:
    """Whether torchrun started this process again, after a rank or a node had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def stop(ranks: Ranks) -> None:
    """Leave the group and end its threads.

    One that still works while the interpreter shuts down asks for Python's lock, and that aborts the process.
    """
    if ranks.world > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def sum_over_ranks(tensor: Tensor, ranks: Ranks) -> Tensor:
    """The sum of `tensor` over all ranks, in place; with one rank, the tensor itself. No gradient.

    UserError if another rank has died. Its own last words, or torchrun's report, say why.
    """
    if ranks.world > 1 and (reason := _all_reduce(tensor)):
        raise UserError(
            f"rank {ranks.rank}: lost the connection to another rank, so all stop ({reason}); see what that rank "
            "or torchrun says, then run the same command again (train: with --resume)"
        )
    return tensor


def _all_reduce(tensor: Tensor) -> str:
    """Sum in place; the reason if that fails, otherwise "".

    The error itself ends here: its traceback refers to the group, whose threads could then not end in `stop`.
    """
    try:
        torch.distributed.all_reduce(tensor)
    except RuntimeError as error:
        return (str(error).strip().splitlines() or ["no reason given"])[-1]
    return ""


def agree(flag: bool, ranks: Ranks) -> bool:
    """Whether `flag` is true on any rank; the same on every rank."""
    if ranks.world == 1:
        return flag
    return bool(sum_over_ranks(torch.tensor(float(flag), device=ranks.device), ranks).item())


def barrier(ranks: Ranks) -> None:
    """Wait for all ranks."""
    agree(False, ranks)


def texts_of_ranks(text: str, ranks: Ranks) -> list[str]:
    """The text of every rank, by rank. All ranks call this together."""
    if ranks.world == 1:
        return [text]
    data = torch.tensor(list(text.encode()), dtype=torch.uint8, device=ranks.device)
    sizes = torch.zeros(ranks.world, dtype=torch.int64, device=ranks.device)
    sizes[ranks.rank] = len(data)
    lengths = sum_over_ranks(sizes, ranks).tolist()
    table = torch.zeros(ranks.world, max(lengths), dtype=torch.uint8, device=ranks.device)
    table[ranks.rank, : len(data)] = data
    rows = sum_over_ranks(table, ranks).tolist()
    return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]


def average_gradients(parameters: Iterable[Tensor], ranks: Ranks) -> None:
    """Replace every parameter's gradient by its mean over the ranks, in one flat all-reduce."""
    if ranks.world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    sum_over_ranks(flat, ranks).div_(ranks.world)
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        # In place: the fused optimizer needs the parameter's memory layout (channels last).
        gradient.copy_(mean.view_as(gradient))


def shares_of_mean(counts: Sequence[int | Tensor], ranks: Ranks) -> list[Tensor | float]:
    """Factors that turn the means over this rank's parts into their shares of the mean over all items of all ranks.

    counts: items of each part, or the sum of their weights, on the host, or [] on the device. Averaged over the parts
    and the ranks (as gradients are), factor · mean of the part is the mean over the union: count · parts · world /
    Σ count.
    """
    if ranks.world == 1 and len(counts) == 1:
        return [1.0]
    mine = sum(torch.ones((), device=ranks.device, dtype=torch.float64) * count for count in counts)
    assert isinstance(mine, Tensor), "a minibatch has a part"
    total = sum_over_ranks(mine, ranks).clamp(min=1e-12)  # nothing at all gives shares of 0
    return [count * (len(counts) * ranks.world) / total for count in counts]


def differ(values: Sequence[float], ranks: Ranks) -> bool:
    """Whether the ranks have different `values`; the same answer on every rank."""
    if ranks.world == 1:
        return False
    mine = torch.tensor(list(values), dtype=torch.float64, device=ranks.device)
    mean = sum_over_ranks(mine.clone(), ranks) / ranks.world
    return agree(not torch.allclose(mine, mean, rtol=1e-12, atol=0), ranks)


def refuse_difference(name: str, values: Sequence[float], ranks: Ranks) -> None:
    """UserError if the ranks disagree on `values`, e.g. because their data folders differ."""
    if differ(values, ranks):
        raise UserError(f"{name}: the ranks disagree; every node must see the same files")
