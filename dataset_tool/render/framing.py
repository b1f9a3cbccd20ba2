"""Find the scale at which the cameras see all of a shape."""

import numpy as np

from mesh_io.source_mesh import SourceMesh
from rendering.camera import Cameras

MARGIN = 0.96  # of half the image's side; leaves half a pixel at 25 px


def fitting_scale(mesh: SourceMesh, cameras: Cameras, scale: float) -> float:
    """The largest scale up to `scale`, the current scale of `mesh`, at which every camera sees all vertices.

    A vertex s·p in front of a camera is in the image if ± f·x ≤ m·depth in each axis; x and depth are linear in s.
    Every vertex, camera and side of the image therefore gives one bound. Cameras that look past the origin, and cannot
    see a shape of any size completely, give no bound.
    """
    points = np.concatenate([part.vertices for part in mesh.parts])
    high = np.full(len(points), np.inf)
    view = cameras.view().double().numpy()
    for matrix, focal, principal in zip(view, cameras.focal.tolist(), cameras.principal.tolist(), strict=True):
        local = points @ matrix[:3, :3].T
        x, y, z = matrix[:3, 3]
        # y points up in the camera, but down for the principal point.
        for axis, offset, f, p in ((local[:, 0], x, focal[0], principal[0]), (local[:, 1], y, focal[1], -principal[1])):
            for side in (1, -1):
                # side·(f·(s·a + offset) + p·depth) ≤ MARGIN·depth with depth = −(s·local z + z).
                room = (side * p - MARGIN) * z - side * f * offset
                cost = side * f * axis - (side * p - MARGIN) * local[:, 2]
                if room > 0:
                    high = np.minimum(high, np.where(cost > 0, room / np.maximum(cost, 1e-12), np.inf))
    largest = float(high.min())
    return min(scale, scale * largest)
