"""Convert datasets of other programs in place: cameras are converted, images stay as they are.

`dataset_tool.sources.foreign_layouts` reads them.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image

from dataset_tool.format.dataset_json import Header
from dataset_tool.format.splits import hash_splits
from dataset_tool.format.transforms_json import frames_json
from dataset_tool.format.writer import content_hash, new_shape, write_header
from dataset_tool.sources.foreign_layouts import EG3D_KEPT, ForeignShape, Found, Layout, detect, find_foreign_shapes
from dataset_tool.sources.foreign_values import Alpha, Masks, look_at_values
from dataset_tool.sources.orientation import orientation
from mesh_io.find_meshes import Note
from rendering.camera import Cameras, fov_from_sensor
from rendering.camera_distribution import CameraDistribution, ScalarDistribution
from torch_utils.errors import UserError, decoding
from torch_utils.files import write_errors
from torch_utils.locks import owned_folder

# Half the height, in world units, that the published cameras see at the origin: r·tan(fov / 2).
HALF_HEIGHT = 1.2 * math.tan(fov_from_sensor(32, 35) / 2)
# Up and front of the world of each layout, after the azimuth offset of `_get3d` for GET3D's Blender cameras.
AXES = {"get3d": ("+Y", "+Z"), "nerf": ("+Z", "-Y"), "eg3d": ("+Y", "+Z")}


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted about foreign data.

    layout: None = detect it. up, front: axes of the original world; None = those of the layout. world_scale: factor to
    our units; None = such that the cameras see as much at the origin as the published ones. alpha: whether colors were
    multiplied by it; masks: whether the object is white or black in them; None = as usual, unless the images look
    otherwise.
    """

    layout: Layout | None = None
    category: str = "object"
    up: str | None = None
    front: str | float | None = None
    world_scale: float | None = None
    alpha: Alpha | None = None
    masks: Masks | None = None


def convert(
    root: Path,
    assumed: Assumptions,
    *,
    note: Note = lambda line: None,
    failed: Callable[[str, str], None] = lambda name, reason: None,
) -> Header:
    """Write dataset.json and shapes/<id>/{transforms.json, meta.json} next to the images.

    A shape that cannot be converted is left out: `failed` is called with its name and the reason. note: called with a
    line on every assumption about the values of images, and on what is passed over. UserError for an unknown layout or
    images that look otherwise than usual, if no shape can be converted, and where as many shapes have images of one
    size as of another.
    """
    if not root.is_dir():
        raise UserError(f"{root}: expected the folder of a dataset")
    layout = assumed.layout or detect(root)
    failures: dict[str, str] = {}
    shapes = _readable(find_foreign_shapes(root, layout, note), failures)
    if not shapes and not failures:
        raise UserError(f"{root}: no shapes with cameras and images of the layout {layout}")
    resolution, shapes = _same_size(root, shapes, failures)
    if not shapes:
        raise UserError(next(iter(failures.values())))
    for name, reason in failures.items():
        failed(name, reason)
    views: list[tuple[str, str | None]] = []
    for shape in shapes:
        masks_of_shape: Sequence[str | None] = shape.masks or [None] * len(shape.images)
        views += zip(shape.images, masks_of_shape, strict=True)
    facts = look_at_values(root, views, assumed.alpha, assumed.masks, note)
    usual_up, usual_front = AXES[layout]
    turn = orientation(assumed.up or usual_up, usual_front if assumed.front is None else assumed.front)
    scale = assumed.world_scale or _world_scale([shape.cameras for shape in shapes])
    shapes = [replace(shape, cameras=_moved(shape.cameras, turn, scale)) for shape in shapes]
    transform = np.eye(4)
    transform[:3, :3] = turn * scale
    with owned_folder(root):
        for shape in shapes:
            _write(root, shape, resolution, {"layout": layout, "source_to_world": transform.tolist()})
        if layout == "eg3d" and not (root / EG3D_KEPT).exists():
            with write_errors(root / EG3D_KEPT):
                (root / "dataset.json").replace(root / EG3D_KEPT)
        return _finish(root, assumed.category, {"layout": layout, **facts}, shapes, resolution)


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


def _readable(found: Iterator[Found], failures: dict[str, str]) -> list[ForeignShape]:
    """The shapes that can be read; why the others cannot is added to `failures`."""
    shapes: dict[str, ForeignShape] = {}
    for name, read in found:
        try:
            shape = read()
            if shape.id.lower() in shapes:
                raise UserError(f"{name}: another shape has the id {shape.id} too; rename the folder")
            shapes[shape.id.lower()] = shape
        except UserError as error:
            failures[name] = str(error)
    return list(shapes.values())


def _same_size(root: Path, shapes: Sequence[ForeignShape], failures: dict[str, str]) -> tuple[int, list[ForeignShape]]:
    """The side of the first image of most shapes, and these shapes; the others are added to `failures`."""
    sides: dict[int, list[ForeignShape]] = defaultdict(list)
    for shape in shapes:
        try:
            sides[_side(root / shape.images[0])].append(shape)
        except UserError as error:
            failures[shape.id] = str(error)
    by_count = sorted(sides, key=lambda side: -len(sides[side]))
    if len(by_count) > 1 and len(sides[by_count[0]]) == len(sides[by_count[1]]):
        named = ", ".join(f"{side}x{side} ({sides[side][0].images[0]})" for side in by_count[:2])
        raise UserError(f"{root}: images of several sizes: {named}; bring them to one")
    for side in by_count[1:]:
        usual = by_count[0]
        for shape in sides[side]:
            name = root / shape.images[0]
            failures[shape.id] = f"{name}: {side}x{side} px, but most shapes have {usual}x{usual}; bring them to one"
    return (by_count[0], sides[by_count[0]]) if by_count else (0, [])


def _side(path: Path) -> int:
    """The side of a square image, px."""
    try:
        with decoding(), Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({' '.join(str(error).split())})") from None
    if width != height:
        raise UserError(f"{path}: {width}x{height} px; expected square images: crop them (and the cameras' cx, cy)")
    return width
