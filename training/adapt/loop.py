"""The loop of an adaptation: an estimate first, then steps with a progress line, sheets, states and a report.

A mode (shift, mapping) fills in an `AdaptJob`; what runs it, stops it and resumes it is here. Every random number
depends on the seed and the step alone, so a resumed adaptation is bitwise the one that was never stopped.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from guidance.priors.folder import as_gib
from rendering.images import save_png
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.devices import synchronize
from torch_utils.errors import UserError
from torch_utils.failures import is_out_of_memory
from torch_utils.process import available_memory, peak_memory_mb, stop_requests
from torch_utils.progress import progress_bar
from training.adapt.report import write_adapt_report
from training.adapt.settings import AdaptSettings
from training.adapt.shift import StepResult
from training.run.run_log import duration
from training.run.state_file import Stateful, copy_state

STATE = "state.safetensors"
KIND = "adaptation-state"
# Sheets over a run, and steps in a row without a finite answer after which it stops.
SHEETS, MAX_FAILED = 6, 5


@dataclass
class AdaptJob:
    """One adaptation, ready to run.

    parts: what a state holds. rehearse(step): a step that changes nothing, for the estimate. step(step): a real one.
    sheet(): image [H, W, 3] uint8 of before and after. save(folder): writes the result. facts: for the record and the
    report, in words. scores(): figures of the network now, or {}. network: SHA-256 of the file that it began with.
    """

    settings: AdaptSettings
    parts: Mapping[str, Stateful]
    rehearse: Callable[[int], None]
    step: Callable[[int], StepResult]
    sheet: Callable[[], np.ndarray]
    save: Callable[[Path], None]
    device: torch.device
    facts: dict[str, str] = field(default_factory=dict)
    scores: Callable[[], dict[str, float]] = dict
    network: str = ""


@dataclass
class History:
    """What happened so far. values [steps, 2]: loss and change of each. scores: by step. seconds: of work."""

    values: list[tuple[float, float]] = field(default_factory=list)
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def tensor(self) -> Tensor:
        """The values as float64 [steps, 2]."""
        return torch.tensor(self.values, dtype=torch.float64).reshape(-1, 2)


def measure_steps(job: AdaptJob, say: Callable[[str], None], done: int = 0) -> None:
    """Measure two steps that change nothing, and say what those that are not done will take."""
    settings = job.settings
    count = settings.steps - done
    job.rehearse(0)  # the first one also loads and allocates
    synchronize(job.device)
    start = time.perf_counter()
    job.rehearse(0)
    synchronize(job.device)
    seconds = time.perf_counter() - start
    say(
        f"{count} steps of {settings.batch} images of {settings.resolution} px: about "
        f"{duration(seconds * count)} ({seconds:.2f} s each), {peak_memory_mb(job.device):,} MiB of memory."
    )


@contextmanager
def memory_advice(settings: AdaptSettings, device: torch.device, out: Path) -> Iterator[None]:
    """An adaptation in the folder `out` that runs out of memory in this block ends with advice, as a UserError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise UserError(_too_large(settings, device, out)) from None
        raise


def _too_large(settings: AdaptSettings, device: torch.device, out: Path) -> str:
    free = available_memory(device)
    has = "" if free is None else f" ({as_gib(free)} are free now)"
    smaller = (
        f"--set batch={settings.batch // 2}" if settings.batch > 1 else f"--set resolution={settings.resolution // 2}"
    )
    advice = f"try {smaller}"
    if holds_adaptation(out):
        advice = f"close other programs and add --resume, which continues from the last sheet in {out}"
    return f"a step of {settings.batch} images of {settings.resolution} px does not fit into memory{has}; {advice}"


