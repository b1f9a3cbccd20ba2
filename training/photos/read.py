"""Photos of an object: read, cut out, and framed as a prior sees objects."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from dataset_tool.format import pixels
from sampling.projection_target import resampled_square
from torch_utils.errors import UserError
from torch_utils.files import printable, read_file

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# As published; more may help, fewer let the prior learn their background and pose.
FEWEST, MOST = 3, 32
# Of an image without alpha: how far, of 255, its border may be from one color, and which share of it must be that near.
PLAIN, PLAIN_SHARE = 16, 0.98
# The least and the largest share of an image that an object may cover.
COVER = (0.002, 0.98)
# Alpha above which a pixel counts for where the object is.
OPAQUE = 0.5
# Longest side of the object as a share of the image, and the gray behind it: close to that of the included prior, so
# that what the photos add to the prior is not a background.
FILL, GROUND = (0.6, 0.9), (0.6, 0.8)


@dataclass(frozen=True, eq=False)
class Photos:
    """N images [4, H, W] of an object, each of its own size: premultiplied sRGB and coverage in [0, 1].

    notes: what a user should know, a line each.
    """

    images: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()


def read_photos(folder: Path) -> Photos:
    """The images of a folder, by name; other files do not count.

    The alpha of an image says where the object is. Without alpha, the border of the image must have one color, and what
    connects to it in that color is not the object. UserError for a folder without images, or with more than 32, an
    image that cannot be read, one with neither alpha nor a plain border, and one that shows nothing, or that faintly.
    """
    if not folder.is_dir():
        raise UserError(f"--photos {printable(folder)}: no such folder; name a folder of 3 to 5 images of one object")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != ".")
    if not files:
        raise UserError(f"--photos {printable(folder)}: holds no image; expected 3 to 5 .png, .jpg or .webp files")
    if len(files) > MOST:
        raise UserError(f"--photos {printable(folder)}: holds {len(files)} images; 3 to 5 of one object are enough")
    images = tuple(_read(path) for path in files)
    few = f"--photos {printable(folder)}: holds {len(files)} of the 3 to 5 images that a prior learns an object from"
    return Photos(images, (few,) if len(files) < FEWEST else ())


def _read(path: Path) -> Tensor:
    """[4, H, W] of a file."""
    try:
        rgba = pixels.decode(read_file(path), printable(path), foreign=True)
    except UserError as error:
        raise UserError(str(error).replace("render the shape again", "save it again, or remove it")) from None
    if rgba[..., 3].min() == 255:
        rgba = np.concatenate([rgba[..., :3], _without_plain_border(rgba[..., :3], path)[..., None]], -1)
    values = torch.from_numpy(rgba.astype(np.float32) / 255).permute(2, 0, 1)
    cover = float(values[3].mean())
    if not COVER[0] <= cover <= COVER[1]:
        shows = "nothing" if cover < COVER[0] else "nothing but the object"
        raise UserError(f"{printable(path)}: shows {shows}; its alpha covers {cover:.1%} of it")
    largest = float(values[3].max())
    if largest <= OPAQUE:
        raise UserError(f"{printable(path)}: is no more than {largest:.0%} opaque anywhere; give the object full alpha")
    return torch.cat([values[:3] * values[3:], values[3:]])


def _without_plain_border(rgb: np.ndarray, path: Path) -> np.ndarray:
    """Coverage [H, W] uint8 of the object on a background of one color. rgb [H, W, 3] uint8."""
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]).astype(np.int16)
    color = np.median(border, 0)
    if (np.abs(border - color).max(1) <= PLAIN).mean() < PLAIN_SHARE:
        raise UserError(
            f"{printable(path)}: has no alpha, and its border is not of one color, so nothing says where the object "
            f"is; cut it out and remove the original: rembg i {shlex.quote(path.name)} {shlex.quote(path.stem)}-cut.png"
        )
    parts, _ = ndimage.label(np.abs(rgb.astype(np.int16) - color).max(2) <= PLAIN)
    around = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.where(np.isin(parts, around[around > 0]), 0, 255).astype(np.uint8)


def framed_photos(photos: Photos, side_px: int, each: int, rng: np.random.Generator) -> Tensor:
    """`each` images of every photo [N · each, 3, S, S] in [0, 1]: its object in several sizes and places, on gray."""
    return torch.stack([_framed(image, side_px, rng) for image in photos.images for _ in range(each)])


def _framed(image: Tensor, side_px: int, rng: np.random.Generator) -> Tensor:
    rows, columns = (image[3] > OPAQUE).nonzero(as_tuple=True)
    low = np.array([int(rows.min()), int(columns.min())])
    high = np.array([int(rows.max()), int(columns.max())]) + 1
    longest = int((high - low).max())
    side = longest / rng.uniform(*FILL)
    middle = (low + high) / 2 + rng.uniform(-0.4, 0.4, 2) * (side - longest)
    square = _crop(image, middle, max(1, round(side)))
    resized = resampled_square(square[None], side_px)[0]
    return resized[:3] + (1 - resized[3:]) * float(rng.uniform(*GROUND))


def _crop(image: Tensor, middle: np.ndarray, side: int) -> Tensor:
    """A square [C, side, side] around a pixel; zero beyond the image."""
    square = image.new_zeros(len(image), side, side)
    top, left = (round(float(value) - side / 2) for value in middle)
    height, width = image.shape[1:]
    inside = image[:, max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    at, along = max(0, -top), max(0, -left)
    square[:, at : at + inside.shape[1], along : along + inside.shape[2]] = inside
    return square
