"""Scores of generated images against reference images from the features of a detector: FID, KID, precision, recall."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.images.detectors import Detector, all_features, same_size
from metrics.images.frechet import frechet_distance_of_features, frechet_infinity
from metrics.images.kid_cmmd import kernel_distance
from metrics.images.precision_recall import manifold_scores
from metrics.report.report_schema import IntervalRecord, Metric
from metrics.sources.lazy_images import LazyImages

# Images per chunk of features on disk.
CHUNK = 256
# Sectors of azimuth for FID by view, and the images that a sector needs on both sides.
SECTORS, SECTOR_LEAST = 8, 8
# Precision, recall, density and coverage hold all distances in memory, hence at most this many images of each side.
MANIFOLD_LIMIT = 10_000
# The Fréchet and kernel distances are FID and KID with the Inception file, and FD and KD with any other detector.
DISTANCE_SCORES = (
    ("fid", "FID"),
    ("fid_infinity", "FID∞"),
    ("kid", "KID"),
    ("fid_view", "FID by view, mean of sectors"),
)
MANIFOLD_SCORES = (
    ("precision", "Precision"),
    ("recall", "Recall"),
    ("density", "Density"),
    ("coverage", "Coverage"),
)
NORMALS_SCORE = ("fid_normals", "Shading FID (normals)")


@dataclass(frozen=True)
class Features:
    """Features [N, D] of images, and the azimuth of each camera [N], radians."""

    values: Tensor
    azimuth_rad: Tensor


def skipped_images(reason: str) -> list[Metric]:
    """All image scores as not measured, for one reason."""
    return [skipped(name, title, reason) for name, title in (*DISTANCE_SCORES, *MANIFOLD_SCORES, NORMALS_SCORE)]


def skipped(name: str, title: str, reason: str) -> Metric:
    """One score as not measured."""
    return Metric(name=name, title=title, status="skipped", reason=reason)


def features_of(
    images: LazyImages,
    detector: Detector,
    store: ChunkStore,
    progress: Callable[[], None] | None = None,
) -> Features:
    """Features of all images, in chunks that are kept in `store`. progress is called after each chunk."""

    def compute(rows: range) -> Tensors:
        return {"features": all_features(detector, images.draw(rows).split(32))}

    key = content_key({"images": images.key, "with": detector.key})
    values = store.rows("features", key, len(images), CHUNK, compute, progress)["features"]
    return Features(values, images.cameras.azimuth_rad())


def named(detector: Detector, name: str, title: str) -> dict[str, str]:
    """The name and title of a distance: "FID" and "KID" with the Inception file, "FD (<detector>)" with any other."""
    if detector.inception or not re.search("FID|KID", title):
        return {"name": name, "title": title}
    return {
        "name": name.replace("fid", "fd").replace("kid", "kd"),
        "title": re.sub(r"(F|K)ID(∞?)", rf"\1D\2 ({detector.label})", title),
    }


def normals_metric(real: Features, fake: Features, detector: Detector, note: str) -> Metric:
    """The Fréchet distance of images of normals, which sees the geometry alone."""
    start = time.perf_counter()
    return Metric(
        **named(detector, *NORMALS_SCORE),
        value=frechet_distance_of_features(real.values, fake.values),
        n=len(fake.values),
        reason=note,
        seconds=time.perf_counter() - start,
    )


def image_metrics(real: Features, fake: Features, detector: Detector, note: str) -> list[Metric]:
    """FID, FID∞, KID, precision/recall, density/coverage, FID by view. note: images and detector, for the report."""
    a, b = real.values, fake.values
    same_size(detector.label, a, b)

    def score(name: str, title: str, function: Callable[[], float], **more: Any) -> Metric:
        start = time.perf_counter()
        value = function()
        return Metric(
            **named(detector, name, title),
            value=value,
            n=len(b),
            reason=note,
            seconds=time.perf_counter() - start,
            **more,
        )

    metrics = [
        score("fid", "FID", lambda: frechet_distance_of_features(a, b)),
        score("fid_infinity", "FID∞", lambda: frechet_infinity(a, b)),
    ]
    start = time.perf_counter()
    mean, std = kernel_distance(a, b)
    spread = IntervalRecord(
        low=1000 * (mean - 1.96 * std),
        high=1000 * (mean + 1.96 * std),
        method="spread of 100 subsets of images, ± 1.96 standard deviations",
    )
    metrics.append(
        score("kid", "KID", lambda: 1000 * mean, unit="×10⁻³", interval=spread if std else None).model_copy(
            update={"seconds": time.perf_counter() - start}
        )
    )
    metrics += _manifold_metrics(a, b, score)
    view = _view_metric(real, fake, note)
    metrics.append(view.model_copy(update=named(detector, view.name, view.title)))
    return metrics


def _manifold_metrics(a: Tensor, b: Tensor, score: Callable[..., Metric]) -> list[Metric]:
    if min(len(a), len(b)) <= 5:
        reason = "needs more than five images on each side"
        return [skipped(name, title, reason) for name, title in MANIFOLD_SCORES]
    scores = manifold_scores(a[:MANIFOLD_LIMIT], b[:MANIFOLD_LIMIT])
    return [
        score("precision", "Precision", lambda: scores.precision, direction="higher"),
        score("recall", "Recall", lambda: scores.recall, direction="higher"),
        score("density", "Density", lambda: scores.density, direction="higher"),
        score("coverage", "Coverage", lambda: scores.coverage, direction="higher"),
    ]


def _view_metric(real: Features, fake: Features, note: str) -> Metric:
    """The mean over sectors of azimuth of the Fréchet distance; its reason lists the sectors."""
    start = time.perf_counter()
    sector_real, sector_fake = _sector(real.azimuth_rad), _sector(fake.azimuth_rad)
    values: dict[int, float] = {}
    for sector in range(SECTORS):
        a, b = real.values[sector_real == sector], fake.values[sector_fake == sector]
        if min(len(a), len(b)) >= SECTOR_LEAST:
            values[sector] = frechet_distance_of_features(a, b)
    title = "FID by view, mean of sectors"
    if not values:
        reason = f"no sector of azimuth has {SECTOR_LEAST} images on both sides"
        return skipped("fid_view", title, reason)
    parts = ", ".join(f"{360 * sector // SECTORS}°: {value:.4g}" for sector, value in values.items())
    return Metric(
        name="fid_view",
        title=title,
        value=sum(values.values()) / len(values),
        n=len(fake.values),
        reason=f"{parts} (sectors of {360 // SECTORS}° from there, with few images each: compare sectors only)",
        seconds=time.perf_counter() - start,
    )


def _sector(azimuth_rad: Tensor) -> Tensor:
    turns = (azimuth_rad.double() / (2 * torch.pi)) % 1
    return (turns * SECTORS).long().clamp(max=SECTORS - 1)
