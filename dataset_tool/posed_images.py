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

    The mask of an image is its alpha, or the image that the frame names as `mask_path` (white = object). UserError for
    images of several sizes, images without a mask, a damaged meta.json, or fewer than one image.
    """
    path = folder / "transforms.json"
    if not path.is_file():
        raise UserError(f"{printable(folder)}: no transforms.json there; name a folder of images with cameras")
    frames = parse_frames(path.read_bytes(), str(path))
    images = []
    for name, mask_name in zip(frames.images, frames.masks, strict=True):
        image = pixels.decode(_read(folder, name), str(folder / name))
        if mask_name is not None:
            own, _ = pixels.decode_mask(_read(folder, mask_name), str(folder / mask_name))
            if own.shape != image.shape[:2]:
                size, needed = (f"{shape[1]} × {shape[0]}" for shape in (own.shape, image.shape))
                raise UserError(f"{printable(folder / mask_name)}: is {size} px, and its image {needed}")
            image = np.concatenate([image[..., :3], own[..., None]], -1)
        images.append(image)
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1 or len({*sizes.pop()}) > 1:
        raise UserError(f"{printable(folder)}: expected square images of one size")
    stack = torch.from_numpy(np.stack(images).astype(np.float32) / 255).permute(0, 3, 1, 2)
    mask = stack[:, 3:]
    opaque = [name for name, own in zip(frames.images, mask, strict=True) if bool((own == 1).all())]
    if opaque:
        which = "the images have" if len(opaque) == len(images) else f"{len(opaque)} of {len(images)} images have"
        raise UserError(
            f"{printable(folder)}: {which} no alpha, which says where the object is ({opaque[0]}); cut them out first, "
            "for example with rembg, or name masks as mask_path in transforms.json"
        )
    pose, focal, principal = (torch.from_numpy(a) for a in (frames.camera_to_world, frames.focal, frames.principal))
    cameras = Cameras(pose, focal, principal)
    return PosedImages(stack[:, :3] * mask, mask, cameras, _source_to_world(folder / "meta.json"))


def _read(folder: Path, name: str) -> bytes:
    file = folder / name
    if not file.is_file():
        raise UserError(f"{printable(folder / 'transforms.json')}: names {name}, which is not there")
    return file.read_bytes()


def _source_to_world(path: Path) -> np.ndarray:
    """The 4×4 matrix in a shape's meta.json; the identity without one."""
    if not path.is_file():
        return np.eye(4)
    try:
        matrix = np.asarray(json.loads(path.read_bytes()).get("source_to_world", np.eye(4)), np.float64)
    except (ValueError, TypeError, AttributeError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise UserError(f"{printable(path)}: expected a 4 × 4 source_to_world; correct it, or remove the file")
    return matrix
