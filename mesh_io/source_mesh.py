"""`SourceMesh`: the content of a mesh file, in one form for all formats."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

AlphaMode = Literal["OPAQUE", "MASK", "BLEND"]
Wrap = Literal["repeat", "clamp", "mirror"]
NO_NORMAL = (0.0, 0.0, 0.0)  # until the clean-up takes it from the faces


@dataclass(frozen=True, eq=False)
class SourceMaterial:
    """What a surface looks like.

    All colors here and in `SourcePart` are sRGB values in [0, 1] with straight alpha, whatever the file's color space.
    The surface's base color is srgb(linear(base_color) · linear(image) · linear(vertex color)): the product is taken
    in linear light; alpha is the plain product. A missing factor counts as white.

    base_color: RGBA factor. image [H, W, 3 or 4] uint8, row 0 = the image's top, or None; one array may be shared by
    several materials. wrap: behavior outside [0, 1] along u and v. alpha_mode: as in glTF; OPAQUE ignores every alpha.
    metallic, roughness: factors in [0, 1], None if the file does not give them. surface_image [H, W, 3] uint8: texture
    with roughness in green and metallic in blue, both linear, times the factors; at the same UVs as `image`. It is None
    unless the reader was told to decode it. index: the material's number in a glTF file.
    """

    name: str = ""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    image: NDArray[np.uint8] | None = field(default=None, repr=False)
    image_name: str = ""
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    nearest: bool = False
    alpha_mode: AlphaMode = "OPAQUE"
    alpha_cutoff: float = 0.5
    metallic: float | None = None
    roughness: float | None = None
    surface_image: NDArray[np.uint8] | None = field(default=None, repr=False)
    unlit: bool = False
    index: int | None = None


@dataclass(frozen=True, eq=False)
class SourcePart:
    """Triangles that share one material, in the file's world frame (scene transforms are applied).

    vertices [V, 3] float64; every vertex is used by a face and finite. faces [F, 3] int32 local ids, counter-clockwise
    seen from outside. uvs [V, 2] float32, origin top left, texture transforms already applied: they address
    `material.image` as they are. vertex_colors [V, 4] float32 sRGB values. normals [V, 3] float32 of unit length.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    material: SourceMaterial = field(default_factory=SourceMaterial)
    uvs: NDArray[np.float32] | None = None
    vertex_colors: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    name: str = ""


@dataclass(frozen=True, eq=False)
class SourceMesh:
    """One mesh file: at least one part with at least one face.

    up: "+Y" (glTF, OBJ) or "+Z" if the format or the file defines it, else None. warnings: one line each, e.g. for a
    missing texture; the mesh is usable all the same.
    """

    path: Path
    parts: tuple[SourcePart, ...]
    warnings: tuple[str, ...] = ()
    up: str | None = None

    @property
    def num_faces(self) -> int:
        """Triangles of all parts."""
        return sum(len(part.faces) for part in self.parts)

    @property
    def num_vertices(self) -> int:
        """Vertices of all parts."""
        return sum(len(part.vertices) for part in self.parts)

    @property
    def colored(self) -> bool:
        """Whether the file defines any color: an image, vertex colors, or a factor that is not white."""
        return any(
            part.material.image is not None
            or part.vertex_colors is not None
            or part.material.base_color[:3] != (1.0, 1.0, 1.0)
            for part in self.parts
        )

    def bounds(self) -> NDArray[np.float64]:
        """[2, 3]: the lowest and the highest corner of the box around all vertices."""
        lows = [part.vertices.min(0) for part in self.parts]
        highs = [part.vertices.max(0) for part in self.parts]
        return np.stack([np.min(lows, 0), np.max(highs, 0)])

    def merged(self) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
        """All parts merged: vertices [ΣV, 3], faces [ΣF, 3] with ids into them, and each face's part [ΣF]."""
        bases = np.cumsum([0] + [len(part.vertices) for part in self.parts])
        faces = [part.faces + np.int32(base) for part, base in zip(self.parts, bases[:-1], strict=True)]
        owner = np.repeat(np.arange(len(self.parts), dtype=np.int32), [len(part.faces) for part in self.parts])
        return np.concatenate([part.vertices for part in self.parts]), np.concatenate(faces), owner

    def transformed(self, matrix: NDArray[np.float64]) -> "SourceMesh":
        """The mesh under an affine 4×4 (column vectors). A mirror reverses the winding, so faces stay outward."""
        return replace(self, parts=tuple(transform_part(part, matrix) for part in self.parts))


def transform_part(part: SourcePart, matrix: NDArray[np.float64]) -> SourcePart:
    """`part` under an affine 4×4 (column vectors). A mirroring matrix reverses the winding."""
    linear = matrix[:3, :3]
    vertices = part.vertices @ linear.T + matrix[:3, 3]
    mirrored = np.linalg.det(linear) < 0
    normals = part.normals
    if normals is not None:
        # The cofactor matrix replaces the inverse transpose: it exists for singular matrices too. Its sign is the
        # determinant's, which is removed: a mirror reverses the winding, and the normal stays on its side.
        cofactors = np.stack([np.cross(linear[(i + 1) % 3], linear[(i + 2) % 3]) for i in range(3)])
        normals = unit_rows(normals.astype(np.float64) @ cofactors.T * (-1 if mirrored else 1), NO_NORMAL)
    faces = np.ascontiguousarray(part.faces[:, ::-1]) if mirrored else part.faces
    return replace(part, vertices=vertices, faces=faces, normals=normals)


def instanced_part(part: SourcePart, matrices: NDArray[np.float64]) -> SourcePart:
    """Copies of `part` under affine matrices [N, 4, 4], as one part."""
    if not len(matrices):
        return replace(part, faces=part.faces[:0])
    copies = [transform_part(part, matrix) for matrix in matrices]
    count = len(part.vertices)

    def repeated(values: NDArray | None) -> NDArray | None:
        return None if values is None else np.concatenate([values] * len(copies))

    return replace(
        part,
        vertices=np.concatenate([copy.vertices for copy in copies]),
        faces=np.concatenate([copy.faces + np.int32(number * count) for number, copy in enumerate(copies)]),
        uvs=repeated(part.uvs),
        vertex_colors=repeated(part.vertex_colors),
        normals=None if part.normals is None else np.concatenate([copy.normals for copy in copies]),
    )


def unit_rows(vectors: NDArray, missing: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> NDArray[np.float32]:
    """Rows [N, 3] scaled to unit length; rows without a direction (zero, NaN or infinite) become `missing`."""
    vectors = np.asarray(vectors, dtype=np.float64)
    scale = np.abs(vectors).max(1, initial=0, keepdims=True)
    vectors = vectors / np.where(scale > 0, scale, 1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), missing).astype(np.float32)
