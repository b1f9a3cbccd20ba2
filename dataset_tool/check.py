"""Check that a dataset is complete and suitable for training."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dataset_tool.dataset import ViewDataset, meta_warnings
from dataset_tool.fingerprint import copies
from dataset_tool.format.dataset_json import digest
from dataset_tool.format.pixels import looks_inverted, looks_premultiplied
from dataset_tool.format.storage import join
from torch_utils.errors import UserError
from torch_utils.failures import failure_line

Level = Literal["error", "warning"]
BLANK_ALPHA = 8  # of 255: a view whose coverage never exceeds it shows nothing
SAME_COLOR = 2  # of 255: the rounding of one color


@dataclass(frozen=True)
class Finding:
    """An error or a warning. kind: a few words, the same for all findings of this kind. where: a shape or a file."""

    level: Level
    kind: str
    where: str
    detail: str = ""


def check_dataset(dataset: ViewDataset, on_shape: Callable[[], None] | None = None) -> list[Finding]:
    """All findings in a dataset: errors first, in the order of the shapes."""
    findings = list(_splits(dataset))
    shape_ids = dataset.shape_ids()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reports = pool.map(lambda shape_id: _shape(dataset, shape_id), shape_ids)
        metas: dict[str, dict[str, Any]] = {}
        for shape_id, (shape_findings, meta) in zip(shape_ids, reports, strict=True):
            findings += shape_findings
            metas[shape_id] = meta
            if on_shape is not None:
                on_shape()
    findings += _duplicates(dataset, metas)
    findings += _content(dataset)
    return sorted(findings, key=lambda finding: finding.level)


def _splits(dataset: ViewDataset) -> Iterator[Finding]:
    present = set(dataset.storage.shape_ids())
    owner: dict[str, str] = {}
    for name, ids in dataset.splits.items():
        if not ids:
            yield Finding("warning", "empty split", name)
        for shape_id in ids:
            if shape_id in owner:
                yield Finding("error", "shape in two splits", shape_id, f"{owner[shape_id]} and {name}")
            owner[shape_id] = name
            if shape_id not in present:
                yield Finding("error", "shape is missing", shape_id, f"listed in {name}")
    unused = sorted(present - set(owner))
    if unused:
        yield Finding("warning", "shapes in no split", unused[0], f"{len(unused)} in all")


def _shape(dataset: ViewDataset, shape_id: str) -> tuple[list[Finding], dict[str, Any]]:
    """The findings in one shape, and its meta.json ({} if it cannot be read)."""
    findings: list[Finding] = []
    meta: dict[str, Any] = {}

    def attempt(kind: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # noqa: BLE001  # whatever a shape's files provoke is a finding of that shape
            findings.append(Finding("error", kind, shape_id, failure_line(error)))
            return None

    if dataset.storage.exists(f"shapes/{shape_id}/meta.json"):
        meta = attempt("meta.json", lambda: dataset.meta(shape_id)) or {}
        findings += [Finding("warning", "source", shape_id, text) for text in meta_warnings(meta)]
        attempt("changed file", lambda: _hashes(dataset, shape_id, meta))
    else:
        findings.append(Finding("warning", "no meta.json", shape_id))
    frames = attempt("cameras", lambda: dataset.frames(shape_id))
    if frames is not None:
        if len(frames) != dataset.header.views:
            findings.append(
                Finding("warning", "number of views", shape_id, f"{len(frames)}, not {dataset.header.views}")
            )
        findings += attempt("cameras", lambda: list(_cameras(dataset, shape_id))) or []
        findings += attempt("image", lambda: list(_images(dataset, shape_id))) or []
    if dataset.has_points(shape_id):
        points = attempt("points", lambda: dataset.points(shape_id))
        if points is not None and np.abs(points).max(initial=0) > 0.75:
            findings.append(Finding("warning", "points far out", shape_id, f"up to {np.abs(points).max():.2f}"))
    else:
        findings.append(Finding("warning", "no surface points", shape_id, "3D metrics cannot use it"))
    return findings, meta


def _hashes(dataset: ViewDataset, shape_id: str, meta: dict[str, Any]) -> None:
    for name, expected in meta.get("files", {}).items():
        data = dataset.storage.read(join(f"shapes/{shape_id}", name))
        if hashlib.sha256(data).hexdigest() != expected:
            raise UserError(
                f"shapes/{shape_id}/{name}: its SHA-256 is not the one in meta.json; render the shape again"
            )


def _cameras(dataset: ViewDataset, shape_id: str) -> Iterator[Finding]:
    camera_distribution = dataset.camera_distribution
    cameras = dataset.cameras([shape_id] * dataset.views(shape_id), range(dataset.views(shape_id)))
    low, high = camera_distribution.elevation_deg.bounds()
    elevation = cameras.elevation_rad().rad2deg()
    slack = 0.1 + 60 * camera_distribution.target_jitter
    outside = int(((elevation < low - slack) | (elevation > high + slack)).sum())
    if outside:
        yield Finding(
            "warning",
            "cameras outside the camera distribution",
            shape_id,
            f"{outside} views, elevation beyond {low}–{high}°",
        )


def _images(dataset: ViewDataset, shape_id: str) -> Iterator[Finding]:
    found: dict[tuple[Level, str], list[int]] = defaultdict(list)
    for view in range(dataset.views(shape_id)):
        try:
            image = dataset.load(shape_id, view)
        except UserError as error:
            yield Finding("error", "image", shape_id, str(error))
            continue
        for finding in _view_findings(image):
            found[finding].append(view)
    for (level, what), views in found.items():
        yield Finding(level, what, shape_id, "views " + ", ".join(map(str, views)))


def _view_findings(image: np.ndarray) -> Iterator[tuple[Level, str]]:
    """What one view [H, W, 4] lacks for training: level and a few words."""
    alpha = image[..., 3]
    if alpha.max() <= BLANK_ALPHA:
        yield "error", "blank views"
        return
    if alpha.min() == 255:
        yield "warning", "no mask (opaque views)"
    elif looks_inverted(alpha):
        yield "warning", "mask of the background?"
    elif max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 127:
        yield "warning", "object cut by the frame"
    if looks_premultiplied(image):
        yield "warning", "premultiplied alpha?"
    colors = image[alpha > 127, :3]
    if len(colors) and int((colors.max(0) - colors.min(0)).max()) <= SAME_COLOR:
        yield "warning", "one color only"


def _duplicates(dataset: ViewDataset, metas: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Report copies: in two splits, where test shapes were trained on, and in one split, where they weigh twice."""
    owner = {shape_id: name for name, ids in dataset.splits.items() for shape_id in ids}
    for group in copies({shape_id: meta for shape_id, meta in metas.items() if shape_id in owner}):
        names = {owner[shape_id] for shape_id in group}
        others = ", ".join(f"{shape_id} ({owner[shape_id]})" for shape_id in group[1:])
        kind = "same geometry in two splits" if len(names) > 1 else "same geometry twice"
        advice = f"; tetragan dataset split {dataset.path} brings them together" if len(names) > 1 else ""
        yield Finding("warning", kind, group[0], f"({owner[group[0]]}) and {others}{advice}")


def _content(dataset: ViewDataset) -> Iterator[Finding]:
    if not dataset.header.content:
        return
    hashes = {}
    for shape_id in dataset.storage.shape_ids():
        name = f"shapes/{shape_id}/meta.json"
        if dataset.storage.exists(name):
            hashes[shape_id] = hashlib.sha256(dataset.storage.read(name)).hexdigest()
    if digest(hashes) != dataset.header.content:
        yield Finding(
            "error", "content hash", "dataset.json", "shapes were added, removed or changed since it was written"
        )
