"""`--benchmark` and `--dry-run`: the cost of a run, measured on its own steps. Nothing is written."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from configs.schema import Config
from networks.layers import compute_dtype
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from torch_utils.cache_folder import cache_folder
from torch_utils.devices import upload
from torch_utils.distributed import Ranks, agree, barrier
from torch_utils.process import peak_memory_mb, prepare_process
from torch_utils.timing import phase, recording
from training.data import Data, MinibatchSource, check_batch, open_data
from training.initialize import InitSource, initialize_from
from training.memory_check import refuse_too_large
from training.run.run_log import duration
from training.run.step_statistics import Statistics
from training.stages import step_of
from training.train_state import TrainState, build_train_state, parameter_counts

_WARM_UP = 3  # minibatches, the first of them with R1
_TRIAL = 8  # minibatches of a dry run without R1, so that rarer terms of the loss come in proportion
_TRIAL_SECONDS = 3  # of its minibatches; a longer one is the last
_PROFILED = 8  # minibatches with the profiler, and as many without
# Operators of the networks' own arithmetic, forward and backward, under the profiler's names.
_ARITHMETIC = re.compile(
    r"aten::_?(mkldnn_|cudnn_)?convolution(_transpose|_backward)?"
    r"|aten::(mm|bmm|addmm|baddbmm|linear|leaky_relu|sigmoid|tanh)(_backward)?"
    r"|tetragan::(point_mlp|lattice_mlp|triplane_sample|bias_act|upfirdn2d)(_backward)?"
)


class RandomViews:
    """Discs of many sizes and colors in place of real views, so that a benchmark needs no data."""

    def __init__(self, resolution: int, camera_distribution: CameraDistribution, count: int = 64) -> None:
        axis = torch.linspace(-1, 1, resolution)
        radius = torch.linspace(0.3, 0.8, count)[:, None, None]
        mask = (axis[:, None].square() + axis.square() < radius.square())[:, None].float()
        color = torch.linspace(0, 1, count * 3).view(count, 3, 1, 1)
        self.images = torch.cat([mask * color * 2 - 1, mask], 1)
        self.cameras = camera_distribution.sample(0, range(count))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
        """Like `ImageBank.batch`."""
        return upload(self.images[list(indices)], device), self.cameras[list(indices)].to(device)

    def prefetch(self, indices: Sequence[int]) -> None:
        """Nothing to do: all images are in memory."""

    def class_labels(self, indices: Sequence[int]) -> Tensor:
        """Class 0 for all."""
        return torch.zeros(len(indices), dtype=torch.int64)


def benchmark_run(config: Config, data: Path | None, ranks: Ranks) -> str:
    """A table: images per second, and the share of each phase in a step's time."""
    opened, _, step = _prepare(config, data, ranks, cache=cache_folder())
    interval = config.loss.r1_interval
    for iteration in range(_WARM_UP):
        step(iteration)
    rate = _rate(step, 2 * interval, config, ranks)
    with recording(ranks.device) as times:
        for iteration in range(interval):
            step(iteration)
    seconds, operators = _step_and_operators(step, ranks)
    arithmetic = arithmetic_time(operators) / seconds
    total = sum(times.seconds.values())
    images = interval * config.training.batch // ranks.world
    waited = times.seconds["loader"] / total
    lines = [
        f"{rate:.1f} img/s on {_machine(config, ranks)}; batch {config.training.batch}, "
        f"{config.data.resolution}² px, {config.geometry.cells} cells, data: {opened.name}",
        f"peak memory {peak_memory_mb(ranks.device)} MB",
        "",
        f"{'phase':<22}{'ms / image':>12}{'share':>8}",
    ]
    for name, seconds in sorted(times.seconds.items(), key=lambda item: -item[1]):
        lines.append(f"{name:<22}{1000 * seconds / images:>12.3f}{100 * seconds / total:>7.1f}%")
    lines.append(f"{'all':<22}{1000 * total / images:>12.3f}{100:>7.1f}%")
    lines.append(f"The loader kept the steps waiting for {100 * waited:.2f}% of their time.")
    lines.append(f"R1 runs every {interval} minibatches; its time is averaged over them.")
    lines.append(
        f"Network arithmetic takes {100 * arithmetic:.0f}% of a step's time: convolutions, matrix products, "
        "activations, resampling, plane lookups."
    )
    return "\n".join(lines)


def arithmetic_time(times: Mapping[str, float]) -> float:
    """The time of network arithmetic among the times of operators by name, in their unit."""
    return sum(time for name, time in times.items() if _ARITHMETIC.fullmatch(name))


