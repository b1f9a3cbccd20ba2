"""glTF 2.0 and GLB files: all primitives of the scene graph, in world space."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.color import encode_srgb_rgba
from mesh_io.readers.gltf_document import Document, open_document
from mesh_io.readers.gltf_materials import MaterialReader
from mesh_io.readers.gltf_primitives import Attributes, apply_skin, morph, read_primitive, skin_matrices
from mesh_io.readers.source_files import SourceFiles
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import SourcePart, transform_part

MAX_FACES = 50_000_000  # over all instances: a bound for files that place few meshes very often


def read_gltf(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """All triangles of the default scene. Skins and morph targets are applied in the file's rest pose."""
    document = open_document(files)
    scene = SceneReader(document, MaterialReader(document, textures))
    used = set(document.json.get("extensionsUsed", []))
    if "EXT_mesh_gpu_instancing" in used:
        files.warn("EXT_mesh_gpu_instancing is not read: instances other than the first are missing")
    return scene.read()


@dataclass
class SceneReader:
    """Traverses the node tree of one document."""

    document: Document
    materials: MaterialReader
    num_faces: int = 0

    def read(self) -> list[SourcePart]:
        """Parts in world space."""
        placed = self._place_nodes()
        parts = []
        for index in placed:
            node = self.document.item("nodes", index)
            if "mesh" not in node:
                continue
            mesh = self.document.item("meshes", node["mesh"])
            matrices = None
            if "skin" in node:
                matrices = skin_matrices(self.document, self.document.item("skins", node["skin"]), placed)
            for primitive in mesh.get("primitives", []):
                part = self._part(primitive, node, mesh, matrices)
                if part is not None:
                    # Joints place a skinned mesh; its own node's transform does not count.
                    parts.append(part if matrices is not None else transform_part(part, placed[index]))
        return parts

    def _place_nodes(self) -> dict[int, NDArray[np.float64]]:
        """World matrix of every node of the scene. The tree is checked for cycles, without recursion."""
        placed: dict[int, NDArray[np.float64]] = {}
        stack = [(index, np.eye(4)) for index in reversed(self._roots())]
        while stack:
            index, above = stack.pop()
            node = self.document.item("nodes", index)
            if index in placed:
                raise self.document.files.error(f"node {index} is reached twice: the node graph has a cycle")
            placed[index] = above @ node_matrix(node)
            stack += [(child, placed[index]) for child in reversed(node.get("children", []))]
        return placed

    def _roots(self) -> list[int]:
        scenes = self.document.json.get("scenes", [])
        if scenes:
            return list(self.document.item("scenes", self.document.json.get("scene", 0)).get("nodes", []))
        nodes = self.document.json.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        return [index for index in range(len(nodes)) if index not in children]

    def _part(
        self, primitive: dict[str, Any], node: dict[str, Any], mesh: dict[str, Any], matrices: NDArray | None
    ) -> SourcePart | None:
        read = read_primitive(self.document, primitive)
        if read is None:
            return None
        attributes, faces = read
        self.num_faces += len(faces)
        if self.num_faces > MAX_FACES:
            raise self.document.files.error(f"more than {MAX_FACES} faces once every node's mesh is placed")
        if targets := primitive.get("targets"):
            attributes = morph(self.document, attributes, targets, node.get("weights", mesh.get("weights", [])))
        if matrices is not None and "JOINTS_0" in attributes:
            attributes = apply_skin(self.document, attributes, matrices)
        material, use = self.materials.material(primitive.get("material"))
        return SourcePart(
            vertices=attributes["POSITION"].astype(np.float64),
            faces=faces.astype(np.int32),
            material=material,
            uvs=_uvs(attributes, use.uv_set, use.transform),
            vertex_colors=_colors(attributes.get("COLOR_0")),
            normals=attributes["NORMAL"].astype(np.float32) if "NORMAL" in attributes else None,
            name=str(mesh.get("name", "")),
        )


def node_matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """A node's local 4×4: its matrix (column-major in the file) or translation · rotation (x, y, z, w) · scale."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), dtype=np.float64)
    norm = x * x + y * y + z * z + w * w
    s = 2 / norm if norm > 0 else 0.0
    rotation = np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.asarray(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _uvs(attributes: Attributes, uv_set: int, transform: NDArray | None) -> NDArray[np.float32] | None:
    uvs = attributes.get(f"TEXCOORD_{uv_set}")
    if uvs is None:
        return None
    uvs = uvs.astype(np.float64)
    if transform is not None:
        uvs = uvs @ transform[:, :2].T + transform[:, 2]
    return uvs.astype(np.float32)


def _colors(colors: NDArray | None) -> NDArray[np.float32] | None:
    """COLOR_0 is linear in glTF; three channels are opaque."""
    if colors is None:
        return None
    rgba = np.ones((len(colors), 4))
    rgba[:, : colors.shape[1]] = colors
    return encode_srgb_rgba(rgba).astype(np.float32)
