"""What a included network must reach, and the tables that say whether it does. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from metrics.report.markdown import number
from studies.release_criteria.chair_types import TypeRule

SHAPES = 200  # on each side, at least
MMD_OF_FLOOR = 1.6
MMD_OF_SINGLE = 0.5
COV_OF_FLOOR = 0.75
COMPONENTS = 1.1
CHAIRS = 90.0  # % of the images


@dataclass(frozen=True)
class Floor:
    """The same distances for real shapes. mmd, cov: training shapes against the held-out ones. single_mmd: of the one
    training shape, repeated, that does best."""

    mmd: float
    cov: float
    single_mmd: float


@dataclass(frozen=True)
class Figures:
    """What was measured of a generator; None where no shape had a usable surface.

    mmd ×10⁻³; cov, one_nna, chairs in %. empty: shapes without a surface. chairs: images taken for chairs. types: how
    many shapes were found to be of each type.
    """

    generated: int
    references: int
    mmd: float | None
    cov: float | None
    one_nna: float | None
    components: float | None
    empty: int
    chairs: float
    types: dict[str, int]


@dataclass(frozen=True)
class Line:
    """One demand. passed: None where the figure is only reported."""

    name: str
    demand: str
    value: str
    passed: bool | None


def judged(figures: Figures, floor: Floor, rules: Sequence[TypeRule]) -> list[Line]:
    """Every line of the gate for one generator."""
    mmd, cov, components = figures.mmd, figures.cov, figures.components
    missing = [rule.name for rule in rules if figures.types.get(rule.name, 0) < rule.needed(figures.generated)]
    fewest = min(figures.generated, figures.references)
    equal = figures.generated == figures.references
    return [
        Line("shapes on each side", f"equal, ≥ {SHAPES}", str(fewest), equal and fewest >= SHAPES),
        _at_most("MMD-CD ×10⁻³, of the floor's", mmd, MMD_OF_FLOOR, floor.mmd),
        _at_most("MMD-CD ×10⁻³, of one chair repeated", mmd, MMD_OF_SINGLE, floor.single_mmd),
        Line(
            "COV-CD %",
            f"≥ {COV_OF_FLOOR} × {number(floor.cov)} = {number(COV_OF_FLOOR * floor.cov)}",
            number(cov),
            cov is not None and cov >= COV_OF_FLOOR * floor.cov,
        ),
        Line("1-NNA-CD %", "reported (50 is ideal)", number(figures.one_nna), None),
        Line(
            "components a shape",
            f"≤ {COMPONENTS}",
            number(components),
            components is not None and components <= COMPONENTS,
        ),
        Line("empty surfaces", "0", str(figures.empty), figures.empty == 0),
        Line("images taken for chairs %", f"≥ {CHAIRS:g}", number(figures.chairs), figures.chairs >= CHAIRS),
        Line(
            "types of chair that occur",
            f"all {len(rules)}",
            f"{len(rules) - len(missing)}" + (f", not {', '.join(missing)}" if missing else ""),
            bool(rules) and not missing,
        ),
    ]


def _at_most(name: str, value: float | None, factor: float, of: float) -> Line:
    demand = f"≤ {factor} × {number(of)} = {number(factor * of)}"
    return Line(name, demand, number(value), value is not None and value <= factor * of)


def passes(lines: Sequence[Line]) -> bool:
    """Whether no demand is missed."""
    return all(line.passed is not False for line in lines)


def markdown(
    title: str,
    lines: Mapping[str, Sequence[Line]],
    types: Mapping[str, Mapping[str, int]],
    rules: Sequence[TypeRule],
    notes: Sequence[str],
) -> str:
    """gate.md: the demands by generator (the first is the one at the gate), then the types by generator."""
    names = list(lines)
    text = [f"# {title}", "", *[f"- {note}" for note in notes], ""]
    text += ["| | demand | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for row in zip(*lines.values(), strict=True):
        cells = " | ".join(f"{line.value}{_mark(line.passed)}" for line in row)
        text.append(f"| {row[0].name} | {row[0].demand} | {cells} |")
    text.append("| **passes** | | " + " | ".join("yes" if passes(each) else "**no**" for each in lines.values()) + " |")
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


def as_json(figures: Mapping[str, Figures], lines: Mapping[str, Sequence[Line]], floor: Floor) -> dict[str, Any]:
    """gate.json."""
    return {
        "floor": asdict(floor),
        "generators": {
            name: {
                "passes": passes(lines[name]),
                "figures": asdict(figures[name]),
                "lines": [asdict(line) for line in lines[name]],
            }
            for name in figures
        },
    }
