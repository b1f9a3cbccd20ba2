"""Texture images, decoded once to uint8 arrays of bounded size."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mesh_io.readers.source_files import SourceFiles, not_the_file
from torch_utils.errors import UserError

MAX_TEXTURE_PX = 4096  # larger images are reduced: no render resolves more
MAX_DECODED_PX = 16384 * 16384  # larger images are not decoded at all (decompression bombs)
_LIMIT_LOCK = threading.Lock()


class TextureCache:
    """The textures of one mesh file, each decoded once and shared by parts."""

    def __init__(self, files: SourceFiles, enabled: bool = True) -> None:
        self.files = files
        self.enabled = enabled
        self._decoded: dict[str, NDArray[np.uint8] | None] = {}

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
            except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
                cause = f"cannot be decoded ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        self.files.warn(f"texture {name!r} of material {material!r}: {cause}")
        return None

    def _pixels(self, data: bytes, name: str) -> NDArray[np.uint8]:
        with _own_limit():
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if width * height > MAX_DECODED_PX:
                raise self.files.error(f"texture {name!r} has {width}×{height} px, more than 16384×16384")
            if max(width, height) > MAX_TEXTURE_PX:
                image.draft(None, (MAX_TEXTURE_PX, MAX_TEXTURE_PX))  # lower resolution, for JPEG only
            image.load()
        pixels = pixels_rounded_to_uint8(image)
        if max(width, height) > MAX_TEXTURE_PX:
            pixels = _shrink(pixels)
            reduced = f"{pixels.shape[1]}×{pixels.shape[0]}"
            self.files.warn(f"texture {name!r} has {width}×{height} px and was reduced to {reduced}")
        return pixels


def pixels_rounded_to_uint8(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an image file: [H, W, 3], or [H, W, 4] if it has transparency.

    Palettes are resolved. 16-bit values are divided by 257, floats are in [0, 255]; both are rounded to nearest.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        gray = np.clip(values if image.mode == "F" else values / 257.0, 0, 255)
        return np.repeat(np.rint(gray).astype(np.uint8)[..., None], 3, axis=2)
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if transparent else "RGB"))


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    scale = MAX_TEXTURE_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.BOX))


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
