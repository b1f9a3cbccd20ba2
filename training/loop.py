"""A training run: how it starts, its schedule by images seen, and what happens when it is stopped."""

import math
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from configs.schema import Config
from rendering.images import image_grid, save_png, show_views
from torch_utils import distributed
from torch_utils.checkpoint import save_network
from torch_utils.devices import device_name
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.process import peak_memory_mb, stop_requests
from training.data import Data, MinibatchSource, check_batch
from training.initialize import InitSource, initialize_from
from training.memory_check import MemoryCheck, refuse_too_large
from training.optimizer import NonFiniteError, SkipGuard
from training.penalties import penalty_warnings
from training.progressive import progressive_resolution
from training.run.fixed_samples import COLUMNS, SHAPES, FixedSamples
from training.run.health import Health
from training.run.report import write_run_report
from training.run.roll_back import roll_back, set_rates
from training.run.run_folder import RunFolder
from training.run.run_log import RunLog, duration
from training.run.state_file import load_state, point_to_state, save_state
from training.run.step_statistics import Statistics
from training.run.validation import ImageValidation, Validation, image_validation
from training.stages import step_of
from training.train_state import TrainState, build_train_state, state_parts

# With several ranks: minibatches between two exchanges about whether any rank was asked to stop.
_STOP_INTERVAL = 8


@dataclass
class Progress:
    """How far a run is, including the parts before a resume. The counters of a state file.

    nimg: images seen. iteration: minibatches done. seconds: training alone. other_seconds: log lines, image grids,
    networks and states. skipped, skipped_in_a_row: minibatches without effect because a gradient was not finite.
    rollbacks: times that the run went back to its last state. best_mmd: lowest "validation/mmd_cd" so far.
    """

    nimg: int = 0
    iteration: int = 0
    seconds: float = 0.0
    other_seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    best_mmd: float | None = None


@dataclass
class TrainingRun:
    """A run in progress: what it trains, on what, and where it reports."""

    config: Config
    ranks: Ranks
    data: Data
    train_state: TrainState
    folder: RunFolder
    log: RunLog
    progress: Progress
    guard: SkipGuard
    fixed_samples: FixedSamples
    validation: Validation | None = None
    image_validation: ImageValidation | None = None
    health: Health = field(default_factory=Health)
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def total_nimg(self) -> int:
        """Images after which the run is complete."""
        return round(self.config.training.total_kimg * 1000)


def due(before: int, now: int, interval_kimg: float) -> bool:
    """Whether a multiple of the interval was reached between two counts of images."""
    interval = max(round(interval_kimg * 1000), 1)
    return now // interval > before // interval


def start_run(
    config: Config,
    data: Data,
    folder: RunFolder,
    ranks: Ranks,
    *,
    resume: bool = False,
    init: InitSource | None = None,
    quiet: bool = False,
) -> TrainingRun:
    """A run ready to train: new, with the weights of `init`, or resumed from the newest state in `folder`.

    quiet: report only problems. UserError if anything does not fit.
    """
    memory = _refuse_unfit(config, data, ranks, resume=resume, init=init)
    train_state = build_train_state(config, ranks)
    state: dict[str, Any] = {}
    progress, notes = Progress(), []
    if resume:
        state = load_state(folder.path, state_parts(train_state), config)
        progress = Progress(**state["counters"])
        notes += _resume_notes(state)
    elif init is not None:
        notes.append(initialize_from(train_state, config, init).note())
    notes += penalty_warnings(config)
    distributed.barrier(ranks)
    if distributed.differ([zlib.crc32(device_name(ranks.device).encode())], ranks):
        notes.append("The ranks run on different devices; each step waits for the slowest of them.")

    if ranks.first:
        _open_folder(folder, config, data, progress.nimg, state)
    log = RunLog(
        folder.path if ranks.first else None,
        round(config.training.total_kimg * 1000),
        progress.nimg,
        quiet=quiet,
        mute=not ranks.first,
    )
    for said in (*data.notes, *([f"A step needs {memory}."] if memory is not None else [])):
        log.say(said)
    for note in notes:
        log.warn(note)

    names = {optimizer.name: list(optimizer.parameters) for optimizer in train_state.optimizers}
    guard = SkipGuard(config.training.max_skipped_steps, names, progress.skipped_in_a_row)
    fixed_samples = FixedSamples(train_state.average, data.camera_distribution, data.shading)
    held_out = data.held_out if ranks.first else None
    validation = None if held_out is None else Validation(train_state.average, held_out)
    images = image_validation(train_state.average, data, config.training.validation_images) if ranks.first else None
    run = TrainingRun(config, ranks, data, train_state, folder, log, progress, guard, fixed_samples, validation, images)
    for line in folder.stats() if resume else []:
        run.health.observe(line)
    return run


