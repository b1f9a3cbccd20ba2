"""What `face_neighbors` promises beyond its cases: the hub of a fan, whose edges all begin at one vertex."""

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
