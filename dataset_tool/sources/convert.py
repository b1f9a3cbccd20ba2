"""Convert datasets of other programs in place: cameras are converted, images stay as they are.

get3d   img/<…>/<id>/*.png and camera/<…>/<id>/{rotation.npy, elevation.npy}, degrees
nerf    folders with transforms.json or transforms_{train,val,test}.json (NeRF-synthetic, nerfstudio, photographs with
        masks); one folder is one shape
eg3d    dataset.json with "labels": 16 numbers of an OpenCV camera-to-world matrix and 9 of normalized intrinsics
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from dataset_tool.format.dataset_json import Header
from dataset_tool.format.splits import hash_splits
from dataset_tool.format.transforms_json import frames_json, parse_frames
from dataset_tool.format.writer import content_hash, new_shape, write_header
from dataset_tool.sources.find_shapes import clean_id
from dataset_tool.sources.foreign_values import Alpha, Masks, look_at_values
from dataset_tool.sources.orientation import orientation
from mesh_io.find_meshes import walk_folder
from rendering.camera import Cameras, fov_from_sensor
from rendering.camera_distribution import CameraDistribution, ScalarDistribution
from torch_utils.errors import UserError
from torch_utils.files import parse_json, read_file, write_errors
from torch_utils.locks import owned_folder

Layout = Literal["get3d", "nerf", "eg3d"]
SPLIT_FILES = ("transforms.json", "transforms_train.json", "transforms_val.json", "transforms_test.json")
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
EG3D_KEPT = "dataset.eg3d.json"
# Half the height, in world units, that the published cameras see at the origin: r·tan(fov / 2).
HALF_HEIGHT = 1.2 * math.tan(fov_from_sensor(32, 35) / 2)
# Up and front of the world of each layout, after the azimuth offset of `_get3d` for GET3D's Blender cameras.
AXES = {"get3d": ("+Y", "+Z"), "nerf": ("+Z", "-Y"), "eg3d": ("+Y", "+Z")}


@dataclass(frozen=True, eq=False)
class ForeignShape:
    """Views of one shape: images and masks relative to the dataset's folder, OpenGL cameras in the original world."""

    id: str
    images: list[str]
    masks: list[str] | None
    cameras: Cameras


