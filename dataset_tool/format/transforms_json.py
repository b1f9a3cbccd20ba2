"""`transforms.json`: cameras and images of one shape in the form that nerfstudio and NeRF tools read."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rendering.camera import Cameras
from torch_utils.errors import UserError
from torch_utils.files import parse_json


@dataclass(frozen=True, eq=False)
class Frames:
    """The V views of one shape. The float32 arrays have the meaning of those in `rendering.camera.Cameras`.

    images, masks: paths relative to the shape's folder. A mask is None if the alpha of the image applies.
    """

    images: tuple[str, ...]
    masks: tuple[str | None, ...]
    camera_to_world: np.ndarray
    focal: np.ndarray
    principal: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def parse_frames(data: bytes, source: str) -> Frames:
    """Frames from the bytes of a transforms.json; UserError naming `source` if cameras are missing or invalid."""
    values = parse_json(data, source)
    try:
        frames = values["frames"]
        rows = [_frame({**values, **frame}) for frame in frames]
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        cause = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{source}: not a transforms.json with cameras ({cause})") from None
    if not rows:
        raise UserError(f"{source}: expected at least one frame with a camera, got none")
    images, masks, poses, focal, principal = zip(*rows, strict=True)
    pose = np.asarray(poses, np.float32)
    rotation = pose[:, :3, :3].astype(np.float64)
    skew = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    bad = np.flatnonzero((skew > 1e-3) | (np.linalg.det(rotation) < 0))
    if len(bad):
        raise UserError(
            f"{source}: frame {bad[0]}: transform_matrix is not a rigid camera-to-world matrix (rotation off by "
            f"{skew[bad[0]]:.2g})"
        )
    return Frames(images, masks, pose, np.asarray(focal, np.float32), np.asarray(principal, np.float32))


def _frame(values: dict[str, Any]) -> tuple:
    pose = np.asarray(values["transform_matrix"], np.float64)
    if pose.shape == (3, 4):
        pose = np.concatenate([pose, [[0, 0, 0, 1]]])
    if pose.shape != (4, 4) or not (np.abs(pose) < 1e30).all():
        raise ValueError("transform_matrix: expected a finite 4x4")
    focal, principal = _intrinsics(values)
    if not np.isfinite([*focal, *principal]).all() or min(focal) <= 0:
        raise ValueError("intrinsics: expected finite numbers and a positive focal length")
    mask = values.get("mask_path")
    return str(values["file_path"]), None if mask is None else str(mask), pose, focal, principal


def _intrinsics(values: dict[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Focal lengths in half images and the principal point in NDC (x right, y down)."""
    distortion = [name for name in ("k1", "k2", "k3", "k4", "p1", "p2") if values.get(name)]
    if distortion:
        raise ValueError(f"lens distortion {', '.join(distortion)} is not supported: undistort the images")
    if "fl_x" in values:
        width, height = float(values["w"]), float(values["h"])
        focal_x = float(values["fl_x"])
        focal_y = float(values.get("fl_y", focal_x))
        focal = (2 * focal_x / width, 2 * focal_y / height)
        return focal, (
            2 * float(values.get("cx", width / 2)) / width - 1,
            2 * float(values.get("cy", height / 2)) / height - 1,
        )
    if "camera_angle_x" in values:
        focal_x = 1 / math.tan(float(values["camera_angle_x"]) / 2)
        return (focal_x, focal_x), (0.0, 0.0)
    raise KeyError("fl_x or camera_angle_x")


def frames_json(cameras: Cameras, images: Sequence[str], resolution: int, masks: Sequence[str] | None = None) -> str:
    """The text of a transforms.json for V square views, one line per frame, with exact float32 values."""
    focal = (cameras.focal.double() * (resolution / 2)).tolist()
    principal = ((cameras.principal.double() + 1) * (resolution / 2)).tolist()
    shared = all(row == focal[0] for row in focal) and all(row == principal[0] for row in principal)

    def intrinsics(view: int) -> dict[str, float]:
        return dict(
            zip(("fl_x", "fl_y", "cx", "cy"), (*focal[view], *principal[view]), strict=True),
        )

    head: dict[str, Any] = {"camera_model": "OPENCV", "w": resolution, "h": resolution}
    if shared:
        head |= {"camera_angle_x": 2 * math.atan(resolution / (2 * focal[0][0])), **intrinsics(0)}
    lines = []
    for view, image in enumerate(images):
        frame: dict[str, Any] = {"file_path": image}
        if masks is not None:
            frame["mask_path"] = masks[view]
        if not shared:
            frame |= intrinsics(view)
        # The shortest decimal number that parses to the same float32.
        pose = cameras.camera_to_world[view].numpy()
        frame["transform_matrix"] = [[float(str(value)) for value in row] for row in pose]
        lines.append("  " + json.dumps(frame))
    body = ",\n".join(lines)
    return json.dumps(head)[:-1] + ', "frames": [\n' + body + "\n]}\n"
