"""The learning curve of a network: `python -m studies.learning_curve RUN [RUN …] --data DATASET --out curve.svg`.

The runs are the stages of one training, each started with --init from the one before. They are drawn end to end. A few
evenly spread snapshots are measured against held-out shapes. Their scores are kept in a JSON file next to the SVG.
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
from studies.curves import Panel, Series, svg
from studies.learning_study.scores import Score, measure_network, networks_of, no_progress, stats_of
from studies.plain_errors import PlainErrors
from torch_utils.errors import UserError
from torch_utils.files import file_hash, write_json, write_text

MEASURED = (("MMD-CD ×10⁻³", "mmd"), ("COV-CD %", "cov"), ("components a shape", "components"))
LOGGED = (
    ("G loss", "loss/generator"),
    ("D loss", "loss/discriminator_rgb"),
    ("diversity of masks", "fixed_samples/diversity"),
)


@dataclass(frozen=True)
class Stage:
    """A run of the training. begin: images seen before it."""

    folder: Path
    begin: int
    stats: list[dict[str, Any]]


def stages(folders: Sequence[Path]) -> list[Stage]:
    """The runs end to end. UserError if one has no log."""
    found, begin = [], 0
    for folder in folders:
        stats = stats_of(folder)
        if not stats:
            raise UserError(f"{folder}: expected a training run with lines in its stats.jsonl")
        found.append(Stage(folder, begin, stats))
        begin += stats[-1]["nimg"]
    return found


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, including the last one."""
    if len(items) <= count:
        return list(items)
    return [items[math.ceil((i + 1) * len(items) / count) - 1] for i in range(count)]


def panels(training: Sequence[Stage], scores: Sequence[tuple[int, Score]]) -> list[Panel]:
    """Measured and logged figures by kimg. scores: (images seen before the stage, score of a snapshot)."""
    found = [
        Panel(title, (_series([(begin + score.nimg, getattr(score, name)) for begin, score in scores]),), True)
        for title, name in MEASURED
    ]
    for title, key in LOGGED:
        points = [(stage.begin + line["nimg"], line.get(key)) for stage in training for line in stage.stats]
        found.append(Panel(title, (_series(points),)))
    return found


def _series(points: Sequence[tuple[int, float | None]]) -> Series:
    kept = tuple((x / 1000, float(y)) for x, y in points if y is not None and math.isfinite(y))
    return Series("", 0, kept)


def _scored(
    training: Sequence[Stage], dataset: ViewDataset, split: str, points: int, count: int, notes: Path
) -> list[tuple[int, Score]]:
    """Scores of at most `points` snapshots; those that `notes` already holds are not measured again."""
    known = {score["measured"]: Score(**score) for score in json.loads(notes.read_text())} if notes.is_file() else {}
    chosen = evenly([(stage.begin, file) for stage in training for file in networks_of(stage.folder)], points)
    result = []
    for begin, file in chosen:
        key = f"{file_hash(file)[:16]}/{dataset.hash()[:16]}/{count}" + ("" if split == "test" else f"/{split}")
        if key not in known:
            click.echo(f"measuring {file}", err=True)
            known[key], _ = measure_network(
                file, key, dataset, count, notes.parent / "cache", no_progress, final=False, split=split
            )
            write_json(notes, [score.model_dump(mode="json") for score in known.values()])
        result.append((begin, known[key]))
    return result


@click.command(cls=PlainErrors)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset to compare with.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Where test shapes are too few: train, which says nothing of shapes not seen.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="SVG to write, with a JSON file of the scores.",
)
@click.option("--points", type=click.IntRange(1), default=8, show_default=True, help="Snapshots to measure at most.")
@click.option("--count", type=click.IntRange(2), default=200, show_default=True, help="Shapes on each side.")
def main(runs: tuple[Path, ...], data: Path, split: str, out: Path, points: int, count: int) -> None:
    """Draw the learning curve of a training that consists of one or more runs."""
    torch.set_num_threads(1)
    training = stages(runs)
    scores = _scored(training, open_dataset(data), split, points, count, out.with_suffix(".json"))
    write_text(out, svg(panels(training, scores), "kimg"))
    for begin, score in scores:
        click.echo(
            f"{(begin + score.nimg) / 1000:7.1f} kimg  MMD-CD {score.mmd:.3f} ×10⁻³  COV-CD {score.cov:.1f} %  "
            f"1-NNA {score.one_nna:.1f} %  components {score.components:.2f}"
        )


if __name__ == "__main__":
    main()
