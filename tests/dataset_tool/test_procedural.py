"""Procedural shapes: determinism, variety, closed and connected geometry, mapping, words, files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dataset_tool.procedural.categories import CATEGORIES, SYNSETS, make_shape, shape_id
from dataset_tool.procedural.chair import chair_parts
from dataset_tool.procedural.chair_plan import FOUR_LEGGED, draw_plan
from dataset_tool.procedural.shape import ProceduralPart, ProceduralShape
from dataset_tool.procedural.write import write_shape_folder, write_shapes
from tests.dataset_tool.shapes import geometry_hash
from torch_utils.errors import UserError
from torch_utils.seeding import sample_rng

SAMPLE = 7
NAMES = sorted(CATEGORIES)


@pytest.fixture(scope="module")
def shapes() -> dict[str, list[ProceduralShape]]:
    return {name: [make_shape(name, 3, index) for index in range(SAMPLE)] for name in NAMES}


def is_closed(part: ProceduralPart) -> bool:
    """Every directed edge occurs once, and its opposite once: closed, manifold, consistently wound."""
    faces, count = part.faces.astype(np.int64), len(part.vertices)
    start, stop = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    forward, backward = np.sort(start * count + stop), np.sort(stop * count + start)
    return len(np.unique(forward)) == len(forward) and bool((forward == backward).all())


def surface_voxels(shape: ProceduralShape, cells: int = 64) -> np.ndarray:
    """Cells that hold a point of the surface, sampled at under a cell's spacing."""
    low, high = shape.bounds()
    cell = float((high - low).max()) / cells
    grid = np.zeros((cells + 4,) * 3, bool)
    for part in shape.parts:
        a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
        longest = np.maximum(np.linalg.norm(b - a, axis=1), np.linalg.norm(c - a, axis=1))
        levels = np.ceil(longest / cell * 1.3).astype(int)
        for level in np.unique(levels):
            i, j = (axis.ravel() for axis in np.meshgrid(np.arange(level + 1), np.arange(level + 1)))
            u, v = i[i + j <= level] / max(level, 1), j[i + j <= level] / max(level, 1)
            at = levels == level
            points = a[at, None] + u[:, None] * (b - a)[at, None] + v[:, None] * (c - a)[at, None]
            index = ((points.reshape(-1, 3) - low) / cell).astype(int) + 1
            grid[tuple(index.T)] = True
    return grid


def num_components(shape: ProceduralShape) -> int:
    return int(ndimage.label(surface_voxels(shape), np.ones((3, 3, 3)))[1])


def test_a_shape_depends_on_category_seed_and_index_alone() -> None:
    again = [make_shape("chair", 3, index) for index in (4, 1)]
    alone = {1: make_shape("chair", 3, 1), 4: make_shape("chair", 3, 4)}
    for shape, index in zip(again, (4, 1), strict=True):
        assert geometry_hash(shape) == geometry_hash(alone[index])
        assert shape.caption == alone[index].caption
        for name, material in shape.materials.items():
            assert np.array_equal(material.image, alone[index].materials[name].image)
    assert geometry_hash(make_shape("chair", 4, 1)) != geometry_hash(alone[1])


def test_two_hundred_chairs_are_distinct_and_varied() -> None:
    plans = [draw_plan(sample_rng(0, index, "procedural-chair")) for index in range(200)]
    parts = [tuple(chair_parts(plan)) for plan in plans]
    chairs = [ProceduralShape("chair", "0", "chair", part, {}, "") for part in parts]
    assert geometry_hash(chairs[7]) == geometry_hash(make_shape("chair", 0, 7))
    assert len({geometry_hash(chair) for chair in chairs}) == 200
    assert len({plan.legs for plan in plans}) == 9
    assert len({plan.back for plan in plans}) >= 10
    assert {plan.kind for plan in plans} == {"chair", "armchair", "stool", "bench"}
    assert 0.45 <= np.mean([plan.legs in FOUR_LEGGED for plan in plans]) <= 0.75
    assert all(250 <= chair.num_faces() <= 5000 for chair in chairs)


@pytest.mark.parametrize("category", [name for name in NAMES if name != "chair"])
def test_shapes_of_every_category_are_distinct(category: str) -> None:
    made = [make_shape(category, 11, index) for index in range(16)]
    assert len({geometry_hash(shape) for shape in made}) == 16
    assert len({shape.caption for shape in made}) > 10


