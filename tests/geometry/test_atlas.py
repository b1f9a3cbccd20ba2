import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geometry.atlas import MARGIN_SHARE, unwrap
from geometry.mesh import Mesh
from geometry.tet_grid import tet_grid
from tests.geometry.dense import extract
from tests.geometry.fields import torus


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    grid = tet_grid("bcc", 12)
    return extract(torus(grid.positions)[None], grid).mesh


@pytest.fixture(scope="module")
def atlas(mesh: Mesh):
    return parts(mesh.vertices, mesh.faces, 512)


def parts(vertices: torch.Tensor, faces: torch.Tensor, size: int):
    """UVs, vertex map and faces."""
    made = unwrap(vertices, faces, size)
    return made.uvs, made.vertex_map, made.faces


def areas(points: torch.Tensor) -> torch.Tensor:
    """Areas [F] of triangles [F, 3, 2 or 3]."""
    points = torch.nn.functional.pad(points.double(), (0, 3 - points.shape[-1]))
    a, b, c = points.unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=1) / 2


def test_the_mesh_stays_the_same_mesh(mesh: Mesh, atlas) -> None:
    uvs, vertex_map, faces = atlas
    assert (uvs.dtype, vertex_map.dtype, faces.dtype) == (torch.float32, torch.int64, torch.int32)
    assert torch.equal(vertex_map[faces.long()], mesh.faces.long())
    assert len(uvs) == len(vertex_map) == len(faces.unique())
    assert uvs.min() >= 0
    assert uvs.max() <= 1


def test_charts_use_the_image_evenly_without_overlap(mesh: Mesh, atlas) -> None:
    uvs, _, faces = atlas
    flat, curved = areas(uvs[faces]), areas(mesh.vertices[mesh.faces])
    assert flat.sum() > 0.5
    stretch = (flat / curved) / (flat.sum() / curved.sum())
    assert torch.quantile(stretch, 0.02) > 0.5
    assert torch.quantile(stretch, 0.98) < 2
    # Each texel center lies in at most one triangle: as many as the area says, none twice.
    hits = np.zeros((512, 512), int)
    for a, b, c in uvs[faces].double().numpy() * 512:
        low, high = (
            np.floor(np.minimum(np.minimum(a, b), c)).astype(int),
            np.ceil(np.maximum(np.maximum(a, b), c)).astype(int),
        )
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        within = (np.min(sides, 0) > 1e-6) | (np.max(sides, 0) < -1e-6)
        hits[low[1] : high[1], low[0] : high[0]] += within
    assert hits.max() == 1
    assert abs(hits.sum() / 512**2 / flat.sum().item() - 1) < 0.02


def test_every_chart_has_its_margin(atlas) -> None:
    uvs, _, faces = atlas
    pixels = uvs.numpy() * 512
    margin = 512 * MARGIN_SHARE
    assert pixels.min() >= margin - 1e-3
    assert pixels.max() <= 512 - margin + 1e-3
    ids = faces.numpy().astype(np.int64)
    graph = coo_matrix((np.ones(ids.size), (ids.ravel(), np.roll(ids, 1, 1).ravel())), shape=(len(uvs), len(uvs)))
    charts, labels = connected_components(graph, directed=False)
    assert charts > 1
    steps = np.linspace(0, 1, 9)
    weights = np.array([(i, j, 1 - i - j) for i in steps for j in steps if i + j <= 1 + 1e-9])
    points = np.einsum("wk,fkd->fwd", weights, pixels[ids]).reshape(-1, 2)
    chart_of = np.repeat(labels[ids[:, 0]], len(weights))
    for chart in range(charts):
        inside = chart_of == chart
        assert cKDTree(points[inside]).query(points[~inside])[0].min() >= 2 * margin - 1e-3


def test_repeatable(mesh: Mesh, atlas) -> None:
    for a, b in zip(parts(mesh.vertices, mesh.faces, 512), atlas, strict=True):
        assert torch.equal(a, b)


def test_small_textures_give_way_on_padding_but_work(mesh: Mesh) -> None:
    uvs, vertex_map, faces = parts(mesh.vertices, mesh.faces, 64)
    assert uvs.min() >= 0
    assert uvs.max() <= 1
    assert areas(uvs[faces]).sum() > 0.02
    assert torch.equal(vertex_map[faces.long()], mesh.faces.long())


