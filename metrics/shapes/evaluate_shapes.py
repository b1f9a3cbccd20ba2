"""The scores of shapes: from the sources to tables, distances and metrics."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from metrics.cache import ChunkStore, content_key
from metrics.protocols import Distance, Protocol
from metrics.report.report_schema import BEST_TRAINING_SHAPE, TRAIN_TEST_REFERENCE, Metric
from metrics.session import Inputs, Session
from metrics.shapes import distances
from metrics.shapes.distances import BLOCK, ShapeSet
from metrics.shapes.memorization import Memorization, memorization
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from metrics.shapes.results import Results
from metrics.shapes.set_scores import SCALES, Matrices, point_values, set_metrics, set_values
from metrics.shapes.shape_table import CHUNK, ShapeTable, TableColumns, shape_table
from metrics.shapes.single_scores import shape_metrics, training_shape_values
from metrics.sources.shape_source import ShapeSource
from torch_utils.errors import UserError


def evaluate_shapes(inputs: Inputs, session: Session) -> Results:
    """Tables, distances and all shape scores of the protocol."""
    protocol = session.protocol
    results = _tables(inputs, session)
    usable = results.references.usable
    if not bool(usable.any()):
        raise UserError(
            f"{inputs.references.label}: no reference has a usable surface ({_first_problem(results.references)})"
        )
    _note_problems(results)
    sets = _shape_sets(inputs, results, protocol)
    if results.training is not None and "training" in sets:
        usable_training = results.training.usable.nonzero()[:, 0]
        results.training_part = usable_training[_training_part(len(usable_training), len(results.generated.ids))]
    for kind in protocol.distances:
        known = _light_field_sets(sets) if kind == "lfd" else sets
        if "references" not in known:
            reason = f"{inputs.references.label}: source meshes are not at hand (--reference-meshes)"
            results.metrics += _skipped_sets(kind, reason)
            continue
        results.metrics += _scores_of(kind, known, results, session)
    results.metrics += shape_metrics(results, protocol)
    if len(results.training_part):
        results.add_values(TRAIN_TEST_REFERENCE, *training_shape_values(results, protocol))
    return results


def _tables(inputs: Inputs, session: Session) -> Results:
    """The tables that all scores are computed from."""
    protocol = session.protocol
    light_fields = "lfd" in protocol.distances

    def table(source: ShapeSource, store: ChunkStore, label: str, meshes: bool) -> ShapeTable:
        intersections = protocol.crossing_shapes if meshes else 0
        columns = TableColumns(protocol.points, meshes, light_fields, intersections, inputs.references.visible_points)
        chunks = -(-len(source.ids) // CHUNK)
        with session.progress(f"{label} ({len(source.ids)})", chunks) as advance:
            return shape_table(source, store, columns, advance)

    references = table(inputs.references, session.real, "references", False)
    training = None
    if inputs.training is not None:
        meshes = "validity" in protocol.shape_metrics and not inputs.training.missing_mesh(
            range(len(inputs.training.ids))
        )
        training = table(inputs.training, session.real, "training shapes", meshes)
    generated = table(inputs.generated, session.own, "generated shapes", "validity" in protocol.shape_metrics)
    return Results(generated, references, training)


def _first_problem(table: ShapeTable) -> str:
    return next((problem for problem in table.problems if problem), "none was given")


def _note_problems(results: Results) -> None:
    for label, table in (("references", results.references), ("training shapes", results.training)):
        if table is not None and (bad := int((~table.usable).sum())):
            results.notes.append(f"{bad} {label} without a usable surface were left out: {_first_problem(table)}")
    if len(results.generated.ids) < len(results.references.ids):
        results.notes.append("fewer generated shapes than references: COV and 1-NNA are not comparable to equal counts")


def _shape_sets(inputs: Inputs, results: Results, protocol: Protocol) -> dict[str, ShapeSet]:
    """Sets in the protocol's units. Unusable real shapes are left out; generated ones stay, infinitely far away."""
    reference_points = results.references.points[results.references.usable]

    def shape_set(source: ShapeSource, table: ShapeTable, keep: Tensor) -> ShapeSet:
        key = content_key(
            {"source": source.key, "rows": keep.tolist(), "ids": len(table.ids), "points": protocol.points}
            | {"normalization": protocol.normalization, "references": inputs.references.key}
        )
        points = table.normalized(protocol.normalization, reference_points)[keep]
        return ShapeSet(key, points, None if table.descriptors is None else table.descriptors[keep])

    sets = {
        "references": shape_set(inputs.references, results.references, results.references.usable.nonzero()[:, 0]),
        "generated": shape_set(inputs.generated, results.generated, torch.arange(len(results.generated.ids))),
    }
    if results.training is not None and inputs.training is not None and bool(results.training.usable.any()):
        sets["training"] = shape_set(inputs.training, results.training, results.training.usable.nonzero()[:, 0])
    return sets