@pytest.mark.parametrize("category", NAMES)
def test_parts_are_closed_outward_and_the_object_is_one_piece(
    category: str, shapes: dict[str, list[ProceduralShape]]
) -> None:
    for index, shape in enumerate(shapes[category]):
        for part in shape.parts:
            assert is_closed(part), (category, index, part.material)
            assert part.volume() > 0, (category, index, part.material)
        assert num_components(shape) == 1, (category, index, shape.caption)


def test_the_connectedness_check_sees_a_floating_part(shapes: dict[str, list[ProceduralShape]]) -> None:
    chair = shapes["chair"][0]
    floating = ProceduralShape("chair", "0", "chair", (*chair.parts, chair.parts[0].moved((0, 3, 0))), {}, "")
    assert num_components(floating) > 1


@pytest.mark.parametrize("category", NAMES)
def test_textures_are_mapped_in_meters(category: str, shapes: dict[str, list[ProceduralShape]]) -> None:
    """A texture is neither stretched nor squeezed: over a shape's area the map's area is near the surface's."""
    for shape in shapes[category]:
        surface = mapped = 0.0
        for part in shape.parts:
            assert part.uv_faces.max() < len(part.uvs)
            assert np.isfinite(part.uvs).all()
            a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
            surface += float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
            u, v, w = (part.uvs[part.uv_faces[:, k]] for k in range(3))
            mapped += float(np.abs((v - u)[:, 0] * (w - u)[:, 1] - (v - u)[:, 1] * (w - u)[:, 0]).sum())
        assert 0.6 < mapped / surface < 1.8, (shape.caption, mapped / surface)


@pytest.mark.parametrize("category", NAMES)
def test_words_match_attributes(category: str, shapes: dict[str, list[ProceduralShape]]) -> None:
    for shape in shapes[category]:
        assert re.match(r"an? \S", shape.caption)
        assert (shape.caption[:2] == "an") == (shape.caption.split(" ")[1][0] in "aeiou")
        assert shape.attributes["type"] == shape.class_name
        assert str(shape.attributes["type"]) in shape.caption
        assert set(shape.materials) == {part.material for part in shape.parts}
        material_kinds = {material.kind for material in shape.materials.values()}
        assert shape.attributes["material"] in material_kinds
        for material in shape.materials.values():
            assert material.image.dtype == np.uint8
            assert min(material.image.shape[:2]) >= 64


def test_chairs_stand_on_the_ground_with_bars_that_the_tet_grid_resolves(
    shapes: dict[str, list[ProceduralShape]],
) -> None:
    for chair in shapes["chair"]:
        low, high = chair.bounds()
        assert low[1] == pytest.approx(0, abs=1e-9)
        assert np.abs(low + high)[[0, 2]].max() < 1e-9
        longest = float((high - low).max())
        for part in chair.parts:
            extent = np.ptp(part.vertices, axis=0)
            assert extent.max() > 0.025 * longest


def read_obj(path: Path) -> tuple[np.ndarray, list[tuple[str, np.ndarray]], int]:
    """Vertices, (material, faces [F, 3, 3] of v/vt/vn from 1) per group, and the number of vt lines."""
    vertices, groups, coordinates = [], [], 0
    for line in path.read_text().splitlines():
        kind, *words = line.split()
        if kind == "v":
            vertices.append([float(word) for word in words])
        elif kind == "vt":
            coordinates += 1
        elif kind == "usemtl":
            groups.append((words[0], []))
        elif kind == "f":
            groups[-1][1].append([[int(n) for n in word.split("/")] for word in words])
    return np.array(vertices), [(name, np.array(faces)) for name, faces in groups], coordinates


