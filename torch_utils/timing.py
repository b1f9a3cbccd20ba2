"""Named phases of a training step, timed only while a benchmark records them."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

_recorder: "PhaseTimes | None" = None
_NOTHING = nullcontext()


def phase(name: str) -> AbstractContextManager[None]:
    """`with phase("planes"): …` adds the block's time to "planes" during a `recording`; otherwise it costs nothing.

    Phases nest: an outer phase's own time excludes that of the phases inside it.
    """
    return _NOTHING if _recorder is None else _recorder.measure(name)


@contextmanager
def recording(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> Iterator["PhaseTimes"]:
    """Record phases until the block ends. Each phase then waits for the device, so the step becomes a little slower.

    clock: `time.process_time` counts the processor time of this process, which others on the machine change little.
    """
    global _recorder
    _recorder = PhaseTimes(device, clock)
    try:
        yield _recorder
    finally:
        _recorder = None


class PhaseTimes:
    """Seconds spent in each phase itself (without the phases nested in it), and how often it was entered."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._device, self._clock = device, clock
        self._nested = [0.0]

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time one block."""
        start = self._now()
        self._nested.append(0.0)
        try:
            yield
        finally:
            elapsed = self._now() - start
            self.seconds[name] += elapsed - self._nested.pop()
            self.calls[name] += 1
            self._nested[-1] += elapsed

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock()
