"""One sample as files: simplified, baked, placed at its pivot, and marked with what made it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from geometry.mesh import Mesh
from geometry.normals import face_cross_products, vertex_normals
from geometry.simplification import largest_component, simplify
from geometry.surface_sampling import sample_surface
from geometry.topology import edge_counts
from mesh_io.write import write_glb, write_hulls, write_mesh, write_ply, write_splats
from mesh_io.writers.export_mesh import ImageFormat
from mesh_io.writers.obj import material_stem
from sampling.texture_baking import ColorField, bake
from torch_utils.errors import UserError
from torch_utils.timing import phase

FileFormat = Literal["glb", "obj", "usdz", "ply", "stl", "splats"]
Pivot = Literal["floor", "center", "source"]
FACES = 8000
TEXTURE_SIZE_PX = 1024
SPLATS = 100_000


@dataclass(frozen=True)
class MeshSettings:
    """How samples become files.

    faces: simplify to about so many; None keeps all. lods: files per sample, each of half the faces and half the
    texture's side of the one before. normal_map: bake the full surface's normals. pivot: what goes to the origin, the
    middle of the base, the center of the bounding box, or the generator's own origin. height_m: scale to this height;
    None keeps the generator's units. largest: keep only the largest connected component. watertight: refuse open
    meshes. hulls: also write convex collision hulls. image_format, draco: see `write_glb`.
    """

    file_format: FileFormat = "glb"
    texture_size_px: int = TEXTURE_SIZE_PX
    faces: int | None = FACES
    lods: int = 1
    normal_map: bool = False
    pivot: Pivot = "floor"
    height_m: float | None = None
    largest: bool = False
    watertight: bool = False
    hulls: bool = False
    image_format: ImageFormat = "png"
    draco: bool = False

    def check(self) -> None:
        """UserError where a package is missing, or the options exclude each other."""
        if self.file_format == "usdz" and find_spec("pxr") is None:
            raise UserError("--format usdz: needs usd-core; install it: pip install -c constraints.txt usd-core")
        if self.hulls and find_spec("coacd") is None:
            raise UserError("--hulls: needs coacd; install it: pip install -c constraints.txt coacd")
        if (self.draco or self.image_format != "png") and self.file_format != "glb":
            raise UserError(f"--format {self.file_format}: --draco and --webp are for GLB files")
        if self.normal_map and self.file_format not in ("glb", "obj", "usdz"):
            raise UserError(f"--format {self.file_format}: holds no normal map; write glb, obj or usdz")
        if self.lods > 1 and self.file_format == "splats":
            raise UserError("--lods: splats have no levels of detail; write glb, obj, usdz, ply or stl")

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def level(self, number: int) -> "MeshSettings":
        """The settings of one level of detail, for a mesh of `faces` faces."""
        faces = None if self.faces is None else max(self.faces >> number, 12)
        return replace(self, faces=faces, texture_size_px=max(self.texture_size_px >> number, 16))


@dataclass(frozen=True)
class Placement:
    """Where a mesh goes: point in the file = scale · (point of the generator − pivot)."""

    pivot: tuple[float, float, float]
    scale: float

    @staticmethod
    def of(mesh: Mesh, pivot: Pivot, height_m: float | None) -> "Placement":
        """The placement of one mesh by its bounding box."""
        low, high = (mesh.vertices.amin(0).double().tolist(), mesh.vertices.amax(0).double().tolist())
        middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        point = {"floor": (middle[0], low[1], middle[2]), "center": tuple(middle), "source": (0.0, 0.0, 0.0)}[pivot]
        return Placement(point, 1.0 if height_m is None else height_m / max(high[1] - low[1], 1e-9))

    def apply(self, mesh: Mesh) -> Mesh:
        """The mesh at its place."""
        moved = (mesh.vertices.double() - torch.tensor(self.pivot, dtype=torch.float64)) * self.scale
        return mesh.replace(vertices=moved.float())

    def matrix(self) -> list[list[float]]:
        """World → file as a 4×4 for column vectors."""
        rows = [
            [0.0] * axis + [self.scale] + [0.0] * (2 - axis) + [-self.scale * self.pivot[axis]] for axis in range(3)
        ]
        return [*rows, [0.0, 0.0, 0.0, 1.0]]


def write_sample(
    folder: Path,
    name: str,
    surface: Mesh,
    color_field: ColorField,
    settings: MeshSettings,
    *,
    unlit: bool = False,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one sample's files to a folder; what samples.json says of it.

    surface: a batch of one, in the generator's frame. about: what made it, for the files that can hold it. Where
    `settings` refuse the mesh, no file is written and the result has "refused", the reason.
    """
    surface = surface.detach().to("cpu")
    if settings.largest:
        surface = largest_component(surface)
    if settings.watertight and not edge_counts(surface).closed:
        return {"files": [], "refused": "it is not watertight"}
    placement = Placement.of(surface, settings.pivot, settings.height_m)
    about = {**(about or {}), "world_to_file": placement.matrix()}
    record: dict[str, Any] = {"world_to_file": placement.matrix(), "files": []}
    if settings.file_format == "splats":
        path = folder / f"{name}.splats.ply"
        _write_splats(path, surface, color_field, placement, about)
        return {**record, "files": [path.name]}
    for level in range(settings.lods):
        own = settings if level == 0 else _level(settings, level, len(surface.faces))
        path = folder / f"{name}{f'_lod{level}' if level else ''}.{settings.file_format}"
        facts = _write_level(path, surface, color_field, own, placement, unlit, about)
        if level == 0:
            record |= facts
        record["files"] += sorted({path.name, *_companions(path)})
    if settings.hulls:
        path = folder / f"{name}_collision.obj"
        write_hulls(path, [placement.apply(hull) for hull in convex_hulls(surface)], name)
        record["files"].append(path.name)
    return record