def test_files_follow_the_layout_and_load_back(tmp_path: Path) -> None:
    steps: list[str] = []
    for summary in ((2, 0), (0, 2)):  # shapes that are there count, too
        written = write_shapes("chair", 2, 5, tmp_path / "out", on_shape=lambda: steps.append("shape"))
        assert (written.written, written.kept) == summary and len(steps) == 2
        steps.clear()
    folder = tmp_path / "out" / SYNSETS["chair"] / shape_id("chair", 5, 1)
    shape = make_shape("chair", 5, 1)
    vertices, groups, coordinates = read_obj(folder / "models" / "model_normalized.obj")
    assert np.linalg.norm(np.ptp(vertices, axis=0)) == pytest.approx(1, abs=1e-4)
    assert np.abs(vertices.mean(axis=0)).max() < 1e-4
    assert [name for name, _ in groups] == [part.material for part in shape.parts]
    assert sum(len(faces) for _, faces in groups) == shape.num_faces()
    indices = np.concatenate([faces.reshape(-1, 3) for _, faces in groups])
    assert indices.min() == 1
    assert indices[:, 0].max() == len(vertices)
    assert indices[:, 1].max() <= coordinates
    record = json.loads((folder / "models" / "model_normalized.json").read_text())
    low, high = shape.bounds()
    scale = np.linalg.norm(high - low)
    source = np.concatenate([part.vertices for part in shape.parts])
    assert np.allclose(vertices * (-scale, scale, -scale) + record["centroid"], source, atol=2e-5)
    text = (folder / "models" / "model_normalized.mtl").read_text()
    assert set(re.findall(r"newmtl (\S+)", text)) == set(shape.materials)
    for name in re.findall(r"map_Kd (\S+)", text):
        with Image.open(folder / "models" / name) as image:
            assert image.mode == "RGB"
            assert min(image.size) >= 64
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["caption"] == shape.caption
    assert meta["attributes"] == shape.attributes
    assert meta["class"] == shape.class_name


def test_the_front_faces_minus_z_in_the_file(tmp_path: Path) -> None:
    """A chair's back, its highest part, lies at +z when its front faces −z."""
    index = next(i for i in range(50) if draw_plan(sample_rng(0, i, "procedural-chair")).back == "ladder")
    folder = tmp_path / "chair"
    write_shape_folder(make_shape("chair", 0, index), folder, {})
    vertices, _, _ = read_obj(folder / "models" / "model_normalized.obj")
    highest = vertices[vertices[:, 1] > vertices[:, 1].max() - 0.05]
    assert highest[:, 2].mean() > 0.1


def test_ids_do_not_depend_on_the_count_and_a_second_run_keeps_shapes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = write_shapes("mug", 1, 0, out).folder
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / f".{shape_id('mug', 0, 1)}.partial-1").mkdir()
    summary = write_shapes("mug", 3, 0, out)
    assert (summary.written, summary.kept) == (2, 1)
    names = {path.name for path in folder.iterdir()}
    assert names == {shape_id("mug", 0, index) for index in range(3)}
    for name, time in first.items():
        assert (folder / name).stat().st_mtime_ns == time


def test_workers_write_the_same_files(tmp_path: Path) -> None:
    one, two = (
        write_shapes("mug", 3, 1, tmp_path / name, workers=workers).folder for name, workers in (("one", 1), ("two", 2))
    )
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_a_foreign_folder_or_another_seed_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="--out"):
        write_shapes("mug", 1, 0, foreign)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    write_shapes("mug", 1, 0, tmp_path / "out")
    with pytest.raises(UserError, match="--seed 0"):
        write_shapes("mug", 1, 1, tmp_path / "out")
    (tmp_path / "out" / "procedural.json").write_text("{")
    with pytest.raises(UserError, match=r"procedural\.json"):
        write_shapes("mug", 1, 0, tmp_path / "out")


@pytest.mark.parametrize(
    ("category", "count", "seed", "word"), [("sofa", 1, 0, "chair"), ("mug", 0, 0, "--count"), ("mug", 1, -1, "--seed")]
)
def test_bad_arguments_are_named(category: str, count: int, seed: int, word: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=word):
        write_shapes(category, count, seed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_category_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="sofa: expected one of chair, "):
        make_shape("sofa", 0, 0)


def test_a_failed_write_is_one_line_and_leaves_no_half_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(UserError, match="No space left on device"):
            write_shapes("mug", 1, 0, tmp_path / "out")
    assert list((tmp_path / "out" / SYNSETS["mug"]).iterdir()) == []
    assert write_shapes("mug", 1, 0, tmp_path / "out").written == 1


def test_a_run_killed_before_its_marker_stood_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / ".tetragan-17.tmp").write_text("{")
    assert write_shapes("mug", 1, 0, tmp_path).written == 1