def _refuse_unfit(
    config: Config, data: Data, ranks: Ranks, *, resume: bool, init: InitSource | None
) -> MemoryCheck | None:
    """UserError if the batch, the memory, the stage or the data do not fit. Returns the memory of a step, if known."""
    check_batch(config, ranks)
    memory = refuse_too_large(config, ranks) if config.training.stage != "texture" else None
    if config.training.stage == "texture" and not resume and init is None:
        raise UserError("training.stage=texture: needs a network whose shapes it keeps; add --init NETWORK")
    distributed.refuse_difference("--data", [len(data.bank), zlib.crc32(data.hash.encode())], ranks)
    return memory


def _resume_notes(state: dict[str, Any]) -> list[str]:
    """What a user should know about the state (`load_state`) that a run goes on from."""
    notes = [state["note"]] if state["note"] else []
    if state["threads"] != torch.get_num_threads():
        notes.append(
            f"Resumed with training.threads={torch.get_num_threads()} instead of {state['threads']}: the results "
            "will differ in rounding from an uninterrupted run."
        )
    return notes


def _open_folder(folder: RunFolder, config: Config, data: Data, nimg: int, state: dict[str, Any]) -> None:
    """Write what the folder of a new run begins with, or that the run resumes from `state`, empty for a new one."""
    if not state:
        folder.create(config, data)
        return
    folder.note_resume(config, data, nimg)
    if state["note"]:
        point_to_state(state["path"], nimg)


def run_training(run: TrainingRun) -> bool:
    """Train until `training.total_kimg`. False if a signal interrupted it; the state is saved in either case."""
    source = MinibatchSource(run.config, run.data, run.ranks)
    step = step_of(run.config, run.train_state, run.data.camera_distribution, run.ranks, run.statistics)
    training, progress = run.config.training, run.progress
    saved_nimg, drawn_nimg, complete = progress.nimg, -1, True
    with run.log:
        if progress.nimg == 0:
            with _not_training(run):
                _write_first_files(run)
        tick, tick_nimg = time.perf_counter(), progress.nimg
        with stop_requests() as stop:
            while progress.nimg < run.total_nimg:
                # One step.
                batch = source.draw(progress.nimg, progress.iteration)
                set_rates(run.train_state, training, progress.nimg, progress.rollbacks)
                norms = step(batch)
                progress.nimg += training.batch
                progress.iteration += 1
                if not _went_on(run, partial(run.guard.check, norms)):
                    tick, tick_nimg = time.perf_counter(), progress.nimg
                    continue
                run.log.advance(progress.nimg)
                if _asked_to_stop(stop, progress.iteration, run.ranks):
                    complete = False
                    break

                # A log line, and what else is due at it.
                before = progress.nimg - training.batch
                if due(before, progress.nimg, training.log_kimg) or progress.nimg >= run.total_nimg:
                    if not _went_on(run, run.guard.settle):
                        tick, tick_nimg = time.perf_counter(), progress.nimg
                        continue
                    _log_line(run, tick, tick_nimg)
                    with _not_training(run):
                        if due(tick_nimg, progress.nimg, training.snapshot_kimg):
                            _save_snapshot(run)
                            drawn_nimg = progress.nimg
                        if due(tick_nimg, progress.nimg, training.state_kimg):
                            _save_state(run)
                            saved_nimg = progress.nimg
                    tick, tick_nimg = time.perf_counter(), progress.nimg

            # The end: whatever the last log line did not write.
            progress.skipped += run.guard.settle()
            if not complete and progress.nimg > tick_nimg:
                _log_line(run, tick, tick_nimg)
            with _not_training(run):
                if drawn_nimg != progress.nimg:
                    _save_snapshot(run)
                if saved_nimg != progress.nimg:
                    _save_state(run)
        run.log.say(summary(progress))
    return complete


def summary(progress: Progress) -> str:
    """How long a run took, and how much of that was training."""
    rate = progress.nimg / max(progress.seconds, 1e-9)
    return (
        f"{progress.nimg / 1000:g} kimg in {duration(progress.seconds + progress.other_seconds)}: "
        f"{duration(progress.seconds)} of training ({rate:.1f} img/s), "
        f"{duration(progress.other_seconds)} of log lines, image grids, networks and states"
    )


@contextmanager
def _not_training(run: TrainingRun) -> Iterator[None]:
    """Work besides training: its time counts as `other_seconds` and not in any rate."""
    start = time.perf_counter()
    yield
    run.progress.other_seconds += time.perf_counter() - start
    run.log.restart_rate()


def _log_line(run: TrainingRun, tick: float, tick_nimg: int) -> None:
    """Write the statistics since the last line, which was written at time `tick` after `tick_nimg` images."""
    values = run.statistics.read(run.ranks)  # waits for the device, so all queued steps are done
    now = time.perf_counter()
    run.progress.seconds += now - tick
    with _not_training(run):
        snapshot = due(tick_nimg, run.progress.nimg, run.config.training.snapshot_kimg)
        snapshot = snapshot or run.progress.nimg >= run.total_nimg
        _write_line(run, values, (run.progress.nimg - tick_nimg) / max(now - tick, 1e-9), snapshot)