def _step_and_operators(step, ranks: Ranks) -> tuple[float, dict[str, float]]:
    """Seconds of a minibatch without R1, and of each operator in it (on a GPU, of its kernels).

    The minibatch is timed without the profiler, whose cost per call would count as something other than arithmetic.
    """
    cuda = ranks.device.type == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler prints to the terminal
    _wait(ranks)
    start = time.perf_counter()
    for iteration in range(1, 1 + _PROFILED):
        step(iteration)
    _wait(ranks)
    seconds = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiled:
        for iteration in range(1, 1 + _PROFILED):
            step(iteration)
        _wait(ranks)
    # For a GPU both kernels and the operators that launched them are listed: count only the operators.
    operators = [event for event in profiled.key_averages() if event.device_type == DeviceType.CPU]
    times = {event.key: event.self_device_time_total if cuda else event.self_cpu_time_total for event in operators}
    return seconds / _PROFILED, {name: time * 1e-6 / _PROFILED for name, time in times.items()}


def dry_run_report(config: Config, data: Path | None, init: InitSource | None, ranks: Ranks) -> str:
    """Check data, configuration and --init with a few steps. Returns the time and memory that the run would take."""
    opened, train_state, step = _prepare(config, data, ranks, init)
    start = time.perf_counter()
    step(0)
    _wait(ranks)
    rate = _mixed_rate(step, config, ranks, time.perf_counter() - start)
    images = config.training.total_kimg * 1000
    counts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in parameter_counts(train_state).items())
    lines = [
        f"data: {opened.name}, {len(opened.bank)} training views at {config.data.resolution}²",
        *opened.notes,
        f"parameters: {counts}",
        f"speed: about {rate:.1f} img/s on {_machine(config, ranks)}",
        f"time: about {duration(images / rate)} of training for {config.training.total_kimg:g} kimg; image grids, "
        "networks and states come on top",
        f"memory: {peak_memory_mb(ranks.device)} MB at the peak of a step",
        "Everything fits; nothing was written.",
    ]
    return "\n".join(lines)


def _prepare(
    config: Config,
    data: Path | None,
    ranks: Ranks,
    init: InitSource | None = None,
    cache: Path | None = None,
):
    """Data, networks, and a function that trains on the minibatch of a given iteration."""
    check_batch(config, ranks)
    if config.training.stage != "texture":
        refuse_too_large(config, ranks)
    prepare_process(config.training.threads, ranks.device)
    if data is None:
        camera_distribution = CameraDistribution()
        opened = Data(RandomViews(config.data.resolution, camera_distribution), camera_distribution, "random discs", "")
    else:
        opened = open_data(data, config, cache=cache, ranks=ranks)
    train_state: TrainState = build_train_state(config, ranks)
    if init is not None:
        initialize_from(train_state, config, init)
    source, statistics = MinibatchSource(config, opened, ranks), Statistics()
    update = step_of(config, train_state, opened.camera_distribution, ranks, statistics)

    def step(iteration: int) -> None:
        with phase("data"):
            batch = source.draw(iteration * config.training.batch, iteration)
        with phase("rest"):
            update(batch)
        if iteration % config.loss.r1_interval == 0:
            statistics.read(ranks)  # as a run does for every log line

    return opened, train_state, step


def _rate(step, minibatches: int, config: Config, ranks: Ranks, first: int = 0) -> float:
    """Images per second over all ranks."""
    _wait(ranks)
    start = time.perf_counter()
    for iteration in range(first, first + minibatches):
        step(iteration)
    _wait(ranks)
    return minibatches * config.training.batch / (time.perf_counter() - start)


def _mixed_rate(step, config: Config, ranks: Ranks, first: float) -> float:
    """Images per second over all ranks of a long run: minibatches with and without R1 in their proportion.

    first: seconds of the first minibatch, one with R1. Where that took long, few are made, and it counts itself.
    """
    interval, batch = config.loss.r1_interval, config.training.batch

    def seconds(iterations: Sequence[int]) -> list[float]:
        taken: list[float] = []
        for iteration in iterations:
            if agree(sum(taken) > _TRIAL_SECONDS, ranks):
                break
            taken.append(batch / _rate(step, 1, config, ranks, first=iteration))
        return taken

    plain = seconds([iteration for iteration in range(1, 1 + 2 * _TRIAL) if iteration % interval][:_TRIAL])
    with_r1 = [first] if agree(first > _TRIAL_SECONDS, ranks) else seconds([0, 0])
    share = 1 / interval
    return batch / (share * sum(with_r1) / len(with_r1) + (1 - share) * sum(plain) / max(len(plain), 1))


def _wait(ranks: Ranks) -> None:
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)
    barrier(ranks)


def _machine(config: Config, ranks: Ranks) -> str:
    dtype = str(compute_dtype(config.training.precision, ranks.device)).removeprefix("torch.")
    if ranks.device.type == "cuda":
        return f"{ranks.world} × {torch.cuda.get_device_name(ranks.device)}, {dtype}"
    return f"{ranks.world} rank(s) with {torch.get_num_threads()} CPU thread(s), {dtype}"
