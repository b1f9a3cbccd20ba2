"""Texture images, decoded once to uint8 arrays of bounded size."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mesh_io.image_values import image_values
from mesh_io.readers.source_files import SourceFiles, not_the_file
from torch_utils.errors import UserError, decoding

MAX_TEXTURE_PX = 4096  # larger images are reduced: no render resolves more
FREE_BYTES = 200 << 20  # what the textures of a mesh may take in memory, besides ten times the size of their files
RESIZABLE = ("L", "LA", "RGB", "RGBA")
_LIMIT_LOCK = threading.Lock()


class TextureCache:
    """The textures of one mesh file, each decoded once and shared by parts. surfaces: also metallic-roughness ones."""

    def __init__(self, files: SourceFiles, enabled: bool = True, surfaces: bool = False) -> None:
        self.files = files
        self.enabled = enabled
        self.surfaces = enabled and surfaces
        self._decoded: dict[str, NDArray[np.uint8] | None] = {}
        self._file_bytes = self._kept_bytes = 0

    def file(self, reference: str, material: str) -> NDArray[np.uint8] | None:
        """The image [H, W, 3 or 4] uint8 that `material` refers to, or None with a warning."""
        if not self.enabled:
            return None
        if reference not in self._decoded:
            path = self.files.find_texture(reference)
            if path is None:
                self.files.warn(f"texture {reference!r} of material {material!r} is missing")
                self._decoded[reference] = None
            else:
                self._decoded[reference] = self._decode(_read(path), path.name, material)
        return self._decoded[reference]

    def memory(self, data: bytes, key: str, material: str) -> NDArray[np.uint8] | None:
        """The same for an image inside the mesh file; `key` identifies and names it."""
        if not self.enabled:
            return None
        if key not in self._decoded:
            self._decoded[key] = self._decode(data, key, material)
        return self._decoded[key]

    def _decode(self, data: bytes, name: str, material: str) -> NDArray[np.uint8] | None:
        cause = not_the_file(data) if data else "the file is empty"
        if cause is None:
            try:
                return self._pixels(data, name)
            except UserError:
                raise
            except (OSError, ValueError, MemoryError) as error:
                cause = f"cannot be decoded ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        self.files.warn(f"texture {name!r} of material {material!r}: {cause}")
        return None

    def _pixels(self, data: bytes, name: str) -> NDArray[np.uint8]:
        """An image [H, W, C], reduced if a side is longer than `MAX_TEXTURE_PX`, or if it is too large for its file."""
        with _own_limit():
            with decoding():
                image: Image.Image = Image.open(io.BytesIO(data))
            width, height = image.size
            if max(width, height) > MAX_TEXTURE_PX:
                image.draft(None, (MAX_TEXTURE_PX, MAX_TEXTURE_PX))  # lower resolution, for JPEG only
            decoded = _decoding_bytes(image)
            if decoded > 10 * len(data) + FREE_BYTES:
                kib = -(-len(data) // 1024)
                raise ValueError(f"{width}×{height} px would take {decoded >> 20} MiB, its file has {kib} KiB")
            with decoding():
                image.load()
        if max(image.size) > MAX_TEXTURE_PX and image.mode in RESIZABLE:
            image = image.resize(_reduced(image.width, image.height), Image.Resampling.BOX)
        pixels, note = image_values(image)
        if note:
            self.files.warn(f"texture {name!r}: {note}")
        self._file_bytes += len(data)
        allowed = 10 * self._file_bytes + FREE_BYTES - self._kept_bytes
        while max(pixels.shape[:2]) > MAX_TEXTURE_PX or (pixels.nbytes > allowed and min(pixels.shape[:2]) > 1):
            size = _reduced(pixels.shape[1], pixels.shape[0], halved=pixels.nbytes > allowed)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        self._kept_bytes += pixels.nbytes
        if pixels.shape[:2] != (height, width):
            reduced = f"{pixels.shape[1]}×{pixels.shape[0]}"
            self.files.warn(f"texture {name!r} has {width}×{height} px and was reduced to {reduced}")
        return pixels


def _decoding_bytes(image: Image.Image) -> int:
    """Most bytes at a time while an image is decoded, reduced and made an array."""
    pixels = image.width * image.height
    # Pillow's copy, and the array; other modes are converted between, at full size.
    return 4 * pixels + 8 * min(pixels, MAX_TEXTURE_PX**2) if image.mode in RESIZABLE else 12 * pixels


def _reduced(width: int, height: int, halved: bool = False) -> tuple[int, int]:
    """Width and height with the longer side `MAX_TEXTURE_PX`, or both halved."""
    scale = 0.5 if halved else MAX_TEXTURE_PX / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def _own_limit() -> Iterator[None]:
    """Disable Pillow's size limit: ours is checked before decoding."""
    with _LIMIT_LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
