"""Whether a training fits into memory, before it starts, and what to change if it does not."""

import os
from dataclasses import dataclass

from configs.schema import Config
from networks.describe import NetworkSummary, describe
from networks.layers import compute_dtype
from networks.memory import training_memory
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.process import available_memory

# How far off the estimate may be: it was fitted on CPUs, and nothing was measured on a GPU.
CPU_TOLERANCE, CUDA_TOLERANCE = 1.15, 1.5


@dataclass(frozen=True)
class MemoryCheck:
    """needed, available: bytes of this rank. tolerance: factor on `available` beyond which a run is refused."""

    needed: int
    available: int
    tolerance: float

    def __str__(self) -> str:
        return f"about {self.needed / 2**30:.1f} GiB of the {self.available / 2**30:.1f} GiB available"


def memory_of_rank(ranks: Ranks) -> int:
    """Bytes that this rank can use: those free on its card, or its share of what is free on the machine."""
    free = available_memory(ranks.device)
    if free is None:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free if ranks.device.type == "cuda" else free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def memory_check(networks: list[NetworkSummary], config: Config, ranks: Ranks, images: int) -> MemoryCheck:
    """The estimate for one rank beside what it can use. networks: `describe(config)`. images: at once on this rank."""
    cuda = ranks.device.type == "cuda"
    dtype = compute_dtype(config.training.precision, ranks.device)
    memory = training_memory(networks, config, dtype, images=images, program=not cuda)
    return MemoryCheck(memory.total, memory_of_rank(ranks), CUDA_TOLERANCE if cuda else CPU_TOLERANCE)


def refuse_too_large(config: Config, ranks: Ranks) -> MemoryCheck:
    """UserError with advice if a step would need more memory than there is, beyond the error of the estimate."""
    networks = describe(config)
    share = config.training.batch // ranks.world
    current = config.training.micro_batch or share
    check = memory_check(networks, config, ranks, current)
    if check.needed <= check.available * check.tolerance:
        return check
    block = config.discriminator.stddev_group * config.data.views_per_shape
    fitting = [size for size in range(block, current, block) if share % size == 0]
    for size in reversed(fitting):
        if memory_check(networks, config, ranks, size).needed <= check.available:
            raise UserError(f"a step needs {check}; try --set training.micro_batch={size}")
    smallest = f" and training.micro_batch={fitting[0]}" if fitting else ""
    raise UserError(f"a step needs {check}; lower data.resolution or geometry.cells{smallest}, or use a larger card")
