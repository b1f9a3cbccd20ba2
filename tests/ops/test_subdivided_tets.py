"""Subdivision as it runs on CUDA: plain PyTorch over the whole batch."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from geometry.subdivision import subdivided_on
from tests.ops.cases_geometry import signed_noise
from torch_utils.ops.subdivided_tets import midpoints_near_surface_reference, subdivided_tets_topology_reference

CELLS = 4


class Launches(TorchDispatchMode):
    """Counts the operators that would launch a kernel."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def _operators(batch: int) -> tuple[int, int]:
    grid = subdivided_on("bcc", CELLS, 1.0, torch.device("cpu"))
    sdf = signed_noise(batch, grid.coarse.num_vertices, dtype=torch.float32)
    assert grid.tables.whole  # made once, before
    with Launches() as of_midpoints:
        near = midpoints_near_surface_reference(sdf, sdf, grid.coarse.edges, grid.on_box)
    with Launches() as of_topology:
        subdivided_tets_topology_reference(sdf, near.ids, near.means, grid.tables)
    return of_midpoints.count, of_topology.count


@pytest.mark.parametrize("batch", [2, 9])
def test_no_loop_runs_over_samples(batch: int) -> None:
    assert _operators(batch) == _operators(1)
