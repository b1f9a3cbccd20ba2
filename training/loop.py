"""A training run: its folder, its schedule by images shown, and what happens when it is stopped."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from configs.schema import Config
from rendering.images import image_grid, save_png, show_views
from torch_utils import distributed
from torch_utils.checkpoint import save_network
from torch_utils.distributed import Ranks
from torch_utils.process import peak_memory_mb, stop_requests
from training.data import Data, MinibatchSource, build_train_state, check_batch, state_parts
from training.gan_step import TrainState, training_step
from training.initialize import initialize_from
from training.optimizer import SkipGuard
from training.progressive import shown_resolution
from training.run.fixed_samples import COLUMNS, SHAPES, Probe
from training.run.health import Health
from training.run.run_folder import RunFolder
from training.run.run_log import RunLog, duration
from training.run.state_file import load_state, save_state
from training.run.step_statistics import Statistics

# With several ranks, how many minibatches pass between two questions whether any of them was asked to stop.
_STOP_INTERVAL = 8


@dataclass
class Progress:
    """Where a run stands, resumed parts included. nimg: images shown. number: minibatches done.

    seconds: of training alone. other_seconds: of log lines, sheets, networks and states.
    skipped, skipped_in_a_row: minibatches left out for a gradient that was not finite.
    """

    nimg: int = 0
    number: int = 0
    seconds: float = 0.0
    other_seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0


@dataclass
class Run:
    """A run in progress."""

    config: Config
    ranks: Ranks
    data: Data
    train_state: TrainState
    folder: RunFolder
    log: RunLog
    progress: Progress = field(default_factory=Progress)
    health: Health = field(default_factory=Health)
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def total_nimg(self) -> int:
        """Images at which the run is complete."""
        return round(self.config.training.total_kimg * 1000)


def due(before: int, now: int, interval_kimg: float) -> bool:
    """Whether a multiple of the interval was reached between two counts of images."""
    interval = max(round(interval_kimg * 1000), 1)
    return now // interval > before // interval


def train(
    config: Config,
    data: Data,
    folder: RunFolder,
    ranks: Ranks,
    *,
    resume: bool,
    init: Path | None,
    judges: Path | None,
    quiet: bool,
) -> bool:
    """Train until `training.total_kimg`. Returns False where it was interrupted; the state is saved then."""
    check_batch(config, ranks)
    distributed.refuse_difference("--data", [len(data.bank), zlib.crc32(data.hash.encode())], ranks)
    train_state = build_train_state(config, ranks)
    progress = Progress()
    notes = []
    if resume:
        header = load_state(folder.path, state_parts(train_state), config)
        progress = Progress(**header["counters"])
        if header["threads"] != torch.get_num_threads():
            notes.append(
                f"Resumed with {torch.get_num_threads()} threads, not {header['threads']} as before: the run goes on, "
                "but not bitwise as it would have."
            )
    elif init is not None:
        fresh = initialize_from(train_state, init, judges)
        new = ", ".join(fresh[:3]) + (f" and {len(fresh) - 3} more tensors" if len(fresh) > 3 else "")
        sources = f"{init}" + (f" and the discriminators of {judges}" if judges else "")
        notes.append(f"Started from {sources}" + (f"; new: {new}." if fresh else "."))
    distributed.barrier(ranks)
    if ranks.first:
        if resume:
            folder.note_resume(config, data, progress.nimg)
        else:
            folder.create(config, data)
    total_nimg = round(config.training.total_kimg * 1000)
    log_folder = folder.path if ranks.first else None
    log = RunLog(log_folder, total_nimg, progress.nimg, quiet=quiet, mute=not ranks.first)
    run = Run(config, ranks, data, train_state, folder, log, progress)
    for line in folder.stats() if resume else []:
        run.health.observe(line)
    with log:
        for note in notes:
            log.warn(note)
        complete = _loop(run)
        log.say(summary(progress))
    return complete


def summary(progress: Progress) -> str:
    """How long a run took, and what of that was training."""
    rate = progress.nimg / max(progress.seconds, 1e-9)
    return (
        f"{progress.nimg / 1000:g} kimg in {duration(progress.seconds + progress.other_seconds)}: "
        f"{duration(progress.seconds)} of training ({rate:.1f} img/s), "
        f"{duration(progress.other_seconds)} of log lines, sheets, networks and states"
    )


def _loop(run: Run) -> bool:
    source = MinibatchSource(run.config, run.data, run.ranks)
    probe = Probe(run.train_state.average, run.data.camera_distribution, run.data.shading)
    names = {
        adam.name: list(adam.parameters)
        for adam in (run.train_state.generator_adam, run.train_state.discriminator_adam)
    }
    guard = SkipGuard(run.config.training.max_skipped_steps, names, run.progress.skipped_in_a_row)
    training = run.config.training
    state = run.progress
    saved_nimg, drawn_nimg, complete = state.nimg, -1, True
    if state.nimg == 0:
        with _apart(run):
            _begin(run, probe, guard)
    tick, tick_nimg = time.perf_counter(), state.nimg
    with stop_requests() as stop:
        while state.nimg < run.total_nimg:
            norms = training_step(
                run.train_state, source.draw(state.nimg, state.number), run.config, run.ranks, run.statistics
            )
            state.nimg += training.batch
            state.number += 1
            state.skipped += guard.check(norms)
            run.log.advance(state.nimg)
            if _asked_to_stop(stop, state.number, run.ranks):
                complete = False
                break
            if due(state.nimg - training.batch, state.nimg, training.log_kimg) or state.nimg >= run.total_nimg:
                state.skipped += guard.settle()
                _log_line(run, probe, tick, tick_nimg)
                with _apart(run):
                    if due(tick_nimg, state.nimg, training.snapshot_kimg):
                        _snapshot(run, probe)
                        drawn_nimg = state.nimg
                    if due(tick_nimg, state.nimg, training.state_kimg):
                        _save_state(run, guard)
                        saved_nimg = state.nimg
                tick, tick_nimg = time.perf_counter(), state.nimg
        state.skipped += guard.settle()
        if not complete and state.nimg > tick_nimg:
            _log_line(run, probe, tick, tick_nimg)
        with _apart(run):
            if drawn_nimg != state.nimg:
                _snapshot(run, probe)
            if saved_nimg != state.nimg:
                _save_state(run, guard)
    return complete


@contextmanager
def _apart(run: Run) -> Iterator[None]:
    """Work beside the training: its time counts in `other_seconds` alone, and not in any rate."""
    start = time.perf_counter()
    yield
    run.progress.other_seconds += time.perf_counter() - start
    run.log.restart_rate()


def _log_line(run: Run, probe: Probe, tick: float, tick_nimg: int) -> None:
    """Write the statistics since the last line, which was at the time `tick` and `tick_nimg` images."""
    values = run.statistics.read(run.ranks)  # waits for the device: what was queued is done
    now = time.perf_counter()
    run.progress.seconds += now - tick
    with _apart(run):
        _write_line(run, probe, values, (run.progress.nimg - tick_nimg) / max(now - tick, 1e-9))


def _write_line(run: Run, probe: Probe, values: dict[str, tuple[float, float]], images_per_second: float) -> None:
    state = run.progress
    if run.ranks.first:
        line: dict[str, Any] = {
            "nimg": state.nimg,
            "minibatches": state.number,
            "resolution": shown_resolution(state.nimg, run.config),
            "seconds": round(state.seconds, 3),
            "other_seconds": round(state.other_seconds, 3),
            "images_per_second": round(images_per_second, 2),
            "skipped_steps": state.skipped,
            "memory_peak_mb": peak_memory_mb(run.ranks.device),
        }
        line |= {name: mean for name, (mean, _) in values.items()}
        line |= {f"{name}/deviation": spread for name, (_, spread) in values.items() if name.startswith("logits/")}
        line |= probe.figures()
        run.log.record(line)
        for message in run.health.observe(line):
            run.log.warn(message)


def _begin(run: Run, probe: Probe, guard: SkipGuard) -> None:
    """A state to resume from the first moment on, a sheet of real views and one of the untrained shapes."""
    _save_state(run, guard)
    if not run.ranks.first:
        return
    count = min(4 * COLUMNS, len(run.data.bank))
    stride = len(run.data.bank) // count
    reals, _ = run.data.bank.batch([i * stride for i in range(count)])
    image = image_grid(show_views(reals), COLUMNS)
    save_png(run.folder.path / "reals.png", image)
    run.log.image_grid("reals", image, 0)
    image = probe.sheet()
    save_png(run.folder.path / "samples-000000000.png", image)
    run.log.image_grid("samples", image, 0)
    run.log.say(f"{SHAPES} fixed shapes are drawn at every snapshot; real views: {run.folder.path / 'reals.png'}")


def _snapshot(run: Run, probe: Probe) -> None:
    """The running-average network and its sheet; network.safetensors is always the newest."""
    if not run.ranks.first:
        return
    state, folder = run.progress, run.folder.path
    extra = {
        "data": run.data.name,
        "data_hash": run.data.hash,
        "shading": run.data.shading,
        "seconds": round(state.seconds, 1),
    }
    for name in (f"network-{state.nimg:09d}.safetensors", "network.safetensors"):
        save_network(
            folder / name, run.train_state.average, run.config.model_dump(mode="json"), state.nimg, extra=extra
        )
    image = probe.sheet()
    save_png(folder / f"samples-{state.nimg:09d}.png", image)
    run.log.image_grid("samples", image, state.nimg)


def _save_state(run: Run, guard: SkipGuard) -> None:
    if not run.ranks.first:
        return
    state = run.progress
    state.skipped_in_a_row = guard.in_a_row
    save_state(
        run.folder.path, state_parts(run.train_state), state.nimg, vars(state), run.config.model_dump(mode="json")
    )


def _asked_to_stop(stop: list[int], number: int, ranks: Ranks) -> bool:
    if ranks.world == 1:
        return bool(stop)
    return number % _STOP_INTERVAL == 0 and distributed.agree(bool(stop), ranks)
