"""What `face_neighbors` promises beyond its cases: the hub of a fan, whose edges all begin at one vertex."""

import resource

import pytest
import torch

from torch_utils.ops.face_neighbors import face_neighbors, face_neighbors_reference
from torch_utils.ops.loading import use_mode


def test_the_hub_of_a_large_fan():
    """Its faces in any order, some of them doubled, so that their edges have more than two faces."""
    rim = torch.arange(1, 501)
    fan = torch.stack([torch.zeros_like(rim), rim, rim.roll(-1)], 1).int()
    mesh = torch.cat([fan, fan[[7, 300, 499]]])
    mesh = mesh[torch.randperm(len(mesh), generator=torch.Generator().manual_seed(0))]
    with use_mode("require"):
        for faces in (fan, mesh):
            assert face_neighbors(faces).equal(face_neighbors_reference(faces))
    assert (face_neighbors_reference(fan) >= 0).sum() == 2 * len(fan)  # the rim is open, every spoke has two faces


@pytest.mark.parametrize("lowest", [2**30, 2**31 - 5])
def test_memory_follows_the_number_of_faces_and_not_their_ids(lowest: int):
    """Up to the highest id that is allowed, 2³¹ − 2."""
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32) + lowest
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with use_mode("require"):
        assert face_neighbors(faces).tolist() == [[1, -1, -1], [-1, -1, 0]]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # kilobytes
    assert face_neighbors_reference(faces).equal(face_neighbors(faces))
