"""Environments from files: Radiance .hdr (linear), and PNG or JPEG (sRGB)."""

import io
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rendering.color import srgb_to_linear
from rendering.environment_light import resized
from torch_utils.errors import UserError, decoding
from torch_utils.files import printable, write_bytes

HDR_ENDINGS = (".hdr", ".pic")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
# Larger images would only slow filtering down: mirrored in an object, no texel of theirs is larger than a pixel.
MAX_ROWS = 512
MAX_TEXELS = 1 << 28
# The sun has about 1e9 in the units that files use. Filters add up thousands of texels, which must stay below 3e38.
MAX_RADIANCE = 1e30


def read_environment(path: Path | str) -> Tensor:
    """An equirectangular image [H, 2H, 3] of linear radiance, at most 512 rows, from a file.

    UserError if the file cannot be read, is not twice as wide as high, or has negative, non-finite or enormous values.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in HDR_ENDINGS + IMAGE_ENDINGS:
        known = " ".join(HDR_ENDINGS + IMAGE_ENDINGS)
        raise UserError(f"{printable(path)}: not an environment that is read; expected one of {known}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be read ({error.strerror})") from None
    values = torch.from_numpy(_decode(data, ending, path))
    height, width = values.shape[:2]
    if width != 2 * height or height < 2:
        raise UserError(f"{printable(path)}: is {width} × {height}; expected an equirectangular image, twice as wide")
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise UserError(f"{printable(path)}: has negative or non-finite values; expected radiance of at least 0")
    if float(values.max()) > MAX_RADIANCE:
        raise UserError(
            f"{printable(path)}: has a radiance of {float(values.max()):.1e}; expected {MAX_RADIANCE:g} at most"
        )
    if not bool(values.any()):
        raise UserError(f"{printable(path)}: is black everywhere; expected some light")
    return resized(values, min(height, MAX_ROWS))


def write_environment(path: Path | str, image: Tensor) -> None:
    """Write an image [H, W, 3] of linear radiance as Radiance .hdr, uncompressed."""
    values = image.detach().cpu().float().clamp(min=0).numpy()
    largest = values.max(2)
    mantissa, exponent = np.frexp(largest)
    scale = np.where(largest > 1e-32, mantissa * 256 / np.maximum(largest, 1e-32), 0)
    rgbe = np.concatenate([values * scale[..., None], (exponent + 128.0)[..., None]], 2)
    rgbe[largest <= 1e-32] = 0
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {values.shape[0]} +X {values.shape[1]}\n"
    write_bytes(Path(path), header.encode() + rgbe.astype(np.uint8).tobytes())


def _decode(data: bytes, ending: str, path: Path) -> NDArray[np.float32]:
    try:
        if ending in HDR_ENDINGS:
            return decode_radiance(data)
        with decoding(), Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (ValueError, OSError, IndexError) as error:
        raise UserError(f"{printable(path)}: damaged, or not what its name says ({error})") from None
    return srgb_to_linear(torch.from_numpy(pixels.astype(np.float32) / 255)).numpy()


def decode_radiance(data: bytes) -> NDArray[np.float32]:
    """Linear values [H, W, 3] of a Radiance file (Ward 1991, "Real pixels"), plain or run-length encoded.

    Values beyond float32 become infinite or NaN. ValueError if it is damaged, in XYZ, or not stored from the top left.
    """
    if not data.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise ValueError("no Radiance header")
    end = data.find(b"\n\n")
    found = re.match(rb"-Y (\d+) \+X (\d+)\n", data[end + 2 : end + 66]) if end >= 0 else None
    if found is None:
        raise ValueError('expected "-Y height +X width" after the header')
    if b"xyze" in data[:end]:
        raise ValueError("it holds XYZ colors; convert it to RGB")
    exposure = 1.0
    for factor in re.findall(rb"^EXPOSURE=\s*([-+0-9.eE]+)", data[:end], re.M):
        exposure *= float(factor)
    if exposure == 0:
        raise ValueError("EXPOSURE is 0")
    height, width = int(found[1]), int(found[2])
    if not 0 < height * width <= MAX_TEXELS:
        raise ValueError(f"{width} × {height} texels")
    body = data[end + 2 + found.end() :]
    if len(body) == 4 * height * width:
        rgbe = np.frombuffer(body, np.uint8).reshape(height, width, 4)
    else:
        rgbe = _run_lengths(body, height, width)
    scale = np.ldexp(np.float32(1), rgbe[..., 3].astype(np.int32) - 136).astype(np.float32)
    values = rgbe[..., :3].astype(np.float32) * scale[..., None]
    values[rgbe[..., 3] == 0] = 0
    with np.errstate(all="ignore"):
        return values / np.float32(exposure)


def _run_lengths(body: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Texels [H, W, 4] of scanlines whose four channels are run-length encoded one after another."""
    out = np.empty((height, 4, width), np.uint8)
    place = 0
    for row in range(height):
        if body[place : place + 2] != b"\x02\x02" or body[place + 2] * 256 + body[place + 3] != width:
            raise ValueError(f"row {row} is not run-length encoded")
        place += 4
        for channel in range(4):
            column = 0
            while column < width:
                count = body[place]
                if count > 128:
                    count -= 128
                    run = np.full(count, body[place + 1], np.uint8)
                    place += 2
                else:
                    run = np.frombuffer(body, np.uint8, count, place + 1)
                    place += 1 + count
                if count == 0 or column + count > width:
                    raise ValueError(f"row {row} runs past its end")
                out[row, channel, column : column + count] = run
                column += count
    return out.transpose(0, 2, 1)
