"""JSD, EMD, F-score, validity, normalization and sources of shapes."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dataset_tool.dataset import open_dataset
from geometry.mesh import Mesh
from metrics.cache import ChunkStore
from metrics.protocols import load_protocol, protocol_names
from metrics.shapes.earth_mover import approximate, exact, exact_matrix
from metrics.shapes.jsd_f_score import cell_centers, common_cube, f_score, jensen_shannon, occupancy
from metrics.shapes.mesh_validity import TOO_MANY_PAIRS, Validity, mesh_validity
from metrics.shapes.normalization import normalize_point_clouds
from metrics.shapes.self_intersections import _edges_pierce, _overlapping_boxes
from metrics.shapes.shape_table import TableColumns, shape_table
from metrics.shapes.single_scores import validity_metrics
from metrics.sources.dataset import DatasetSource
from metrics.sources.folder import FolderSource
from metrics.sources.sampling import chosen_rows
from metrics.sources.shape_source import sample_shape_points, usable_shape
from tests.dataset_tool.shapes import write_dataset
from tests.metrics.boxes import write_boxes
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError


def random_points(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tetrahedron() -> Mesh:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return Mesh.single(vertices, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))


def test_emd_against_all_permutations() -> None:
    x, y = random_points(5), random_points(5, seed=1)
    cost = (x[:, None] - y).norm(dim=-1)
    best = min(sum(cost[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(5))) / 5
    assert exact(x, y) == pytest.approx(float(best))
    assert exact(x, x[torch.randperm(5, generator=torch.Generator().manual_seed(0))]) == pytest.approx(0, abs=1e-12)
    assert exact(torch.full((5, 3), torch.nan), y) == float("inf")
    with pytest.raises(ValueError, match="of one size"):
        exact(x, y[:4])
    assert exact_matrix(torch.stack([x, y, y]), torch.stack([y, x])).argmin(1).tolist() == [1, 0, 0]


def test_approximate_emd_moves_all_mass_and_overestimates_a_little() -> None:
    x, y = random_points(2, 128), random_points(2, 128, seed=1)
    for a, b, found in zip(x, y, approximate(x, y), strict=True):
        assert exact(a, b) < float(found) < 1.5 * exact(a, b)


def test_occupancy_against_brute_force() -> None:
    points = (random_points(2, 150) - 0.5) * 1.1
    centers = cell_centers()
    counts = torch.zeros(len(centers), dtype=torch.float64)
    for point in points.reshape(-1, 3):
        counts[int((centers - point).norm(dim=1).argmin())] += 1
    torch.testing.assert_close(occupancy(points), counts / counts.sum())
    step = 1 / 27
    assert len(centers) == sum(
        np.sqrt(sum((i * step - 0.5) ** 2 for i in cell)) <= 0.5 for cell in itertools.product(range(28), repeat=3)
    )


def test_jensen_shannon() -> None:
    p = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    q = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon(p, q) == pytest.approx(1)
    r = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    m = (p + r) / 2
    expected = sum(a * np.log2(a / b) / 2 for x in (p, r) for a, b in zip(x.tolist(), m.tolist(), strict=True) if a > 0)
    assert jensen_shannon(p, r) == pytest.approx(expected)


def test_common_cube_keeps_the_sets_in_place_to_each_other() -> None:
    references = random_points(3, 50) * torch.tensor([4.0, 2.0, 2.0]) + 9
    generated = references + torch.tensor([1.0, 0.0, 0.0])
    real, fake = common_cube(references, generated)
    assert float(real.amax()) == pytest.approx(0.5, abs=1e-6)
    extent = float((references.reshape(-1, 3).amax(0) - references.reshape(-1, 3).amin(0)).max())
    torch.testing.assert_close(fake - real, torch.tensor([1.0 / extent, 0.0, 0.0]).double().expand_as(real))


def test_f_score_against_brute_force() -> None:
    x, y = random_points(1, 30), random_points(1, 20, seed=1)
    d = (x[0][:, None] - y[0]).norm(dim=-1)
    recall, precision = (d.min(1).values <= 0.2).double().mean(), (d.min(0).values <= 0.2).double().mean()
    expected = float(2 * precision * recall / (precision + recall))
    assert float(f_score(x, y, 0.2)) == pytest.approx(expected)
    assert 0 < expected < 1
    assert float(f_score(x, x, 1e-9)) == pytest.approx(1)


def test_validity_of_known_meshes() -> None:
    whole = mesh_validity(tetrahedron())
    assert whole.watertight
    assert (whole.components, whole.boundary_edges, whole.non_manifold_edges, whole.degenerate_faces) == (1, 0, 0, 0)
    mesh = tetrahedron()
    opened = mesh_validity(Mesh.single(mesh.vertices, mesh.faces[1:]))
    assert (opened.watertight, opened.boundary_edges) == (False, 3)
    # A vertex split at a seam is one corner; a second part, a fin on an edge and a sliver are found.
    split = torch.cat([mesh.vertices, mesh.vertices[:1]])
    faces = mesh.faces.clone()
    faces[0, 0] = 4
    assert mesh_validity(Mesh.single(split, faces)).watertight
    apart = Mesh.single(torch.cat([mesh.vertices, mesh.vertices + 5]), torch.cat([mesh.faces, mesh.faces + 4]))
    assert mesh_validity(apart).components == 2
    fin = Mesh.single(torch.cat([mesh.vertices, torch.tensor([[9.0, 9, 9]])]), torch.cat([mesh.faces, mesh.faces[:1]]))
    fin.faces[4, 2] = 4
    assert mesh_validity(fin).non_manifold_edges == 1
    sliver = torch.cat([mesh.faces, torch.tensor([[0, 0, 1]], dtype=torch.int32)])
    assert mesh_validity(Mesh.single(mesh.vertices, sliver)).degenerate_faces == 1
    assert Validity.from_row(whole.row()) == whole


def test_crossing_faces_are_counted_and_touching_ones_are_not() -> None:
    mesh = tetrahedron()
    assert mesh_validity(mesh, intersections=True).self_intersections == 0
    pierced = torch.tensor([[0.2, 0.2, -1.0], [0.25, 0.2, 2.0], [0.2, 0.3, 2.0]])  # through the bottom and the slope
    both = Mesh.single(torch.cat([mesh.vertices, pierced]), torch.cat([mesh.faces, torch.tensor([[4, 5, 6]]).int()]))
    assert mesh_validity(both, intersections=True).self_intersections == 2
    resting = Mesh.single(torch.cat([mesh.vertices, pierced + 1.5]), both.faces)
    assert mesh_validity(resting, intersections=True).self_intersections == 0
    soup = torch.rand(60, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    faces = torch.arange(180).reshape(-1, 3)
    found = mesh_validity(Mesh.single(soup.reshape(-1, 3), faces), intersections=True).self_intersections
    pairs = [(i, j) for i in range(60) for j in range(i)]
    sides = [np.stack([soup[p[k]].numpy() for p in pairs]) for k in (0, 1)]
    assert found == int((_edges_pierce(*sides) | _edges_pierce(*sides[::-1])).sum()) > 50


def cylinder(segments: int) -> Mesh:
    """Two fans and a band of long thin faces: the boxes of the faces of a fan overlap, and all share its center."""
    angle = torch.arange(segments, dtype=torch.float64) * 2 * torch.pi / segments
    ring = torch.stack([0.3 * angle.cos(), 0.3 * angle.sin(), torch.full_like(angle, -0.35)], 1)
    vertices = torch.cat([ring, ring * torch.tensor([1, 1, -1]), torch.tensor([[0, 0, -0.35], [0, 0, 0.35]])])
    low = torch.arange(segments)
    low_next, high, high_next = low.roll(-1), low + segments, low.roll(-1) + segments
    bottom, top = torch.full_like(low, 2 * segments), torch.full_like(low, 2 * segments + 1)
    corners = ((bottom, low_next, low), (top, high, high_next), (low, low_next, high_next), (low, high_next, high))
    return Mesh.single(vertices, torch.cat([torch.stack(each, 1) for each in corners]))


def test_long_thin_faces_are_counted_in_bounded_memory() -> None:
    """Before the bounds 8,000 faces took 1.8 GB and a minute; here the peak of what Python allocates is measured."""
    import tracemalloc

    mesh = cylinder(1000)
    tracemalloc.start()
    try:
        assert mesh_validity(mesh, intersections=True).self_intersections == 0
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


def test_a_mesh_with_too_many_near_pairs_is_given_up(monkeypatch) -> None:
    soup = torch.rand(200, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mesh = Mesh.single(soup.reshape(-1, 3), torch.arange(600).reshape(-1, 3))
    assert mesh_validity(mesh, intersections=True).self_intersections > 0
    for bound in ("MAX_BOX_TESTS", "MAX_NEAR_PAIRS"):
        with monkeypatch.context() as patch:
            patch.setattr(f"metrics.shapes.self_intersections.{bound}", 1000)
            validity = mesh_validity(mesh, intersections=True)
        assert validity.self_intersections == TOO_MANY_PAIRS and validity.faces == 200
    rows = {row.name: row for row in validity_metrics([validity, mesh_validity(tetrahedron(), intersections=True)], 2)}
    found = rows["mesh_self_intersections"]
    assert (found.value, found.n) == (0, 1) and found.reason == "not counted for 1 of 2 meshes: too many near pairs"
    (found,) = [row for row in validity_metrics([validity], 1) if row.name == "mesh_self_intersections"]
    assert (found.value, found.status) == (None, "failed")


def test_overlapping_boxes_against_all_pairs() -> None:
    low = random_points(300).numpy()
    high = low + random_points(300, seed=1).numpy() * np.array([0.3, 0.05, 0.2])
    found = {tuple(sorted(pair)) for pairs in _overlapping_boxes(low, high) for pair in pairs.tolist()}
    touching = ((low[:, None] <= high) & (low <= high[:, None])).all(2)
    assert found == {(i, j) for i in range(300) for j in range(i + 1, 300) if touching[i, j]} and len(found) > 100
    assert sum(len(pairs) for pairs in _overlapping_boxes(low, high)) == len(found)


@pytest.mark.parametrize("how", ["none", "longest_side", "reference_mean_std", "unit_box"])
def test_normalization(how) -> None:
    points = random_points(2, 60) * torch.tensor([4.0, 2.0, 1.0]) + 3
    found = normalize_point_clouds(points, how, points)
    side = found.amax(1) - found.amin(1)
    center = (found.amax(1) + found.amin(1)) / 2
    if how == "none":
        assert torch.equal(found, points)
    elif how == "reference_mean_std":
        torch.testing.assert_close(found.reshape(-1, 3).mean(0), torch.zeros(3).double(), atol=1e-9, rtol=0)
        assert float((found[0] - found[1]).norm() / (points[0] - points[1]).norm()) == pytest.approx(
            1 / float(points.std(correction=0))
        )
    else:
        torch.testing.assert_close(side.amax(1), torch.ones(2).double())
        assert bool((center.abs() < 1e-6).all()) == (how == "unit_box")


def test_protocols_are_complete_and_refuse_unknown_fields(tmp_path: Path) -> None:
    assert protocol_names() == ["get3d-2022", "lion-box", "ln3diff", "pointflow", "quick"]
    for name in protocol_names():
        assert load_protocol(name).name == name
    assert load_protocol("get3d-2022").generated_per_reference == 5
    with pytest.raises(UserError, match="did you mean 'pointflow'"):
        load_protocol("pointflov")
    file = tmp_path / "own.yaml"
    file.write_text("name: own\nversion: 1\ndescription: x\ncolor: red\n", encoding="utf-8")
    with pytest.raises(UserError, match="color"):
        load_protocol(str(file))
    with pytest.raises(UserError, match="cannot be read"):
        load_protocol(str(tmp_path / "none.yaml"))


OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def test_a_folder_of_mixed_formats_keeps_bad_files_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(OBJ, encoding="utf-8")
    (tmp_path / "b.obj").write_text("v 0 0 0\n", encoding="utf-8")
    (tmp_path / "c.ply").write_bytes(b"not a mesh")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.obj").write_text(OBJ.replace("v 1", "v 2"), encoding="utf-8")
    source = FolderSource(tmp_path)
    assert source.ids == ["a.obj", "b.obj", "c.ply", "sub/d.obj"]
    assert source.formats == [".obj", ".ply"]
    table = shape_table(source, ChunkStore(tmp_path / "cache"), TableColumns(64, meshes=True))
    assert table.usable.tolist() == [True, False, False, True]
    assert table.problems[0] == "" and all(table.problems[1:3])
    assert table.validity[0] is not None and table.validity[0].watertight and table.validity[1] is None
    key = source.key
    (tmp_path / "a.obj").write_text(OBJ.replace("v 1", "v 3"), encoding="utf-8")
    assert FolderSource(tmp_path).key != key
    with pytest.raises(UserError, match="no such folder"):
        FolderSource(tmp_path / "nothing")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="holds no mesh file"):
        FolderSource(tmp_path / "bare")


def test_points_depend_on_the_shape_alone() -> None:
    shape = usable_shape(tetrahedron())
    assert torch.equal(sample_shape_points(shape, "a", 32), sample_shape_points(shape, "a", 32))
    assert not torch.equal(sample_shape_points(shape, "a", 32), sample_shape_points(shape, "b", 32))
    broken = tetrahedron()
    broken.vertices[1] = torch.inf
    assert usable_shape(broken).problem == "vertices that are not finite"
    assert sample_shape_points(usable_shape(broken), "a", 8).isnan().all()


def test_a_choice_of_shapes_follows_the_seed_and_not_the_names(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{'armchair' if i < 20 else 'sofa'}{i:02d}.obj").write_text(OBJ, encoding="utf-8")
    source = FolderSource(tmp_path, limit=20)
    assert source.ids == FolderSource(tmp_path, limit=20).ids == sorted(source.ids)
    assert 5 <= sum(name.startswith("armchair") for name in source.ids) <= 15
    assert source.notes(Ranks())[0].endswith(
        "20 of 40 mesh files, chosen at random (seed 0): the protocol's counts ask for no more"
    )
    assert FolderSource(tmp_path, limit=40).ids == FolderSource(tmp_path).ids
    assert FolderSource(tmp_path).notes(Ranks()) == []
    assert len(set(chosen_rows(1000, 300))) == 300 and chosen_rows(3, None) == chosen_rows(3, 5) == [0, 1, 2]


def test_a_choice_of_a_split_has_a_key_of_its_own(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "data", count=12))
    every = DatasetSource(dataset, "train")
    first, chosen = (DatasetSource(dataset, "train", 4, at_random=at_random) for at_random in (False, True))
    assert first.ids == every.ids[:4] != chosen.ids
    assert first.key == every.key != chosen.key, "stored results of other shapes must not be read"
    assert (first.notes(Ranks()), len(chosen.notes(Ranks()))) == ([], 1)
    assert DatasetSource(dataset, "train", 400, at_random=True).key == every.key


def test_samples_have_points_where_the_references_have_them(tmp_path: Path) -> None:
    """References of a dataset with visible points: what is inside of a sample does not count either."""
    write_boxes(tmp_path / "boxes", 4, 0)
    path = tmp_path / "boxes" / "box0.obj"
    lines = [line.split() for line in path.read_text().splitlines()]
    inner = [["v", *(str(0.5 * float(x)) for x in numbers)] for kind, *numbers in lines if kind == "v"]
    inner += [["f", *(str(int(k) + 8) for k in corners)] for kind, *corners in lines if kind == "f"]
    path.write_text("\n".join(" ".join(line) for line in lines + inner) + "\n")
    source = FolderSource(tmp_path / "boxes")
    store = ChunkStore(tmp_path / "cache")
    whole, seen = (
        shape_table(source, store, TableColumns(256, visible=visible)).points[0] for visible in (False, True)
    )
    half = seen.abs().amax(0)
    inside = [(points.abs() < 0.9 * half).all(1).double().mean().item() for points in (whole, seen)]
    assert inside[0] > 0.1 and inside[1] == 0
