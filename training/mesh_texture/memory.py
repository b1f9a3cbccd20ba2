"""What a fit of textures takes in memory, estimated before it starts: large meshes are the usual reason to run out."""

import torch

from torch_utils.errors import UserError
from torch_utils.process import available_memory

# Bytes, measured with meshes of 4,000 to a million faces, 4 to 12 images and textures of 64 to 2,048 px.
FACE_BYTES = 500
VIEW_FACE_BYTES = 48
PIXEL_BYTES = 430
TEXEL_BYTES = 250


def fit_bytes(faces: int, views: int, side_px: int, textures: int, size_px: int) -> int:
    """Bytes of a fit of textures of size_px² to `views` images of side_px²."""
    per_view = VIEW_FACE_BYTES * faces + PIXEL_BYTES * side_px**2
    return FACE_BYTES * faces + views * per_view + TEXEL_BYTES * textures * size_px**2


def check_fit(mesh: str, faces: int, views: int, side_px: int, textures: int, size_px: int) -> None:
    """UserError if `fit_bytes` is more than is free, with what would help most. mesh: its name in the message."""
    needed, free = fit_bytes(faces, views, side_px, textures, size_px), available_memory(torch.device("cpu"))
    if free is None or needed <= free:
        return
    parts = {
        "simplify the mesh": (FACE_BYTES + VIEW_FACE_BYTES * views) * faces,
        "use fewer or smaller images": PIXEL_BYTES * side_px**2 * views,
        "choose a smaller --size": TEXEL_BYTES * textures * size_px**2,
    }
    raise UserError(
        f"{mesh}: {faces:,} faces, {views} images of {side_px} px and {textures} textures of {size_px} px need about "
        f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; {max(parts, key=lambda name: parts[name])}"
    )
