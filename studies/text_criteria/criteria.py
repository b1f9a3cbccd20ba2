"""The criteria: what an adapted network must reach, all together. Nothing is rendered here.

CLIP similarity is no criterion: collapsed, fully saturated images reach 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import mean
from typing import Any

ACCURACY, ACCURACY_GAIN = 0.80, 0.50
COLOR_OF_SOURCE = 0.4
STRUCTURE_OF_ORACLE = 0.8
GAMUT_GAIN = 0.15
DIVERSITY_OF_ORACLE = 0.9
# The evaluating CLIP itself is right less often, and how often depends on the color.
CATEGORY_OF_ORACLE = 0.95
WRONG_GAIN = 0.05


@dataclass(frozen=True)
class TextFigures:
    """Of one generator's images; the same figures exist of the source and of the oracle.

    accuracy: share that the evaluating CLIP calls by the target. color: distance to the target's colors, None where it
    has none. structure: correlation with the source. gamut: share of saturated pixels. diversity: distance between
    samples. category: share that it still calls by the category. wrong: the largest share called by another
    target. change: root mean square of the difference to the source.
    """

    accuracy: float
    color: float | None
    structure: float
    gamut: float
    diversity: float
    category: float
    wrong: float
    change: float


@dataclass(frozen=True)
class Criterion:
    """One row of the table. passed: None where the figure is only reported."""

    name: str
    threshold: str
    value: float | None
    passed: bool | None


def mean_figures(each: Sequence[TextFigures]) -> TextFigures:
    """The mean over seeds."""
    values: dict[str, Any] = {}
    for field in fields(TextFigures):
        known = [value for value in (getattr(one, field.name) for one in each) if value is not None]
        values[field.name] = mean(known) if known else None
    return TextFigures(**values)


def check_criteria(found: TextFigures, source: TextFigures, oracle: TextFigures | None) -> list[Criterion]:
    """Every criterion of one method and prompt. oracle: the source in the target's color; None for a target without
    one, whose detail may change and whose samples are compared with the source.
    """
    accuracy = max(ACCURACY, source.accuracy + ACCURACY_GAIN)
    criteria = [_at_least("accuracy", found.accuracy, accuracy)]
    if found.color is None or source.color is None:
        criteria.append(Criterion("color distance", "no color", None, None))
    else:
        criteria.append(_at_most("color distance", found.color, COLOR_OF_SOURCE * source.color))
    if oracle is None:
        criteria.append(Criterion("structure", "reported", found.structure, None))
    else:
        criteria.append(_at_least("structure", found.structure, STRUCTURE_OF_ORACLE * oracle.structure))
    return [
        *criteria,
        _at_most("out of gamut", found.gamut, source.gamut + GAMUT_GAIN),
        _at_least("diversity", found.diversity, DIVERSITY_OF_ORACLE * (oracle or source).diversity),
        _at_least("category", found.category, CATEGORY_OF_ORACLE * (oracle or source).category),
        _at_most("wrong prompt", found.wrong, source.wrong + WRONG_GAIN),
    ]


def passes_criteria(criteria: Sequence[Criterion]) -> bool:
    """Whether no criterion is missed."""
    return all(criterion.passed is not False for criterion in criteria)


def criteria_markdown(rows: Mapping[str, Mapping[str, Sequence[Criterion]]], notes: Sequence[str]) -> str:
    """criteria.md: a table of methods and criteria for each prompt; what misses its threshold is bold."""
    text = ["# Criteria of text control", "", *[f"- {note}" for note in notes]]
    for prompt, methods in rows.items():
        columns = next(iter(methods.values()))
        text += [
            "",
            f"## {prompt}",
            "",
            "| method | " + " | ".join(each.name for each in columns) + " | all |",
        ]
        text.append("|" + "---|" * (len(columns) + 2))
        text.append("| *threshold* | " + " | ".join(each.threshold for each in columns) + " | |")
        for method, criteria in methods.items():
            cells = " | ".join(_cell(criterion) for criterion in criteria)
            text.append(f"| {method} | {cells} | {'yes' if passes_criteria(criteria) else '**no**'} |")
    return "\n".join(text) + "\n"


def criteria_json(figures: Mapping[str, Mapping[str, TextFigures]]) -> dict[str, Any]:
    """All figures by prompt and name, for criteria.json."""
    return {prompt: {name: asdict(one) for name, one in each.items()} for prompt, each in figures.items()}


def _cell(criterion: Criterion) -> str:
    if criterion.value is None:
        return "–"
    return f"**{criterion.value:.2f}**" if criterion.passed is False else f"{criterion.value:.2f}"


def _at_least(name: str, value: float, threshold: float) -> Criterion:
    return Criterion(name, f"≥ {threshold:.2f}", value, value >= threshold)


def _at_most(name: str, value: float, threshold: float) -> Criterion:
    return Criterion(name, f"≤ {threshold:.2f}", value, value <= threshold)
