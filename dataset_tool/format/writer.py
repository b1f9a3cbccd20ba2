"""Write the dataset format (FORMAT.md), one shape at a time, completely or not at all."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_tool.format.dataset_json import Header, digest, header_values, is_safe_id
from dataset_tool.format.transforms_json import frames_json
from rendering.camera import Cameras
from torch_utils.errors import UserError
from torch_utils.files import file_hash, make_folder, write_errors, write_json

# Files of a shape besides its views.
SHAPE_FILES = ("transforms.json", "points.npz", "meta.json", "depth.npz", "normal.npz", "mask.npz", "material.npz")


@dataclass(frozen=True, eq=False)
class ShapeRecord:
    """The stored data of one shape.

    images [V, R, R, 4] uint8: straight alpha, sRGB. cameras: V of them. points, normals [P, 3] float32: on the surface,
    world units. meta: caption, attributes, class, source, sha256, source_to_world. extras: file name, such as
    "depth.npz", → key → array.
    """

    shape_id: str
    images: np.ndarray
    cameras: Cameras
    points: np.ndarray | None
    normals: np.ndarray | None
    meta: Mapping[str, Any]
    extras: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)


def shape_folder(root: Path, shape_id: str) -> Path:
    """The folder of a shape. It exists if and only if the shape is complete."""
    return root / "shapes" / shape_id


def write_shape(root: Path, record: ShapeRecord, image_format: str = "png") -> None:
    """Write one shape into the dataset at `root`. A killed process never leaves an incomplete shape."""
    files = {
        f"{view:03d}.{image_format}": encode_image(image, image_format) for view, image in enumerate(record.images)
    }
    text = frames_json(record.cameras, list(files), record.images.shape[1])
    files["transforms.json"] = text.encode()
    if record.points is not None:
        arrays = {"points": record.points} | ({} if record.normals is None else {"normals": record.normals})
        files["points.npz"] = encode_arrays(arrays)
    for name, extra in record.extras.items():
        files[name] = encode_arrays(extra, compress=True)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    meta = {**record.meta, "files": hashes}
    files["meta.json"] = (json.dumps(meta, indent=1, ensure_ascii=False) + "\n").encode()
    with new_shape(root, record.shape_id) as folder:
        for name, data in files.items():
            with write_errors(shape_folder(root, record.shape_id) / name):
                (folder / name).write_bytes(data)


@contextmanager
def new_shape(root: Path, shape_id: str) -> Iterator[Path]:
    """A temporary folder that becomes the shape's folder when the block ends without an error. WriteError where not."""
    if not is_safe_id(shape_id):
        raise UserError(f"{shape_id!r} cannot be a shape id; expected a plain file name")
    folder = shape_folder(root, shape_id)
    temporary = folder.with_name(f".{shape_id}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed run
    make_folder(temporary)
    try:
        yield temporary
        with write_errors(folder):
            temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def encode_image(image: np.ndarray, image_format: str) -> bytes:
    """Encode RGBA [R, R, 4] uint8 as PNG (fast, low compression) or lossless WebP."""
    buffer = io.BytesIO()
    encoder = Image.fromarray(image)
    if image_format == "webp":
        encoder.save(buffer, "WEBP", lossless=True, quality=30, method=0, exact=True)
    else:
        encoder.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_arrays(arrays: Mapping[str, np.ndarray], compress: bool = False) -> bytes:
    """An .npz file whose bytes depend on the arrays only."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, part.getvalue())
    return buffer.getvalue()


def write_header(root: Path, header: Header) -> None:
    """Replace `dataset.json`."""
    write_json(root / "dataset.json", header_values(header))


def content_hash(root: Path, shape_ids: list[str]) -> str:
    """SHA-256 over the meta.json of all shapes, which contain the hashes of the other files."""
    return digest({shape_id: file_hash(shape_folder(root, shape_id) / "meta.json") for shape_id in sorted(shape_ids)})
