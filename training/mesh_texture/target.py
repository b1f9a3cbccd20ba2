"""The mesh that gets textures: its surface, its texture coordinates, and the texels that they reach."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geometry.atlas import unwrap
from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from mesh_io.read import read_mesh
from mesh_io.readers.gltf_document import open_document
from mesh_io.readers.source_files import SourceFiles
from mesh_io.source_mesh import SourceMaterial, SourceMesh
from sampling.texture_baking import Texels, atlas_points
from torch_utils.errors import UserError
from torch_utils.files import printable
from torch_utils.ops.face_neighbors import face_neighbors

GLTF_ENDINGS = (".glb", ".gltf")
# Texels that several places of the surface share, as a share of all that are used: below this it is the texels on the
# borders of charts.
OVERLAP_SHARE = 0.03
OVERLAP_SIDE_PX = 512
MAX_FACES = 4_000_000


@dataclass(frozen=True, eq=False)
class TextureTarget:
    """One mesh with K textures.

    mesh: a batch of one, with normals and UVs [V, 2] such that every face lies in one repetition of the image.
    face_texture [F] int64: the texture of each face. materials [K]: numbers of the glTF materials that own them; None
    for another format. notes: what a user should know, a line each. neighbors [F, 3] int32: `face_neighbors` of the
    surface; None if the mesh has all its edges itself.
    """

    mesh: Mesh
    face_texture: Tensor
    materials: tuple[int | None, ...]
    notes: tuple[str, ...] = ()
    neighbors: Tensor | None = None

    def transformed(self, matrix: np.ndarray) -> "TextureTarget":
        """The target under a similarity 4×4, in other world units."""
        turn = torch.from_numpy(np.asarray(matrix, np.float64))
        vertices = self.mesh.vertices.double() @ turn[:3, :3].T + turn[:3, 3]
        assert self.mesh.normals is not None
        normals = torch.nn.functional.normalize(self.mesh.normals.double() @ turn[:3, :3].T, dim=1)
        mesh = self.mesh.replace(vertices=vertices.float(), normals=normals.float())
        return replace(self, mesh=mesh)

    def texels(self, number: int, size_px: int) -> Texels:
        """The texels of texture `number` that the surface reaches."""
        faces = self.mesh.faces[self.face_texture == number]
        return atlas_points(self.mesh.replace(faces=faces, face_offsets=torch.tensor([0, len(faces)])), size_px)


def read_target(
    path: Path, size_px: int, check: Callable[[int, int, bool], None] = lambda faces, textures, has_uvs: None
) -> TextureTarget:
    """The target in a mesh file; it gets an atlas of our own if it has no UVs. UserError where that cannot be done.

    check: called with the numbers of faces and textures, and whether there are UVs, before anything is made of them.
    """
    source = read_mesh(path, textures=False)
    if source.num_faces > MAX_FACES:
        raise UserError(f"{printable(path)}: has {source.num_faces:,} faces; simplify it to at most {MAX_FACES:,}")
    without = [part for part in source.parts if part.uvs is None]
    if without and len(without) < len(source.parts):
        raise UserError(
            f"{printable(path)}: some of its parts have no UVs; unwrap them, or remove the others' UVs"
            + noted(source.warnings)
        )
    if without:
        if path.suffix.lower() in GLTF_ENDINGS and is_rigged(path):
            raise UserError(
                f"{printable(path)}: has no UVs, and a skin, morph targets or animations that new vertices would lose; "
                "unwrap it first, for example with Smart UV Project in Blender" + noted(source.warnings)
            )
        check(source.num_faces, 1, False)
        return _unwrapped(source, size_px)
    keys = [_key(part.material) for part in source.parts]
    materials = tuple(dict.fromkeys(keys))
    if path.suffix.lower() not in GLTF_ENDINGS and len(materials) > 1:
        raise UserError(
            f"{printable(path)}: has {len(materials)} materials; convert it to GLB, or give it one material"
        )
    if path.suffix.lower() in GLTF_ENDINGS and None in materials:
        raise UserError(f"{printable(path)}: some of its faces have no material; give them one")
    check(source.num_faces, len(materials), True)
    vertices, faces, owner = source.merged()
    texture = torch.tensor([materials.index(key) for key in keys])[torch.from_numpy(owner.astype(np.int64))]
    uvs = torch.from_numpy(np.concatenate([part.uvs for part in source.parts if part.uvs is not None]))
    return _target(vertices, faces, uvs, texture, materials, _normals(source), source)


def noted(notes: Sequence[str]) -> str:
    """The first of the notes, as the end of an error message whose cause it may be."""
    return "".join(f" (note: {note})" for note in notes[:1])


def is_rigged(path: Path) -> bool:
    """Whether a glTF file has skins, morph targets or animations."""
    values = open_document(SourceFiles(path)).json
    targets = any("targets" in part for mesh in values.get("meshes", []) for part in mesh.get("primitives", []))
    return bool(values.get("skins") or values.get("animations")) or targets


def _key(material: SourceMaterial) -> int | None:
    return material.index


def _normals(source: SourceMesh) -> Tensor | None:
    found = [part.normals for part in source.parts if part.normals is not None]
    return torch.from_numpy(np.concatenate(found)) if len(found) == len(source.parts) else None


def _unwrapped(source: SourceMesh, size_px: int) -> TextureTarget:
    """The mesh with an atlas. Vertices on its seams appear more than once."""
    vertices, faces, _ = source.merged()
    points = torch.from_numpy(vertices.astype(np.float32))
    try:
        atlas = unwrap(points, torch.from_numpy(faces), size_px)
    except ValueError as error:
        cause = str(error).removeprefix("unwrap(): ")
        raise UserError(f"{printable(source.path)}: has no UVs, and none can be made: {cause}") from None
    normals = _normals(source)
    if normals is None:
        normals = vertex_normals(Mesh.single(points, torch.from_numpy(faces)))
    mesh = Mesh.single(points[atlas.vertex_map], atlas.faces, normals=normals[atlas.vertex_map], uvs=atlas.uvs)
    note = f"{printable(source.path)}: has no UVs; they are made, and vertices on seams are split"
    return TextureTarget(mesh, torch.zeros(len(faces), dtype=torch.int64), (None,), (*source.warnings, note))


def _target(vertices, faces, uvs, texture, materials, normals, source: SourceMesh) -> TextureTarget:
    points = torch.from_numpy(vertices.astype(np.float32))
    mesh = Mesh.single(points, torch.from_numpy(faces))
    normals = vertex_normals(mesh) if normals is None else normals.float()
    # Each face in the repetition of the image that its middle lies in: vertices of a face are its own from here on.
    corners = uvs.float()[mesh.faces.long()]
    shift = corners.mean(1, keepdim=True).floor()
    corners = corners - shift
    outside = ((corners < -1e-4) | (corners > 1 + 1e-4)).any(2).any(1)
    flat = mesh.faces.long().reshape(-1)
    split = Mesh.single(
        points[flat],
        torch.arange(len(flat), dtype=torch.int32).view(-1, 3),
        normals=normals[flat],
        uvs=corners.reshape(-1, 2),
    )
    target = TextureTarget(split, texture, materials, neighbors=face_neighbors(mesh.faces))
    notes = list(source.warnings)
    if materials[0] is not None and any(part.vertex_colors is not None for part in source.parts):
        notes.append(
            f"{printable(source.path)}: has vertex colors, which stay and which viewers multiply with the textures; "
            "remove them first"
        )
    if bool(outside.any()):
        share = float(outside.float().mean())
        notes.append(
            f"{printable(source.path)}: {share:.0%} of its faces cross the border of the image; the texture repeats "
            "there, so places of the surface share texels"
        )
    for number in range(len(materials)):
        if not bool(target.texels(number, OVERLAP_SIDE_PX).covered.any()):
            raise UserError(
                f"{printable(source.path)}: the UVs of texture {number} cover no texel (they lie in one place); "
                "unwrap it, or remove its UVs to get an atlas" + noted(source.warnings)
            )
        share = overlap(target, number)
        if share > OVERLAP_SHARE:
            notes.append(
                f"{printable(source.path)}: texture {number} is used {1 + share:.1f} times over (overlapping UVs, such "
                "as mirrored halves); places that share texels will look alike"
            )
    return replace(target, notes=tuple(notes))


def overlap(target: TextureTarget, number: int, size_px: int = OVERLAP_SIDE_PX) -> float:
    """How often the used texels of a texture are used beyond once, on average."""
    assert target.mesh.uvs is not None
    faces = target.mesh.faces[target.face_texture == number].long()
    corners = target.mesh.uvs[faces].double() * size_px
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().sum()) / 2
    covered = float(target.texels(number, size_px).covered.sum())
    return max(0.0, area / max(covered, 1.0) - 1)
