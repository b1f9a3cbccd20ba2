"""Memory that a process has freed and the system has not got back."""

from pathlib import Path

import pytest
import torch

from torch_utils.process import return_freed_memory

MIB = 1 << 20


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / MIB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell the resident memory")
def test_freed_memory_goes_back_to_the_system_from_below_blocks_in_use() -> None:
    return_freed_memory()
    before = resident_mib()
    blocks = [torch.ones(16 * 1024) for _ in range(2048)]  # 64 KiB each, 128 MiB
    last = blocks[-1]
    del blocks
    assert resident_mib() > before + 100, "the last block keeps all below it"
    assert return_freed_memory()
    assert resident_mib() < before + 20
    assert bool((last == 1).all())
