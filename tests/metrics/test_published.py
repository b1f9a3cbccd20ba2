"""Published rows stand only beside scores of the same protocol, images and detector."""

import dataclasses

import pytest

from metrics.protocols import Protocol, load_protocol
from metrics.report.published import is_included, published_rows
from metrics.sources.image_settings import ImageSettings
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS

EVERY = ("cov_lfd", "cov_cd", "mmd_lfd", "mmd_cd", "fid")
PUBLISHED = ImageSettings(CAMERA_DISTRIBUTIONS["chair"], 1024, 1024)


def rows(protocol: Protocol | None = None, references: int = 1131, settings=PUBLISHED, measured=EVERY, what="chair"):
    return published_rows(what, protocol or load_protocol("get3d-2022"), references, settings, measured)


def test_rows_of_the_same_protocol() -> None:
    found = {row.name: row for row in rows()}
    assert found["GET3D"].values == {"cov_lfd": 69.08, "cov_cd": 69.91, "mmd_lfd": 3167, "mmd_cd": 3.72, "fid": 23.28}
    assert found["GET3D + FlexiCubes"].values == {"fid": 17.51}
    assert all(row.comparable for row in found.values())


def test_another_number_of_references_is_said() -> None:
    assert not any(row.comparable for row in rows(references=60))
    assert "1131 ShapeNet test shapes" in rows(references=60)[0].note


@pytest.mark.parametrize(
    "settings",
    [
        None,
        dataclasses.replace(PUBLISHED, side=64),
        dataclasses.replace(PUBLISHED, camera_distribution=CAMERA_DISTRIBUTIONS["animal"]),
    ],
    ids=["no images", "smaller images", "other cameras"],
)
def test_an_fid_of_other_images_has_no_row(settings) -> None:
    found = rows(settings=settings)
    assert found and not any("fid" in row.values for row in found)
    assert "GET3D + FlexiCubes" not in [row.name for row in found], "nothing of it is left"


def test_another_detector_has_no_row() -> None:
    """Its distance is called fd."""
    assert not any("fid" in row.values for row in rows(measured=("cov_cd", "fd")))


@pytest.mark.parametrize(
    "change", [{"name": "quick"}, {"points": 1024}, {"truncation": 0.7}, {"normalization": "unit_box"}]
)
def test_another_protocol_has_no_rows(change: dict) -> None:
    protocol = load_protocol("get3d-2022").model_copy(update=change)
    assert rows(protocol) == [] and not is_included(protocol)


def test_what_changes_no_score_keeps_the_rows() -> None:
    protocol = load_protocol("get3d-2022")
    images = protocol.images.model_copy(update={"normals": True})
    assert rows(protocol.model_copy(update={"images": images, "shape_metrics": ()}))
    clean = protocol.images.model_copy(update={"resize": "clean"})
    assert rows(protocol.model_copy(update={"images": clean})) == []


def test_other_categories_have_none() -> None:
    assert rows(what="teapot") == []


def test_ln3diff() -> None:
    protocol = load_protocol("ln3diff")
    assert (protocol.truncation, protocol.images.views_per_shape, protocol.images.resolution) == (0.8, 50, 128)
    settings = ImageSettings(CAMERA_DISTRIBUTIONS["ln3diff"], 128, 128)
    get3d = rows(protocol, settings=settings)[0]
    assert (get3d.name, get3d.values) == ("GET3D", {"fid": 35.3, "cov_cd": 28.1, "mmd_cd": 9.1})
    assert not get3d.comparable and "not known" in get3d.note
    assert not any("fid" in row.values for row in rows(protocol))
