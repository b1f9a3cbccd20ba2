"""Requirements on a report (`--require 'cov_cd>40'`), and two reports side by side."""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from configs.loader import nearest
from metrics.report.report_schema import Report
from metrics.report.values import arrow, detectors, number
from torch_utils.errors import UserError

_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_PATTERN = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")


@dataclass(frozen=True)
class Requirement:
    """The name of a metric, an operator, and the bound in printed units."""

    name: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.comparison}{self.bound:g}"


def parse_requirement(text: str) -> Requirement:
    """A requirement from text such as "fid<20" or "cov_cd>=40". UserError for anything else."""
    match = _PATTERN.fullmatch(text)
    try:
        if match:
            return Requirement(match[1], match[2], float(match[3]))
    except ValueError:
        pass
    raise UserError(f"--require {text}: expected a metric, <, <=, > or >=, and a number, e.g. --require 'cov_cd>40'")


def unmet(report: Report, requirements: Sequence[Requirement]) -> list[str]:
    """One line for each requirement that does not hold. UserError for the name of a metric that the report lacks."""
    lines = []
    for requirement in requirements:
        metric = report.metric(requirement.name)
        if metric is None:
            names = [known.name for known in report.metrics]
            hint = nearest(requirement.name, names) or f"; it has {', '.join(names)}"
            raise UserError(f"--require {requirement}: the report has no metric {requirement.name}{hint}")
        if metric.value is None:
            lines.append(f"{requirement}: not measured ({metric.reason})")
        elif not _OPERATORS[requirement.comparison](metric.value, requirement.bound):
            lines.append(f"{requirement}: it is {number(metric.value)}")
    return lines


def comparison(a: Report, b: Report, names: tuple[str, str]) -> str:
    """Two reports side by side as a Markdown table, after a warning if their protocols or references differ."""
    lines = []
    for label, left, right in (
        ("protocols", _protocol(a), _protocol(b)),
        ("references", a.run.references, b.run.references),
        ("reference counts", a.run.num_references, b.run.num_references),
        ("generated counts", a.run.num_generated, b.run.num_generated),
        ("detectors", ", ".join(detectors(a)) or "none", ", ".join(detectors(b)) or "none"),
    ):
        if left != right:
            lines.append(f"Not comparable: the {label} differ ({left}; {right}).")
    lines += ["", f"| score | better | {names[0]} | {names[1]} | difference | intervals |", "|---|---|---|---|---|---|"]
    every = list(dict.fromkeys([m.name for m in a.metrics] + [m.name for m in b.metrics]))
    for name in every:
        left_metric, right_metric = a.metric(name), b.metric(name)
        shown = left_metric or right_metric
        assert shown is not None, name
        left_value = left_metric.value if left_metric else None
        right_value = right_metric.value if right_metric else None
        if left_value is None and right_value is None:
            continue
        apart = left_metric is not None and right_metric is not None and left_metric.detector != right_metric.detector
        change = "–" if left_value is None or right_value is None else f"{right_value - left_value:+.4g}"
        if apart and left_value is not None and right_value is not None:
            change = "other detector"
        lines.append(
            f"| {shown.title} | {arrow(shown)} | {number(left_value)} | {number(right_value)} | {change} "
            f"| {'' if apart else _overlap(a, b, name)} |"
        )
    return "\n".join(lines).lstrip("\n") + "\n"


def _protocol(report: Report) -> str:
    return f"{report.protocol.get('name')} v{report.protocol.get('version')}"


def _overlap(a: Report, b: Report, name: str) -> str:
    left, right = a.metric(name), b.metric(name)
    if left is None or right is None or left.interval is None or right.interval is None:
        return ""
    apart = left.interval.high < right.interval.low or right.interval.high < left.interval.low
    return "apart" if apart else "overlap"
