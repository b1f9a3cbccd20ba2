"""Scores of generated images against reference images from the features of a detector: FID, KID, precision, recall."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.images.detectors import Detector, all_features, same_size
from metrics.images.frechet import frechet_distance_of_features, frechet_infinity
from metrics.images.kid_cmmd import kernel_distance
from metrics.images.precision_recall import manifold_scores
from metrics.images.vendi import vendi_score
from metrics.report.report_schema import Interval, Metric
from metrics.sources.lazy_images import LazyImages

# Images per chunk of features on disk.
CHUNK = 256
# Sectors of azimuth for FID by view, and the images that a sector needs on both sides.
SECTORS, SECTOR_LEAST = 8, 8
# Precision, recall, density and coverage hold all distances in memory, hence at most this many images of each side.
MANIFOLD_LIMIT = 10_000
# What the images show: the colors, the coverage alone, or the normals of the faces.
Content = Literal["colors", "masks", "normals"]
# The Fréchet and kernel distances are FID and KID with the Inception file, and FD and KD with any other detector.
COLOR_SCORES = (
    ("fid", "FID"),
    ("fid_infinity", "FID∞"),
    ("kid", "KID"),
    ("precision", "Precision"),
    ("recall", "Recall"),
    ("density", "Density"),
    ("coverage", "Coverage"),
    ("fid_view", "FID by view, mean of sectors"),
    ("vendi", "Vendi score"),
)
FEW_FOR_KERNELS = "needs at least two images on each side"
HIDDEN_SCORES = (("fid_masks", "FID, masks"), ("fid_normals", "FID, normals"))


@dataclass(frozen=True)
class Features:
    """Features [N, D] of images, and the azimuth of each camera [N], radians."""

    values: Tensor
    azimuth_rad: Tensor


def skipped_images(reason: str) -> list[Metric]:
    """All image scores as not measured, for one reason."""
    return [skipped(name, title, reason) for name, title in (*COLOR_SCORES, *HIDDEN_SCORES)]


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


def score_name(detector: Detector, name: str, title: str, content: Content = "colors") -> dict[str, str]:
    """The name and title of a score.

    The distances are "FID" and "KID" with the Inception file, and "FD (<detector>)" with any other. Scores of masks and
    normals say so.
    """
    if not detector.inception and re.search("FID|KID", title):
        name = name.replace("fid", "fd").replace("kid", "kd")
        title = re.sub(r"(F|K)ID(∞?)", rf"\1D\2 ({detector.label})", title)
    if content == "colors":
        return {"name": name, "title": title}
    return {"name": f"{name}_{content}", "title": f"{title}, {content}"}


def image_metrics(
    real: Features, fake: Features, detector: Detector, note: str, content: Content = "colors"
) -> list[Metric]:
    """FID, KID, precision/recall, density/coverage; of colors also FID∞, FID by view and the Vendi score.

    note: images and detector, for the report.
    """
    a, b = real.values, fake.values
    same_size(detector.label, a, b)

    def score(name: str, title: str, function: Callable[[], float], **more: Any) -> Metric:
        start = time.perf_counter()
        value = function()
        return Metric(
            **score_name(detector, name, title, content),
            value=value,
            n=len(b),
            reason=note,
            seconds=time.perf_counter() - start,
            **more,
        )

    metrics = [score("fid", "FID", lambda: frechet_distance_of_features(a, b))]
    if content == "colors":
        metrics.append(score("fid_infinity", "FID∞", lambda: frechet_infinity(a, b)))
    metrics.append(_kernel_metric(a, b, score, detector, content))
    metrics += _manifold_metrics(a, b, score, detector, content)
    if content == "colors":
        view = _view_metric(real, fake, detector.label)
        metrics.append(view.model_copy(update=score_name(detector, view.name, view.title)))
        metrics.append(score("vendi", "Vendi score", lambda: vendi_score(b), direction="higher"))
    return measured_with(metrics, detector.identity)


def _kernel_metric(a: Tensor, b: Tensor, score: Callable[..., Metric], detector: Detector, content: Content) -> Metric:
    if min(len(a), len(b)) < 2:
        return skipped(**score_name(detector, "kid", "KID", content), reason=FEW_FOR_KERNELS)
    start = time.perf_counter()
    mean, std = kernel_distance(a, b)
    spread = Interval(
        low=1000 * (mean - 1.96 * std),
        high=1000 * (mean + 1.96 * std),
        method="spread of 100 subsets of images, ± 1.96 standard deviations",
    )
    metric = score("kid", "KID", lambda: 1000 * mean, unit="×10⁻³", interval=spread if std else None)
    return metric.model_copy(update={"seconds": time.perf_counter() - start})


def measured_with(metrics: list[Metric], identity: str) -> list[Metric]:
    """The metrics, with the network whose features or answers they compare."""
    return [metric.model_copy(update={"detector": identity}) for metric in metrics]


def _manifold_metrics(
    a: Tensor, b: Tensor, score: Callable[..., Metric], detector: Detector, content: Content
) -> list[Metric]:
    titles = ("Precision", "Recall", "Density", "Coverage")
    if min(len(a), len(b)) <= 5:
        names = [score_name(detector, title.lower(), title, content) for title in titles]
        return [skipped(name["name"], name["title"], "needs more than five images on each side") for name in names]
    start = time.perf_counter()
    scores = manifold_scores(a[:MANIFOLD_LIMIT], b[:MANIFOLD_LIMIT])
    seconds = time.perf_counter() - start
    values = (scores.precision, scores.recall, scores.density, scores.coverage)
    metrics = [
        score(title.lower(), title, lambda value=value: value, direction="higher")
        for title, value in zip(titles, values, strict=True)
    ]
    return [metrics[0].model_copy(update={"seconds": seconds}), *metrics[1:]]


def _view_metric(real: Features, fake: Features, label: str) -> Metric:
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
        reason=f"{label}; {parts} (sectors of {360 // SECTORS}° from there; few images each, so compare sectors only)",
        seconds=time.perf_counter() - start,
    )


def _sector(azimuth_rad: Tensor) -> Tensor:
    turns = (azimuth_rad.double() / (2 * torch.pi)) % 1
    return (turns * SECTORS).long().clamp(max=SECTORS - 1)