def run_job(job: AdaptJob, out: Path, *, quiet: bool = False, resume: bool = False, say: Callable[[str], None]) -> bool:
    """Run to the end, or until Ctrl-C; False if it was stopped. The folder must be the caller's (`owned_folder`)."""
    settings, history = job.settings, History()
    if resume:
        history = load_job(job, out)
    if len(history.values) < settings.steps:
        measure_steps(job, say, len(history.values))
    interval = max(1, settings.steps // SHEETS)
    if not history.values:
        _write_sheet(job, out, history)
    failed, complete = 0, True
    bar = progress_bar("adapting", settings.steps, quiet=quiet, done=len(history.values))
    with stop_requests() as stop, bar as advance:
        for step in range(len(history.values), settings.steps):
            start = time.perf_counter()
            result = job.step(step)
            history.values.append((float(result.loss), float(result.change)))
            history.seconds += time.perf_counter() - start
            failed = 0 if bool(result.finite) else failed + 1
            if failed >= MAX_FAILED:
                raise UserError(
                    f"the prior's answers were not finite for {failed} steps in a row; nothing after step "
                    f"{step + 1 - failed} was changed. Try --set precision=fp32, or a lower --guidance-scale"
                )
            advance(f"loss {_recent(history):.4g}, change {history.values[-1][1]:.3f}")
            if stop:
                complete = step + 1 == settings.steps
                break
            if (step + 1) % interval == 0 and step + 1 < settings.steps:
                _write_sheet(job, out, history)
                save_job(job, out, history)
    save_job(job, out, history)
    job.save(out)
    _write_sheet(job, out, history)
    return complete


def _recent(history: History, steps: int = 10) -> float:
    return sum(loss for loss, _ in history.values[-steps:]) / len(history.values[-steps:])


def _write_sheet(job: AdaptJob, out: Path, history: History) -> None:
    """The sheet of this step, its scores, and the report."""
    step = len(history.values)
    start = time.perf_counter()
    save_png(out / f"sheet-{step:06d}.png", job.sheet())
    found = job.scores()
    if found:
        history.scores[step] = found
    history.seconds += time.perf_counter() - start
    write_adapt_report(out, job.settings, job.facts, history.values, history.scores, history.seconds)


def save_job(job: AdaptJob, out: Path, history: History) -> None:
    """Write the state, which replaces the one before."""
    tensors = {f"{part}/{name}": value for part, p in job.parts.items() for name, value in p.state_dict().items()}
    header: dict[str, Any] = {
        "kind": KIND,
        "settings": job.settings.model_dump(mode="json"),
        "scores": {str(step): scores for step, scores in history.scores.items()},
        "seconds": history.seconds,
        "threads": torch.get_num_threads(),
        "network": job.network,
    }
    save_tensors(out / STATE, {**tensors, "history": history.tensor()}, header)


def load_job(job: AdaptJob, out: Path) -> History:
    """Bring a job to the state in its folder. UserError where that does not fit."""
    path = out / STATE
    tensors, header = load_tensors(path, kind=KIND)
    if header.get("network", job.network) != job.network:
        raise UserError(
            f"--resume: {job.settings.network} is not the network that the adaptation in {out} began with; put that "
            "back, or give another --out"
        )
    values = tensors.pop("history")
    for part, member in job.parts.items():
        copy_state(member, f"{part}/", tensors, path)
    scores = {int(step): dict(found) for step, found in header.get("scores", {}).items()}
    return History([(loss, change) for loss, change in values.tolist()], scores, float(header.get("seconds", 0.0)))


def holds_adaptation(out: Path) -> bool:
    """Whether a folder holds an adaptation that can go on."""
    return (out / STATE).is_file()


def resumed_settings(out: Path, steps: int | None = None, given: AdaptSettings | None = None) -> AdaptSettings:
    """The settings of the adaptation in a folder, with another number of steps if one is given.

    given: settings to compare with. UserError where they differ in anything but the steps, where there is no
    adaptation, and where it was written by another version.
    """
    if not holds_adaptation(out):
        raise UserError(f"--resume: {out} holds no state of an adaptation; start it without --resume")
    _, header = load_tensors(out / STATE, kind=KIND)
    values = {**header["settings"], **({} if steps is None else {"steps": steps})}
    try:
        settings = AdaptSettings.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{out / STATE}: was written by another version ({error.errors()[0]['msg']})") from None
    for name in AdaptSettings.model_fields if given is not None else ():
        old, new = getattr(settings, name), getattr(given, name)
        if name != "steps" and old != new:
            raise UserError(f"--resume: the adaptation in {out} has {name} {old}, but this one has {new}")
    return settings
