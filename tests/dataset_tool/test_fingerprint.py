"""Copies are found whatever their scale, vertex order and rounding; different shapes are told apart."""

import dataclasses

import numpy as np
import pytest

from dataset_tool.check import check_dataset
from dataset_tool.dataset import open_dataset
from dataset_tool.edit import resplit
from dataset_tool.fingerprint import ANCHORS, anchors, copies, geometry_fingerprint
from dataset_tool.format.splits import hash_splits, split_shapes
from dataset_tool.render.render_dataset import render_dataset
from dataset_tool.sources.find_shapes import find_shapes
from mesh_io.source_mesh import SourceMesh, SourcePart
from rendering.camera_distribution import CameraDistribution, ScalarDistribution
from tests.dataset_tool.shapes import box, settings, write_blocks


def mesh(vertices, faces) -> SourceMesh:
    return SourceMesh("test", (SourcePart(np.asarray(vertices, float), np.asarray(faces, np.int32)),))


def are_copies(a: SourceMesh, b: SourceMesh) -> bool:
    found = copies({"a": {"geometry": geometry_fingerprint(a)}, "b": {"geometry": geometry_fingerprint(b)}})
    assert found in ([], [["a", "b"]])
    return bool(found)


VERTICES, FACES = box((-0.3, -0.2, -0.1), (0.3, 0.2, 0.1))


@pytest.mark.parametrize(
    "copy",
    [
        mesh(VERTICES[::-1], 7 - FACES),
        mesh(VERTICES[FACES].reshape(-1, 3), np.arange(36).reshape(-1, 3)),
        mesh(VERTICES * 17.3, FACES),
        mesh(VERTICES + np.array([4, -2, 100]), FACES),
    ],
    ids=["another order of the vertices", "corners not shared", "another scale", "another place"],
)
def test_a_fingerprint_knows_the_shape_and_nothing_else(copy: SourceMesh) -> None:
    assert are_copies(mesh(VERTICES, FACES), copy)
    assert geometry_fingerprint(mesh(VERTICES, FACES))["sha256"] == geometry_fingerprint(copy)["sha256"]


