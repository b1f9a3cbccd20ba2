"""Small mesh files and datasets for the tests of the dataset tool."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from dataset_tool.format.dataset_json import Header
from dataset_tool.format.writer import ShapeRecord, write_header, write_shape
from dataset_tool.procedural.shape import ProceduralShape
from dataset_tool.render.render_dataset import finish
from dataset_tool.render.render_shape import RenderSettings
from rendering.camera_distribution import CameraDistribution, ScalarDistribution

FRONT_CAMERAS = CameraDistribution(
    name="front",
    azimuth_deg=ScalarDistribution(list=(0.0, 90.0, 180.0)),
    elevation_deg=ScalarDistribution(fixed=0.0),
)
COLORS = {"gray": (0.5, 0.5, 0.5), "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
# In the world's frame: a gray body, red in front (+Z), green on +X, blue on top.
BLOCKS = {
    "gray": ((-0.3, -0.3, -0.3), (0.3, 0.3, 0.3)),
    "red": ((-0.2, -0.2, 0.3), (0.2, 0.2, 0.5)),
    "green": ((0.3, -0.2, -0.2), (0.5, 0.2, 0.2)),
    "blue": ((-0.2, 0.3, -0.2), (0.2, 0.5, 0.2)),
}
# Where a layout's front looks: the turn about +Y from the world's frame.
TURNS = {
    "world": np.eye(3),
    "v2": np.diag([-1.0, 1.0, -1.0]),
    "v1": np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]),
}


def settings(resolution: int = 32, views: int = 3, **changes) -> RenderSettings:
    """Small render settings."""
    return RenderSettings(
        **{"resolution": resolution, "views": views, "camera_distribution": FRONT_CAMERAS, "scale": 0.7, **changes}
    )


def box(low, high) -> tuple[np.ndarray, np.ndarray]:
    """Eight corners and twelve outward triangles."""
    corners = np.array([[(low, high)[(i >> axis) & 1][axis] for axis in range(3)] for i in range(8)], float)
    quads = [(0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6)]
    return corners, np.array([tri for a, b, c, d in quads for tri in ((a, b, c), (a, c, d))])


def write_blocks(path: Path, layout: str = "world", stretch: float = 1.0) -> Path:
    """The four blocks as OBJ and MTL; `stretch` along the world's y makes shapes differ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines, base = ["mtllib blocks.mtl"], 1
    for name, (low, high) in BLOCKS.items():
        corners, faces = box(low, high)
        corners = corners * [1, stretch, 1] @ TURNS[layout].T
        lines += [f"v {x} {y} {z}" for x, y, z in corners] + [f"usemtl {name}"]
        lines += [f"f {a + base} {b + base} {c + base}" for a, b, c in faces]
        base += len(corners)
    path.write_text("\n".join(lines) + "\n")
    material = "".join(f"newmtl {name}\nKd {r} {g} {b}\n" for name, (r, g, b) in COLORS.items())
    (path.parent / "blocks.mtl").write_text(material)
    return path


def write_folder(root: Path, count: int) -> Path:
    """A plain folder of `count` different shapes."""
    for i in range(count):
        write_blocks(root / f"shape_{i}.obj", stretch=1 - 0.05 * i)
    return root


def write_dataset(root: Path, count: int = 5, views: int = 3, resolution: int = 16, image_format: str = "png") -> Path:
    """A finished dataset of random images (no renderer involved)."""
    header = Header(
        category="blob",
        camera_distribution=FRONT_CAMERAS,
        resolution=resolution,
        views=views,
        image_format=image_format,
    )
    root.mkdir(parents=True)
    write_header(root, header)
    for index in range(count):
        images = random_images(index, views, resolution)
        cameras = FRONT_CAMERAS.sample(index, range(views))
        points = torch.rand(2048, 3, generator=torch.Generator().manual_seed(index)).numpy() - 0.5
        meta = {"caption": f"blob {index}", "geometry_sha256": str(index), "warnings": []}
        write_shape(root, ShapeRecord(f"s{index}", images, cameras, points, None, meta), image_format)
    finish(root)
    return root


def random_images(seed: int, views: int, resolution: int) -> np.ndarray:
    """Views [V, R, R, 4] uint8 of noise with an empty border; colors are zero where alpha is."""
    images = np.random.default_rng(seed).integers(0, 256, (views, resolution, resolution, 4), dtype=np.uint8)
    images[:, 0] = images[:, -1] = images[:, :, 0] = images[:, :, -1] = 0
    images[images[..., 3] == 0] = 0
    return images


def geometry_hash(shape: ProceduralShape) -> str:
    """Hex digest of positions (rounded to 0.1 mm) and faces, independent of textures."""
    digest = hashlib.sha256()
    for part in shape.parts:
        digest.update(np.round(part.vertices * 1e4).astype(np.int32).tobytes())
        digest.update(part.faces.tobytes())
    return digest.hexdigest()
