"""From a `Mesh` to a `trimesh.Trimesh`, for code that works with trimesh."""

from typing import TYPE_CHECKING

import numpy as np

from geometry.mesh import Mesh
from mesh_io.writers.export_mesh import export_mesh

if TYPE_CHECKING:
    import trimesh


def to_trimesh(mesh: Mesh) -> "trimesh.Trimesh":
    """The mesh that the files hold, with its normals, UVs and base color.

    mesh: a batch of one. Collapsed faces and unused vertices are left out, as by the writers. trimesh's v axis points
    up. Raises ValueError for a batch or an empty mesh.
    """
    import trimesh
    from PIL import Image

    arrays = export_mesh(mesh, "to_trimesh")
    visual = None
    if arrays.uvs is not None:
        base_color = None if arrays.base_color is None else Image.fromarray(arrays.base_color)
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=base_color, metallicFactor=0.0)
        uvs = np.stack([arrays.uvs[:, 0], 1 - arrays.uvs[:, 1]], 1)
        visual = trimesh.visual.TextureVisuals(uv=uvs, material=material)
    return trimesh.Trimesh(
        arrays.vertices,
        arrays.faces.astype(np.int64),
        vertex_normals=arrays.normals,
        visual=visual,
        process=False,
    )
