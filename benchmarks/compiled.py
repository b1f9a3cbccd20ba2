"""The parts of a training step whose sizes never change: eager, by torch.compile, and as a CUDA graph.

    python -m benchmarks.compiled [--config chair] [--batch 16] [--device cuda]

Forward and backward of each discriminator on real and generated images, and of the generator's mapping and planes.
R1 stays as it is, because torch.compile has no second derivatives. The outputs of the variants are compared first.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import torch
from torch import Tensor, nn

from configs.loader import load_config
from configs.schema import Config
from networks import layers
from networks.discriminator import DISCRIMINATOR_CHANNELS, Discriminator, discriminator_names
from networks.generator import Generator
from rendering.camera import Cameras
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from torch_utils.devices import pick_device
from torch_utils.ops import loading

WARM_UP = 3


class Logits(nn.Module):
    """A discriminator with its cameras: images → logits, so that tensors alone go in."""

    def __init__(self, discriminator: Discriminator, cameras: Cameras) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.cameras = cameras

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B] of images [B, C, R, R]."""
        return self.discriminator(images, self.cameras)


class Planes(nn.Module):
    """Latents → geometry and texture planes, in one tensor."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z_geo: Tensor, z_tex: Tensor) -> Tensor:
        """Both planes [2, …] of latents [B, z_dim]."""
        return torch.stack(self.generator.planes(*self.generator.map(z_geo, z_tex)))


def parts(config: Config, batch: int, device: torch.device) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Modules and their inputs, by name."""
    torch.manual_seed(0)
    cameras = CAMERA_DISTRIBUTIONS["chair"].sample(0, range(2 * batch)).to(device)
    side = config.data.resolution
    found: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {}
    for head in discriminator_names(config):
        network = Discriminator(config, DISCRIMINATOR_CHANNELS[head])
        images = torch.randn(2 * batch, DISCRIMINATOR_CHANNELS[head], side, side, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        found[f"discriminator of {head}"] = (Logits(network, cameras), (images,))
    z = torch.randn(2, batch, config.mapping.z_dim, device=device)
    found["mapping and planes"] = (Planes(Generator(config)), (z[0], z[1]))
    return {name: (module.to(device).train(), inputs) for name, (module, inputs) in found.items()}


def milliseconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median time of a call; on one thread of a CPU its CPU time, so that other programs do not count."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for turn in range(WARM_UP + rounds):
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn >= WARM_UP:
            times.append(1000 * (clock() - start))
    return statistics.median(times)


def mark_constants() -> None:
    """Tell torch.compile that the choices of kernels and of types do not change; it cannot trace how they are made, and
    would cut a discriminator into 16 to 18 graphs there.
    """
    for question in (loading.use_kernel, layers.compute_dtype):
        torch.compiler.assume_constant_result(question)


def variants(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Callable[..., Any]]:
    """The module as it is, compiled, and, on CUDA, as a graph."""
    found: dict[str, Callable[..., Any]] = {"eager": module, "torch.compile": torch.compile(copy.deepcopy(module))}
    if inputs[0].is_cuda:
        found["CUDA graph"] = torch.cuda.make_graphed_callables(copy.deepcopy(module), inputs)
    return found


def forward_and_backward(call: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    """One pass to a scalar, and back to the parameters."""
    call(*inputs).float().square().mean().backward()


@click.command()
@click.option("--config", "name", default="chair", show_default=True)
@click.option("--batch", default=16, show_default=True, help="Images in a minibatch.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=20, show_default=True)
def main(name: str, batch: int, device: str, rounds: int) -> None:
    """Time the variants of every part."""
    mark_constants()
    where, rows = pick_device(device), []
    for part, (module, inputs) in parts(load_config(name), batch, where).items():
        expected = module(*inputs).detach().float()
        row = [part]
        for kind, call in variants(module, inputs).items():
            error = (call(*inputs).detach().float() - expected).norm() / expected.norm()
            assert error < 0.05, f"{part}: {kind} is off by {error:.3f}"
            row.append(f"{milliseconds(partial(forward_and_backward, call, inputs), where, rounds):.2f}")
        rows.append(row)
    header = ["part, forward + backward, ms", "eager", "torch.compile", "CUDA graph"][: len(rows[0])]
    for cells in (header, ["---"] * len(header), *rows):
        click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
