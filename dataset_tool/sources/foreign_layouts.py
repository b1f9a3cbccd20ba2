"""Reading the datasets of other programs: which shapes there are, with their images and cameras.

get3d   img/<…>/<id>/*.png and camera/<…>/<id>/{rotation.npy, elevation.npy}, degrees
nerf    folders with transforms.json or transforms_{train,val,test}.json (NeRF-synthetic, nerfstudio, photographs with
        masks); one folder is one shape
eg3d    dataset.json with "labels": 16 numbers of an OpenCV camera-to-world matrix and 9 of normalized intrinsics
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch

from dataset_tool.format.transforms_json import parse_frames
from dataset_tool.sources.find_shapes import clean_id
from mesh_io.find_meshes import Note, walk_folder
from rendering.camera import Cameras, fov_from_sensor
from torch_utils.errors import UserError
from torch_utils.files import parse_json, printable, read_file

Layout = Literal["get3d", "nerf", "eg3d"]
SPLIT_FILES = ("transforms.json", "transforms_train.json", "transforms_val.json", "transforms_test.json")
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
EG3D_KEPT = "dataset.eg3d.json"


@dataclass(frozen=True, eq=False)
class ForeignShape:
    """Views of one shape: images and masks relative to the dataset's folder, OpenGL cameras in the original world."""

    id: str
    images: list[str]
    masks: list[str] | None
    cameras: Cameras


# A shape that was found: its name for people, and what reads it (UserError where it is damaged).
Found = tuple[str, Callable[[], ForeignShape]]


def find_foreign_shapes(root: Path, layout: Layout, note: Note) -> Iterator[Found]:
    """The shapes of a dataset of this layout. note: called with a line on what is passed over."""
    return {"get3d": _get3d, "nerf": _nerf, "eg3d": _eg3d}[layout](root, note)


def detect(root: Path) -> Layout:
    """The layout of the dataset in `root`."""
    if (root / "camera").is_dir() and (root / "img").is_dir():
        return "get3d"
    path = root / "dataset.json"
    if path.is_file():
        values = _json(path)
        if values.get("format") == "tetragan-dataset":
            raise UserError(f"{root}: is a TetraGAN dataset already")
        if values.get("labels"):
            return "eg3d"
    if (root / EG3D_KEPT).is_file():
        return "eg3d"
    if next(_scenes(root), None) is not None:
        return "nerf"
    raise UserError(
        f"{root}: no known layout: expected img/ and camera/ (GET3D), transforms.json (NeRF, nerfstudio) or a "
        "dataset.json with labels (EG3D)"
    )


