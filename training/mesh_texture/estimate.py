"""What a fit of textures takes in memory and time, estimated before it starts: large meshes take much of both."""

from dataclasses import dataclass

import torch

from torch_utils.errors import UserError
from torch_utils.process import available_memory
from training.run.run_log import duration

# Bytes, measured with meshes of 4,000 to a million faces, 4 to 12 images and textures of 64 to 2,048 px.
FACE_BYTES = 500
VIEW_FACE_BYTES = 48
PIXEL_BYTES = 430
TEXEL_BYTES = 250
# Of the deep image prior, for each texel and channel.
PRIOR_BYTES = 80
# Of the making of UVs, which is over before the rest begins: bytes, and seconds on one core of an AMD EPYC.
UNWRAP_FACE_BYTES = 1800
UNWRAP_FACE_S = 4e-5


@dataclass(frozen=True)
class FitSize:
    """What a fit works on. views: images of side_px² that are held at once. textures: of size_px².

    width: channels of the deep image prior; 0 for another parameterization. has_uvs: whether the file brings UVs.
    """

    faces: int
    views: int
    side_px: int
    textures: int
    size_px: int
    width: int = 0
    has_uvs: bool = True


def fit_bytes(size: FitSize) -> int:
    """Bytes of a fit."""
    return sum(_bytes_of(size).values())


def _bytes_of(size: FitSize) -> dict[str, int]:
    """Bytes by what would save them."""
    per_face = max(FACE_BYTES + VIEW_FACE_BYTES * size.views, 0 if size.has_uvs else UNWRAP_FACE_BYTES)
    per_texel = TEXEL_BYTES * size.textures + PRIOR_BYTES * size.width
    return {
        "simplify the mesh": per_face * size.faces,
        "use fewer or smaller images": PIXEL_BYTES * size.side_px**2 * size.views,
        "choose a smaller --size": per_texel * size.size_px**2,
    }


def estimate_line(mesh: str, size: FitSize, steps: int, seconds: float) -> str:
    """What is said beforehand of a fit that takes long. mesh: its name."""
    needed = f"{fit_bytes(size) / 1e9:.1f} GB of memory"
    return f"{mesh}: {size.faces:,} faces, {steps} steps: about {duration(seconds)} and {needed}"


def check_fit(mesh: str, size: FitSize) -> None:
    """UserError if `fit_bytes` is more than is free, with what would help most. mesh: its name in the message."""
    needed, free = fit_bytes(size), available_memory(torch.device("cpu"))
    if free is None or needed <= free:
        return
    parts = _bytes_of(size)
    shown = f"{size.views} images of {size.side_px} px and {size.textures} textures of {size.size_px} px"
    raise UserError(
        f"{mesh}: {size.faces:,} faces, {shown} need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
        f"{max(parts, key=lambda name: parts[name])}"
    )