def convert(
    root: Path,
    layout: Layout | None = None,
    *,
    category: str = "object",
    up: str | None = None,
    front: str | float | None = None,
    world_scale: float | None = None,
    alpha: Alpha | None = None,
    masks: Masks | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Header:
    """Write dataset.json and shapes/<id>/{transforms.json, meta.json} next to the images.

    layout: None = detect it. up, front: axes of the original world; None = those of the layout. world_scale: factor to
    our units; None = such that the cameras see as much at the origin as the published ones. alpha: whether colors were
    multiplied by it; masks: whether the object is white or black in them; None = as usual, unless the images look
    otherwise (UserError). note: called with a line on every assumption about the values of images.
    UserError for an unknown layout, missing cameras or images, and images of different or invalid sizes.
    """
    if not root.is_dir():
        raise UserError(f"{root}: expected the folder of a dataset")
    layout = layout or detect(root)
    shapes = list({"get3d": _get3d, "nerf": _nerf, "eg3d": _eg3d}[layout](root))
    if not shapes:
        raise UserError(f"{root}: no shapes with cameras and images of the layout {layout}")
    resolution = _resolution(root, shapes)
    views: list[tuple[str, str | None]] = []
    for shape in shapes:
        masks_of_shape: Sequence[str | None] = shape.masks or [None] * len(shape.images)
        views += zip(shape.images, masks_of_shape, strict=True)
    facts = look_at_values(root, views, alpha, masks, note)
    usual_up, usual_front = AXES[layout]
    turn = orientation(up or usual_up, front if front is not None else usual_front)
    scale = world_scale or _world_scale([shape.cameras for shape in shapes])
    shapes = [replace(shape, cameras=_moved(shape.cameras, turn, scale)) for shape in shapes]
    transform = np.eye(4)
    transform[:3, :3] = turn * scale
    with owned_folder(root):
        for shape in shapes:
            _write(root, shape, resolution, {"layout": layout, "source_to_world": transform.tolist()})
        if layout == "eg3d" and not (root / EG3D_KEPT).exists():
            with write_errors(root / EG3D_KEPT):
                (root / "dataset.json").replace(root / EG3D_KEPT)
        return _finish(root, category, {"layout": layout, **facts}, shapes, resolution)


def _finish(root: Path, category: str, facts: dict[str, str], shapes: list[ForeignShape], resolution: int) -> Header:
    """Write dataset.json last, because until then the folder counts as unconverted."""
    ids = [shape.id for shape in shapes]
    header = Header(
        category=category,
        camera_distribution=estimate_camera_distribution(Cameras.cat([shape.cameras for shape in shapes]), category),
        resolution=resolution,
        views=max(len(shape.images) for shape in shapes),
        image_format="other",
        renderer={"name": "foreign", **facts},
        splits={name: tuple(part) for name, part in hash_splits(ids).items()},
        content=content_hash(root, ids),
    )
    write_header(root, header)
    return header


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


def estimate_camera_distribution(cameras: Cameras, name: str) -> CameraDistribution:
    """A distribution over all azimuths and the ranges of elevation, radius and field of view of the cameras."""

    def span(values: torch.Tensor) -> ScalarDistribution:
        low, high = float(values.min()), float(values.max())
        return (
            ScalarDistribution(fixed=low)
            if high - low < 1e-3 * max(abs(high), 1e-6)
            else ScalarDistribution(uniform=(low, high))
        )

    radius = cameras.position().norm(dim=1)
    return CameraDistribution(
        name=name,
        azimuth_deg=ScalarDistribution(uniform=(0, 360)),
        elevation_deg=span(cameras.elevation_rad().rad2deg()),
        radius=span(radius),
        fov_y_deg=span(2 * torch.atan(1 / cameras.focal[:, 1]).rad2deg()),
        near=min(0.1, float(radius.min()) / 2),
        far=max(10.0, float(radius.max()) * 2),
    )


def _world_scale(cameras: list[Cameras]) -> float:
    joined = Cameras.cat(cameras)
    half_height = float((joined.position().norm(dim=1) / joined.focal[:, 1]).mean())
    if not half_height > 1e-9:
        raise UserError("the cameras stand at the origin: expected them around the object; move the world there")
    return HALF_HEIGHT / half_height


def _moved(cameras: Cameras, turn: np.ndarray, scale: float) -> Cameras:
    pose = cameras.camera_to_world.double().clone()
    rotation = torch.from_numpy(turn)
    pose[:, :3, :3] = rotation @ pose[:, :3, :3]
    pose[:, :3, 3] = pose[:, :3, 3] @ rotation.T * scale
    return replace(cameras, camera_to_world=pose.float())


def _write(root: Path, shape: ForeignShape, resolution: int, facts: dict[str, Any]) -> None:
    """Write the two files of a shape, with paths to the images relative to its folder."""
    folder = PurePosixPath("shapes") / shape.id
    with write_errors(root / folder):
        for name in ("transforms.json", "meta.json"):  # left by an interrupted conversion
            (root / folder / name).unlink(missing_ok=True)
    if (root / folder).is_dir():
        _remove_empty(root / folder)

    def seen_from_shape(names: list[str]) -> list[str]:
        return [Path(os.path.relpath(name, folder)).as_posix() for name in names]

    masks = None if shape.masks is None else seen_from_shape(shape.masks)
    with new_shape(root, shape.id) as target:
        text = frames_json(shape.cameras, seen_from_shape(shape.images), resolution, masks)
        meta = {"id": shape.id, "caption": "", "class": "", **facts}
        for name, content in (("transforms.json", text), ("meta.json", json.dumps(meta, indent=1) + "\n")):
            with write_errors(root / folder / name):
                (target / name).write_text(content, encoding="utf-8")


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        raise UserError(f"{folder}: holds files that a conversion would replace; move them away") from None


def _resolution(root: Path, shapes: list[ForeignShape]) -> int:
    """Side of the first image of each shape. These must be square and equal."""
    sizes: dict[tuple[int, int], str] = {}
    for shape in shapes:
        path = root / shape.images[0]
        try:
            with Image.open(path) as image:
                sizes.setdefault(image.size, shape.images[0])
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: cannot be read as an image ({' '.join(str(error).split())})") from None
    if len(sizes) > 1:
        named = ", ".join(f"{width}x{height} ({name})" for (width, height), name in list(sizes.items())[:2])
        raise UserError(f"{root}: images of several sizes: {named}; bring them to one")
    (width, height), name = next(iter(sizes.items()))
    if width != height:
        raise UserError(
            f"{root / name}: {width}x{height} px; expected square images: crop them (and the cameras' cx, cy)"
        )
    return width


def _json(path: Path) -> dict[str, Any]:
    values = parse_json(read_file(path), str(path))
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object, got {type(values).__name__}")
    return values


# --------------------------------------------------------------------------------------------------------------- GET3D


def _get3d(root: Path) -> Iterator[ForeignShape]:
    """Blender's camera starts at −Z of the OBJ and rotates by `rotation`; ShapeNet v1 faces +X."""
    for place in sorted(folder for folder, names in walk_folder(root / "camera") if "rotation.npy" in names):
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
        yield ForeignShape(clean_id("_".join(relative.parts[-1:])), names, None, cameras)


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


def _scenes(root: Path) -> Iterator[Path]:
    """Folders with a transforms file, including `root`, but not in our own shapes/."""
    for folder, names in walk_folder(root):
        ours = folder != root and folder.relative_to(root).parts[0] == "shapes"
        if set(SPLIT_FILES) & set(names) and not ours:
            yield folder


def _nerf(root: Path) -> Iterator[ForeignShape]:
    taken: set[str] = set()
    for scene in _scenes(root):
        images: list[str] = []
        masks: list[str | None] = []
        cameras = []
        for name in SPLIT_FILES:
            if not (scene / name).is_file():
                continue
            frames = parse_frames((scene / name).read_bytes(), str(scene / name))
            images += [_existing(root, scene, image) for image in frames.images]
            masks += [None if mask is None else _existing(root, scene, mask) for mask in frames.masks]
            cameras.append(_cameras(frames.camera_to_world, frames.focal, frames.principal))
        given = [mask for mask in masks if mask is not None]
        if given and len(given) < len(masks):
            raise UserError(f"{scene}: {len(masks) - len(given)} of {len(masks)} frames have no mask_path")
        relative = scene.relative_to(root).parts
        shape_id = clean_id("_".join(relative) or root.resolve().name)
        if shape_id.lower() in taken:
            raise UserError(f"{scene}: another scene has the id {shape_id} too; rename the folder")
        taken.add(shape_id.lower())
        yield ForeignShape(shape_id, images, given or None, Cameras.cat(cameras))


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


def _eg3d(root: Path) -> Iterator[ForeignShape]:
    """The images of one folder are one shape. Every image next to dataset.json is a shape of its own."""
    groups: dict[str, list[tuple[str, np.ndarray]]] = defaultdict(list)
    kept = root / EG3D_KEPT
    for row in _json(kept if kept.is_file() else root / "dataset.json").get("labels", ()):
        try:
            name, label = str(row[0]), np.asarray(row[1], np.float64)
        except (TypeError, ValueError, IndexError, KeyError):
            raise UserError(
                f"{root}/dataset.json: expected labels of [file, 25 numbers], got {str(row)[:60]}"
            ) from None
        if label.shape != (25,) or not np.isfinite(label).all():
            raise UserError(f"{root}/dataset.json: {name}: expected 25 finite numbers, got {label.size}")
        parent = PurePosixPath(name).parent.as_posix()
        groups[PurePosixPath(name).stem if parent == "." else parent].append((_existing(root, root, name), label))
    for group, rows in groups.items():
        labels = np.stack([label for _, label in rows])
        pose = labels[:, :16].reshape(-1, 4, 4)
        # OpenCV's y points down and its z forward.
        pose = pose * np.array([1, -1, -1, 1])
        intrinsics = labels[:, 16:].reshape(-1, 3, 3)
        focal = 2 * intrinsics[:, [0, 1], [0, 1]]
        principal = 2 * intrinsics[:, :2, 2] - 1
        yield ForeignShape(clean_id(group), [name for name, _ in rows], None, _cameras(pose, focal, principal))
