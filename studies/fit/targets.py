"""The shapes that the fitting study reconstructs, and their views."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import trimesh
from torch import Tensor

from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMesh
from rendering.camera import Cameras, fov_from_sensor
from rendering.deferred import rasterize_mesh, visible_points
from rendering.images import over_background, to_uint8
from rendering.look import Look
from rendering.textured.scene import Scene, build_scene
from rendering.textured.views import render_views

SCALE = 0.8  # longest side of a shape, world units; the box has 1
# Two linked rings: radii of ring and tube, and the distance of each center from the origin along x.
RING, TUBE, SHIFT = 0.22, 0.065, 0.11


@dataclass(frozen=True)
class Target:
    """A shape with its training and held-out views.

    scene: the shape itself. views [N, 4, R, R]: RGB over black, premultiplied, then coverage, in [0, 1]. surface
    [P, 3]: points that the views see, world units.
    """

    name: str
    scene: Scene
    cameras: Cameras
    views: Tensor
    held_out: Cameras
    held_out_views: Tensor
    surface: Tensor


def build_target(name: str, folder: Path | None, resolution: int, views: int) -> Target:
    """A target by name: "torus", "rings" or a model's file in `folder`, such as "kenney_chair.obj"."""
    source = _analytic(name) if name in ("torus", "rings") else read_mesh(_existing(folder, name))
    world, _ = normalize(source, up="+Y", front="+Z", scale=SCALE)
    scene = build_scene(world)
    cameras, held_out = spread_cameras(views, 0.0), spread_cameras(8, 0.37)
    raster = rasterize_mesh(scene.mesh, cameras, 128)
    return Target(
        Path(name).stem,
        scene,
        cameras,
        _views(scene, cameras, resolution, Look()),
        held_out,
        _views(scene, held_out, 512, Look()),
        visible_points(raster, gradient=False),
    )


def spread_cameras(count: int, start: float) -> Cameras:
    """Cameras all around, from 40° below the horizon to 60° above; `start` turns them, in steps of the golden angle."""
    steps = torch.arange(count) + start
    azimuth = steps * (math.pi * (3 - math.sqrt(5)))
    elevation = torch.deg2rad(-40 + 100 * ((steps + 0.5) / count).frac())
    return Cameras.orbit(azimuth, elevation, 1.3, fov_from_sensor(32, 35))


def _views(scene: Scene, cameras: Cameras, resolution: int, look: Look) -> Tensor:
    images = render_views(scene, cameras, resolution, look).images
    straight = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return torch.cat([straight[:, :3] * straight[:, 3:], straight[:, 3:]], 1)


def colored_mesh(name: str, mesh: trimesh.Trimesh, colors: np.ndarray) -> SourceMesh:
    """A mesh with colors of its vertices [V, 3] in [0, 1], as a file of it would be read."""
    rgba = np.concatenate([colors * 255, np.full((len(colors), 1), 255)], 1).astype(np.uint8)
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / f"{name}.ply"
        trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=rgba, process=False).export(file)
        return read_mesh(file)


def lit_views(scene: Scene, cameras: Cameras, resolution: int) -> np.ndarray:
    """Images for people [N, R, R, 3] uint8: studio light, a light background."""
    views = _views(scene, cameras, resolution, Look("soft", occlusion=True))
    return to_uint8(over_background(views[:, :3], views[:, 3:]) * 2 - 1)


def _existing(folder: Path | None, name: str) -> Path:
    if folder is None or not (folder / name).is_file():
        raise FileNotFoundError(f"{name}: expected a model of that name in the folder of --models, {folder}")
    return folder / name


def _analytic(name: str) -> SourceMesh:
    """A torus, or two linked rings, with colors that change along the surface."""
    if name == "torus":
        parts = [trimesh.creation.torus(0.28, 0.12, 96, 48)]
    else:
        parts = [trimesh.creation.torus(RING, TUBE, 96, 32) for _ in range(2)]
        parts[1].apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0]))
        for part, side in zip(parts, (-1, 1), strict=True):
            part.apply_translation([side * SHIFT, 0, 0])
    mesh = trimesh.util.concatenate(parts)
    assert isinstance(mesh, trimesh.Trimesh)
    return colored_mesh(name, mesh, 0.5 + 0.45 * np.sin(9 * mesh.vertices + np.array([0.0, 1.0, 2.0])))


def ring_axes() -> Sequence[tuple[Tensor, Tensor, Tensor]]:
    """Center and the two axes of the plane of each ring of "rings", as `build_target` scales them."""
    longest = 2 * (RING + TUBE + SHIFT)
    x, y, z = torch.eye(3)
    center = torch.tensor([SHIFT * SCALE / longest, 0.0, 0.0])
    return ((-center, x, y), (center, x, z))
