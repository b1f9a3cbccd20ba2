"""How long steps take, measured before they count."""

import time
from collections.abc import Callable

import torch

# Seconds from which on a user is told beforehand.
SAID_FROM_S = 30.0


def step_seconds(step: Callable[[], object]) -> float:
    """Seconds of a step, which must change nothing but gradients and random numbers; the latter are restored.

    It runs twice, because the first one also loads and allocates.
    """
    with torch.random.fork_rng(devices=[]):
        step()
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