def _level(settings: MeshSettings, level: int, full: int) -> MeshSettings:
    return replace(settings, faces=min(settings.faces or full, full)).level(level)


def _companions(path: Path) -> Iterator[str]:
    if path.suffix == ".obj":
        for ending in (".mtl", ".png", "_normal.png"):
            if path.with_name(material_stem(path) + ending).is_file():
                yield material_stem(path) + ending


def _write_level(
    path: Path,
    surface: Mesh,
    color_field: ColorField,
    settings: MeshSettings,
    placement: Placement,
    unlit: bool,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write one level of detail; facts about its mesh. PLY has vertex colors, STL none, and the others a texture."""
    if path.suffix in (".ply", ".stl"):
        mesh = surface if settings.faces is None else simplify(surface, settings.faces)[0]
        mesh = mesh.replace(normals=vertex_normals(mesh))
        if path.suffix == ".ply":
            write_ply(path, placement.apply(mesh), color_field(mesh.vertices)[:, :3], about=about)
        else:
            write_mesh(path, placement.apply(mesh))
        return _facts(mesh)
    baked = bake(surface, color_field, settings.texture_size_px, faces=settings.faces, normal_map=settings.normal_map)
    mesh = placement.apply(baked.mesh)
    with phase("encode and write"):
        if path.suffix == ".glb":
            write_glb(path, mesh, unlit=unlit, image_format=settings.image_format, draco=settings.draco, about=about)
        else:
            write_mesh(path, mesh)
    return {**_facts(baked.shape), "atlas_fill": round(baked.fill, 4)}


def _facts(mesh: Mesh) -> dict[str, Any]:
    edges, used = edge_counts(mesh), len(mesh.faces.unique())
    return {
        "faces": len(mesh.faces),
        "vertices": used,
        "closed": edges.closed,
        "euler_number": used - edges.edges + len(mesh.faces),
    }


def _write_splats(
    path: Path, surface: Mesh, color_field: ColorField, placement: Placement, about: dict[str, Any]
) -> None:
    points, normals = sample_surface(surface, SPLATS, torch.Generator().manual_seed(0))
    colors = color_field(points[0].float())[:, :3]
    area = float(face_cross_products(surface).double().norm(dim=1).sum()) / 2
    # Discs of this radius cover the surface about four times, without gaps between random points.
    radius = math.sqrt(4 * area / SPLATS / math.pi) / 2
    placed = placement.apply(Mesh.single(points[0], torch.zeros(1, 3, dtype=torch.int32)))
    write_splats(path, placed.vertices, normals[0], colors, radius * placement.scale, about=about)


def convex_hulls(mesh: Mesh, concavity: float = 0.08) -> list[Mesh]:
    """Convex hulls that cover one closed mesh, by CoACD (Wei et al. 2022).

    concavity: how far a hull may stand off the surface, as a share of the mesh's size.
    """
    import coacd

    coacd.set_log_level("error")
    coarse = simplify(mesh, 4000)[0]
    shape = coacd.Mesh(coarse.vertices.double().numpy(), coarse.faces.numpy().astype(np.int32))
    parts = coacd.run_coacd(shape, threshold=concavity, seed=0)
    return [Mesh.single(torch.from_numpy(np.asarray(v)).float(), torch.from_numpy(np.asarray(f))) for v, f in parts]


def texture_colors(texture: Callable[[Tensor, Tensor], Tensor]) -> ColorField:
    """A color field of one sample, from colors of packed points."""
    return lambda points: texture(points, torch.tensor([0, len(points)]))
