"""How much memory a grid takes, so that one that is too fine is refused before it fills the machine."""

import torch

from configs.schema import Config
from torch_utils.errors import UserError
from torch_utils.process import available_memory

# Bytes per cell, measured as the growth of the process at 32 and 64 cells: while the grid's tables are built, and for
# each sample whose SDF is evaluated on it.
GRID_BYTES = {"bcc": 3300, "kuhn": 1900, "cubes": 240}
SUBDIVISION_BYTES = 2500
SAMPLE_BYTES = {"bcc": 60, "kuhn": 40, "cubes": 40}
VERTICES_PER_CELL = {"bcc": 2, "kuhn": 1, "cubes": 1}


def extraction_bytes(config: Config, samples: int) -> int:
    """Estimate of the memory that the grid and the SDF of some samples at once take."""
    geometry, cubed = config.geometry, config.geometry.cells**3
    layout = "cubes" if geometry.extraction == "flexicubes" else geometry.tet_grid
    per_cell = GRID_BYTES[layout] + SUBDIVISION_BYTES * geometry.subdivide + SAMPLE_BYTES[layout] * samples
    if geometry.network == "volume" or geometry.hidden_layers > 1:  # features at every vertex
        width = geometry.volume_channel_max if geometry.network == "volume" else config.backbone.plane_channels
        per_cell += 4 * VERTICES_PER_CELL[layout] * samples * (2 * width + 16)
    return per_cell * cubed


def memory_line(config: Config, copies: int) -> str:
    """The estimate as a line for the user. copies: processes, each with a grid and a sample at a time."""
    gigabytes = copies * extraction_bytes(config, 1) / 1e9
    return f"{config.geometry.cells} cells: about {gigabytes:.1f} GB for the grids of {copies} process(es)"


def check_cells(config: Config, samples: int, device: torch.device, copies: int = 1) -> None:
    """UserError if `extraction_bytes` of some processes is more than is free, with the finest grid that fits."""
    needed, free = copies * extraction_bytes(config, samples), available_memory(device)
    if free is not None and needed > free:
        cells = config.geometry.cells
        fits = int(cells * (free / needed) ** (1 / 3))
        raise UserError(
            f"--cells {cells}: the grid and {samples} sample(s) need about {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free; use --cells {fits} or fewer"
        )
