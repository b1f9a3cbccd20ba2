"""How often a training step makes the host wait for the device, or the device for the host."""

import re
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import Minibatch, MinibatchSource
from training.optimizer import SkipGuard
from training.run.step_statistics import Statistics
from training.stages import step_of
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


# Every option that adds work to a step, in as few runs as can hold them.
OPTIONS = {
    "tets": {"geometry": {"connect_components": True}, "loss": {"floater_weight": 0.5}},
    "subdivided": {
        "geometry": {"network": "volume", "subdivide": 1, "connect_components": True, **tiny.VOLUME},
        "loss": {"floater_weight": 0.5, "objective": "relativistic", "r2_interval": 1},
        "discriminator": {"block": "bottleneck", "crop_conditioning": True},
    },
    "flexicubes": {
        "geometry": {"extraction": "flexicubes", "connect_components": True},
        "loss": {"objective": "hinge"},
        "discriminator": {"single": True, "mask_downsample": 1, "from_rgb_stride": 2},
    },
    "materials": {"data": {"views_per_shape": 1}, "texture": {"channels": "pbr"}},
    "texture": {
        "data": {"views_per_shape": 1},
        "augment": {"mode": "none"},
        "training": {"stage": "texture", "texture_shapes": 8, "progressive_kimg": 0},
    },
}


def _refused(self: torch.Tensor, *_: object) -> torch.Tensor:
    raise AssertionError("new_tensor() copies from pageable memory, and no operator of it is dispatched")


def stepper(options: str, ranks: Ranks):
    """Two functions: one draws the minibatch of an iteration, one trains on it and checks the gradient norms."""
    common = {
        "data": {"resolution": 32, "views_per_shape": 2},
        "geometry": {"sdf_scale": 5.0},
        "discriminator": {"mask_downsample": 2},
        "augment": {"mode": "ada"},
        "loss": {"r1_interval": 1, "color_weight": 1.0, "color_r1_interval": 1},
        "training": {"batch": 16, "micro_batch": 8, "progressive_kimg": 0.07},
    }
    own = OPTIONS[options]
    sections = {**own, **{name: {**section, **own.get(name, {})} for name, section in common.items()}}
    settings = tiny.config(**sections).model_copy(update={"classes": 2})
    light = "studio" if settings.texture.channels == "pbr" else ""
    train_state, data = build_train_state(settings, ranks), replace(tiny.data(settings), light=light)
    names = {optimizer.name: list(optimizer.parameters) for optimizer in train_state.optimizers}
    source, statistics, guard = MinibatchSource(settings, data, ranks), Statistics(), SkipGuard(3, names)
    update = step_of(settings, train_state, data.camera_distribution, ranks, statistics)

    def draw(iteration: int) -> Minibatch:
        return source.draw(iteration * settings.training.batch, iteration)

    def step(batch: Minibatch) -> None:
        guard.check(update(batch))

    return draw, step


@pytest.mark.parametrize("options", OPTIONS)
def test_a_step_makes_no_tensors_from_python_numbers_and_no_value_dependent_sizes(options, monkeypatch):
    # CUDA has no kernels of its own for subdivision.
    monkeypatch.setattr("torch_utils.ops.subdivided_tets.use_kernel", lambda device, op: False)
    draw, step = stepper(options, Ranks())
    step(draw(0))  # makes the tensors that are made once and kept
    monkeypatch.setattr(torch.Tensor, "new_tensor", _refused)
    for iteration in (4, 5):  # with the search for floaters, and without; at full resolution and below
        batch = draw(iteration)
        with Waits() as waits:
            step(batch)
        assert waits.seen == []


@pytest.mark.parametrize("package", ["geometry", "networks", "rendering", "training"])
def test_offsets_which_live_on_the_host_are_uploaded_through_pinned_memory(package):
    """`offsets.to(device)` copies from pageable memory, which waits on CUDA and does nothing on the CPU."""
    waiting = re.compile(r"(offsets|shift)\b[^=\n]*\.to\([^)]*device")
    for file in (Path(__file__).parents[2] / package).rglob("*.py"):
        assert not waiting.search(file.read_text(encoding="utf-8")), f"{file}: use torch_utils.devices.upload"


@pytest.mark.cuda
@pytest.mark.parametrize("options", OPTIONS)
def test_a_cuda_step_waits_as_often_as_documented(options):
    """Each pass waits for the counts of vertices and faces, and for the number of visible samples; subdivision waits
    for the number of midpoints, too. The texture stage waits for nothing."""
    draw, step = stepper(options, Ranks(device=torch.device("cuda", 0)))
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
    assert len(waits) <= 4 * {"subdivided": 3, "texture": 0}.get(options, 2), waits
