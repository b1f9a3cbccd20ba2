"""Procedural shapes: closed, textured parts, their materials, a caption and attributes.

Shapes are built in meters with +Y up, the front towards +Z, standing on y = 0; `write.py` rotates them to ShapeNet's
frame. Texture coordinates are meters on the surface, and a material has the size of its image in meters, so textures
are not stretched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int32]


@dataclass(frozen=True)
class ProceduralPart:
    """One closed surface with outward winding.

    vertices: [V, 3] meters. faces: [F, 3] into vertices. uvs: [U, 2] meters, v along the grain. uv_faces: [F, 3] into
    uvs, which are separate because of seams. material: a key of `ProceduralShape.materials`.
    """

    vertices: Array
    faces: Indices
    uvs: Array
    uv_faces: Indices
    material: str

    def moved(self, offset: Sequence[float] | Array) -> "ProceduralPart":
        """The part shifted by `offset` (x, y, z) meters."""
        return replace(self, vertices=self.vertices + np.asarray(offset, float))

    def mirrored(self) -> "ProceduralPart":
        """The part mirrored at the plane x = 0, still with outward winding."""
        return replace(
            self,
            vertices=self.vertices * (-1.0, 1.0, 1.0),
            faces=np.ascontiguousarray(self.faces[:, ::-1]),
            uv_faces=np.ascontiguousarray(self.uv_faces[:, ::-1]),
        )

    def rotated(
        self, angle_rad: float, axis: int = 1, pivot: Sequence[float] | Array = (0.0, 0.0, 0.0)
    ) -> "ProceduralPart":
        """The part rotated counter-clockwise about the coordinate `axis` (0, 1, 2) through `pivot`."""
        cos, sin = np.cos(angle_rad), np.sin(angle_rad)
        matrix = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = cos, -sin, sin, cos
        center = np.asarray(pivot, float)
        return replace(self, vertices=(self.vertices - center) @ matrix.T + center)

    def painted(self, material: str) -> "ProceduralPart":
        """The part with another material."""
        return replace(self, material=material)

    def volume(self) -> float:
        """Enclosed volume in cubic meters; positive for outward winding."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        return float(np.einsum("fi,fi->", a, np.cross(b, c))) / 6.0

    def normals(self) -> Array:
        """Area-weighted unit vertex normals [V, 3]."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        facing = np.cross(b - a, c - a)
        count = len(self.vertices)
        corners = self.faces.ravel()
        total = np.stack([np.bincount(corners, np.repeat(facing[:, k], 3), count) for k in range(3)], axis=1)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class ProceduralMaterial:
    """An image for a surface, with its size and its description.

    image: [H, W, 3] uint8 sRGB, tileable. span: width and height of the image in meters. kind: "wood", "fabric", ... .
    color: a plain color word. shine: MTL specular in [0, 1]. metallic, roughness in [0, 1]: MTL Pm and Pr. label: its
    name in captions ("oak", "striped blue fabric", "black metal").
    """

    image: NDArray[np.uint8]
    span: tuple[float, float]
    kind: str
    color: str
    label: str
    shine: float = 0.1
    metallic: float = 0.0
    roughness: float = 0.5


@dataclass(frozen=True)
class ProceduralShape:
    """A finished object. attributes: words and numbers for text control. synset: ShapeNet's folder."""

    category: str
    synset: str
    class_name: str
    parts: tuple[ProceduralPart, ...]
    materials: dict[str, ProceduralMaterial]
    caption: str
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)

    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper corner [3] of the bounding box, meters."""
        points = np.concatenate([part.vertices for part in self.parts])
        return points.min(axis=0), points.max(axis=0)

    def num_faces(self) -> int:
        """Triangles in all parts."""
        return sum(len(part.faces) for part in self.parts)


def with_mirror(parts: Iterable[ProceduralPart]) -> list[ProceduralPart]:
    """The parts and their mirror images at x = 0."""
    parts = list(parts)
    return parts + [part.mirrored() for part in parts]


def grounded(parts: Sequence[ProceduralPart]) -> list[ProceduralPart]:
    """The parts moved such that the lowest point is on y = 0 and the x and z extents are centered."""
    points = np.concatenate([part.vertices for part in parts])
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    offset = -np.array([middle[0], low[1], middle[2]])
    return [part.moved(offset) for part in parts]


def used_materials(
    parts: Iterable[ProceduralPart], materials: dict[str, ProceduralMaterial]
) -> dict[str, ProceduralMaterial]:
    """Those of `materials` that a part has, sorted by name."""
    return {name: materials[name] for name in sorted({part.material for part in parts})}


def scattered_uvs(parts: Sequence[ProceduralPart], rng: np.random.Generator) -> list[ProceduralPart]:
    """The parts with randomly shifted texture coordinates, so that neighbors do not show the same grain."""
    return [replace(part, uvs=part.uvs + rng.uniform(0, 1, 2)) for part in parts]