def _light_field_sets(sets: dict[str, ShapeSet]) -> dict[str, ShapeSet]:
    """The sets with descriptors of all their meshes."""
    return {name: shapes for name, shapes in sets.items() if name == "generated" or _has_descriptors(shapes)}


def _has_descriptors(shapes: ShapeSet) -> bool:
    # Zeros are the descriptor of an empty mesh. A real shape has them only if its mesh is missing.
    return shapes.descriptors is not None and bool(shapes.descriptors.flatten(1).any(1).all())


def _skipped_sets(kind: Distance, reason: str) -> list[Metric]:
    return [
        Metric(name=f"{name}_{kind}", title=f"{title}-{SCALES[kind].name}", status="skipped", reason=reason)
        for name, title in (("mmd", "MMD"), ("cov", "COV"), ("one_nna", "1-NNA"))
    ]


def _scores_of(kind: Distance, sets: dict[str, ShapeSet], results: Results, session: Session) -> list[Metric]:
    """Scores of one kind of distance. Adds the baselines' values and, for the first kind, the memorization."""
    start = time.perf_counter()
    matrices = _matrices(kind, sets["references"], sets["generated"], session)
    metrics = set_metrics(kind, matrices, time.perf_counter() - start)
    results.matrices[kind] = matrices
    if "training" not in sets:
        return metrics
    _add_training_rows(kind, sets, results, session)
    if _measures_memorization(results, session):
        metrics += _memorization_metrics(kind, sets, results, session)
    return metrics


def _measures_memorization(results: Results, session: Session) -> bool:
    """Whether memorization is still to be measured, with the protocol's first kind of distance."""
    return "memorization" in session.protocol.shape_metrics and results.memorization is None


def _blocks_bar(label: str, rows: ShapeSet, session: Session) -> AbstractContextManager[Callable[[], None]]:
    """A progress bar over the blocks of a distance matrix with these rows."""
    return session.progress(label, session.chunks(len(rows), BLOCK))


def _within_training(kind: Distance, training: ShapeSet, session: Session) -> Tensor:
    with _blocks_bar(f"{SCALES[kind].name} inside the training shapes", training, session) as advance:
        return distances.within(kind, training, session.real, progress=advance, **session.computing)


def _matrices(kind: Distance, references: ShapeSet, generated: ShapeSet, session: Session) -> Matrices:
    name, store = SCALES[kind].name, session.own
    with _blocks_bar(f"{name} references × generated", references, session) as advance:
        cross = distances.between(kind, references, generated, store, progress=advance, **session.computing)
    with _blocks_bar(f"{name} inside the references", references, session) as advance:
        inside_r = distances.within(kind, references, session.real, progress=advance, **session.computing)
    with _blocks_bar(f"{name} inside the generated", generated, session) as advance:
        inside_g = distances.within(kind, generated, store, progress=advance, **session.computing)
    return Matrices(cross, inside_r, inside_g)


