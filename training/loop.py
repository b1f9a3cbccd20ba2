"""A training run: how it starts, its schedule by images seen, and what happens when it is stopped."""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from configs.schema import Config
from torch_utils import distributed
from torch_utils.devices import device_name
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.process import stop_requests
from training.data import Data, MinibatchSource, check_batch
from training.initialize import InitSource, initialize_from
from training.memory_check import MemoryCheck, refuse_too_large
from training.optimizer import NonFiniteError, SkipGuard
from training.penalties import penalty_warnings
from training.run.fixed_samples import FixedSamples
from training.run.outputs import not_training, save_run_state, save_snapshot, summary, write_first_files, write_line
from training.run.roll_back import roll_back, set_rates
from training.run.run_folder import RunFolder
from training.run.run_log import RunLog
from training.run.state_file import load_state, point_to_state
from training.run.training_run import Progress, TrainingRun
from training.run.validation import Validation, image_validation
from training.stages import Step, step_of
from training.train_state import build_train_state, state_parts

# With several ranks: minibatches between two exchanges about whether any rank was asked to stop.
_STOP_INTERVAL = 8


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
        refuse_other_states(folder, progress, ranks)
        notes += _resume_notes(state)
    elif init is not None:
        notes.append(initialize_from(train_state, config, init).note())
    notes += penalty_warnings(config)
    distributed.barrier(ranks)
    notes += device_notes(ranks)
    if ranks.first:
        _open_folder(folder, config, data, progress.nimg, state)
    said = [*data.notes, *([f"A step needs {memory}."] if memory is not None else [])]
    log = _open_log(folder, config, progress.nimg, said, notes, first=ranks.first, quiet=quiet)
    names = {optimizer.name: list(optimizer.parameters) for optimizer in train_state.optimizers}
    guard = SkipGuard(config.training.max_skipped_steps, names, progress.skipped_in_a_row)
    held_out = data.held_out if ranks.first else None
    validation = None if held_out is None else Validation(train_state.average, held_out)
    images = image_validation(train_state.average, data, config.training.validation_images) if ranks.first else None
    run = TrainingRun(
        config=config,
        ranks=ranks,
        data=data,
        train_state=train_state,
        folder=folder,
        log=log,
        progress=progress,
        guard=guard,
        fixed_samples=FixedSamples(train_state.average, data.camera_distribution, data.shading),
        validation=validation,
        image_validation=images,
    )
    for line in folder.stats() if resume else []:
        run.health.observe(line)
    return run


def refuse_other_states(folder: RunFolder, progress: Progress, ranks: Ranks) -> None:
    """UserError if the ranks have loaded different states: a node may see a shared folder as it was a minute ago."""
    distributed.refuse_difference(str(folder.path), [progress.nimg, progress.iteration], ranks)


def device_notes(ranks: Ranks) -> list[str]:
    """A line if the ranks run on cards of different types."""
    if not distributed.differ([zlib.crc32(device_name(ranks.device).encode())], ranks):
        return []
    return ["The ranks run on different devices; each step waits for the slowest of them."]


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


def _open_log(
    folder: RunFolder, config: Config, nimg: int, said: list[str], warned: list[str], *, first: bool, quiet: bool
) -> RunLog:
    """The log of a run from `nimg` images on, with its first lines; silent on all ranks but the first."""
    total_nimg = round(config.training.total_kimg * 1000)
    log = RunLog(folder.path if first else None, total_nimg, nimg, quiet=quiet, mute=not first)
    for line in said:
        log.say(line)
    for line in warned:
        log.warn(line)
    return log


@dataclass
class _Written:
    """What a run has written: its last log line, by time and images, and the images at the last snapshot and state."""

    line_s: float
    line_nimg: int
    drawn_nimg: int
    saved_nimg: int

    def restart(self, nimg: int) -> None:
        """Count the time and the images of the next log line from now on."""
        self.line_s, self.line_nimg = time.perf_counter(), nimg


