"""Images that are drawn when they are needed, so that a set of 50,000 is never in memory at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.cache import content_key
from rendering.camera import Cameras


@dataclass(frozen=True)
class LazyImages:
    """N images of the shapes of one source.

    draw_rgba(range) -> [B, 4, R, R] uint8, the colors over the background and the coverage. shapes [N]: the row of the
    source that each image shows. cameras: one per image. key: everything the images depend on, as plain values.
    """

    shapes: Sequence[int]
    cameras: Cameras
    draw_rgba: Callable[[range], Tensor]
    key: dict[str, Any]

    def __len__(self) -> int:
        return len(self.shapes)

    def draw(self, part: range) -> Tensor:
        """The colors over the background [B, 3, R, R] uint8."""
        return self.draw_rgba(part)[:, :3]

    def masks(self) -> "LazyImages":
        """The coverage as gray images: the shape apart from its texture."""

        def draw(part: range) -> Tensor:
            return self.draw_rgba(part)[:, 3:].expand(-1, 4, -1, -1)

        return LazyImages(self.shapes, self.cameras, draw, {"masks of": self.key})


@dataclass
class ImageMemory:
    """Images that several scores look at and that are drawn once; beyond `limit` bytes they are drawn again."""

    limit: int
    chunks: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)

    def keep(self, images: LazyImages) -> LazyImages:
        """The same images, whose chunks are remembered."""
        key = content_key(images.key)

        def draw(part: range) -> Tensor:
            name = key, part.start, part.stop
            if name in self.chunks:
                return self.chunks[name]
            drawn = images.draw_rgba(part)
            if sum(chunk.nbytes for chunk in self.chunks.values()) + drawn.nbytes <= self.limit:
                self.chunks[name] = drawn
            return drawn

        return LazyImages(images.shapes, images.cameras, draw, images.key)


def draw_by_shape(
    shapes: Sequence[int], cameras: Cameras, part: range, draw: Callable[[int, Cameras], Tensor]
) -> Tensor:
    """The images of `part` [B, 4, R, R]. Neighbors that show one shape are drawn by one call of `draw`."""
    return torch.cat(
        [draw(row, cameras[list(indices)]) for row, indices in groupby(part, key=lambda index: shapes[index])]
    )


def over_gray(rgba: NDArray[np.uint8], background: float) -> NDArray[np.uint8]:
    """An image [R, R, 4] uint8 with premultiplied alpha over a gray in [0, 1]; alpha stays what it was."""
    if background == 0:
        return rgba
    behind = (255 - rgba[..., 3:].astype(np.float32)) * background
    colors = (rgba[..., :3] + behind).round().clip(0, 255).astype(np.uint8)
    return np.concatenate([colors, rgba[..., 3:]], axis=-1)


def stack_images(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Images [R, R, C] uint8 as one tensor [B, C, R, R]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def to_uint8_truncating(rgb: Tensor) -> Tensor:
    """Images in [−1, 1] as uint8: ×127.5 + 128, then the fraction is dropped, as in GET3D and StyleGAN.

    Published FIDs were measured with it. Everything else rounds (`rendering.images.to_uint8`).
    """
    return (rgb * 127.5 + 128).clamp(0, 255).to(torch.uint8)
