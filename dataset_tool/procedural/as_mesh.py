"""A procedural shape as the mesh that a reader would give for its file, without writing one."""

from pathlib import Path

import numpy as np

from dataset_tool.procedural.shape import ProceduralShape
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart, unit_rows


def as_source_mesh(shape: ProceduralShape) -> SourceMesh:
    """The shape in meters, +Y up and front +Z. Every corner is a vertex of its own, since seams split them anyway."""
    materials = {
        name: SourceMaterial(name=name, image=np.ascontiguousarray(material.image))
        for name, material in shape.materials.items()
    }
    parts = []
    for part in shape.parts:
        corners = part.faces.ravel()
        uvs = part.uvs[part.uv_faces.ravel()] / np.asarray(shape.materials[part.material].span)
        uvs[:, 1] = 1 - uvs[:, 1]  # meters along the grain run upward, texture rows run downward
        parts.append(
            SourcePart(
                vertices=part.vertices[corners],
                faces=np.arange(len(corners), dtype=np.int32).reshape(-1, 3),
                material=materials[part.material],
                uvs=uvs.astype(np.float32),
                normals=unit_rows(part.normals()[corners]),
            )
        )
    return SourceMesh(Path(f"{shape.category}.obj"), tuple(parts), up="+Y")
