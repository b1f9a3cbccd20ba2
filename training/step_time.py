"""How long steps take, measured before they count."""

import time
from collections.abc import Callable

import torch

from torch_utils.devices import synchronize

# Seconds from which on a user is told beforehand.
SAID_FROM_S = 30.0


def step_seconds(step: Callable[[], object], device: torch.device | None = None) -> float:
    """Seconds of a step, which must change nothing but gradients and random numbers; the latter are restored.

    It runs twice, because the first one also loads and allocates. device: where it works; None = the CPU.
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        step()
        synchronize(device)
        start = time.perf_counter()
        step()
        synchronize(device)
        return time.perf_counter() - start
