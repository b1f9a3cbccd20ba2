"""glTF 2.0 and GLB files: all primitives of the scene graph, in world space."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.color import encode_srgb_rgba
from mesh_io.readers.gltf_document import Document, open_document
from mesh_io.readers.gltf_materials import MaterialReader
from mesh_io.readers.gltf_primitives import Attributes, apply_skin, morph, read_primitive, skin_matrices
from mesh_io.readers.gltf_scene import instance_matrices, node_places, scene_roots
from mesh_io.readers.source_files import SourceFiles
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import SourcePart, instanced_part, transform_part

MAX_FACES = 5_000_000  # of a small file that places few meshes very often, or is compressed well
BYTES_PER_FACE = 6  # a file may have so many more faces; uncompressed ones take at least so many bytes


def read_gltf(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """All triangles of the scenes that are to be shown. Skins and morph targets are applied in the file's rest pose."""
    document = open_document(files)
    return MeshReader(document, MaterialReader(document, textures)).read()


@dataclass
class MeshReader:
    """Reads the meshes of one document where its nodes place them."""

    document: Document
    materials: MaterialReader
    num_faces: int = 0

    def read(self) -> list[SourcePart]:
        """Parts in world space."""
        placed, hidden = node_places(self.document, scene_roots(self.document))
        parts: list[SourcePart] = []
        for index in placed:
            node = self.document.item("nodes", index)
            if "mesh" in node and index not in hidden:
                parts += self._node_parts(index, node, placed)
        return parts

    def _node_parts(
        self, index: int, node: dict[str, Any], placed: dict[int, NDArray[np.float64]]
    ) -> Iterable[SourcePart]:
        mesh = self.document.item("meshes", node["mesh"])
        matrices = None
        if "skin" in node:
            matrices = skin_matrices(self.document, self.document.item("skins", node["skin"]), placed)
        instances = instance_matrices(self.document, index, node)
        if instances is not None and matrices is not None:
            raise self.document.files.error(f"node {index} has instances of a skinned mesh, which are not read")
        for primitive in mesh.get("primitives", []):
            part = self._part(primitive, node, mesh, matrices, 1 if instances is None else len(instances))
            if part is None:
                continue
            if instances is not None:
                yield instanced_part(part, placed[index] @ instances)
            else:
                # Joints place a skinned mesh; its own node's transform does not count.
                yield part if matrices is not None else transform_part(part, placed[index])

    def _part(
        self,
        primitive: dict[str, Any],
        node: dict[str, Any],
        mesh: dict[str, Any],
        matrices: NDArray | None,
        instances: int,
    ) -> SourcePart | None:
        """A primitive, with its morph targets and joints applied; None if it has no triangles.

        matrices: of the joints [J, 4, 4]; None without a skin. instances: nodes that place it. UserError where all of
        them together have too many faces.
        """
        read = read_primitive(self.document, primitive, skinned=matrices is not None)
        if read is None:
            return None
        attributes, faces = read
        self.num_faces += len(faces) * instances
        limit = max(MAX_FACES, self.document.num_bytes // BYTES_PER_FACE)
        if self.num_faces > limit:
            raise self.document.files.error(f"more than {limit} faces once every node's mesh is placed")
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
