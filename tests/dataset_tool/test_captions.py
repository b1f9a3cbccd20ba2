"""Looks and short captions of procedural shapes, and shapes as meshes without files."""

from pathlib import Path

import numpy as np
import pytest

from dataset_tool.procedural.as_mesh import as_source_mesh
from dataset_tool.procedural.captions import caption, vocabulary
from dataset_tool.procedural.categories import CATEGORIES, make_shape
from dataset_tool.procedural.finishes import Finish, draw_finish, finish_material, with_finish
from dataset_tool.procedural.write import write_shapes
from dataset_tool.sources.orientation import normalize
from mesh_io.read import read_mesh
from rendering.camera import orbit_cameras
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from tests.dataset_tool.shapes import geometry_hash


def views_of(mesh, front: str) -> np.ndarray:
    placed, _ = normalize(mesh, "+Y", front, 0.7)
    return render_views(build_scene(placed), orbit_cameras([35.0, 215.0]), 64).images.astype(np.int16)


@pytest.mark.parametrize("category", ["chair", "mug"])
def test_a_shape_looks_the_same_in_memory_and_from_its_files(category: str, tmp_path: Path) -> None:
    folder = write_shapes(category, 1, 3, tmp_path).folder
    written = read_mesh(next(folder.rglob("*.obj")), root=tmp_path)
    ours, theirs = views_of(as_source_mesh(make_shape(category, 3, 0)), "+Z"), views_of(written, "-Z")
    inside = (ours[..., 3] == 255) & (theirs[..., 3] == 255)
    assert inside.sum() > 0.9 * (theirs[..., 3] == 255).sum()
    assert np.abs(ours - theirs)[inside].mean() < 2, "colors or places differ"


@pytest.mark.parametrize("category", list(CATEGORIES))
def test_a_finish_paints_every_part_and_moves_none(category: str) -> None:
    shape = make_shape(category, 0, 1)
    painted = with_finish(shape, Finish("red"), np.random.default_rng(0))
    assert geometry_hash(painted) == geometry_hash(shape)
    for material in painted.materials.values():
        red, green, blue = material.image.reshape(-1, 3).mean(0)
        assert red > 2 * max(green, blue)


def test_every_drawn_finish_has_a_material_and_known_words() -> None:
    rng, known = np.random.default_rng(0), set(vocabulary())
    words = set()
    for _ in range(200):
        look = draw_finish(rng)
        assert finish_material(look, rng).image.shape[-1] == 3
        for category, kind in (("chair", "stool"), ("mug", "mug"), ("plane", "airliner")):
            words |= set(caption(category, kind, look, rng).split())
    assert words <= known, words - known


def test_captions_in_plain_words() -> None:
    assert caption("chair", "armchair", Finish("orange", pattern="striped")) == "an orange striped armchair"
    assert caption("plane", "airliner", Finish(material="wooden")) == "a wooden plane"
    assert caption("table", "desk", None) == "a desk"


def test_an_unknown_finish_is_refused() -> None:
    with pytest.raises(ValueError, match="finish_material"):
        finish_material(Finish("crimson"), np.random.default_rng(0))
