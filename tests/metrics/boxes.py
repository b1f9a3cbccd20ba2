"""Boxes as mesh files, a dataset rendered from them, and an untrained network."""

from pathlib import Path

import numpy as np
import torch

from dataset_tool.format.dataset_json import Header
from dataset_tool.format.writer import ShapeRecord, content_hash, write_header, write_shape
from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from metrics.sources.shape_source import merged_shape, sample_shape_points
from networks.generator import Generator
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from tests.training.tiny import config
from torch_utils.checkpoint import save_network
from torch_utils.files import file_hash

BOX = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def write_boxes(folder: Path, count: int, seed: int) -> Path:
    """OBJ boxes of random sides, the longest 1."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        sides = rng.uniform(0.3, 0.9, 3)
        sides /= sides.max()
        lines = [f"v {' '.join(f'{(c - 0.5) * s:.6f}' for c, s in zip(corner, sides, strict=True))}" for corner in BOX]
        lines += [f"f {' '.join(str(k + 1) for k in quad)}" for quad in QUADS]
        (folder / f"box{i}.obj").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_box_dataset(root: Path, meshes: Path, *, side: int = 16, views: int = 4, train: int = 4) -> Path:
    """A dataset of the boxes of a folder: the first `train` to train, the others to test; shape i has the cameras of
    seed i. Even shapes are chairs, odd ones stools; every third is red.
    """
    camera_distribution = CAMERA_DISTRIBUTIONS["chair"]
    paths = sorted(meshes.glob("*.obj"))
    for i, path in enumerate(paths):
        placed, matrix = normalize(read_mesh(path))
        cameras = camera_distribution.sample(i, range(views))
        images = render_views(build_scene(placed), cameras, side).images
        kind, color = ("chair", "stool")[i % 2], "red" if i % 3 == 0 else "blue"
        meta = {
            "caption": f"a {color} {kind}",
            "attributes": {"type": kind, "red": color == "red"},
            "source": path.name,
            "sha256": file_hash(path),
            "source_to_world": matrix.tolist(),
        }
        points = sample_shape_points(merged_shape(placed), path.stem, 2048).numpy()
        write_shape(root, ShapeRecord(path.stem, images, cameras, points, None, meta))
    ids = [path.stem for path in paths]
    splits = {"train": tuple(ids[:train]), "test": tuple(ids[train:])}
    header = Header(
        category="chair",
        camera_distribution=camera_distribution,
        resolution=side,
        views=views,
        splits=splits,
        content=content_hash(root, ids),
        renderer={"name": "built-in", "shading": "albedo", "supersample": 2, "scale": 1.0},
    )
    write_header(root, header)
    return root


def write_boxes_and_network(root: Path) -> Path:
    """Ten boxes in `boxes`, their dataset in `data`, and the untrained network net.safetensors. Returns the folder."""
    write_boxes(root / "boxes", 10, 0)
    write_box_dataset(root / "data", root / "boxes")
    settings = config()
    torch.manual_seed(0)
    save_network(root / "net.safetensors", Generator(settings), settings.model_dump(mode="json"), 4000)
    return root
