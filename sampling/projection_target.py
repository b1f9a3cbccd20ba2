"""What is projected: an image with alpha, a folder of posed images, or a mesh."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dataset_tool.format import pixels
from dataset_tool.posed_images import read_images
from dataset_tool.render.render_dataset import DEFAULT_SCALE, SCALES
from dataset_tool.render.render_shape import RenderSettings, Shading, render_shape
from dataset_tool.sources.find_shapes import ShapeFile
from mesh_io.find_meshes import MESH_SUFFIXES
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution, ScalarDistribution
from torch_utils.errors import UserError
from torch_utils.files import printable, read_file

# Views of a mesh.
AZIMUTHS_DEG = (20.0, 80.0, 140.0, 200.0, 260.0, 320.0)
# The least share of an image that an object must cover.
SMALLEST_COVER = 0.002


@dataclass(frozen=True, eq=False)
class ProjectionTarget:
    """One object. images [N, 4, R, R]: premultiplied sRGB and coverage in [0, 1]. cameras: N; None for one image whose
    camera is not known."""

    name: str
    images: Tensor
    cameras: Cameras | None


def read_projection_target(
    path: Path, resolution: int, distribution: CameraDistribution, shading: Shading = "albedo"
) -> ProjectionTarget:
    """An image file, a folder with transforms.json, or a mesh file, at the network's resolution.

    distribution, shading: of the network's training views; meshes are drawn with its middle elevation, distance and
    lens. UserError for a file that is none of these, or an image without alpha.
    """
    if path.is_dir():
        posed = read_images(path)
        images, cameras = torch.cat([posed.rgb, posed.mask], 1), posed.cameras
    elif path.suffix.lower() in MESH_SUFFIXES:
        images, cameras = _views_of_mesh(path, resolution, distribution, shading)
    else:
        images, cameras = _image(path), None
    if float(images[:, 3].mean((1, 2)).min()) < SMALLEST_COVER:
        raise UserError(f"{printable(path)}: an image shows nothing; its alpha is 0 almost everywhere")
    name = path.resolve().name if path.name in ("", "..") else path.stem  # the folder "."
    return ProjectionTarget(name, resampled_square(images, resolution), cameras)


def _image(path: Path) -> Tensor:
    """[1, 4, S, S], padded to a square."""
    rgba = pixels.decode(read_file(path), printable(path), foreign=True)
    if rgba[..., 3].min() == 255:
        raise UserError(
            f"{printable(path)}: has no alpha, which says where the object is; cut it out first, for example with rembg"
        )
    height, width = rgba.shape[:2]
    side = max(height, width)
    padded = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = rgba
    return _premultiplied(padded[None])


def _premultiplied(rgba: np.ndarray) -> Tensor:
    values = torch.from_numpy(rgba.astype(np.float32) / 255).permute(0, 3, 1, 2)
    return torch.cat([values[:, :3] * values[:, 3:], values[:, 3:]], 1)


def _views_of_mesh(
    path: Path, resolution: int, distribution: CameraDistribution, shading: Shading
) -> tuple[Tensor, Cameras]:
    middle = {
        name: ScalarDistribution(fixed=sum(getattr(distribution, name).bounds()) / 2)
        for name in ("elevation_deg", "radius", "fov_y_deg")
    }
    around = CameraDistribution(name="around", azimuth_deg=ScalarDistribution(list=AZIMUTHS_DEG), **middle)
    scale = SCALES.get(distribution.name, DEFAULT_SCALE)
    settings = RenderSettings(resolution, len(AZIMUTHS_DEG), around, scale, shading)
    record, _ = render_shape(ShapeFile(path.stem, path, path.parent), settings)
    return _premultiplied(record.images), record.cameras


def resampled_square(images: Tensor, resolution: int) -> Tensor:
    """Premultiplied square images [N, C, S, S] at another side; averaged where they get smaller."""
    if images.shape[-1] == resolution:
        return images
    return functional.interpolate(images, (resolution, resolution), mode="bilinear", antialias=True).clamp(0, 1)
