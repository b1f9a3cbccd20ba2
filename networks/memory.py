"""How much memory a training needs: the one estimate of the project.

The parts follow from the configuration alone. Their factors were fitted to the peak memory of five small trainings on
a CPU, fp32, with random views, which `tests/networks/test_memory.py` lists. Nothing was measured on a GPU.
"""

from dataclasses import dataclass

import torch

from configs.schema import Config
from networks.describe import NetworkSummary

FP32_BYTES = 4
# What Python, torch and the kernels take before any training, on a CPU.
PROGRAM_BYTES = 350 << 20
# The peak over what one forward pass keeps: gradients of the planes while the generator learns; both sides and their
# second derivatives while R1 is computed.
GENERATOR_FACTOR, DISCRIMINATOR_FACTOR = 1.75, 5.0
# Of a raster sample: rasterization, colors, coverage and their gradients, at a quarter of the image covered.
RASTER_BYTES = 140
# Of a grid vertex: SDF and crossings of each shape; positions, tetrahedra and edges of the grid, once.
VERTEX_BYTES, GRID_BYTES = 24, 150


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes at the peak of a step. weights: with gradients, moments and the running average. activations: what the
    networks keep. images: raster and surfaces. program: 0 on a GPU."""

    weights: int
    activations: int
    images: int
    program: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return self.weights + self.activations + self.images + self.program


def training_memory(
    networks: list[NetworkSummary],
    config: Config,
    dtype: torch.dtype = torch.float32,
    *,
    images: int | None = None,
    program: bool = True,
) -> TrainingMemory:
    """The estimate for one process. Nothing is allocated. networks: `describe(config)`.

    dtype: of the convolutions (`networks.layers.compute_dtype`). images: that go through the networks at once on this
    process; None = `training.micro_batch`, else the whole minibatch. program: count Python and torch, as on a CPU.
    """
    images = images or config.training.micro_batch or config.training.batch
    shapes = images // config.data.views_per_shape
    generator, discriminators = networks[:2], networks[2:]
    # Weights, gradients and two moments of both sides; the running average of the generator.
    weights = 5 * sum(n.parameters for n in generator) + 4 * sum(n.parameters for n in discriminators)
    saved = GENERATOR_FACTOR * shapes * generator[0].sample_bytes + generator[0].batch_bytes
    saved += sum(DISCRIMINATOR_FACTOR * images * n.sample_bytes + n.batch_bytes for n in discriminators)
    raster = images * (config.data.resolution * config.rendering.supersample) ** 2 * RASTER_BYTES
    vertices = 2 * config.geometry.cells**3
    grid = vertices * (shapes * VERTEX_BYTES + GRID_BYTES)
    return TrainingMemory(
        weights * FP32_BYTES,
        round(saved * dtype.itemsize / FP32_BYTES),
        raster + grid,
        PROGRAM_BYTES if program else 0,
    )
