"""The scores of shapes: from the sources to tables, distances and metrics."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from metrics.cache import ChunkStore, content_key
from metrics.protocols import Distance, Protocol
from metrics.report.report_schema import Baseline, Metric
from metrics.session import Inputs, Session
from metrics.shapes import distances
from metrics.shapes.distances import BLOCK, Side
from metrics.shapes.memorization import memorization
from metrics.shapes.mmd_cov_1nna import DistanceMatrix
from metrics.shapes.results import Found
from metrics.shapes.set_scores import SCALES, Matrices, point_values, set_metrics, set_values
from metrics.shapes.shape_table import CHUNK, ShapeTable, shape_table
from metrics.shapes.single_scores import shape_metrics
from metrics.sources.shape_source import ShapeSource
from torch_utils.errors import UserError


def evaluate_shapes(inputs: Inputs, session: Session) -> Found:
    """Tables, distances and all scores of shapes that the protocol asks for."""
    protocol = session.protocol
    found = _tables(inputs, session)
    usable = found.references.usable
    if not bool(usable.any()):
        raise UserError(
            f"{inputs.references.label}: no reference has a usable surface ({_first_problem(found.references)})"
        )
    _note_problems(found)
    sides = _sides(inputs, found, protocol)
    for kind in protocol.distances:
        known = _light_field_sides(sides) if kind == "lfd" else sides
        if "references" not in known:
            reason = f"{inputs.references.label}: source meshes are not at hand (--reference-meshes)"
            found.metrics += _skipped_sets(kind, reason)
            continue
        found.metrics += _scores_of(kind, known, found, session)
    found.metrics += shape_metrics(found, protocol)
    return found


def _tables(inputs: Inputs, session: Session) -> Found:
    protocol = session.protocol
    light_fields = "lfd" in protocol.distances

    def table(source: ShapeSource, store: ChunkStore, label: str, meshes: bool) -> ShapeTable:
        chunks = -(-len(source.ids) // CHUNK)
        with session.progress(f"{label} ({len(source.ids)})", chunks) as advance:
            return shape_table(
                source,
                store,
                points=protocol.points,
                meshes=meshes,
                light_fields=light_fields,
                intersections=protocol.crossing_shapes if meshes else 0,
                progress=advance,
            )

    references = table(inputs.references, session.real, "references", False)
    training = table(inputs.training, session.real, "training shapes", False) if inputs.training else None
    generated = table(inputs.generated, session.own, "generated shapes", "validity" in protocol.shape_metrics)
    return Found(generated, references, training)


def _first_problem(table: ShapeTable) -> str:
    return next((problem for problem in table.problems if problem), "none was given")


def _note_problems(found: Found) -> None:
    for label, table in (("references", found.references), ("training shapes", found.training)):
        if table is not None and (bad := int((~table.usable).sum())):
            found.notes.append(f"{bad} {label} without a usable surface were left out: {_first_problem(table)}")
    if len(found.generated.ids) < len(found.references.ids):
        found.notes.append("fewer generated shapes than references: COV and 1-NNA are not comparable to equal counts")


def _sides(inputs: Inputs, found: Found, protocol: Protocol) -> dict[str, Side]:
    """Named sides in the protocol's units. Unusable real shapes are left out; generated ones stay, at infinity."""
    reference_points = found.references.points[found.references.usable]

    def side(source: ShapeSource, table: ShapeTable, keep: Tensor) -> Side:
        key = content_key(
            {"source": source.key, "rows": keep.tolist(), "ids": len(table.ids), "points": protocol.points}
            | {"normalization": protocol.normalization, "references": inputs.references.key}
        )
        points = table.normalized(protocol.normalization, reference_points)[keep]
        return Side(key, points, None if table.descriptors is None else table.descriptors[keep])

    sides = {
        "references": side(inputs.references, found.references, found.references.usable.nonzero()[:, 0]),
        "generated": side(inputs.generated, found.generated, torch.arange(len(found.generated.ids))),
    }
    if found.training is not None and inputs.training is not None and bool(found.training.usable.any()):
        sides["training"] = side(inputs.training, found.training, found.training.usable.nonzero()[:, 0])
    return sides


def _light_field_sides(sides: dict[str, Side]) -> dict[str, Side]:
    """The sides whose meshes were all at hand."""
    return {name: side for name, side in sides.items() if name == "generated" or _described(side)}


def _described(side: Side) -> bool:
    # A descriptor of zeros is that of an empty mesh: a real shape has one only when its mesh was not found.
    return side.descriptors is not None and bool(side.descriptors.flatten(1).any(1).all())


def _skipped_sets(kind: Distance, reason: str) -> list[Metric]:
    return [
        Metric(name=f"{name}_{kind}", title=f"{title}-{SCALES[kind].name}", status="skipped", reason=reason)
        for name, title in (("mmd", "MMD"), ("cov", "COV"), ("one_nna", "1-NNA"))
    ]


