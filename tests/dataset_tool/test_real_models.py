"""The real models, as they are: a few of each folder rendered, looked at by numbers."""

import numpy as np
import pytest

from dataset_tool.render.render_shape import render_shape
from dataset_tool.sources.find_shapes import find_shapes
from rendering.camera_distribution import load_camera_distribution
from tests.dataset_tool.shapes import settings


@pytest.mark.parametrize("folder", ["seating", "vehicle", "food", "animal", "shapenet_layout"])
def test_real_models_fill_the_image_with_color(shared_data, folder):
    """Four of each: visible in every view, in the frame unless bulky, neither black nor white, of the asked size."""
    shapes = find_shapes(shared_data / folder)
    assert len(shapes) > 30
    chosen = shapes[:: len(shapes) // 4][:4]
    for source in chosen:
        given = settings(48, views=4, camera_distribution=load_camera_distribution("chair"), shading="soft")
        record, mesh = render_shape(source, given)
        alpha = record.images[..., 3]
        assert ((alpha > 127).mean((1, 2)) > 0.005).all(), source.id
        assert alpha[:, [0, -1]].max() < 128 or np.ptp(record.points, axis=0).min() > 0.5, source.id
        seen = record.images[alpha > 200][:, :3]
        assert 8 < seen.mean() < 245, source.id
        assert np.ptp(record.points, axis=0).max() == pytest.approx(0.7, rel=0.1), source.id
        assert record.meta["faces"] == mesh.num_faces > 10


def test_real_models_of_shapenets_layout_face_the_front(shared_data):
    """The cars of that folder are longer than wide: from the front (azimuth 0) narrow, from the side wide."""
    shapes = [s for s in find_shapes(shared_data / "shapenet_layout") if s.synset == "02958343"][:6]
    assert shapes
    for source in shapes:
        record, _ = render_shape(source, settings(48, views=2))
        front, side = ((image[..., 3] > 127).any(0).sum() for image in record.images)
        assert side > 1.2 * front, source.id
