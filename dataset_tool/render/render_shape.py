"""Render one shape, from a mesh file to its folder in the dataset."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from dataset_tool.fingerprint import geometry_fingerprint
from dataset_tool.format.writer import ShapeRecord, shape_folder, write_shape
from dataset_tool.render.blender import SAMPLES, blender_views, find_blender
from dataset_tool.render.framing import fitting_scale
from dataset_tool.render.lights import check_light, environments_of, light_facts, light_indices
from dataset_tool.render.points import surface_points
from dataset_tool.sources.find_shapes import ShapeFile
from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMesh
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from rendering.lighting import LightName, Shading
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import RenderedViews, render_views
from torch_utils.errors import UserError
from torch_utils.failures import failure_line, traceback_of
from torch_utils.files import WriteError, file_hash, printable
from torch_utils.seeding import sample_rng

NUM_POINTS = 2048
Extra = Literal["depth", "normal", "mask", "material"]
RendererName = Literal["built-in", "blender"]


@dataclass(frozen=True)
class RenderSettings:
    """All settings that affect the views of a shape.

    resolution: side, px. scale: longest side of a shape, world units. supersample: raster samples along a pixel's side.
    extras: arrays to store with the views. allow_outside: meshes may use textures outside the source folder.
    light: of "soft" and "pbr" shading (`lights.py`). occlusion: of both, by the built-in renderer. samples: per pixel,
    for Cycles only. fit: make shapes smaller that an image would cut. visible_points: surface points only where the
    surface can be seen from outside.
    """

    resolution: int
    views: int
    camera_distribution: CameraDistribution
    scale: float
    shading: Shading = "albedo"
    supersample: int = 2
    seed: int = 0
    image_format: Literal["png", "webp"] = "png"
    backend: str = "auto"
    extras: tuple[Extra, ...] = ()
    allow_outside: bool = False
    renderer: RendererName = "built-in"
    light: str = "studio"
    occlusion: bool = False
    samples: int = SAMPLES
    device: str = "cpu"
    fit: bool = False
    visible_points: bool = False

    def check(self) -> None:
        """UserError for incompatible settings and for a renderer that is not installed."""
        if self.renderer == "blender":
            if self.shading == "normals":
                raise UserError("--renderer blender: has no --shading normals; use built-in")
            find_blender()
            if self.occlusion or set(self.extras) - {"mask"}:
                raise UserError("--renderer blender: has no --occlusion and, of --extra, mask only; use built-in")
        if self.occlusion and self.shading in ("albedo", "normals"):
            raise UserError(f"--occlusion: darkens light, and --shading {self.shading} has none; use --shading soft")
        check_light(self.light, self.shading)

    def facts(self) -> dict[str, Any]:
        """The settings that dataset.json records. Some are recorded only if they differ from their defaults."""
        facts: dict[str, Any] = {
            "name": self.renderer,
            "shading": self.shading,
            "supersample": self.supersample,
            "scale": self.scale,
            "extras": list(self.extras),
        }
        if self.renderer == "blender":
            facts["samples"] = self.samples
        if self.shading == "pbr":
            facts |= {"light": self.light} | light_facts(self.light)
            return facts | {name: True for name in ("occlusion", "fit", "visible_points") if getattr(self, name)}
        unusual = {"light": self.light != "studio", "occlusion": self.occlusion, "fit": self.fit}
        unusual["visible_points"] = self.visible_points
        return facts | {name: getattr(self, name) for name, said in unusual.items() if said}


@dataclass(frozen=True)
class ShapeReport:
    """The outcome for a shape.

    failure: why it was not rendered. fatal: no shape can be (full disk). traceback: of a failure without a known cause.
    """

    shape_id: str
    faces: int = 0
    warnings: tuple[str, ...] = ()
    failure: str | None = None
    fatal: bool = False
    traceback: str = ""


def shape_seed(seed: int, shape_id: str) -> int:
    """The seed of everything random about a shape; depends on the job's seed and the id only."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{shape_id}".encode()).digest()[:8], "big")


def run_shape(source: ShapeFile, settings: RenderSettings, root: Path) -> ShapeReport:
    """Render one shape into the dataset at `root`. Its errors are reported, not raised."""
    if (folder := shape_folder(root, source.id)).is_dir():
        # Rendered by a process that died before it reported. The folder has all that the report needs.
        meta = json.loads((folder / "meta.json").read_bytes())
        return ShapeReport(source.id, meta["faces"], tuple(meta["warnings"]))
    try:
        record, mesh = render_shape(source, settings)
        write_shape(root, record, settings.image_format)
    except WriteError as error:
        return ShapeReport(source.id, failure=str(error), fatal=True)
    # A foreign mesh may break any library in any way, and no shape may end the job of all.
    except Exception as error:  # noqa: BLE001
        line = failure_line(error)
        failure = line if isinstance(error, UserError) else f"{source.path}: {line}"
        return ShapeReport(source.id, failure=failure, traceback=traceback_of(error))
    return ShapeReport(source.id, mesh.num_faces, _warnings(mesh))