def _add_training_rows(kind: Distance, sets: dict[str, ShapeSet], results: Results, session: Session) -> None:
    """Add the train-vs-test reference and the best single training shape to the baselines.

    Where memorization is measured, its reference is that of the held-out shapes, which are no copies. The best one
    needs the distances to all training shapes. The train-vs-test reference also needs distances inside its part of the
    training set.
    """
    references, training = sets["references"], sets["training"]
    name = SCALES[kind].name
    with _blocks_bar(f"{name} references × training", references, session) as advance:
        every = distances.between(kind, references, training, session.real, progress=advance, **session.computing)
    part = _training_part(len(training), len(sets["generated"]))
    between = results.training_matrices[kind] = every.select(generated=part)
    if _measures_memorization(results, session):
        # Memorization needs all of them, and other evaluations of the same data share them.
        within = _within_training(kind, training, session)
        inside = within[part][:, part]
        if len(training) >= 2:
            held_out = memorization(DistanceMatrix(every.values.T), within)
            results.add_values(TRAIN_TEST_REFERENCE, memorization_values(kind, held_out))
    else:
        inside = _within_training(kind, training.subset(part), session)
    reference = Matrices(between, results.matrices[kind].references, inside)
    short = "" if len(part) == len(sets["generated"]) else f"only {len(part)} training shapes"
    results.add_values(TRAIN_TEST_REFERENCE, set_values(kind, reference), short)
    best = int(every.values.double().mean(0).argmin())
    alone = DistanceMatrix(every.values[:, best : best + 1])
    assert results.training is not None
    usable_ids = [i for i, ok in zip(results.training.ids, results.training.usable.tolist(), strict=True) if ok]
    results.add_values(BEST_TRAINING_SHAPE, point_values(kind, alone), f"for {kind}: {usable_ids[best]}")


def _training_part(training: int, generated: int) -> Tensor:
    """Rows of the usable training shapes that are compared in the place of the generated ones, at most as many."""
    return torch.randperm(training, generator=torch.Generator().manual_seed(0))[:generated].sort().values


def _memorization_metrics(
    kind: Distance, sets: dict[str, ShapeSet], results: Results, session: Session
) -> list[Metric]:
    """AuthPct, and the mean distance of a sample to its nearest training shape. `results` keeps what galleries need."""
    training, generated = sets["training"], sets["generated"]
    scale, start = SCALES[kind], time.perf_counter()
    if len(training) < 2:
        return [_skipped("auth_pct", "AuthPct", "needs at least two training shapes")]
    with _blocks_bar(f"{scale.name} training × generated", training, session) as advance:
        cross = distances.between(kind, training, generated, session.own, progress=advance, **session.computing)
    inside = _within_training(kind, training, session)
    result = results.memorization = memorization(cross, inside)
    seconds = time.perf_counter() - start
    near = int(torch.isfinite(result.nearest).sum())
    among = f"{len(training)} training shapes, {scale.name}"
    values = memorization_values(kind, result)
    return [
        Metric(
            name="auth_pct",
            title="AuthPct",
            value=values["auth_pct"],
            unit="%",
            direction="higher",
            n=len(generated),
            reason=among,
            seconds=seconds,
        ),
        replace_value(
            Metric(
                name=f"nearest_training_{kind}",
                title=f"Nearest training shape, mean {scale.name}",
                unit=scale.unit,
                direction="higher",
                n=near,
                reason=among,
            ),
            values.get(f"nearest_training_{kind}"),
        ),
    ]


def memorization_values(kind: Distance, result: Memorization) -> dict[str, float]:
    """AuthPct, and the mean distance to the nearest training shape where any is finite, in printed units by name."""
    values = {"auth_pct": 100 * result.authentic_share}
    near = result.nearest[torch.isfinite(result.nearest)]
    if near.numel():
        values[f"nearest_training_{kind}"] = SCALES[kind].factor * float(near.double().mean())
    return values


def replace_value(metric: Metric, value: float | None) -> Metric:
    """The metric with its value, or marked as failed where there is none."""
    if value is None:
        return metric.model_copy(update={"status": "failed", "reason": "no generated shape has a usable surface"})
    return metric.model_copy(update={"value": value})


def _skipped(name: str, title: str, reason: str) -> Metric:
    return Metric(name=name, title=title, status="skipped", reason=reason)
