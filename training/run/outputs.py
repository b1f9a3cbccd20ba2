"""What a training run writes besides its folder's first files: log lines, image grids, networks and states."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rendering.images import image_grid, save_png, show_views
from torch_utils.checkpoint import save_network
from torch_utils.process import peak_memory_mb
from training.progressive import progressive_resolution
from training.run.fixed_samples import COLUMNS, SHAPES
from training.run.report import write_run_report
from training.run.run_log import duration
from training.run.state_file import save_state
from training.run.training_run import Progress, TrainingRun
from training.train_state import state_parts


@contextmanager
def not_training(run: TrainingRun) -> Iterator[None]:
    """Work besides training: its time counts as `other_seconds` and not in any rate."""
    start = time.perf_counter()
    yield
    run.progress.other_seconds += time.perf_counter() - start
    run.log.restart_rate()


def write_line(
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


def write_first_files(run: TrainingRun) -> None:
    """A state, so that the run can be resumed from now on, and image grids of real views and untrained samples."""
    save_run_state(run)
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


def save_snapshot(run: TrainingRun) -> None:
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


def _keep_best(run: TrainingRun, mmd: float) -> None:
    """best_network.safetensors: the network with the lowest distance from the held-out shapes so far."""
    best = run.progress.best_mmd
    if math.isfinite(mmd) and (best is None or mmd < best):
        run.progress.best_mmd = mmd
        _save_network(run, "best_network.safetensors")


def save_run_state(run: TrainingRun) -> None:
    """All that a run needs to be resumed from now."""
    if not run.ranks.first:
        return
    progress = run.progress
    progress.skipped_in_a_row = run.guard.in_a_row
    config = run.config.model_dump(mode="json")
    save_state(run.folder.path, state_parts(run.train_state), progress.nimg, vars(progress), config)


def summary(progress: Progress) -> str:
    """How long a run took, and how much of that was training."""
    rate = progress.nimg / max(progress.seconds, 1e-9)
    return (
        f"{progress.nimg / 1000:g} kimg in {duration(progress.seconds + progress.other_seconds)}: "
        f"{duration(progress.seconds)} of training ({rate:.1f} img/s), "
        f"{duration(progress.other_seconds)} of log lines, image grids, networks and states"
    )
