"""`rasterize` against an independent rasterizer: rays of embree through the pixel centers of ten real meshes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from rendering.camera import Cameras
from tests.rendering.scenes import clip_positions
from torch_utils.ops.rasterize import rasterize

MODELS = (
    "animal/q2016_Bird.glb",
    "animal/q2017_Eagle.glb",
    "animal/q_Husky.glb",
    "animal/qd_Triceratops.glb",
    "food/kk_food_burger.glb",
    "seating",
    "seating",
    "vehicle",
    "vehicle",
    "vehicle",
)
SIZE = 128
# Pixels whose center lies nearer to an edge than this (a barycentric weight) are not counted: rounding decides.
EDGE = 1e-3


def model_path(data: Path, index: int) -> Path:
    """The model, or for a folder's name the next of its GLB files in order."""
    name = MODELS[index]
    if name.endswith(".glb"):
        return data / name
    files = sorted((data / name).glob("*.glb"))
    return files[(7 * MODELS[:index].count(name)) % len(files)]


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.load(path, force="mesh", process=False)
    vertices = np.asarray(mesh.vertices, np.float32)
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) / (high - low).max(), np.asarray(mesh.faces, np.int32)


@pytest.mark.parametrize("index", range(len(MODELS)))
def test_triangle_ids_agree(shared_data: Path, index: int) -> None:
    embree = pytest.importorskip("embreex.rtcore_scene", reason="embreex is not installed")
    from embreex.mesh_construction import TriangleMesh

    path = model_path(shared_data, index)
    vertices, faces = load(path)
    camera = Cameras.orbit(torch.tensor([0.7 + index]), torch.tensor([0.35]), 1.6, 0.7, near=0.1, far=10.0)
    points = torch.from_numpy(vertices).double()
    positions = clip_positions(camera, points.float(), torch.zeros(len(points), dtype=torch.int64))
    rast, _ = rasterize(positions, torch.from_numpy(faces), torch.tensor([0, len(faces)]), (SIZE, SIZE))

    ndc = (2 * np.arange(SIZE) + 1) / SIZE - 1
    x, y = np.meshgrid(ndc, ndc)
    focal = camera.focal[0].numpy()
    rays = np.stack([x / focal[0], -y / focal[1], -np.ones_like(x)], -1).reshape(-1, 3)
    rays = (rays @ camera.camera_to_world[0, :3, :3].numpy().T).astype(np.float32)
    origins = np.broadcast_to(camera.position()[0].numpy(), rays.shape).astype(np.float32)
    scene = embree.EmbreeScene(robust=True)
    TriangleMesh(scene, vertices[faces])
    hit = scene.run(np.ascontiguousarray(origins), rays, output=1)

    ours = rast[0].reshape(-1, 4).numpy()
    our_id = ours[:, 3].astype(int) - 1
    their_id = np.asarray(hit["primID"]).astype(int)
    their_weights = np.stack([hit["u"], hit["v"], 1 - hit["u"] - hit["v"]], 1)
    our_weights = np.stack([ours[:, 0], ours[:, 1], 1 - ours[:, 0] - ours[:, 1]], 1)
    away = ((our_id < 0) | (our_weights.min(1) > EDGE)) & ((their_id < 0) | (their_weights.min(1) > EDGE))
    # Triangles that lie on one another have no nearest: equal distance along the ray is agreement.
    depth = (10.1 * 1 - 2 * 0.1 * 10.0 / np.maximum(np.asarray(hit["tfar"]), 1e-3)) / 9.9
    same = (our_id == their_id) | ((our_id >= 0) & (their_id >= 0) & (np.abs(depth - ours[:, 2]) < 1e-6))
    assert (our_id >= 0).mean() > 0.03, f"{path.name}: hardly anything is seen"
    assert away.mean() > 0.9
    agreement = same[away].mean()
    assert agreement >= 0.999, f"{path.name}: ids agree on {agreement:.4%} of {away.sum()} pixels away from edges"
