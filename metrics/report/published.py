"""Published rows of other systems, for comparison with reports under the same protocol."""

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from metrics.protocols import Protocol, load_protocol, protocol_names
from metrics.report.report_schema import Baseline
from metrics.sources.image_settings import ImageSettings
from rendering.camera_distribution import CameraDistribution, load_camera_distribution

FILE = Path(__file__).parent / "published.yaml"
# The score of images among the published ones. Its name is reserved for the published detector.
FID = "fid"


@cache
def _tables() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def published_rows(
    category: str, protocol: Protocol, num_references: int, settings: ImageSettings | None, measured: Collection[str]
) -> list[Baseline]:
    """The published rows of a category for the scores that were measured under the same protocol; often none.

    settings: of the images; None without images. measured: names of the metrics that have a value. A row is comparable
    with the references of the published test split only; otherwise its note says what differs. An FID is left out
    unless the images have the published resolution and cameras.
    """
    table = _tables().get(protocol.name, {})
    entry = table.get("categories", {}).get(category)
    if entry is None or not is_included(protocol):
        return []
    allowed = set(measured)
    if settings is None or not _images_alike(settings, table, category):
        allowed.discard(FID)
    if entry["test_shapes"] is None:
        difference = "the published number of shapes and units of COV and MMD are not known"
    elif entry["test_shapes"] != num_references:
        difference = f"measured with {entry['test_shapes']} ShapeNet test shapes"
    else:
        difference = ""
    note = f"published; {difference or 'same protocol and counts'}"
    rows = []
    for name, values in entry["rows"].items():
        shown = {metric: float(value) for metric, value in values.items() if metric in allowed}
        if shown:
            rows.append(Baseline(name=name, values=shown, comparable=not difference, note=note))
    return rows


def is_included(protocol: Protocol) -> bool:
    """Whether a protocol is the included one of its name in everything that can change a published score."""
    return protocol.name in protocol_names() and _what_counts(protocol) == _what_counts(load_protocol(protocol.name))


def _what_counts(protocol: Protocol) -> dict[str, Any]:
    values = protocol.model_dump(exclude={"description", "shape_metrics", "crossing_shapes", "max_training"})
    if values["images"] is not None:
        del values["images"]["normals"]  # adds scores and changes none
    return values


def _images_alike(settings: ImageSettings, table: dict[str, Any], category: str) -> bool:
    published = load_camera_distribution(table["camera"] or category)
    return settings.side == table["image_resolution"] and _unnamed(settings.camera_distribution) == _unnamed(published)


def _unnamed(distribution: CameraDistribution) -> dict[str, Any]:
    return distribution.model_dump(exclude={"name", "near", "far"})
