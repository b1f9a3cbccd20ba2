"""Light-field descriptors of meshes: 10 rotated dodecahedra of 10 orthographic silhouettes each (Chen et al. 2003)."""

from functools import cache

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from geometry.mesh import Mesh
from torch_utils.ops.lfd_descriptor import lfd_descriptor
from torch_utils.ops.lfd_distance import DODECAHEDRON, VIEW_BYTES
from torch_utils.ops.silhouettes import silhouettes

SIDE_PX = 256
# Rotation vectors of the dodecahedra of the ten light fields, as measured from the original program.
LIGHT_FIELDS = (
    (0.0, 0.0, 0.0),
    (-0.146522, 0.546155, 0.331538),
    (0.097438, -0.592921, 0.554273),
    (-0.007113, -0.601928, -0.460287),
    (0.031789, -0.478786, 0.081596),
    (0.511527, -0.110244, -0.080964),
    (0.003567, -0.017585, -0.416679),
    (0.57009, -0.191287, 0.385597),
    (-0.475607, -0.141981, 0.262706),
    (0.014107, 0.005761, 0.431494),
)
EMPTY_DESCRIPTOR = torch.zeros(10, 10, VIEW_BYTES, dtype=torch.uint8)


@cache
def view_axes() -> Tensor:
    """Right and up axes of the 100 views [100, 2, 3] float64, light field by light field.

    The eye is at a vertex of the rotated dodecahedron and looks at the origin, with +Y up.
    """
    eyes = np.stack([Rotation.from_rotvec(v).apply(np.array(DODECAHEDRON)) for v in LIGHT_FIELDS]).reshape(100, 3)
    forward = -eyes / np.linalg.norm(eyes, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return torch.from_numpy(np.stack([right, np.cross(right, forward)], axis=1))


def fit_to_views(vertices: Tensor, faces: Tensor) -> Tensor:
    """Vertices [V, 3] as float64, with the box of those that `faces` use centered and scaled to a longest side of 1."""
    used = vertices.double()[faces.reshape(-1).long()]
    low, high = used.amin(0), used.amax(0)
    return (vertices.double() - (low + high) / 2) / (high - low).max().clamp_min(1e-300)


def mesh_descriptor(mesh: Mesh) -> Tensor:
    """The descriptor [10, 10, 47] uint8 of one mesh (a batch of one, with faces and finite vertices), on the CPU.

    Silhouettes are drawn and described where the mesh is.
    """
    vertices = fit_to_views(mesh.vertices.detach(), mesh.faces)
    images = silhouettes(vertices, mesh.faces, view_axes().to(vertices.device), SIDE_PX)
    return lfd_descriptor(images.view(10, 10, SIDE_PX, SIDE_PX // 8)).cpu()