def _scores_of(kind: Distance, sides: dict[str, Side], found: Found, session: Session) -> list[Metric]:
    """Scores of one kind of distance; adds the baselines' values and (for the first kind) the memorization."""
    start = time.perf_counter()
    matrices = _matrices(kind, sides["references"], sides["generated"], session)
    metrics = set_metrics(kind, matrices, time.perf_counter() - start)
    found.matrices[kind] = matrices
    if "training" not in sides:
        return metrics
    _add_training_rows(kind, sides, found, session)
    if _remembers(kind, found, session):
        metrics += _memorization_metrics(kind, sides, found, session)
    return metrics


def _remembers(kind: Distance, found: Found, session: Session) -> bool:
    """Whether this kind of distance is the one that memorization is measured with: the protocol's first."""
    return "memorization" in session.protocol.shape_metrics and found.memorization is None


def _blocks_bar(label: str, rows: Side, session: Session) -> AbstractContextManager[Callable[[], None]]:
    """A progress bar over the blocks of a distance matrix with these rows."""
    return session.progress(label, session.chunks(len(rows), BLOCK))


def _within_training(kind: Distance, training: Side, session: Session) -> Tensor:
    with _blocks_bar(f"{SCALES[kind].name} inside the training shapes", training, session) as advance:
        return distances.within(kind, training, session.real, progress=advance, **session.computing)


def _matrices(kind: Distance, references: Side, generated: Side, session: Session) -> Matrices:
    name, store = SCALES[kind].name, session.own
    with _blocks_bar(f"{name} references × generated", references, session) as advance:
        cross = distances.between(kind, references, generated, store, progress=advance, **session.computing)
    with _blocks_bar(f"{name} inside the references", references, session) as advance:
        inside_r = distances.within(kind, references, session.real, progress=advance, **session.computing)
    with _blocks_bar(f"{name} inside the generated", generated, session) as advance:
        inside_g = distances.within(kind, generated, store, progress=advance, **session.computing)
    return Matrices(cross, inside_r, inside_g)


def _add_training_rows(kind: Distance, sides: dict[str, Side], found: Found, session: Session) -> None:
    """The floor (training shapes against the references) and the best single training shape, repeated.

    Distances to all training shapes are needed for the best one; those inside the training set only for the floor's.
    """
    references, training = sides["references"], sides["training"]
    count = min(len(training), len(sides["generated"]))
    name = SCALES[kind].name
    with _blocks_bar(f"{name} references × training", references, session) as advance:
        every = distances.between(kind, references, training, session.real, progress=advance, **session.computing)
    part = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))[:count].sort().values
    if _remembers(kind, found, session):
        # All of them are needed below, and are then the same for every evaluation of these data.
        inside = _within_training(kind, training, session)[part][:, part]
    else:
        inside = _within_training(kind, training.part(part), session)
    floor = Matrices(every.select(generated=part), found.matrices[kind].references, inside)
    short = "" if count == len(sides["generated"]) else f"only {count} training shapes"
    _merge(found, "training shapes (the floor)", set_values(kind, floor), short)
    best = int(every.values.double().mean(0).argmin())
    alone = DistanceMatrix(every.values[:, best : best + 1])
    assert found.training is not None
    usable_ids = [i for i, ok in zip(found.training.ids, found.training.usable.tolist(), strict=True) if ok]
    _merge(found, "best single training shape, repeated", point_values(kind, alone), f"for {kind}: {usable_ids[best]}")


def _merge(found: Found, name: str, values: dict[str, float], note: str) -> None:
    """Add values to the baseline of that name, creating it if need be."""
    for position, row in enumerate(found.baselines):
        if row.name == name:
            notes = [n for n in (row.note, note) if n]
            found.baselines[position] = row.model_copy(
                update={"values": {**row.values, **values}, "note": "; ".join(dict.fromkeys(notes))}
            )
            return
    found.baselines.append(Baseline(name=name, values=values, comparable=True, note=note))


def _memorization_metrics(kind: Distance, sides: dict[str, Side], found: Found, session: Session) -> list[Metric]:
    training, generated = sides["training"], sides["generated"]
    scale, start = SCALES[kind], time.perf_counter()
    if len(training) < 2:
        return [_skipped("auth_pct", "AuthPct", "needs at least two training shapes")]
    with _blocks_bar(f"{scale.name} training × generated", training, session) as advance:
        cross = distances.between(kind, training, generated, session.own, progress=advance, **session.computing)
    inside = _within_training(kind, training, session)
    result = found.memorization = memorization(cross, inside)
    seconds = time.perf_counter() - start
    near = result.nearest[torch.isfinite(result.nearest)]
    among = f"nearest of {len(training)} training shapes, {scale.name}"
    return [
        Metric(
            name="auth_pct",
            title="AuthPct",
            value=100 * result.authentic_share,
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
                n=near.numel(),
                reason=among,
            ),
            scale.factor * float(near.double().mean()) if near.numel() else None,
        ),
    ]


def replace_value(metric: Metric, value: float | None) -> Metric:
    """The metric with its value, or marked as failed where there is none."""
    if value is None:
        return metric.model_copy(update={"status": "failed", "reason": "no generated shape has a usable surface"})
    return metric.model_copy(update={"value": value})


def _skipped(name: str, title: str, reason: str) -> Metric:
    return Metric(name=name, title=title, status="skipped", reason=reason)
