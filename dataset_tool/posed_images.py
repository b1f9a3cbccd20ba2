"""Images of one object with their cameras, from a folder with transforms.json."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_tool.format import pixels
from dataset_tool.format.transforms_json import parse_frames
from rendering.camera import Cameras
from torch_utils.errors import UserError
from torch_utils.files import printable


@dataclass(frozen=True, eq=False)
class PosedImages:
    """N images with cameras. rgb [N, 3, H, W]: sRGB, premultiplied; mask [N, 1, H, W]. Both in [0, 1].

    source_to_world: 4×4 that takes the mesh's file to the world of the cameras.
    """

    rgb: Tensor
    mask: Tensor
    cameras: Cameras
    source_to_world: np.ndarray


def read_images(folder: Path) -> PosedImages:
    """The images that `transforms.json` in a folder names, such as a shape's folder of a dataset.

    The mask of an image is its alpha. UserError for images of several sizes, without alpha, or fewer than one.
    """
    path = folder / "transforms.json"
    if not path.is_file():
        raise UserError(f"{printable(folder)}: no transforms.json there; name a folder of images with cameras")
    frames = parse_frames(path.read_bytes(), str(path))
    images = []
    for name in frames.images:
        file = folder / name
        if not file.is_file():
            raise UserError(f"{printable(path)}: names {name}, which is not there")
        images.append(pixels.decode(file.read_bytes(), str(file)))
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1 or len({*sizes.pop()}) > 1:
        raise UserError(f"{printable(folder)}: expected square images of one size")
    stack = torch.from_numpy(np.stack(images).astype(np.float32) / 255).permute(0, 3, 1, 2)
    mask = stack[:, 3:]
    if bool((mask == 1).all()):
        raise UserError(
            f"{printable(folder)}: the images have no alpha, which says where the object is; cut them out first, for "
            "example with rembg"
        )
    pose, focal, principal = (torch.from_numpy(a) for a in (frames.camera_to_world, frames.focal, frames.principal))
    cameras = Cameras(pose, focal, principal)
    meta = folder / "meta.json"
    matrix = np.eye(4)
    if meta.is_file():
        matrix = np.asarray(json.loads(meta.read_bytes()).get("source_to_world", matrix), np.float64)
    return PosedImages(stack[:, :3] * mask, mask, cameras, matrix)
