"""Scores that need no distance matrix: mesh validity, JSD and the F-score."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from metrics.confidence import bootstrap_mean
from metrics.protocols import Protocol
from metrics.report.report_schema import Metric
from metrics.shapes.jsd_f_score import common_cube, f_score, jensen_shannon, occupancy
from metrics.shapes.mesh_validity import TOO_MANY_PAIRS, Validity
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from metrics.shapes.results import Results
from metrics.shapes.shape_table import ShapeTable

# The F-score's threshold, as a share of the references' longest side.
F_SCORE_SHARE = 0.02


def shape_metrics(results: Results, protocol: Protocol) -> list[Metric]:
    """The protocol's `shape_metrics` except memorization, which is computed with the distances."""
    metrics: list[Metric] = []
    if "validity" in protocol.shape_metrics:
        metrics += validity_metrics(results.generated.validity, len(results.generated.ids))
    return metrics + _point_metrics(results, protocol, results.generated, slice(None), _cd_matrix(results))


def training_shape_values(results: Results, protocol: Protocol) -> tuple[dict[str, float], str]:
    """The same scores of `results.training_part` by name, for the train-vs-test reference, and a remark or ""."""
    assert results.training is not None
    metrics: list[Metric] = []
    note = ""
    if "validity" in protocol.shape_metrics:
        validity = [results.training.validity[row] for row in results.training_part.tolist()]
        if any(validity):
            metrics += validity_metrics(validity, len(validity))
        else:
            note = "no mesh scores, because the meshes of training shapes are not at hand (--reference-meshes)"
    part, matrix = results.training_part, results.training_matrices.get("cd")
    metrics += _point_metrics(results, protocol, results.training, part, matrix)
    return {metric.name: metric.value for metric in metrics if metric.value is not None}, note


def _cd_matrix(results: Results) -> DistanceMatrix | None:
    return results.matrices["cd"].between if "cd" in results.matrices else None


def _point_metrics(
    results: Results, protocol: Protocol, table: ShapeTable, rows: Tensor | slice, matrix: DistanceMatrix | None
) -> list[Metric]:
    """JSD and the F-score of these rows of a table. matrix: their CD to the references, without which no F-score."""
    usable = results.references.usable
    units = results.references.points[usable]
    references = results.references.normalized(protocol.normalization, units)[usable]
    compared = table.normalized(protocol.normalization, units)[rows]
    metrics: list[Metric] = []
    if "jsd" in protocol.shape_metrics:
        metrics.append(jsd_metric(references, compared))
    if "f_score" in protocol.shape_metrics and matrix is not None:
        metrics.append(f_score_metric(references, compared, matrix.nearest_generated()[1]))
    return metrics


def validity_metrics(validity: Sequence[Validity | None], count: int) -> list[Metric]:
    """Empty and watertight shares, components, bad edges and faces; means are over the shapes with a mesh."""
    meshes = [v for v in validity if v is not None]
    empty = Metric(
        name="mesh_empty",
        title="Empty meshes",
        value=100 * (count - len(meshes)) / max(count, 1),
        unit="%",
        direction="lower",
        n=count,
    )
    if not meshes:
        reason = "no generated shape has a mesh"
        return [empty, Metric(name="mesh_watertight", title="Watertight meshes", status="failed", reason=reason)]

    def mean(name: str, title: str, values: list[float], unit: str = "", **more) -> Metric:
        each = torch.tensor(values, dtype=torch.float64)
        return Metric(
            name=name,
            title=title,
            value=float(each.mean()),
            unit=unit,
            interval=bootstrap_mean(each),
            n=len(meshes),
            **more,
        )

    rows = [
        empty,
        mean("mesh_watertight", "Watertight meshes", [100.0 * v.watertight for v in meshes], "%", direction="higher"),
        mean(
            "mesh_components",
            "Components per mesh",
            [float(v.components) for v in meshes],
            direction="target",
            target=1.0,
        ),
        mean("mesh_boundary_edges", "Boundary edges per mesh", [float(v.boundary_edges) for v in meshes]),
        mean("mesh_non_manifold_edges", "Non-manifold edges per mesh", [float(v.non_manifold_edges) for v in meshes]),
        mean(
            "mesh_degenerate_faces",
            "Degenerate faces",
            [100.0 * v.degenerate_faces / max(v.faces, 1) for v in meshes],
            "%",
        ),
    ]
    return [*rows, *_self_intersections(meshes)]


def _self_intersections(meshes: Sequence[Validity]) -> list[Metric]:
    """The mean over the meshes that were counted, and how many were given up."""
    counts = [float(v.self_intersections) for v in meshes if v.self_intersections >= 0]
    given_up = sum(v.self_intersections == TOO_MANY_PAIRS for v in meshes)
    if not counts and not given_up:
        return []
    reason = f"not counted for {given_up} of {len(counts) + given_up} meshes: too many near pairs" if given_up else ""
    return [
        Metric(
            name="mesh_self_intersections",
            title="Self-intersections per mesh",
            value=sum(counts) / len(counts) if counts else None,
            n=len(counts),
            status="ok" if counts else "failed",
            reason=reason,
        )
    ]


def jsd_metric(references: Tensor, generated: Tensor) -> Metric:
    """JSD of the pooled points, in the references' common cube."""
    start = time.perf_counter()
    real, fake = common_cube(references, generated)
    value = jensen_shannon(occupancy(real), occupancy(fake))
    return Metric(
        name="jsd",
        title="JSD",
        value=value,
        unit="bit",
        n=generated.shape[0],
        reason="28³ cells, base 2",
        seconds=time.perf_counter() - start,
    )


def f_score_metric(references: Tensor, generated: Tensor, nearest: Tensor) -> Metric:
    """Mean F-score of each reference and its nearest generated shape."""
    start = time.perf_counter()
    low, high = references.reshape(-1, 3).amin(0), references.reshape(-1, 3).amax(0)
    threshold = F_SCORE_SHARE * float((high - low).max())
    values = f_score(references, generated[nearest], threshold)
    return Metric(
        name="f_score",
        title="F-score, nearest sample",
        value=100 * float(values.mean()),
        unit="%",
        direction="higher",
        interval=bootstrap_mean(100 * values),
        n=references.shape[0],
        reason=f"of each reference and its nearest sample, threshold {threshold:.4g} = {F_SCORE_SHARE:.0%} of the "
        "references' longest side",
        seconds=time.perf_counter() - start,
    )
