"""Cavities: closed surfaces inside a solid. Nothing outside can see them, so no view corrects them."""

import torch
from torch import Tensor
from torch.nn import functional

from geometry.mesh import Mesh
from geometry.topology import vertex_components
from torch_utils.devices import upload


def without_cavities(mesh: Mesh) -> Mesh:
    """A packed batch of closed meshes without their cavities, which are the components of negative volume.

    A batch that has none is returned as it is. Gradients reach the vertices that stay. Waits for the device.
    """
    kept = ~_on_cavities(mesh)
    if bool(kept.all()):
        return mesh
    ids = kept.cumsum(0, dtype=torch.int32) - 1
    rows = kept[mesh.faces[:, 0].long()]
    return Mesh(
        mesh.vertices[kept],
        ids[mesh.faces[rows].long()],
        _offsets_of(kept, mesh.vertex_offsets),
        _offsets_of(rows, mesh.face_offsets),
    )


@torch.no_grad()
def _on_cavities(mesh: Mesh) -> Tensor:
    """Whether each vertex [ΣV] belongs to a component of negative volume."""
    labels = vertex_components(mesh)
    faces = mesh.faces.long()
    a, b, c = mesh.vertices.double()[faces].unbind(1)
    volumes = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    volumes.index_add_(0, labels[faces[:, 0]], (a * torch.linalg.cross(b, c)).sum(1))
    return volumes[labels] < 0


def _offsets_of(kept: Tensor, offsets: Tensor) -> Tensor:
    """Offsets [B + 1], CPU, of the rows that stay. kept [N] bool; offsets [B + 1] of all rows."""
    before = functional.pad(kept.cumsum(0), (1, 0))
    return before[upload(offsets, kept.device)].cpu()
