"""Scores of pictures: a generator's renders against the dataset's views, through a detector."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metrics.features import Detector, all_features, to_uint8
from metrics.frechet import frechet_distance_of_features, frechet_infinity
from metrics.kernels import clip_mmd, kernel_distance
from metrics.manifold import manifold_scores
from metrics.protocols import ImageProtocol
from metrics.report import IntervalRecord, Metric
from metrics.sources import GENERATOR_BATCH, NetworkSource
from metrics.store import ChunkStore, Tensors, content_key
from rendering.camera import Cameras
from sampling.generate import styles

# Pictures of one chunk of features on disk.
CHUNK = 256
# Sectors of azimuth that the per-view distances are taken in, and the pictures that a sector needs on both sides.
SECTORS, SECTOR_LEAST = 8, 8
# Neighbourhood scores hold all distances in memory, so they take at most this many pictures of either side.
MANIFOLD_LIMIT = 10_000
PICTURE_SCORES = (
    ("fid", "FID"),
    ("fid_infinity", "FID∞"),
    ("kid", "KID"),
    ("precision", "Precision"),
    ("recall", "Recall"),
    ("density", "Density"),
    ("coverage", "Coverage"),
    ("fid_view", "FID by view, mean of sectors"),
)


@dataclass(frozen=True)
class Features:
    """Features [N, D] of pictures and the azimuth that each was seen from [N], radians."""

    values: Tensor
    azimuth_rad: Tensor


def skipped_pictures(reason: str) -> list[Metric]:
    """All picture scores, not measured for one reason."""
    return [Metric(name=name, title=title, status="skipped", reason=reason) for name, title in PICTURE_SCORES]


def real_features(
    dataset: Any, split: str, count: int, resolution: int, detector: Detector, store: ChunkStore
) -> Features:
    """Features of at most `count` views of a split, on black, spread evenly over all of its views."""
    every = [(shape_id, view) for shape_id in dataset.splits[split] for view in range(dataset.views(shape_id))]
    step = max(1.0, len(every) / count)
    chosen = [every[int(i * step)] for i in range(min(count, len(every)))]

    def pictures(part: range) -> Tensor:
        images = [dataset.load_premultiplied(*chosen[i], resolution) for i in part]
        return torch.from_numpy(np.stack(images))[..., :3].permute(0, 3, 1, 2).contiguous()

    key = {"dataset": dataset.hash(), "split": split, "count": len(chosen), "side": resolution, "with": detector.key}
    values = _stored_features(pictures, len(chosen), detector, key, store)
    cameras = dataset.cameras([shape_id for shape_id, _ in chosen], [view for _, view in chosen])
    return Features(values, cameras.azimuth_rad())


def generated_features(
    source: NetworkSource,
    cameras: Callable[[Sequence[int]], Cameras],
    protocol: ImageProtocol,
    resolution: int,
    detector: Detector,
    store: ChunkStore,
    law_key: str,
) -> Features:
    """Features of protocol.count pictures, one view a latent. cameras(indices): the camera of each picture."""

    def pictures(part: range) -> Tensor:
        return torch.cat(list(render_batches(source, part, cameras(part), protocol.truncation, resolution)))

    key = {"network": source.sha256, "psi": protocol.truncation, "side": resolution, "law": law_key}
    key |= {"count": protocol.count, "first": source.first_seed, "with": detector.key}
    values = _stored_features(pictures, protocol.count, detector, key, store)
    return Features(values, cameras(range(protocol.count)).azimuth_rad())


@torch.no_grad()
def render_batches(
    source: NetworkSource, rows: Sequence[int], cameras: Cameras, truncation: float, resolution: int
) -> Iterator[Tensor]:
    """Pictures [B, 3, R, R] uint8 on black of the seeds of `rows`, each through its own camera."""
    for start in range(0, len(rows), GENERATOR_BATCH):
        part = [source.seed(row) for row in rows[start : start + GENERATOR_BATCH]]
        w_geo, w_tex = styles(source.generator, part, truncation, source.device)
        seen = cameras[slice(start, start + len(part))].to(source.device)
        yield to_uint8(source.generator.render(w_geo, w_tex, seen, resolution=resolution).rgb).cpu()


def _stored_features(
    pictures: Callable[[range], Tensor], count: int, detector: Detector, key: dict[str, Any], store: ChunkStore
) -> Tensor:
    def compute(rows: range) -> Tensors:
        return {"features": all_features(detector, pictures(rows).split(32))}

    return store.rows("features", content_key(key), count, CHUNK, compute)["features"]


def picture_metrics(real: Features, fake: Features, detector: Detector) -> list[Metric]:
    """FID, FID∞, KID, precision/recall, density/coverage, FID by view; CMMD where the detector is a CLIP."""
    a, b = real.values, fake.values
    note = f"{detector.label}; {len(a)} real, {len(b)} generated pictures"

    def score(name: str, title: str, function: Callable[[], float], **more: Any) -> Metric:
        start = time.perf_counter()
        value = function()
        return Metric(
            name=name,
            title=title,
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
    mean, deviation = kernel_distance(a, b)
    spread = IntervalRecord(
        low=1000 * (mean - 1.96 * deviation),
        high=1000 * (mean + 1.96 * deviation),
        method="spread of 100 subsets of pictures, ± 1.96 standard deviations",
    )
    metrics.append(
        score("kid", "KID", lambda: 1000 * mean, unit="×10⁻³", interval=spread if deviation else None).model_copy(
            update={"seconds": time.perf_counter() - start}
        )
    )
    metrics += _manifold_metrics(a, b, score)
    metrics.append(_view_metric(real, fake, note))
    if detector.clip is not None:
        metrics.append(score("cmmd", "CMMD", lambda: clip_mmd(a, b)))
    return metrics


def _manifold_metrics(a: Tensor, b: Tensor, score: Callable[..., Metric]) -> list[Metric]:
    if min(len(a), len(b)) <= 5:
        reason = "needs more than five pictures on either side"
        return [m.model_copy(update={"reason": reason}) for m in skipped_pictures(reason) if m.name in _MANIFOLD]
    found = manifold_scores(a[:MANIFOLD_LIMIT], b[:MANIFOLD_LIMIT])
    return [
        score("precision", "Precision", lambda: found.precision, direction="higher"),
        score("recall", "Recall", lambda: found.recall, direction="higher"),
        score("density", "Density", lambda: found.density, direction="higher"),
        score("coverage", "Coverage", lambda: found.coverage, direction="higher"),
    ]


_MANIFOLD = ("precision", "recall", "density", "coverage")


def _view_metric(real: Features, fake: Features, note: str) -> Metric:
    """The mean Fréchet distance over sectors of azimuth, and in its reason the sectors."""
    start = time.perf_counter()
    sector_real, sector_fake = _sector(real.azimuth_rad), _sector(fake.azimuth_rad)
    values: dict[int, float] = {}
    for sector in range(SECTORS):
        a, b = real.values[sector_real == sector], fake.values[sector_fake == sector]
        if min(len(a), len(b)) >= SECTOR_LEAST:
            values[sector] = frechet_distance_of_features(a, b)
    title = "FID by view, mean of sectors"
    if not values:
        reason = f"no sector of azimuth has {SECTOR_LEAST} pictures on both sides"
        return Metric(name="fid_view", title=title, status="skipped", reason=reason)
    parts = ", ".join(f"{360 * sector // SECTORS}°: {value:.4g}" for sector, value in values.items())
    return Metric(
        name="fid_view",
        title=title,
        value=sum(values.values()) / len(values),
        n=len(fake.values),
        reason=f"{parts} (sectors of {360 // SECTORS}° from there; few pictures each: compare between sectors only)",
        seconds=time.perf_counter() - start,
    )


def _sector(azimuth_rad: Tensor) -> Tensor:
    turns = (azimuth_rad.double() / (2 * torch.pi)) % 1
    return (turns * SECTORS).long().clamp(max=SECTORS - 1)
