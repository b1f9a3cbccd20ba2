"""The report in words: a verdict, the findings behind it, warnings, and what every score means.

The sentences about scores are those of docs/evaluation.md (`meanings.yaml`). The verdict compares with the
train-vs-test reference; its bounds are listed in docs/evaluation.md, too.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from metrics.report.report_schema import BEST_TRAINING_SHAPE, Metric, Report
from metrics.report.values import measured, number, train_test_reference
from torch_utils.text import counted

FILE = Path(__file__).parent / "meanings.yaml"
# Upper bounds of MMD / reference, what they are called, and whether that is good news.
LIKENESS = (
    (1.15, "resemble real shapes as closely as training shapes do", True),
    (1.6, "come close to real shapes", True),
    (3.0, "keep some distance from real shapes", False),
    (float("inf"), "are far from real shapes", False),
)
# Lower bounds of COV / reference.
VARIETY = (
    (0.9, "are as varied", True),
    (0.75, "are nearly as varied", True),
    (0.5, "are less varied", False),
    (0.0, "are much less varied", False),
)
# Upper bounds of 1-NNA minus its target, percentage points.
TOLD_APART = (
    (5.0, "cannot tell them apart", True),
    (15.0, "hardly tells them apart", True),
    (30.0, "often tells them apart", False),
    (float("inf"), "easily tells them apart", False),
)
# A 1-NNA so far below its target is the mark of copies, percentage points.
CROWDED = 10.0
# With fewer shapes or images the report warns.
FEW_SHAPES, FEW_IMAGES = 100, 1000
DISTANCES = ("cd", "lfd", "emd", "emd_approx")
Standing = Literal["", "better", "even", "worse"]


@dataclass(frozen=True)
class Group:
    """One table of scores. about: one sentence about all of them. meanings: one sentence for each score, or ""."""

    title: str
    about: str
    metrics: list[Metric]
    meanings: list[str]


@cache
def _file() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def meaning(name: str) -> str:
    """What a score means, in one or two sentences; "" for a name that no version knew."""
    plain = re.sub("_(masks|normals)$", "", name)
    return next((entry["says"] for entry in _file()["scores"] if re.fullmatch(entry["name"], plain)), "")


def grouped_scores(report: Report) -> list[Group]:
    """All measured scores in the tables of the report, empty ones left out; unknown names come last."""
    rest = measured(report) + measured(report, "attributes")
    groups = []
    for entry in [*_file()["groups"], {"title": "Other scores", "about": "", "names": ".*"}]:
        own = [metric for metric in rest if re.fullmatch(entry["names"], metric.name)]
        rest = [metric for metric in rest if metric not in own]
        if own:
            groups.append(Group(entry["title"], entry["about"], own, [meaning(metric.name) for metric in own]))
    return groups


def standing(metric: Metric, reference: float | None) -> Standing:
    """How a score stands to its train-vs-test reference. Even: the reference lies in the interval, or 2 % away."""
    value = metric.value
    if value is None or reference is None:
        return ""
    inside = metric.interval is not None and metric.interval.low <= reference <= metric.interval.high
    if inside or abs(value - reference) <= 0.02 * abs(reference):
        return "even"
    if metric.direction == "target" and metric.target is not None:
        return "better" if abs(value - metric.target) < abs(reference - metric.target) else "worse"
    return "better" if (value < reference) == (metric.direction == "lower") else "worse"


@dataclass(frozen=True)
class _Scores:
    """The measured values of a report by name, and those of the train-vs-test reference and the best single shape."""

    report: Report

    def value(self, name: str) -> float | None:
        metric = self.report.metric(name)
        return metric.value if metric is not None else None

    def reference(self, name: str) -> float | None:
        return train_test_reference(self.report).values.get(name)

    def single(self, name: str) -> float | None:
        row = next((row for row in self.report.baselines if row.name == BEST_TRAINING_SHAPE), None)
        return row.values.get(name) if row is not None else None

    def distance(self) -> str | None:
        """The distance of the verdict: the first with a COV."""
        return next((kind for kind in DISTANCES if self.value(f"cov_{kind}") is not None), None)

    def text(self, name: str) -> str:
        """The title and value of a score, e.g. "COV-CD 48.5 %"."""
        metric = self.report.metric(name)
        assert metric is not None, name
        return f"{metric.title} {number(metric.value)} {metric.unit}".rstrip()


def report_verdict(report: Report) -> str:
    """One sentence: how near the samples are to real shapes, how varied, and whether they can be told apart."""
    scores = _Scores(report)
    kind, samples = scores.distance(), f"The {counted(report.run.num_generated, 'sample')}"
    if report.run.num_generated == 1:
        return "One sample alone has no verdict: the scores compare sets of shapes."
    if kind is None:
        return f"{samples} have no verdict: no score of whole sets of shapes was measured."
    likeness, variety, apart = _likeness(scores, kind), _variety(scores, kind), _told_apart(scores, kind)
    clauses = [clause for clause in (likeness, variety) if clause is not None]
    if not clauses:
        clauses = [_Clause(f"cover {number(scores.value(f'cov_{kind}'))} % of the references", None)]
    sentence = f"{samples} {clauses[0].words}"
    conjunctions = [_conjunction(*pair) for pair in pairwise([*clauses, *([] if apart is None else [apart])])]
    if len(clauses) > 1:
        sentence += f" {conjunctions[0]} {clauses[1].words}"
    if apart is not None:
        # A second "but" in one sentence would take back the first.
        joint = ";" if conjunctions == ["but", "but"] else f", {conjunctions[-1]}"
        sentence += f"{joint} a nearest-neighbor test {apart.words}"
    return f"{sentence}."


class _Clause(NamedTuple):
    """A part of the verdict. good: whether it is good news; None for news of neither kind."""

    words: str
    good: bool | None


def _conjunction(before: _Clause, after: _Clause) -> str:
    return "and" if before.good is None or before.good == after.good else "but"


def _likeness(scores: _Scores, kind: str) -> _Clause | None:
    own, reference, single = (of(f"mmd_{kind}") for of in (scores.value, scores.reference, scores.single))
    if own is None or not reference:
        return None
    if single is not None and own >= single:
        return _Clause("are no nearer to real shapes than one training shape repeated", False)
    return next(_Clause(words, good) for bound, words, good in LIKENESS if own / reference <= bound)


def _variety(scores: _Scores, kind: str) -> _Clause | None:
    own, reference = scores.value(f"cov_{kind}"), scores.reference(f"cov_{kind}")
    if own is None or not reference:
        return None
    return next(_Clause(words, good) for bound, words, good in VARIETY if own / reference >= bound)


def _told_apart(scores: _Scores, kind: str) -> _Clause | None:
    metric = scores.report.metric(f"one_nna_{kind}")
    if metric is None or metric.value is None:
        return None
    excess = metric.value - (metric.target if metric.target is not None else 50.0)
    if excess < -CROWDED:
        return _Clause("finds them crowded around single references, as copies are", False)
    return next(_Clause(words, good) for bound, words, good in TOLD_APART if excess <= bound)


def findings(report: Report) -> list[tuple[str, str]]:
    """What the verdict rests on, as pairs of a heading and a sentence with the numbers."""
    scores = _Scores(report)
    kind = scores.distance()
    found = []
    if kind is not None:
        found += [("Likeness", f"mmd_{kind}"), ("Variety", f"cov_{kind}"), ("Told apart", f"one_nna_{kind}")]
    found += [("Copies", "auth_pct"), ("Images", "fid"), ("Images", "fd"), ("Meshes", "mesh_watertight")]
    sentences = [(heading, _finding(scores, name)) for heading, name in found if scores.value(name) is not None]
    return sentences


def _whose(name: str) -> str:
    """What the train-vs-test reference of a score was measured on."""
    if name == "auth_pct":
        return "held-out shapes"
    return "training views" if name in ("fid", "fd") else "training shapes"


def _finding(scores: _Scores, name: str) -> str:
    metric = scores.report.metric(name)
    assert metric is not None, name
    reference, single = scores.reference(name), scores.single(name)
    clauses = [scores.text(name)]
    if reference is not None:
        clauses.append(f"{_whose(name)} {number(reference)}")
    if name.startswith("mmd_") and single is not None:
        clauses.append(f"the best single training shape, repeated, {number(single)}")
    if metric.direction == "target":
        clauses.append(f"{number(metric.target)} would be ideal")
    if name == "mesh_watertight" and scores.value("mesh_empty") is not None:
        clauses.append(f"{number(scores.value('mesh_empty'))} % of the samples are empty")
    return "; ".join(clauses) + "."


def warnings(report: Report) -> list[str]:
    """Why the numbers may mislead: few shapes, few images, no training set, samples without a surface."""
    run = report.run
    lines = []
    least = min(run.num_generated, run.num_references)
    if least < FEW_SHAPES:
        points = 98 / max(least, 1) ** 0.5  # 1.96 standard errors of a share of one half
        lines.append(
            f"Few shapes: {counted(run.num_generated, 'sample')} and {counted(run.num_references, 'reference')}. A "
            f"share such as COV or 1-NNA is uncertain by about ±{min(points, 50):.0f} percentage points, so smaller "
            "differences mean nothing."
        )
    images = [
        metric.n for name in ("fid", "fd") if (metric := report.metric(name)) is not None and metric.value is not None
    ]
    if images and images[0] < FEW_IMAGES:
        lines.append(
            f"Few images: {images[0]}. The Fréchet distance is biased upward, so compare it with the reference beside "
            "it and with nothing else."
        )
    if not train_test_reference(report).values:
        lines.append("No score has a train-vs-test reference, because there is no training set to measure it with.")
    if report.failures:
        have = "has" if len(report.failures) == 1 else "have"
        lines.append(
            f"{len(report.failures)} of {run.num_generated} samples {have} no usable surface. They count as empty and "
            "cover no reference."
        )
    return lines