def _write_line(
    run: TrainingRun, values: dict[str, tuple[float, float]], images_per_second: float, snapshot: bool
) -> None:
    """values: mean and standard deviation of each statistic. snapshot: whether one is due, with its scores."""
    if not run.ranks.first:
        return
    progress = run.progress
    line: dict[str, Any] = {
        "nimg": progress.nimg,
        "minibatches": progress.iteration,
        "resolution": progressive_resolution(progress.nimg, run.config),
        "seconds": round(progress.seconds, 3),
        "other_seconds": round(progress.other_seconds, 3),
        "images_per_second": round(images_per_second, 2),
        "skipped_steps": progress.skipped,
        "memory_peak_mb": peak_memory_mb(run.ranks.device),
    }
    line |= {name: mean for name, (mean, _) in values.items()}
    line |= {f"{name}/std": std for name, (_, std) in values.items() if name.startswith("logits/")}
    line |= run.fixed_samples.statistics()
    if run.image_validation is not None and snapshot:
        line |= run.image_validation.scores()
    if run.validation is not None and snapshot:
        line |= run.validation.scores()
        _keep_best(run, line["validation/mmd_cd"])
    run.log.record(line)
    for message in run.health.observe(line):
        run.log.warn(message)


def _write_first_files(run: TrainingRun) -> None:
    """A state, so that the run can be resumed from now on, and image grids of real views and untrained samples."""
    _save_state(run)
    if not run.ranks.first:
        return
    count = min(4 * COLUMNS, len(run.data.bank))
    stride = len(run.data.bank) // count
    reals, _ = run.data.bank.batch([i * stride for i in range(count)])
    image = image_grid(show_views(reals), COLUMNS)
    save_png(run.folder.path / "reals.png", image)
    run.log.image_grid("reals", image, 0)
    image = run.fixed_samples.image_grid()
    save_png(run.folder.path / "samples-000000000.png", image)
    run.log.image_grid("samples", image, 0)
    run.log.say(f"Each snapshot shows the same {SHAPES} samples; real views: {run.folder.path / 'reals.png'}")


def _went_on(run: TrainingRun, skipped: Callable[[], int]) -> bool:
    """Count skipped steps. At their limit, go back to the last state with lower rates and return False.

    Raises NonFiniteError if `training.rollbacks` does not allow that once more. Every rank calls it.
    """
    progress = run.progress
    try:
        progress.skipped += skipped()
    except NonFiniteError:
        if progress.rollbacks >= run.config.training.rollbacks:
            raise
    else:
        return True
    distributed.barrier(run.ranks)
    counters = roll_back(
        run.folder, run.log, run.train_state, run.config, progress.rollbacks + 1, first=run.ranks.first
    )
    counters |= {"seconds": progress.seconds, "other_seconds": progress.other_seconds}
    for name, value in counters.items():
        setattr(progress, name, value)
    run.guard.restart()
    run.statistics.clear()
    distributed.barrier(run.ranks)
    return False


def _keep_best(run: TrainingRun, mmd: float) -> None:
    """best_network.safetensors: the network with the lowest distance from the held-out shapes so far."""
    best = run.progress.best_mmd
    if math.isfinite(mmd) and (best is None or mmd < best):
        run.progress.best_mmd = mmd
        _save_network(run, "best_network.safetensors")


def _save_network(run: TrainingRun, name: str) -> None:
    """The running-average network as a file of the run's folder."""
    progress = run.progress
    extra = {
        "data": run.data.name,
        "data_hash": run.data.hash,
        "shading": run.data.shading,
        "seconds": round(progress.seconds, 1),
    }
    config = run.config.model_dump(mode="json")
    save_network(run.folder.path / name, run.train_state.average, config, progress.nimg, extra=extra)


def _save_snapshot(run: TrainingRun) -> None:
    """The running-average network and its samples. network.safetensors is always the newest."""
    if not run.ranks.first:
        return
    progress, folder = run.progress, run.folder.path
    for name in (f"network-{progress.nimg:09d}.safetensors", "network.safetensors"):
        _save_network(run, name)
    image = run.fixed_samples.image_grid()
    save_png(folder / f"samples-{progress.nimg:09d}.png", image)
    run.log.image_grid("samples", image, progress.nimg)
    write_run_report(run.folder)


def _save_state(run: TrainingRun) -> None:
    if not run.ranks.first:
        return
    progress = run.progress
    progress.skipped_in_a_row = run.guard.in_a_row
    config = run.config.model_dump(mode="json")
    save_state(run.folder.path, state_parts(run.train_state), progress.nimg, vars(progress), config)


def _asked_to_stop(stop: list[int], iteration: int, ranks: Ranks) -> bool:
    if ranks.world == 1:
        return bool(stop)
    return iteration % _STOP_INTERVAL == 0 and distributed.agree(bool(stop), ranks)