def _json(path: Path) -> dict[str, Any]:
    values = parse_json(read_file(path), str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object, got {type(values).__name__}")
    return values


# --------------------------------------------------------------------------------------------------------------- GET3D


def _get3d(root: Path, note: Note) -> Iterator[Found]:
    """The folders below camera/ that have angles."""
    for place in sorted(folder for folder, names in walk_folder(root / "camera", note) if "rotation.npy" in names):
        yield place.relative_to(root / "camera").as_posix(), partial(_get3d_shape, root, place)


def _get3d_shape(root: Path, place: Path) -> ForeignShape:
    """Blender's camera starts at −Z of the OBJ and rotates by `rotation`; ShapeNet v1 faces +X."""
    relative = place.relative_to(root / "camera")
    folder = root / "img" / relative
    rotation, elevation = (_angles(place / f"{name}.npy") for name in ("rotation", "elevation"))
    images = _images_in(folder) if folder.is_dir() else []
    if len(images) != len(rotation) or len(rotation) != len(elevation):
        raise UserError(
            f"{folder}: {len(images)} images, but {len(rotation)} rotations and {len(elevation)} elevations"
        )
    azimuth, height = (torch.from_numpy(np.radians(degrees)).float() for degrees in (rotation + 90, elevation))
    cameras = Cameras.orbit(azimuth, height, 1.2, fov_from_sensor(32, 35))
    names = [image.relative_to(root).as_posix() for image in images]
    return ForeignShape(clean_id("_".join(relative.parts[-1:])), names, None, cameras)


def _images_in(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name, without hidden files."""
    _, names = next(walk_folder(folder))
    return [folder / name for name in names if Path(name).suffix.lower() in IMAGES]


def _angles(path: Path) -> np.ndarray:
    try:
        angles = np.load(path, allow_pickle=False).astype(np.float64).reshape(-1)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as an array of degrees ({error})") from None
    if not len(angles) or not np.isfinite(angles).all():
        raise UserError(f"{path}: expected finite angles in degrees")
    return angles


def _cameras(pose: np.ndarray, focal: np.ndarray, principal: np.ndarray) -> Cameras:
    arrays = [torch.from_numpy(np.ascontiguousarray(array)).float() for array in (pose, focal, principal)]
    return Cameras(arrays[0], arrays[1], arrays[2])


# ---------------------------------------------------------------------------------------------------------------- NeRF


def _scenes(root: Path, note: Note = lambda line: None) -> Iterator[Path]:
    """Folders with a transforms file, including `root`, but not in our own shapes/."""
    for folder, names in walk_folder(root, note):
        ours = folder != root and folder.relative_to(root).parts[0] == "shapes"
        if set(SPLIT_FILES) & set(names) and not ours:
            yield folder


def _nerf(root: Path, note: Note) -> Iterator[Found]:
    for scene in _scenes(root, note):
        yield printable(scene), partial(_nerf_shape, root, scene)


def _nerf_shape(root: Path, scene: Path) -> ForeignShape:
    images: list[str] = []
    masks: list[str | None] = []
    cameras = []
    for name in SPLIT_FILES:
        if not (scene / name).is_file():
            continue
        frames = parse_frames(read_file(scene / name), str(scene / name))
        images += [_existing(root, scene, image) for image in frames.images]
        masks += [None if mask is None else _existing(root, scene, mask) for mask in frames.masks]
        cameras.append(_cameras(frames.camera_to_world, frames.focal, frames.principal))
    given = [mask for mask in masks if mask is not None]
    if given and len(given) < len(masks):
        raise UserError(f"{scene}: {len(masks) - len(given)} of {len(masks)} frames have no mask_path")
    shape_id = clean_id("_".join(scene.relative_to(root).parts) or root.resolve().name)
    return ForeignShape(shape_id, images, given or None, Cameras.cat(cameras))


def _existing(root: Path, scene: Path, name: str) -> str:
    """The path, relative to `root`, of the image that a frame names, often without its suffix."""
    base = scene / name.replace("\\", "/")
    for path in (base, *(base.with_name(base.name + suffix) for suffix in IMAGES)):
        if path.is_file():
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            if relative.startswith("../"):
                raise UserError(f"{scene}: {name} lies outside {root}; convert the folder above both")
            return relative
    raise UserError(f"{scene}: {name}: no such image")


# ---------------------------------------------------------------------------------------------------------------- EG3D


def _eg3d(root: Path, note: Note) -> Iterator[Found]:
    """The images of one folder are one shape. Every image next to dataset.json is a shape of its own."""
    groups: dict[str, list[Any]] = defaultdict(list)
    kept = root / EG3D_KEPT
    for row in _json(kept if kept.is_file() else root / "dataset.json").get("labels", ()):
        try:
            name = PurePosixPath(str(row[0]))
        except (TypeError, IndexError, KeyError):
            raise UserError(
                f"{root}/dataset.json: expected labels of [file, 25 numbers], got {str(row)[:60]}"
            ) from None
        groups[name.stem if name.parent.as_posix() == "." else name.parent.as_posix()].append(row)
    for group, rows in groups.items():
        yield group, partial(_eg3d_shape, root, group, rows)


def _eg3d_shape(root: Path, group: str, rows: Sequence[Any]) -> ForeignShape:
    labels = np.stack([_eg3d_label(root, row) for row in rows])
    pose = labels[:, :16].reshape(-1, 4, 4)
    # OpenCV's y points down and its z forward.
    pose = pose * np.array([1, -1, -1, 1])
    intrinsics = labels[:, 16:].reshape(-1, 3, 3)
    focal = 2 * intrinsics[:, [0, 1], [0, 1]]
    principal = 2 * intrinsics[:, :2, 2] - 1
    images = [_existing(root, root, str(row[0])) for row in rows]
    return ForeignShape(clean_id(group), images, None, _cameras(pose, focal, principal))


def _eg3d_label(root: Path, row: Any) -> np.ndarray:
    """The 25 numbers of an image."""
    try:
        label = np.asarray(row[1], np.float64)
    except (TypeError, ValueError, IndexError):
        raise UserError(f"{root}/dataset.json: expected labels of [file, 25 numbers], got {str(row)[:60]}") from None
    if label.shape != (25,) or not np.isfinite(label).all():
        raise UserError(f"{root}/dataset.json: {row[0]}: expected 25 finite numbers, got {label.size}")
    return label