def run_training(run: TrainingRun) -> bool:
    """Train until `training.total_kimg`. False if a signal interrupted it; the state is saved in either case."""
    source = MinibatchSource(run.config, run.data, run.ranks)
    step = step_of(run.config, run.train_state, run.data.camera_distribution, run.ranks, run.statistics)
    with run.log:
        if run.progress.nimg == 0:
            with not_training(run):
                write_first_files(run)
        written = _Written(time.perf_counter(), run.progress.nimg, drawn_nimg=-1, saved_nimg=run.progress.nimg)
        with stop_requests() as stop:
            complete = _train(run, source, step, written, stop)
            _write_rest(run, written, complete)
        run.log.say(summary(run.progress))
    return complete


def _train(run: TrainingRun, source: MinibatchSource, step: Step, written: _Written, stop: list[int]) -> bool:
    """Steps, and what is due between them, until the run is complete (True) or asked to stop (False)."""
    progress, training = run.progress, run.config.training
    while progress.nimg < run.total_nimg:
        if not _take_step(run, source, step):
            written.restart(progress.nimg)
            continue
        run.log.advance(progress.nimg)
        if _asked_to_stop(stop, progress.iteration, run.ranks):
            return False
        if due(progress.nimg - training.batch, progress.nimg, training.log_kimg) or progress.nimg >= run.total_nimg:
            if _went_on(run, run.guard.settle):
                _write_due(run, written)
            written.restart(progress.nimg)
    return True


def _take_step(run: TrainingRun, source: MinibatchSource, step: Step) -> bool:
    """The next step. False if the run went back to its last state instead (`_went_on`)."""
    progress, training = run.progress, run.config.training
    batch = source.draw(progress.nimg, progress.iteration)
    set_rates(run.train_state, training, progress.nimg, progress.rollbacks)
    norms = step(batch)
    progress.nimg += training.batch
    progress.iteration += 1
    return _went_on(run, partial(run.guard.check, norms))


def _write_due(run: TrainingRun, written: _Written) -> None:
    """A log line, and the snapshot and the state where they are due."""
    nimg, training = run.progress.nimg, run.config.training
    _log_line(run, written)
    with not_training(run):
        if due(written.line_nimg, nimg, training.snapshot_kimg):
            save_snapshot(run)
            written.drawn_nimg = nimg
        if due(written.line_nimg, nimg, training.state_kimg):
            save_run_state(run)
            written.saved_nimg = nimg


def _log_line(run: TrainingRun, written: _Written) -> None:
    """Write the statistics since the last line."""
    values = run.statistics.read(run.ranks)  # waits for the device, so all queued steps are done
    now = time.perf_counter()
    run.progress.seconds += now - written.line_s
    with not_training(run):
        snapshot = due(written.line_nimg, run.progress.nimg, run.config.training.snapshot_kimg)
        snapshot = snapshot or run.progress.nimg >= run.total_nimg
        rate = (run.progress.nimg - written.line_nimg) / max(now - written.line_s, 1e-9)
        write_line(run, values, rate, snapshot)


def _write_rest(run: TrainingRun, written: _Written, complete: bool) -> None:
    """Whatever the last log line did not write, at the end of the run."""
    progress = run.progress
    progress.skipped += run.guard.settle()
    if not complete and progress.nimg > written.line_nimg:
        _log_line(run, written)
    with not_training(run):
        if written.drawn_nimg != progress.nimg:
            save_snapshot(run)
        if written.saved_nimg != progress.nimg:
            save_run_state(run)


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
    refuse_other_states(run.folder, progress, run.ranks)
    run.guard.restart()
    run.statistics.clear()
    return False


def _asked_to_stop(stop: list[int], iteration: int, ranks: Ranks) -> bool:
    if ranks.world == 1:
        return bool(stop)
    return iteration % _STOP_INTERVAL == 0 and distributed.agree(bool(stop), ranks)
