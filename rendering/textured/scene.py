"""A `SourceMesh` prepared for the rasterizer: one packed mesh with a material for each face."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.normals import face_normals
from mesh_io.source_mesh import SourceMaterial, SourceMesh, SourcePart
from rendering.color import srgb_to_linear
from rendering.textured.textures import Pyramid, build_linear_pyramid, build_pyramid
from torch_utils.ops.face_neighbors import face_neighbors

# Of materials whose file gives none: neither mirror nor chalk, as Blender's.
DEFAULT_ROUGHNESS = 0.5
# Tensors that a scene keeps on the renderer's device. `textures` is read on the host.
TENSORS = ("face_part", "factors", "uvs", "colors", "normals", "smooth", "face_normals", "neighbors", "surface_factors")


@dataclass(frozen=True, eq=False)
class Scene:
    """One shape of K parts, each with one material.

    mesh: a batch of one, world units. face_part [F] int64: part of each face. factors [K, 4]: linear base color and
    alpha. uvs [V, 2], colors [V, 4] (linear vertex colors), normals [V, 3]: None if no part has them; parts without
    them have zeros, or white for colors. smooth [K] bool: whether the part has vertex normals. face_normals [F, 3].
    textures [K] int64: index into `pyramids`, −1 for none. neighbors [F, 3]: `face_neighbors` of the mesh.
    surface_factors [K, 2]: metallic and roughness. surface_pyramids: their textures, None for none.
    """

    mesh: Mesh
    face_part: Tensor
    materials: tuple[SourceMaterial, ...]
    factors: Tensor
    uvs: Tensor | None
    colors: Tensor | None
    normals: Tensor | None
    smooth: Tensor
    face_normals: Tensor
    textures: Tensor
    pyramids: tuple[Pyramid, ...]
    neighbors: Tensor
    surface_factors: Tensor
    surface_pyramids: tuple[Pyramid | None, ...]

    def to(self, device: torch.device | str) -> "Scene":
        """A copy on `device`."""
        moved: dict[str, Any] = {
            name: tensor.to(device) for name in TENSORS if (tensor := getattr(self, name)) is not None
        }
        pyramids = tuple(pyramid.to(device) for pyramid in self.pyramids)
        surfaces = tuple(None if pyramid is None else pyramid.to(device) for pyramid in self.surface_pyramids)
        return replace(self, **moved, mesh=self.mesh.to(device), pyramids=pyramids, surface_pyramids=surfaces)

    @property
    def see_through(self) -> bool:
        """Whether any material is transparent or cut out."""
        return any(material.alpha_mode != "OPAQUE" for material in self.materials)


def build_scene(source: SourceMesh) -> Scene:
    """The scene of a mesh in world units."""
    vertices, faces, owner = source.merged()
    positions = torch.from_numpy(vertices.astype(np.float32))
    mesh = Mesh.single(positions, torch.from_numpy(faces))
    parts = source.parts
    materials = tuple(part.material for part in parts)
    textures, pyramids = _pyramids(parts)
    colors = _stack(parts, "vertex_colors", 4, 1.0)
    if colors is not None:
        colors[:, :3] = srgb_to_linear(colors[:, :3])
    surface_factors = [[known(m.metallic, 0.0), known(m.roughness, DEFAULT_ROUGHNESS)] for m in materials]
    return Scene(
        mesh=mesh,
        face_part=torch.from_numpy(owner.astype(np.int64)),
        materials=materials,
        factors=linear_factors(materials),
        uvs=_stack(parts, "uvs", 2, 0.0),
        colors=colors,
        normals=_stack(parts, "normals", 3, 0.0),
        smooth=torch.tensor([part.normals is not None for part in parts]),
        face_normals=face_normals(mesh),
        textures=textures,
        pyramids=pyramids,
        neighbors=face_neighbors(mesh.faces),
        surface_factors=torch.tensor(surface_factors),
        surface_pyramids=tuple(_surface_pyramid(part) for part in parts),
    )


def known(value: float | None, default: float) -> float:
    """A factor of a material, or what stands for it where the file does not give one."""
    return default if value is None else value


def _surface_pyramid(part: SourcePart) -> Pyramid | None:
    image = part.material.surface_image
    if image is None or part.uvs is None:
        return None
    return build_linear_pyramid(image[..., [2, 1]], levels=not part.material.nearest)


def linear_factors(materials: Sequence[SourceMaterial]) -> Tensor:
    """Linear base color and alpha [K, 4] of K materials."""
    factors = torch.tensor([material.base_color for material in materials], dtype=torch.float32)
    factors[:, :3] = srgb_to_linear(factors[:, :3])
    return factors


def _pyramids(parts: tuple[SourcePart, ...]) -> tuple[Tensor, tuple[Pyramid, ...]]:
    """The index of each part's mip pyramid, and one pyramid for each distinct image."""
    index: dict[tuple[int, bool], int] = {}
    pyramids: list[Pyramid] = []
    textures = []
    for part in parts:
        image = part.material.image
        if image is None or part.uvs is None:
            textures.append(-1)
            continue
        key = (id(image), part.material.nearest)
        if key not in index:
            index[key] = len(pyramids)
            pyramids.append(build_pyramid(image, levels=not part.material.nearest))
        textures.append(index[key])
    return torch.tensor(textures, dtype=torch.int64), tuple(pyramids)


def _stack(parts: tuple[SourcePart, ...], name: str, width: int, missing: float) -> Tensor | None:
    """A per-vertex attribute of all parts, filled with `missing` for parts without it; None if no part has it."""
    if all(getattr(part, name) is None for part in parts):
        return None
    rows = []
    for part in parts:
        values = getattr(part, name)
        rows.append(np.full((len(part.vertices), width), missing, np.float32) if values is None else values)
    return torch.from_numpy(np.concatenate(rows).astype(np.float32))
