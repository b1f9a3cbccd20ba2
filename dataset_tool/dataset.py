"""The reader of the dataset format (FORMAT.md), for folders and uncompressed zips."""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset_tool.format import pixels
from dataset_tool.format.dataset_json import SPLITS, Header, digest, header_values, parse_header
from dataset_tool.format.storage import Storage, join, open_storage
from dataset_tool.format.transforms_json import Frames, parse_frames
from rendering.camera import Cameras
from rendering.camera_distribution import CameraDistribution
from torch_utils.errors import UserError
from torch_utils.files import parse_json

MAX_POINTS_BYTES = 64e6  # a thousand times the usual size; more would be a decompression bomb


class ViewDataset:
    """Posed RGBA views, surface points and descriptions of shapes, read lazily; thread-safe."""

    def __init__(self, storage: Storage, header: Header):
        self.storage = storage
        self.header = header
        self._frames: dict[str, Frames] = {}

    @property
    def path(self) -> Path:
        """The folder or zip."""
        return self.storage.path

    @property
    def category(self) -> str:
        """What the images show."""
        return self.header.category

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty for an unconditional dataset."""
        return self.header.classes

    @property
    def resolution(self) -> int:
        """Side of the stored views, px."""
        return self.header.resolution

    @property
    def camera_distribution(self) -> CameraDistribution:
        """The distribution that the cameras were drawn from."""
        return self.header.camera_distribution

    @property
    def splits(self) -> dict[str, list[str]]:
        """Shape ids by split: train, val, test."""
        return {name: list(self.header.splits.get(name, ())) for name in SPLITS}

    def shape_ids(self) -> list[str]:
        """Ids of all shapes, train first."""
        return [shape_id for ids in self.splits.values() for shape_id in ids]

    def label(self, shape_id: str) -> int:
        """The class of a shape: an index into `classes`, or 0 if the dataset has none."""
        return self.header.labels.get(shape_id, 0)

    def hash(self) -> str:
        """SHA-256 that changes with every image, camera, point, description and split."""
        values = header_values(self.header)
        # Hashed under its former name, because training runs remember this hash.
        values["camera_law"] = values.pop("camera_distribution")
        return digest(values)

    def frames(self, shape_id: str) -> Frames:
        """Cameras and file names of one shape."""
        frames = self._frames.get(shape_id)
        if frames is None:
            name = f"shapes/{shape_id}/transforms.json"
            if not self.storage.exists(name):
                raise UserError(f"{self.path}: {name} is missing: the dataset has no cameras for {shape_id}")
            frames = self._frames[shape_id] = parse_frames(self.storage.read(name), f"{self.path}/{name}")
        return frames

    def views(self, shape_id: str) -> int:
        """Number of views of a shape."""
        return len(self.frames(shape_id))

    def cameras(self, shape_ids: Sequence[str], views: Sequence[int]) -> Cameras:
        """The cameras of view views[i] of shape shape_ids[i]."""
        rows = [(self.frames(shape_id), view) for shape_id, view in zip(shape_ids, views, strict=True)]

        def stack(name: str, shape: tuple[int, ...]) -> torch.Tensor:
            values = [getattr(frames, name)[view] for frames, view in rows]
            return torch.from_numpy(np.stack(values)) if values else torch.empty(0, *shape)

        camera_distribution = self.camera_distribution
        return Cameras(
            stack("camera_to_world", (4, 4)),
            stack("focal", (2,)),
            stack("principal", (2,)),
            camera_distribution.near,
            camera_distribution.far,
        )

    def load(self, shape_id: str, view: int, resolution: int | None = None) -> np.ndarray:
        """One view: RGBA uint8 [R, R, 4], straight alpha, sRGB.

        resolution: must divide the stored one (None); the view is then averaged down in premultiplied alpha.
        """
        image = self._decode(shape_id, view)
        return pixels.straight(image, pixels.divisor(self.resolution, resolution or self.resolution, str(self.path)))

    def load_premultiplied(self, shape_id: str, view: int, resolution: int) -> np.ndarray:
        """Like `load`, with colors multiplied by alpha (composited on black)."""
        image = self._decode(shape_id, view)
        return pixels.premultiplied(image, pixels.divisor(self.resolution, resolution, str(self.path)))

    def _decode(self, shape_id: str, view: int) -> np.ndarray:
        frames = self.frames(shape_id)
        folder = f"shapes/{shape_id}"
        name = join(folder, frames.images[view])
        image = pixels.decode(self.storage.read(name), f"{self.path}/{name}", self.header.image_format == "other")
        mask_name = frames.masks[view]
        if mask_name is not None:
            mask_name = join(folder, mask_name)
            mask, _ = pixels.decode_mask(self.storage.read(mask_name), f"{self.path}/{mask_name}")
            if mask.shape != image.shape[:2]:
                raise UserError(
                    f"{self.path}/{mask_name}: expected the image's size {image.shape[:2]}, got {mask.shape[:2]}"
                )
            image = np.concatenate([image[..., :3], mask[..., None]], -1)
        image = self._with_meant_alpha(image)
        expected = (self.resolution, self.resolution)
        if image.shape[:2] != expected:
            raise UserError(
                f"{self.path}/{name}: expected {expected[0]}x{expected[1]} px, got {image.shape[1]}x{image.shape[0]}"
            )
        return image

    def _with_meant_alpha(self, image: np.ndarray) -> np.ndarray:
        """`image` as a converted dataset's header says that its alpha is meant."""
        if self.header.renderer.get("masks") == "black":
            image = np.concatenate([image[..., :3], 255 - image[..., 3:]], -1)
        return pixels.unpremultiplied(image) if self.header.renderer.get("alpha") == "premultiplied" else image

    def points(self, shape_id: str) -> np.ndarray:
        """Points on the surface of a shape [2048, 3] float32, world units."""
        name = f"shapes/{shape_id}/points.npz"
        data = self.storage.read(name)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
                if unpacked > MAX_POINTS_BYTES:
                    raise ValueError(f"it unpacks to {unpacked / 1e6:.0f} MB")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                points = arrays["points"]
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self.path}/{name}: cannot be read ({' '.join(str(error).split())})") from None
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise UserError(f"{self.path}/{name}: expected finite points [P, 3], got shape {points.shape}")
        return points.astype(np.float32)

    def has_points(self, shape_id: str) -> bool:
        """Whether the shape has surface points (photographs do not)."""
        return self.storage.exists(f"shapes/{shape_id}/points.npz")

    def meta(self, shape_id: str) -> dict[str, Any]:
        """Caption, attributes, class, source, hashes and source→world matrix of a shape."""
        name = f"shapes/{shape_id}/meta.json"
        values = parse_json(self.storage.read(name), f"{self.path}/{name}")
        if not isinstance(values, dict):
            raise UserError(f"{self.path}/{name}: expected an object, got {type(values).__name__}")
        return values


def meta_warnings(meta: Mapping[str, Any]) -> list[str]:
    """The remarks on a shape's source in its meta.json, which another program may have written."""
    warnings = meta.get("warnings")
    return [str(text) for text in warnings] if isinstance(warnings, list) else []


def open_dataset(path: str | Path) -> ViewDataset:
    """Open a dataset and read its `dataset.json` only. UserError if it has none or its render is incomplete."""
    path = Path(path)
    storage = open_storage(path)
    if not storage.exists("dataset.json"):
        raise UserError(
            f"{path}: no dataset.json in it; make a dataset with: tetragan dataset render SOURCE --out {path}"
        )
    header = parse_header(storage.read("dataset.json"), f"{path}/dataset.json")
    if not any(header.splits.values()):
        raise UserError(f"{path}: its render was not finished; run the same tetragan dataset render command again")
    return ViewDataset(storage, header)
