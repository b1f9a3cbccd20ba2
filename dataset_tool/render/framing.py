"""How large a shape may be for its cameras to see all of it."""

import numpy as np

from mesh_io.source_mesh import SourceMesh
from rendering.camera import Cameras

MARGIN = 0.96  # of the image's half side: half a pixel is left at 25 px


def fitting_scale(mesh: SourceMesh, cameras: Cameras, scale: float) -> float:
    """The largest scale, at most `scale`, at which every camera sees all vertices of `mesh`, which has that scale now.

    A vertex s·p in front of a camera lies in the image where ± f·x ≤ m·depth in each axis, x and depth linear in s:
    every vertex, camera and side of the image gives one bound. Cameras that a shape cannot fit before, of whatever
    size (they look past the origin), bound nothing.
    """
    points = np.concatenate([part.vertices for part in mesh.parts])
    high = np.full(len(points), np.inf)
    view = cameras.view().double().numpy()
    for matrix, focal, principal in zip(view, cameras.focal.tolist(), cameras.principal.tolist(), strict=True):
        local = points @ matrix[:3, :3].T
        x, y, z = matrix[:3, 3]
        # Camera y points up, the principal point's y down.
        for axis, offset, f, p in ((local[:, 0], x, focal[0], principal[0]), (local[:, 1], y, focal[1], -principal[1])):
            for side in (1, -1):
                # side·(f·(s·a + offset) + p·depth) ≤ MARGIN·depth with depth = −(s·local z + z).
                room = (side * p - MARGIN) * z - side * f * offset
                cost = side * f * axis - (side * p - MARGIN) * local[:, 2]
                if room > 0:
                    high = np.minimum(high, np.where(cost > 0, room / np.maximum(cost, 1e-12), np.inf))
    largest = float(high.min())
    return min(scale, scale * largest)
