"""`report.html` of an adaptation: source, target, curves, scores and the sheets of before and after."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from torch_utils.files import write_text
from training.adapt.settings import AdaptSettings
from training.run.charts import html_rows, line_chart, page
from training.run.run_log import duration

# Points of a curve; a longer run is averaged over blocks.
_POINTS = 120
_SCORES = ("CLIP: cosine of images and prompt", "R-precision by the CLIP that guided nothing")


def write_adapt_report(
    out: Path,
    settings: AdaptSettings,
    facts: Mapping[str, str],
    values: Sequence[tuple[float, float]],
    scores: Mapping[int, Mapping[str, float]],
    seconds: float,
) -> None:
    """Write the page. values: loss and change of each step. scores: by step and name. facts: more rows of the table."""
    done = f"{len(values)} of {settings.steps}, in {duration(seconds)}"
    goal = settings.goal
    rows = [("source", settings.source), ("target", goal), *facts.items(), ("steps", done)]
    loss = _averaged([value for value, _ in values])
    change = _averaged([value for _, value in values])
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    by_name = {name: [(float(step), found[name]) for step, found in scores.items() if name in found] for name in names}
    if settings.mode == "mapping" and scores:
        rows += [(name, f"{value:.2f}") for name, value in scores[max(scores)].items()]
    end = max(settings.steps, 1)
    sheets = sorted((path for path in out.glob("sheet-*.png") if path.stem[6:].isdecimal()), reverse=True)
    body = "\n".join(
        (
            f"<h1>{escape(settings.source)} → {escape(goal)}</h1>",
            html_rows(rows),
            "<h2>Curves</h2>",
            line_chart("Loss", {"loss": loss}, end, _steps),
            line_chart("Change of the images, root mean square (range 2)", {"change": change}, end, _steps),
            line_chart(_SCORES[settings.mode == "mapping"], by_name, end, _steps),
            "<h2>Before and after</h2>",
            *[_figure(path.name, f"step {int(path.stem[6:])}") for path in sheets],
        )
    )
    write_text(out / "report.html", page(f"{settings.source} → {goal}", body))


def _steps(count: float) -> str:
    return f"{count:g} steps"


def _averaged(values: Sequence[float]) -> list[tuple[float, float]]:
    """(step, mean) of blocks of steps, at most `_POINTS`; values that are not finite are left out."""
    block = max(1, -(-len(values) // _POINTS))
    points = []
    for start in range(0, len(values), block):
        part = [value for value in values[start : start + block] if abs(value) < float("inf")]
        if part:
            points.append((start + len(part) / 2, sum(part) / len(part)))
    return points


def _figure(name: str, caption: str) -> str:
    return f'<figure><img src="{escape(name)}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'
