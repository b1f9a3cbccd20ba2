"""`connected_vertices`: the connected components of a triangle mesh.

    connected_vertices(faces [F, 3] int32, count) → [count] int64

Entry v is the lowest id among the vertices that are connected to vertex v by faces, directly or through others. A
vertex without faces is its own component. No gradient. Repeatable on every device. No host synchronization with a
kernel; the reference has one for each of its O(log count) rounds. Errors: TypeError, ValueError
"connected_vertices(): expected …, got …".
"""

import torch
from torch import Tensor

from torch_utils.ops.checks import check_index_range, check_tensor
from torch_utils.ops.loading import use_kernel


def connected_vertices(faces: Tensor, count: int) -> Tensor:
    """See the module's text."""
    check_tensor("connected_vertices", "faces", faces, ("F", 3), (torch.int32,))
    if not 0 <= count < 2**31:
        raise ValueError(f"connected_vertices(): expected count in [0, 2³¹), got {count}")
    check_index_range("connected_vertices", "faces", faces, count)
    if use_kernel(faces.device.type, "connected_vertices"):
        return torch.ops.tetragan.connected_vertices(faces.contiguous(), count)
    return connected_vertices_reference(faces, count)


@torch.no_grad()
def connected_vertices_reference(faces: Tensor, count: int) -> Tensor:
    """The same in plain PyTorch. Each label hooks onto a smaller neighbor's, and chains of labels are followed to their
    ends, until nothing changes: O(log count) rounds (Shiloach and Vishkin 1982).
    """
    faces = faces.long()
    a, b = torch.cat([faces[:, 0], faces[:, 1]]), torch.cat([faces[:, 1], faces[:, 2]])
    labels = torch.arange(count, device=faces.device)
    while len(a):
        ends_a, ends_b = labels[a], labels[b]
        differ = ends_a != ends_b
        if not bool(differ.any()):
            break
        a, b, ends_a, ends_b = a[differ], b[differ], ends_a[differ], ends_b[differ]
        low, high = torch.minimum(ends_a, ends_b), torch.maximum(ends_a, ends_b)
        labels = labels.scatter_reduce(0, high, low, "amin")
        followed = labels[labels]
        while not torch.equal(followed, labels):
            labels, followed = followed, followed[followed]
    return labels


torch.library.define("tetragan::connected_vertices", "(Tensor faces, int count) -> Tensor")


@torch.library.register_fake("tetragan::connected_vertices")
def _fake(faces, count):
    return faces.new_empty(count, dtype=torch.int64)