def test_tiny_and_huge_meshes_are_charted_alike(mesh: Mesh) -> None:
    for scale in (1e-4, 1e3):
        uvs, _, faces = parts(mesh.vertices * scale, mesh.faces, 256)
        assert (areas(uvs[faces]) > 0).all()


def test_parts_and_degenerate_faces() -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3], [0, 0, 1]])
    pair = Mesh.pack([Mesh.single(corners, faces), Mesh.single(corners + 3, faces)])
    uvs, vertex_map, charted = parts(pair.vertices, pair.faces, 128)
    assert torch.equal(vertex_map[charted.long()], pair.faces.long())
    assert (areas(uvs[charted])[[0, 1, 2, 3, 5, 6, 7, 8]] > 0).all()


@pytest.mark.parametrize("first", [False, True])
def test_a_closed_component_without_area(first: bool) -> None:
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5], [6, 5, 5], [7, 5, 5]])
    solid, flat = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), torch.tensor([[4, 5, 6], [4, 6, 5]])
    faces = torch.cat([flat, solid] if first else [solid, flat])
    uvs, vertex_map, charted = parts(corners, faces, 128)
    assert torch.equal(vertex_map[charted.long()], faces)
    assert torch.isfinite(uvs).all() and ((areas(uvs[charted]) > 0) == (faces < 4).all(1)).all()


@pytest.mark.parametrize(
    ("vertices", "faces", "size", "text"),
    [
        (torch.zeros(3, 2), torch.zeros(1, 3, dtype=torch.int32), 64, "expected vertices [V, 3], got shape [3, 2]"),
        (torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int32), 64, "expected faces [F, 3] with at least one face"),
        (torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]]), 64, "expected finite vertices"),
        (torch.zeros(3, 3), torch.tensor([[0, 1, 3]]), 64, "expected faces in [0, 3), got 3"),
        (torch.zeros(3, 3), torch.tensor([[0, 1, -1]]), 64, "expected faces in [0, 3), got -1"),
        (torch.eye(3), torch.tensor([[0, 1, 2]]), 8, "expected a texture of at least 16 px, got 8"),
        (torch.ones(3, 3), torch.tensor([[0, 1, 2]]), 64, "expected faces with an area, got 1 without"),
    ],
)
def test_errors(vertices: torch.Tensor, faces: torch.Tensor, size: int, text: str) -> None:
    with pytest.raises(ValueError, match=r"unwrap\(\): expected") as caught:
        unwrap(vertices, faces, size)
    assert text in str(caught.value)


def test_points_of_the_surface_are_seen_at_their_own_place_in_the_atlas(mesh: Mesh) -> None:
    """A projection of any point, so that the full surface can be drawn into the atlas of the simplified one."""
    made = unwrap(mesh.vertices, mesh.faces, 512)
    corners = mesh.vertices[mesh.faces.long()].double()
    middle = made.project(corners.mean(1).numpy(), made.labels.numpy())
    np.testing.assert_allclose(middle, made.uvs[made.faces.long()].double().mean(1).numpy(), atol=1e-6)


def test_a_staircase_does_not_lie_over_itself() -> None:
    """A ramp that winds twice around an axis faces upward everywhere, but hides itself from above."""
    angle = torch.linspace(0, 4 * torch.pi, 120)
    rim = torch.stack([angle.cos(), 0.08 * angle, angle.sin()], 1)
    vertices = torch.cat([0.4 * rim * torch.tensor([1, 0, 1.0]) + rim * torch.tensor([0, 1.0, 0]), rim])
    a = torch.arange(119)
    faces = torch.cat([torch.stack([a, a + 120, a + 1], 1), torch.stack([a + 1, a + 120, a + 121], 1)])
    uvs, _, charted = parts(vertices, faces, 256)
    hits = np.zeros((256, 256), int)
    for corners in uvs[charted.long()].double().numpy() * 256:
        x, y = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
        pairs = zip(corners, np.roll(corners, -1, 0), strict=True)
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in pairs]
        hits += (np.min(sides, 0) > 1e-6) | (np.max(sides, 0) < -1e-6)
    assert (hits > 1).sum() < 0.01 * (hits > 0).sum()