def test_copies_may_differ_by_a_hundred_thousandth_of_the_size() -> None:
    rng = np.random.default_rng(0)
    hashes = set()
    for count in (8, 500):
        # Half of the vertices lie where rounding to steps is undecided, as the corners of a box may.
        vertices = rng.uniform(-0.5, 0.5, (count, 3))
        vertices[: count // 2] = (np.floor(vertices[: count // 2] * 8192) + 0.5) / 8192
        vertices[:2] = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
        original = mesh(vertices, [[0, 1, 2]])
        for _ in range(20):
            moved = vertices + rng.choice([-1e-5, 1e-5], vertices.shape)
            assert are_copies(original, mesh(rng.permutation(moved), [[0, 1, 2]]))
            hashes.add(geometry_fingerprint(mesh(moved, [[0, 1, 2]]))["sha256"])
    assert len(hashes) > 2, "the hash alone would have missed them"


@pytest.mark.parametrize("change", [[1, 1, 1.01], [1, 1.003, 1], [0.9, 1, 1]])
def test_other_proportions_are_another_shape(change) -> None:
    assert not are_copies(mesh(VERTICES, FACES), mesh(VERTICES * change, FACES))


def test_procedural_chairs_are_all_different() -> None:
    from dataset_tool.procedural.categories import make_shape

    chairs = [make_shape("chair", 0, index) for index in range(40)]
    metas = {}
    for index, chair in enumerate(chairs):
        parts = tuple(SourcePart(part.vertices, part.faces) for part in chair.parts)
        metas[f"chair{index}"] = {"geometry": geometry_fingerprint(SourceMesh("test", parts))}
    assert copies(metas) == []
    metas["again"] = metas["chair7"]
    assert copies(metas) == [["again", "chair7"]]


def test_groups_are_joined_through_near_pairs() -> None:
    base = geometry_fingerprint(mesh(VERTICES, FACES))

    def moved(sha256: str, steps: int) -> dict:
        return {"geometry": {"sha256": sha256, "distances": [d + steps for d in base["distances"]]}}

    metas = {"a": moved("1", 0), "b": moved("1", 0), "c": moved("2", 90), "d": moved("3", 180), "e": moved("4", 400)}
    assert copies(metas) == [["a", "b", "c", "d"]]


def test_older_and_damaged_fingerprints() -> None:
    old = {"geometry_sha256": "x"}
    good = {"geometry": geometry_fingerprint(mesh(VERTICES, FACES))}
    metas = {"a": old, "b": dict(old), "c": {"geometry_sha256": "y"}, "d": {}, "e": good, "f": {"geometry": "x"}}
    metas["g"] = {"geometry": {"sha256": "x", "distances": ["much"] * ANCHORS}}
    assert copies(metas) == [["a", "b"]]


def test_anchors_fill_the_cube() -> None:
    points = anchors()
    assert points.shape == (ANCHORS, 3) and np.abs(points).max() < 0.5
    assert np.abs(points.mean(0)).max() < 0.05 and points[0].tolist() == [0, 1 / 3 - 0.5, 1 / 5 - 0.5]


def test_check_finds_copies_that_were_rendered_to_fit(tmp_path) -> None:
    """Every copy has cameras of its own, so that each is shrunk by another factor."""
    for name in ("a", "b", "c", "d"):
        write_blocks(tmp_path / "source" / f"{name}.obj")
    write_blocks(tmp_path / "source" / "other.obj", stretch=0.7)
    lines = (tmp_path / "source/d.obj").read_text().splitlines()
    turned = [
        line if line[0] != "v" else "v " + " ".join(f"{float(x) * 3:.4f}" for x in line.split()[1:]) for line in lines
    ]
    (tmp_path / "source/d.obj").write_text("\n".join(turned))
    near = CameraDistribution(radius=ScalarDistribution(uniform=(0.8, 1.0)), elevation_deg=ScalarDistribution(fixed=10))
    given = dataclasses.replace(settings(resolution=16, views=2), camera_distribution=near, fit=True)
    # Half of the five shapes would be test shapes, so some of the four copies, too.
    render_dataset(find_shapes(tmp_path / "source"), tmp_path / "data", given, shares=(0.5, 0.0, 0.5))
    dataset = open_dataset(tmp_path / "data")
    assert len({dataset.meta(shape_id)["scale"] for shape_id in "abcd"}) == 4
    found = [f for f in check_dataset(dataset) if f.kind.startswith("same geometry")]
    assert [f.kind for f in found] == ["same geometry twice"], "copies were kept in one split"
    assert {found[0].where, *(part.split(" ")[0] for part in found[0].detail.split("and ")[1].split(", "))} == set(
        "abcd"
    )


def test_copies_stay_in_one_split(tmp_path) -> None:
    shape = {"geometry": geometry_fingerprint(mesh(VERTICES, FACES))}
    ids = [f"shape-{i}" for i in range(200)]
    plain = hash_splits(ids)
    assert all(plain.values())
    for group in (ids[3:60:5], ids):
        splits = split_shapes({shape_id: shape if shape_id in group else {} for shape_id in ids})
        owner = {shape_id: name for name, part in splits.items() for shape_id in part}
        assert sorted(owner) == sorted(ids)
        home = next(name for name in plain if min(group) in plain[name])
        assert {owner[shape_id] for shape_id in group} == {home}
        assert all(owner[i] == name for name, part in plain.items() for i in part if i not in group)
    assert split_shapes({shape_id: {} for shape_id in ids}) == plain


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_copies_of_one_shape_alone_train(count) -> None:
    """Few shapes are counted out by what differs, so that no copy can leave the training split empty."""
    shape = {"geometry": geometry_fingerprint(mesh(VERTICES, FACES))}
    ids = [f"shape-{i}" for i in range(count)]
    assert split_shapes(dict.fromkeys(ids, shape)) == {"train": ids, "val": [], "test": []}
    splits = split_shapes(dict.fromkeys(ids, shape) | {"other": {}})
    assert sorted(len(splits[name]) for name in ("train", "test")) == [1, count]


def test_splitting_again_brings_copies_together(tmp_path) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        write_blocks(tmp_path / "source" / f"{name}.obj", stretch=1 if name in "abc" else 0.9 - 0.05 * ord(name) % 1)
    given = settings(resolution=16, views=1)
    render_dataset(find_shapes(tmp_path / "source"), tmp_path / "data", given)
    lists = {"train": ["a", "d", "e"], "test": ["b", "c", "f"]}
    resplit(tmp_path / "data", lists)
    (found,) = (f for f in check_dataset(open_dataset(tmp_path / "data")) if f.kind.startswith("same"))
    assert found.kind == "same geometry in two splits" and "tetragan dataset split" in found.detail
    resplit(tmp_path / "data", None)
    (found,) = (f for f in check_dataset(open_dataset(tmp_path / "data")) if f.kind.startswith("same"))
    assert found.kind == "same geometry twice"
