"""`face_neighbors`: the face across each edge of a triangle mesh.

    face_neighbors(faces [F, 3] int32) → [F, 3] int32

Entry (f, k) is the face across the edge opposite vertex k (from vertex k + 1 to k + 2, modulo 3), or −1 where the edge
is open, has more than two faces, or connects a vertex to itself. Faces are neighbors if they share vertex ids, whatever
their windings; vertices that share only a position do not count. No gradient. Repeatable on every device. Errors:
TypeError, ValueError "face_neighbors(): expected …, got …".
"""

import torch
from torch import Tensor

from torch_utils.ops.checks import check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel


def face_neighbors(faces: Tensor) -> Tensor:
    """See the module's text."""
    check_tensor("face_neighbors", "faces", faces, ("F", 3), (torch.int32,))
    check_index_range("face_neighbors", "faces", faces, 2**31 - 1)
    if use_kernel(faces.device.type, "face_neighbors"):
        return torch.ops.tetragan.face_neighbors(faces.contiguous())
    return face_neighbors_reference(faces)


def face_neighbors_reference(faces: Tensor) -> Tensor:
    """The same in plain PyTorch: sort the edges, pair those that occur exactly twice."""
    if faces.shape[0] == 0:
        return faces.clone()
    wide = faces.long()
    ends = torch.stack([wide[:, [1, 2]], wide[:, [2, 0]], wide[:, [0, 1]]], 1).reshape(-1, 2)
    low, high = ends.amin(1), ends.amax(1)
    key = low * (wide.max() + 1) + high
    _, edge, count = key.unique(return_inverse=True, return_counts=True)
    slots = edge.argsort(stable=True)
    pairs = slots[(count[edge[slots]] == 2) & (low != high)[slots]].reshape(-1, 2)
    pairs = pairs[pairs[:, 0] // 3 != pairs[:, 1] // 3]
    out = torch.full((ends.shape[0],), -1, dtype=torch.int32, device=faces.device)
    out[pairs[:, 0]] = (pairs[:, 1] // 3).int()
    out[pairs[:, 1]] = (pairs[:, 0] // 3).int()
    return out.reshape(-1, 3)


torch.library.define("tetragan::face_neighbors", "(Tensor faces) -> Tensor")


@torch.library.register_fake("tetragan::face_neighbors")
def _fake(faces):
    return torch.empty_like(faces)