def _warnings(mesh: SourceMesh) -> tuple[str, ...]:
    """Lines that do not depend on where the file lies, so that neither does the dataset."""
    missing = () if mesh.colored else ("has no texture and no colors; rendered white",)
    return (*mesh.warnings, *missing)


def render_shape(source: ShapeFile, settings: RenderSettings) -> tuple[ShapeRecord, SourceMesh]:
    """The record of one shape, and its mesh in world units. Depends on the file and the settings only."""
    surfaces = settings.shading == "pbr" or "material" in settings.extras
    read = read_mesh(source.path, root=source.root, allow_outside=settings.allow_outside, surfaces=surfaces)
    scale = settings.scale
    mesh, source_to_world = normalize(read, source.up, source.front, scale)
    geometry = geometry_fingerprint(mesh)
    seed = shape_seed(settings.seed, source.id)
    cameras = settings.camera_distribution.sample(seed, range(settings.views))
    if settings.fit and (fitting := fitting_scale(mesh, cameras, scale)) < scale:
        scale = fitting
        mesh, source_to_world = normalize(read, source.up, source.front, scale)
    lights = light_indices(settings.light, seed, settings.views) if settings.shading == "pbr" else []
    views = _render(mesh, cameras, settings, lights)
    if not views.images[..., 3].any():
        raise UserError(f"{source.path}: nothing of it is visible in any view (faces thinner than a pixel?)")
    rng = sample_rng(seed, 0, "surface points")
    points, normals = surface_points(mesh, NUM_POINTS, rng, visible=settings.visible_points)
    meta = _meta(source, mesh, geometry, source_to_world, scale)
    if lights:
        meta["lights"] = lights
    record = ShapeRecord(source.id, views.images, cameras, points, normals, meta, _extras(views, settings.extras))
    return record, mesh


def _render(mesh: SourceMesh, cameras: Cameras, settings: RenderSettings, lights: list[int]) -> RenderedViews:
    look = _look(settings, lights)
    if settings.renderer == "blender":
        views = blender_views(
            mesh,
            cameras,
            settings.resolution,
            look,
            supersample=settings.supersample,
            samples=settings.samples,
            device=settings.device,
        )
        return RenderedViews(views.images)
    return render_views(
        build_scene(mesh),
        cameras,
        settings.resolution,
        look,
        supersample=settings.supersample,
        backend=settings.backend,
        device=settings.device,
        geometry=bool(set(settings.extras) & {"depth", "normal", "material"}),
    )


def _look(settings: RenderSettings, lights: list[int]) -> Look:
    """lights: `light_indices` of the views. Blender's light is always blocked by what stands in its way."""
    occlusion = settings.occlusion or settings.renderer == "blender"
    if settings.shading == "pbr":
        return Look("pbr", environments=environments_of(settings.light, lights), occlusion=occlusion)
    if settings.shading == "soft":
        return Look("soft", cast(LightName, settings.light), occlusion=occlusion)
    return Look(settings.shading, occlusion=occlusion)


def _meta(
    source: ShapeFile, mesh: SourceMesh, geometry: dict[str, Any], source_to_world: np.ndarray, scale: float
) -> dict[str, Any]:
    return {
        "id": source.id,
        "caption": source.caption,
        "attributes": source.attributes,
        "class": source.class_name,
        "synset": source.synset,
        "source": printable(source.path.relative_to(source.root).as_posix()),
        "sha256": file_hash(source.path),
        "geometry": geometry,
        "source_to_world": source_to_world.tolist(),
        "scale": scale,
        "faces": mesh.num_faces,
        "vertices": mesh.num_vertices,
        "colored": mesh.colored,
        "warnings": list(_warnings(mesh)),
    }


def _extras(views: RenderedViews, extras: tuple[Extra, ...]) -> Mapping[str, Mapping[str, np.ndarray]]:
    files: dict[str, dict[str, np.ndarray]] = {}
    if "depth" in extras and views.depth is not None:
        files["depth.npz"] = {"depth": views.depth}
    if "normal" in extras and views.normals is not None:
        files["normal.npz"] = {"normal": views.normals}
    if "material" in extras and views.surfaces is not None:
        files["material.npz"] = {"material": views.surfaces}
    if "mask" in extras:
        files["mask.npz"] = {"mask": views.images[..., 3]}
    return files
