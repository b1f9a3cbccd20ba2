"""How a network learned: `python -m studies.learning_curve RUN [RUN …] --data DATASET --out curve.svg`.

The runs are the stages of one training, each begun with --init from the one before; they are drawn end to end. A few
of their snapshots, evenly spread, are measured against held-out shapes; what was measured is kept beside the image.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from dataset_tool.dataset import ViewDataset, open_dataset
from metrics.cache import file_hash
from studies.curves import Panel, Series, svg
from studies.learning_study.scores import Score, measure, networks_of, no_progress, stats_of
from studies.plain_errors import PlainErrors
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text

MEASURED = (("MMD-CD ×10⁻³", "mmd"), ("COV-CD %", "cov"), ("components a shape", "components"))
LOGGED = (
    ("G loss", "loss/generator"),
    ("D loss", "loss/discriminator_rgb"),
    ("diversity of masks", "probe/diversity"),
)


@dataclass(frozen=True)
class Stage:
    """A run of the training. begin: images shown before it."""

    folder: Path
    begin: int
    stats: list[dict[str, Any]]


def stages(folders: Sequence[Path]) -> list[Stage]:
    """The runs end to end. UserError where one has no log."""
    found, begin = [], 0
    for folder in folders:
        stats = stats_of(folder)
        if not stats:
            raise UserError(f"{folder}: holds no stats.jsonl with lines; give the folders of training runs")
        found.append(Stage(folder, begin, stats))
        begin += stats[-1]["nimg"]
    return found


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, the last one among them."""
    if len(items) <= count:
        return list(items)
    return [items[math.ceil((i + 1) * len(items) / count) - 1] for i in range(count)]


def panels(parts: Sequence[Stage], scores: Sequence[tuple[int, Score]]) -> list[Panel]:
    """Measured figures and logged ones by kimg. scores: (images shown before that stage, score of a snapshot)."""
    found = [
        Panel(title, (_series([(begin + score.nimg, getattr(score, name)) for begin, score in scores]),), True)
        for title, name in MEASURED
    ]
    for title, key in LOGGED:
        points = [(part.begin + line["nimg"], line.get(key)) for part in parts for line in part.stats]
        found.append(Panel(title, (_series(points),)))
    return found


def _series(points: Sequence[tuple[int, float | None]]) -> Series:
    kept = tuple((x / 1000, float(y)) for x, y in points if y is not None and math.isfinite(y))
    return Series("", 0, kept)


def _scored(
    parts: Sequence[Stage], dataset: ViewDataset, points: int, count: int, notes: Path
) -> list[tuple[int, Score]]:
    """Measure the chosen snapshots, but not those that `notes` holds already."""
    known = {score["measured"]: Score(**score) for score in json.loads(notes.read_text())} if notes.is_file() else {}
    chosen = evenly([(part.begin, file) for part in parts for file in networks_of(part.folder)], points)
    result = []
    for begin, file in chosen:
        key = f"{file_hash(file)[:16]}/{dataset.hash()[:16]}/{count}"
        if key not in known:
            click.echo(f"measuring {file}", err=True)
            known[key], _ = measure(file, key, dataset, count, notes.parent / "cache", no_progress, final=False)
            write_json(notes, [score.model_dump(mode="json") for score in known.values()])
        result.append((begin, known[key]))
    return result


@click.command(cls=PlainErrors)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset; its test split is measured.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="SVG to write; the figures go beside it.")
@click.option("--points", type=click.IntRange(1), default=8, show_default=True, help="Snapshots to measure.")
@click.option("--count", type=click.IntRange(2), default=200, show_default=True, help="Shapes on either side.")
def main(runs: tuple[Path, ...], data: Path, out: Path, points: int, count: int) -> None:
    """Draw the learning curve of a training, stage by stage."""
    torch.set_num_threads(1)
    parts = stages(runs)
    scores = _scored(parts, open_dataset(data), points, count, out.with_suffix(".json"))
    write_text(out, svg(panels(parts, scores), "kimg"))
    for begin, score in scores:
        click.echo(
            f"{(begin + score.nimg) / 1000:7.1f} kimg  MMD-CD {score.mmd:.3f} ×10⁻³  COV-CD {score.cov:.1f} %  "
            f"1-NNA {score.one_nna:.1f} %  components {score.components:.2f}"
        )


if __name__ == "__main__":
    main()
