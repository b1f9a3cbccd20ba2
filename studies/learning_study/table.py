"""The study's table: every run, and every variant against the one that it is compared with."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metrics.report.markdown import number
from metrics.report.report_schema import Baseline
from studies.learning_study.plan import Study, Variant
from studies.learning_study.scores import RunScores, Score

# A difference counts from this many standard errors on.
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Column:
    """A figure of a run. better: −1 if less is better, +1 if more is."""

    name: str
    title: str
    better: int

    def of(self, score: Score) -> float | None:
        """The figure of a network."""
        return getattr(score, self.name)


COLUMNS = (
    Column("mmd", "MMD-CD ×10⁻³ ↓", -1),
    Column("cov", "COV-CD % ↑", 1),
    Column("one_nna", "1-NNA-CD % → 50", -1),
    Column("components", "components → 1", -1),
    Column("empty", "empty % ↓", -1),
)


def seed_std(results: Mapping[str, Sequence[RunScores]], column: Column) -> float | None:
    """Standard deviation between seeds of one setting, pooled over all variants; None if no variant has two seeds."""
    squares, freedom = 0.0, 0
    for runs in results.values():
        values = [value for run in runs if (value := column.of(run.last)) is not None]
        if len(values) > 1:
            mean = statistics.fmean(values)
            squares += sum((value - mean) ** 2 for value in values)
            freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else None


def mean_of(runs: Sequence[RunScores], column: Column) -> tuple[float, int] | None:
    """Mean over the seeds, and their number."""
    values = [value for run in runs if (value := column.of(run.last)) is not None]
    return (statistics.fmean(values), len(values)) if values else None


def difference(
    runs: Sequence[RunScores], base: Sequence[RunScores], column: Column, std: float | None
) -> tuple[float, float | None] | None:
    """Mean of `runs` minus that of `base`, and its standard error. std: standard deviation between seeds."""
    mine, theirs = mean_of(runs, column), mean_of(base, column)
    if mine is None or theirs is None:
        return None
    error = None if std is None else std * math.sqrt(1 / mine[1] + 1 / theirs[1])
    return mine[0] - theirs[0], error


def verdict(change: tuple[float, float | None] | None, better: int) -> str:
    """ "better", "worse" or "within the seeds' spread"; "" where it cannot be told."""
    if change is None or change[1] is None:
        return ""
    if abs(change[0]) <= STANDARD_ERRORS * change[1]:
        return "within the seeds' spread"
    return "better" if change[0] * better > 0 else "worse"


def table(study: Study, results: Mapping[str, Sequence[RunScores]], failures: Mapping[str, str]) -> str:
    """The whole table.md. results: finished runs by variant's name. failures: reasons by run's name."""
    lines = [
        f"# Study: {study.base}, {study.kimg:g} kimg",
        "",
        f"{study.count} generated shapes at ψ 1 against at most {study.count} held-out ones, 2,048 points. CD is "
        "squared and sums both directions. Speeds depend on the machine and its load.",
        "",
        *_run_lines(study, results),
        "",
        "## Comparisons",
        "",
        *_variant_lines(study, results),
    ]
    if failures:
        lines += ["", "## Failed runs", "", *[f"- {name}: {reason}" for name, reason in sorted(failures.items())]]
    return "\n".join(lines) + "\n"


def _run_lines(study: Study, results: Mapping[str, Sequence[RunScores]]) -> list[str]:
    titles = ["variant", "seed", "kimg", "img/s", *[column.title for column in COLUMNS]]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    baselines: dict[str, Baseline] = {}
    for variant in study.variants:
        for run in results.get(variant.name, ()):
            figures = [number(column.of(run.last)) for column in COLUMNS]
            start = [variant.name, str(run.seed), f"{run.last.nimg / 1000:.4g}", f"{run.images_per_second:.1f}"]
            lines.append("| " + " | ".join(start + figures) + " |")
            baselines |= {baseline.name: baseline for baseline in run.baselines}
    for name, baseline in baselines.items():
        figures = [number(baseline.values.get(f"{column.name}_cd")) for column in COLUMNS]
        lines.append("| " + " | ".join([f"*{name}*", "", "", "", *figures]) + " |")
    return lines


def _variant_lines(study: Study, results: Mapping[str, Sequence[RunScores]]) -> list[str]:
    stds = {column.name: seed_std(results, column) for column in COLUMNS}
    shown = COLUMNS[:4]
    lines = [
        "Differences of means over the seeds, ± one standard error. The error follows from the standard deviation "
        "between seeds of one setting, pooled over all variants with several seeds: "
        + ", ".join(f"{c.title.split(' ')[0]} {number(stds[c.name])}" for c in shown)
        + f". A difference in MMD counts beyond {STANDARD_ERRORS:g} standard errors.",
        "",
        "| variant | question | change | against | seeds | "
        + " | ".join(f"Δ {column.title}" for column in shown)
        + " | by MMD |",
        "|" + "---|" * (6 + len(shown)),
    ]
    for variant in study.variants:
        runs, base = results.get(variant.name, ()), results.get(variant.against, ())
        if not runs or variant.name == variant.against:
            continue
        changes = {column.name: difference(runs, base, column, stds[column.name]) for column in shown}
        cells = [_change(changes[column.name]) for column in shown]
        start = [variant.name, variant.question, _settings(variant), variant.against, str(len(runs))]
        lines.append("| " + " | ".join([*start, *cells, verdict(changes["mmd"], COLUMNS[0].better)]) + " |")
    return lines


def _settings(variant: Variant) -> str:
    settings = [f"`{override}`" for override in variant.set]
    settings += [f"data {variant.data}"] if variant.data else []
    settings += [f"{variant.train_shapes} training shapes"] if variant.train_shapes else []
    return ", ".join(settings) or "–"


def _change(change: tuple[float, float | None] | None) -> str:
    if change is None:
        return "–"
    return f"{change[0]:+.3g}" + ("" if change[1] is None else f" ± {change[1]:.2g}")
