"""`Mesh`: a packed batch of triangle meshes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """A batch of B triangle meshes in one set of tensors; nothing is padded.

    vertices [ΣV, 3] float, world units. faces [ΣF, 3] int32, *global* vertex ids (into `vertices`), wound outward.
    vertex_offsets, face_offsets [B + 1] int64, always on the CPU: counts are known on the host without a sync.
    normals [ΣV, 3], tangents [ΣV, 4] (w = handedness), uvs [ΣV, 2] (origin top left, as in glTF): optional, per vertex.
    textures: named channels, e.g. "base_color" [H, W, 3 or 4] sRGB in [0, 1]; only for a batch of one.
    """

    vertices: Tensor
    faces: Tensor
    vertex_offsets: Tensor
    face_offsets: Tensor
    normals: Tensor | None = None
    tangents: Tensor | None = None
    uvs: Tensor | None = None
    textures: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def single(vertices: Tensor, faces: Tensor, **attributes) -> "Mesh":
        """One mesh. vertices [V, 3], faces [F, 3] of any integer type."""
        return Mesh(
            vertices,
            faces.to(torch.int32),
            torch.tensor([0, vertices.shape[0]]),
            torch.tensor([0, faces.shape[0]]),
            **attributes,
        )

    @staticmethod
    def pack(meshes: Sequence["Mesh"]) -> "Mesh":
        """Concatenate meshes (each itself a batch); optional attributes are kept where all have them."""
        if len(meshes) == 1:
            return meshes[0]
        if not meshes:
            raise ValueError("Mesh.pack(): expected at least one mesh, got none")
        bases = torch.tensor([0] + [m.vertices.shape[0] for m in meshes]).cumsum(0)
        faces = [m.faces + int(base) for m, base in zip(meshes, bases.tolist(), strict=False)]

        def cat(name: str) -> Tensor | None:
            parts = [getattr(m, name) for m in meshes]
            return None if any(p is None for p in parts) else torch.cat(parts)

        def offsets(name: str) -> Tensor:
            counts = torch.cat([getattr(m, name).diff() for m in meshes])
            return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])

        return Mesh(
            torch.cat([m.vertices for m in meshes]),
            torch.cat(faces),
            offsets("vertex_offsets"),
            offsets("face_offsets"),
            cat("normals"),
            cat("tangents"),
            cat("uvs"),
        )

    def __len__(self) -> int:
        return self.face_offsets.shape[0] - 1

    def __getitem__(self, index: int) -> "Mesh":
        """Mesh `index` as a batch of one, with local vertex ids."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"mesh {index} of a batch of {len(self)}")
        index %= len(self)
        v0, v1 = self.vertex_offsets[index : index + 2].tolist()
        f0, f1 = self.face_offsets[index : index + 2].tolist()

        def cut(attribute: Tensor | None) -> Tensor | None:
            return None if attribute is None else attribute[v0:v1]

        return Mesh(
            self.vertices[v0:v1],
            self.faces[f0:f1] - v0,
            torch.tensor([0, v1 - v0]),
            torch.tensor([0, f1 - f0]),
            cut(self.normals),
            cut(self.tangents),
            cut(self.uvs),
            self.textures,
        )

    def replace(self, **changes) -> "Mesh":
        """A copy with the given fields changed."""
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> "Mesh":
        """A copy on `device`; the offsets stay on the CPU."""

        def move(attribute: Tensor | None) -> Tensor | None:
            return None if attribute is None else attribute.to(device)

        return Mesh(
            self.vertices.to(device),
            self.faces.to(device),
            self.vertex_offsets,
            self.face_offsets,
            move(self.normals),
            move(self.tangents),
            move(self.uvs),
            {name: texture.to(device) for name, texture in self.textures.items()},
        )

    def detach(self) -> "Mesh":
        """A copy whose tensors carry no gradient."""

        def cut(attribute: Tensor | None) -> Tensor | None:
            return None if attribute is None else attribute.detach()

        return Mesh(
            self.vertices.detach(),
            self.faces,
            self.vertex_offsets,
            self.face_offsets,
            cut(self.normals),
            cut(self.tangents),
            cut(self.uvs),
            {name: texture.detach() for name, texture in self.textures.items()},
        )
