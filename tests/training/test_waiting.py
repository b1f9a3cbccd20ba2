"""How often a training step makes the host wait for the device, or the device for the host."""

import traceback
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import Minibatch, MinibatchSource
from training.gan_step import training_step
from training.optimizer import SkipGuard
from training.run.step_statistics import Statistics
from training.train_state import build_train_state


class Waits(TorchDispatchMode):
    """Records what would make a step wait on CUDA, as far as the CPU shows it.

    That is: tensors made from Python numbers (copies from pageable memory), and outputs whose size depends on values.
    Random numbers are drawn on the host and do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("nonzero", "masked_select", "_unique2") or (name == "lift_fresh" and args[0].dim() > 0):
            frames = [frame for frame in traceback.extract_stack() if "/torch/" not in frame.filename]
            if not frames[-2].filename.endswith("torch_utils/seeding.py"):
                self.seen.append(f"{name} at {frames[-2].filename}:{frames[-2].lineno}")
        return function(*args, **(kwargs or {}))


def stepper(ranks: Ranks, **geometry):
    """Two functions: one draws the minibatch of an iteration, one trains on it and checks the gradient norms.

    Every option that adds work to a step is on.
    """
    settings = tiny.config(
        data={"resolution": 32, "views_per_shape": 2},
        geometry={"sdf_scale": 5.0, **geometry},
        discriminator={"mask_downsample": 2},
        augment={"mode": "ada"},
        loss={"r1_interval": 1, "floater_weight": 0.5, "color_weight": 1.0, "color_r1_interval": 1},
        training={"batch": 16, "micro_batch": 8, "progressive_kimg": 0.07},
    ).model_copy(update={"classes": 2})
    train_state = build_train_state(settings, ranks)
    names = {optimizer.name: list(optimizer.parameters) for optimizer in train_state.optimizers}
    source, statistics, guard = MinibatchSource(settings, tiny.data(settings), ranks), Statistics(), SkipGuard(3, names)

    def draw(iteration: int) -> Minibatch:
        return source.draw(iteration * settings.training.batch, iteration)

    def step(batch: Minibatch) -> None:
        guard.check(training_step(train_state, batch, settings, ranks, statistics))

    return draw, step


def test_a_step_makes_no_tensors_from_python_numbers_and_no_value_dependent_sizes():
    draw, step = stepper(Ranks(), connect_components=True)
    step(draw(0))  # makes the tensors that are made once and kept
    for iteration in (4, 5):  # with the search for floaters, and without; at full resolution and below
        batch = draw(iteration)
        with Waits() as waits:
            step(batch)
        assert waits.seen == []


@pytest.mark.cuda
@pytest.mark.parametrize("connect_components", [False, True])
def test_a_cuda_step_waits_twice(connect_components):
    """Each pass waits for the counts of vertices and faces, and for the number of visible samples."""
    draw, step = stepper(Ranks(device=torch.device("cuda", 0)), connect_components=connect_components)
    for iteration in range(4):
        step(draw(iteration))
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            step(draw(4))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [f"{note.filename}:{note.lineno}" for note in seen if "synchronizing" in str(note.message)]
    # Two micro-batches, each drawn twice: once for the discriminators and once for the generator.
    assert len(waits) <= 4 * 2, waits
