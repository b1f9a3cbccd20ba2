"""The release criteria: what an included network must reach, and the tables that show it. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from metrics.report.values import number
from studies.release_criteria.chair_types import TypeRule

SHAPES = 200  # fewest on each side
MMD_OF_REFERENCE = 1.6
MMD_OF_SINGLE = 0.5
COV_OF_REFERENCE = 0.75
COMPONENTS = 1.1
OF_CATEGORY = 90.0  # % of the images
# Of the test views' color figures: above, colors wash over the parts; below, there are no parts.
SCATTER_OF_REAL = (0.5, 1.6)
HUES_OF_REAL = (0.8, 1.7)


@dataclass(frozen=True)
class TrainTestReference:
    """The same scores for real shapes.

    mmd ×10⁻³, cov in %: of training shapes against held-out ones. single_mmd ×10⁻³: of the single training shape that
    does best when it is repeated.
    """

    mmd: float
    cov: float
    single_mmd: float


@dataclass(frozen=True)
class ColorFigures:
    """Means over images: distance of colors to three means (0–255), and effective hues; None if nothing is seen."""

    scatter: float | None
    hues: float | None


@dataclass(frozen=True)
class Figures:
    """What was measured of a generator; None where no shape had a usable surface.

    mmd ×10⁻³; cov, one_nna, of_category in %. empty: shapes without a surface. of_category: images classified as of
    the category; None without a classifier. types: number of shapes of each type. colors: of one image of each shape.
    """

    generated: int
    references: int
    mmd: float | None
    cov: float | None
    one_nna: float | None
    components: float | None
    empty: int
    of_category: float | None
    types: dict[str, int]
    colors: ColorFigures


@dataclass(frozen=True)
class Criterion:
    """One row of the table. passed: None where the figure is only reported."""

    name: str
    threshold: str
    value: str
    passed: bool | None


def check_criteria(
    figures: Figures, reference: TrainTestReference, rules: Sequence[TypeRule], real: ColorFigures
) -> list[Criterion]:
    """Every criterion for one generator. real: the color figures of held-out views."""
    mmd, cov, components = figures.mmd, figures.cov, figures.components
    missing = [rule.name for rule in rules if figures.types.get(rule.name, 0) < rule.needed(figures.generated)]
    fewest = min(figures.generated, figures.references)
    equal = figures.generated == figures.references
    criteria = [
        Criterion("shapes on each side", f"equal, ≥ {SHAPES}", str(fewest), equal and fewest >= SHAPES),
        _at_most("MMD-CD ×10⁻³, against the train-vs-test reference", mmd, MMD_OF_REFERENCE, reference.mmd),
        _at_most("MMD-CD ×10⁻³, against one shape repeated", mmd, MMD_OF_SINGLE, reference.single_mmd),
        Criterion(
            "COV-CD %, against the train-vs-test reference",
            f"≥ {COV_OF_REFERENCE} × {number(reference.cov)} = {number(COV_OF_REFERENCE * reference.cov)}",
            number(cov),
            cov is not None and cov >= COV_OF_REFERENCE * reference.cov,
        ),
        Criterion("1-NNA-CD %", "reported (50 is ideal)", number(figures.one_nna), None),
        Criterion(
            "components a shape",
            f"≤ {COMPONENTS}",
            number(components),
            components is not None and components <= COMPONENTS,
        ),
        Criterion("empty surfaces", "0", str(figures.empty), figures.empty == 0),
        _within("color scatter, against held-out views", figures.colors.scatter, SCATTER_OF_REAL, real.scatter),
        _within("effective hues, against held-out views", figures.colors.hues, HUES_OF_REAL, real.hues),
    ]
    if figures.of_category is not None:
        enough = figures.of_category >= OF_CATEGORY
        criteria += [
            Criterion("images of the category %", f"≥ {OF_CATEGORY:g}", number(figures.of_category), enough),
            Criterion(
                "types found",
                f"all {len(rules)}",
                f"{len(rules) - len(missing)}" + (f", not {', '.join(missing)}" if missing else ""),
                bool(rules) and not missing,
            ),
        ]
    return criteria


def _at_most(name: str, value: float | None, factor: float, of: float) -> Criterion:
    threshold = f"≤ {factor} × {number(of)} = {number(factor * of)}"
    return Criterion(name, threshold, number(value), value is not None and value <= factor * of)


def _within(name: str, value: float | None, factors: tuple[float, float], of: float | None) -> Criterion:
    low, high = (factor * (of or 0.0) for factor in factors)
    threshold = f"{factors[0]} to {factors[1]} × {number(of)} = {number(low)} to {number(high)}"
    return Criterion(name, threshold, number(value), value is not None and low <= value <= high)


def passes(criteria: Sequence[Criterion]) -> bool:
    """Whether no criterion is missed."""
    return all(criterion.passed is not False for criterion in criteria)


def criteria_markdown(
    title: str,
    criteria: Mapping[str, Sequence[Criterion]],
    types: Mapping[str, Mapping[str, int]],
    rules: Sequence[TypeRule],
    notes: Sequence[str],
) -> str:
    """release_criteria.md: criteria by generator (the candidate first), then types, if any, by generator."""
    names = list(criteria)
    text = [f"# {title}", "", *[f"- {note}" for note in notes], ""]
    text += ["| criterion | threshold | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for row in zip(*criteria.values(), strict=True):
        cells = " | ".join(f"{criterion.value}{_mark(criterion.passed)}" for criterion in row)
        text.append(f"| {row[0].name} | {row[0].threshold} | {cells} |")
    verdicts = " | ".join("yes" if passes(each) else "**no**" for each in criteria.values())
    text.append(f"| **passes** | | {verdicts} |")
    if not rules:
        return "\n".join(text) + "\n"
    columns = list(types)
    text += ["", "## Shapes of each type", ""]
    text += ["| type | share of the data | needed | " + " | ".join(columns) + " | recall | false positives |"]
    text.append("|" + "---|" * (5 + len(columns)))
    for rule in rules:
        cells = " | ".join(str(types[column].get(rule.name, 0)) for column in columns)
        needed = rule.needed(SHAPES)
        text.append(
            f"| {rule.name} | {rule.share:.1%} | {needed} of {SHAPES} | {cells} | {rule.recall:.0%} "
            f"| {rule.false_positives:.2%} |"
        )
    return "\n".join(text) + "\n"


def _mark(passed: bool | None) -> str:
    return {True: " ✓", False: " ✗", None: ""}[passed]


def criteria_json(
    figures: Mapping[str, Figures], criteria: Mapping[str, Sequence[Criterion]], reference: TrainTestReference
) -> dict[str, Any]:
    """release_criteria.json."""
    return {
        "train_vs_test_reference": asdict(reference),
        "generators": {
            name: {
                "passes": passes(criteria[name]),
                "figures": asdict(figures[name]),
                "criteria": [asdict(criterion) for criterion in criteria[name]],
            }
            for name in figures
        },
    }
