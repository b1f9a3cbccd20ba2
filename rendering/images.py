"""Images of many samples: sheets and strips."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rendering.camera import Cameras, fov_from_sensor
from torch_utils.files import replacing

# The views of sample sheets: the published camera, a little from the right and from above.
SHEET_AZIMUTH_DEG = 35.0
SHEET_ELEVATION_DEG = 20.0


def orbit_cameras(
    azimuths_deg: Sequence[float], elevation_deg: float = SHEET_ELEVATION_DEG, radius: float = 1.2
) -> Cameras:
    """Cameras around the object at one elevation, with the published lens (32 mm sensor, 35 mm focal length)."""
    azimuth = torch.deg2rad(torch.tensor(list(azimuths_deg), dtype=torch.float32))
    elevation = torch.full_like(azimuth, math.radians(elevation_deg))
    return Cameras.orbit(azimuth, elevation, radius, fov_from_sensor(32, 35))


def to_uint8(images: Tensor) -> np.ndarray:
    """Images [N, 3, H, W] in [−1, 1] as uint8 [N, H, W, 3]."""
    scaled = (images.detach().float() * 127.5 + 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def grid(images: np.ndarray, columns: int | None = None, gap_px: int = 0, background: int = 255) -> np.ndarray:
    """Tile images [N, H, W, C] row by row into one [H', W', C]; columns default to the squarest grid."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full(
        (rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px, channels), background, images.dtype
    )
    for i, image in enumerate(images):
        y, x = (i // columns) * (height + gap_px), (i % columns) * (width + gap_px)
        sheet[y : y + height, x : x + width] = image
    return sheet


def save_png(path: Path, image: np.ndarray) -> None:
    """Write a image [H, W, 3 or 4] uint8; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
