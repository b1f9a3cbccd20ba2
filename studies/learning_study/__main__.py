"""A learning study.

    python -m studies.learning_study studies/learning_study/study.yaml --data DATASET --out DIR [--only NAME …]

Trains every variant with every seed (one thread each; finished runs are kept, broken ones go on from their state),
measures their networks against held-out shapes, and writes into DIR:

    table.md               every run, and every variant against the one that it is compared with
    curves/<group>.svg     distance, losses and diversity by images shown, a group's variants together
    sheets/<run>.png       seeds 0–15 at ψ 1
    runs/<run>/            the training run, with its scores.json (with config.yaml and stats.jsonl all that a finished
                           one needs: copied to another machine's DIR, the study goes on from there)
    logs/<run>.log         what the training said
"""

import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from dataset_tool.dataset import open_dataset
from dataset_tool.edit import subset
from studies.curves import Panel, Series, svg
from studies.learning_study.plan import (
    Run,
    Study,
    Variant,
    check_unchanged,
    complete,
    load_study,
    plan_runs,
    train_command,
)
from studies.learning_study.scores import (
    RunScores,
    load_scores,
    networks_of,
    no_progress,
    references_key,
    save_sheet,
    score_run,
    stats_of,
)
from studies.learning_study.table import table
from studies.plain_errors import PlainErrors
from torch_utils.errors import UserError
from torch_utils.files import write_text

LOSSES = (
    ("G loss", "loss/generator"),
    ("D loss, RGB", "loss/discriminator_rgb"),
    ("D loss, mask", "loss/discriminator_mask"),
    ("diversity of masks", "probe/diversity"),
)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workshop:
    """Where the study's data lie and its results go. others: datasets by the name that variants call them."""

    study: Study
    data: Path
    others: Mapping[str, Path]
    out: Path

    def training_data(self, variant: Variant) -> Path:
        """The dataset that a variant trains on; a part of one is cut out when it is first needed."""
        whole = self.others[variant.data] if variant.data else self.data
        if variant.train_shapes is None:
            return whole
        part = self.out / "data" / f"{variant.data or 'main'}-{variant.train_shapes}"
        if not (part / "dataset.json").is_file():
            shutil.rmtree(part, ignore_errors=True)  # what an interrupted call left
            part.parent.mkdir(parents=True, exist_ok=True)
            subset(open_dataset(whole), part, splits=("train",), count=variant.train_shapes)
        return part


def train_run(run: Run, shop: Workshop) -> str:
    """Train a run to its end. Returns "" or the last line that it said before it broke off."""
    log = shop.out / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = train_command(run, shop.study.base, shop.training_data(run.variant))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    with log.open("a", encoding="utf-8") as file:
        environment = {**os.environ, **one_thread, "PYTHONPATH": path}
        status = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
    if status == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"exit status {status}: {lines[-1] if lines else 'it said nothing'} ({log})"


def finished(run: Run) -> bool:
    """Whether a run needs no more training: its network is there, or was measured to the end and is kept no longer."""
    scores = load_scores(run.folder)
    measured = scores is not None and bool(scores.scores) and scores.last.nimg >= run.total_nimg
    return complete(run) or measured


def trained(runs: Sequence[Run], shop: Workshop, jobs: int) -> Iterator[tuple[Run, str]]:
    """Train what is not complete, `jobs` at a time; yields each run when it is, with the reason if it broke off."""
    done = [run for run in runs if finished(run)]
    waiting = [run for run in runs if run not in done]
    yield from ((run, "") for run in done)
    if jobs == 1:
        for run in waiting:
            click.echo(f"training {run.name} to {run.kimg:g} kimg", err=True)
            yield run, train_run(run, shop)
        return
    for run in waiting:
        shop.training_data(run.variant)  # two runs must not cut the same part at once
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(train_run, run, shop): run for run in waiting}
        for future in as_completed(futures):
            yield futures[future], future.result()


def save_sheet_once(networks: Sequence[Path], sheet: Path) -> None:
    """The sheet of a run's last network, unless it is there; nothing where no network is kept."""
    if networks and (not sheet.exists() or sheet.stat().st_mtime < networks[-1].stat().st_mtime):
        save_sheet(networks[-1], sheet)


def results_on_disk(study: Study, out: Path) -> dict[str, list[RunScores]]:
    """Complete and measured runs of the study by variant, whichever call made them."""
    results: dict[str, list[RunScores]] = {}
    for run in plan_runs(study, out):
        scores = load_scores(run.folder) if finished(run) else None
        if scores is not None and scores.scores:
            results.setdefault(run.variant.name, []).append(scores)
    return results


def group_panels(study: Study, group: str, out: Path, results: Mapping[str, Sequence[RunScores]]) -> list[Panel]:
    """The curves of a group's variants and of those that they are compared with."""
    members = [variant for variant in study.variants if variant.group == group]
    names = list(dict.fromkeys([variant.against for variant in members] + [variant.name for variant in members]))
    lines: dict[str, list[Series]] = {title: [] for title, _ in (("MMD-CD ×10⁻³", ""), ("COV-CD %", ""), *LOSSES)}
    folders = {(run.variant.name, run.seed): run.folder for run in plan_runs(study, out)}
    for color, name in enumerate(names):
        for run in results.get(name, ()):
            stats = stats_of(folders[name, run.seed])
            found = {
                "MMD-CD ×10⁻³": [(score.nimg, score.mmd) for score in run.scores],
                "COV-CD %": [(score.nimg, score.cov) for score in run.scores],
                **{title: [(line["nimg"], line.get(key)) for line in stats] for title, key in LOSSES},
            }
            for title, points in found.items():
                kept = tuple((x / 1000, y) for x, y in points if y is not None and math.isfinite(y))
                if kept:
                    lines[title].append(Series(name, color, kept))
    return [Panel(title, tuple(series), y_from_zero="loss" not in title) for title, series in lines.items()]


def write_results(study: Study, out: Path, failures: Mapping[str, str]) -> Path:
    """table.md and the curves of everything that is on disk; the table's path."""
    results = results_on_disk(study, out)
    (out / "curves").mkdir(parents=True, exist_ok=True)
    for group in dict.fromkeys(variant.group for variant in study.variants):
        if any(results.get(variant.name) for variant in study.variants if variant.group == group):
            write_text(out / "curves" / f"{group}.svg", svg(group_panels(study, group, out, results), "kimg"))
    write_text(out / "table.md", table(study, results, failures))
    return out / "table.md"


def _others(pairs: Sequence[str]) -> dict[str, Path]:
    others = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            raise UserError(f"--also {pair}: expected NAME=DATASET, e.g. --also hard=data/chairs-hard")
        others[name] = Path(path)
    return others


@click.command(cls=PlainErrors)
@click.argument("variants", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Dataset; its test split is measured against."
)
@click.option("--also", multiple=True, metavar="NAME=DATASET", help="Other datasets that variants train on.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the study; it goes on there.")
@click.option("--only", multiple=True, metavar="NAME", help="These variants or groups alone; may be repeated.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="These seeds alone; may be repeated.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at once, one thread each.")
def main(
    variants: Path,
    data: Path,
    also: tuple[str, ...],
    out: Path,
    only: tuple[str, ...],
    seeds: tuple[int, ...],
    jobs: int,
) -> None:
    """Train and compare the variants of a study."""
    torch.set_num_threads(1)
    study = load_study(variants)
    dataset = open_dataset(data)
    shop = Workshop(study, data, _others(also), out)
    runs, failures = [], {}
    for run in plan_runs(study, out, only, seeds):
        check_unchanged(run, study.base)
        if run.variant.data and run.variant.data not in shop.others:
            failures[run.name] = f"needs another dataset: --also {run.variant.data}=DATASET"
        else:
            runs.append(run)
    for run, problem in trained(runs, shop, jobs):
        if problem:
            failures[run.name] = problem
            click.echo(f"broken off: {run.name}: {problem}", err=True)
        else:
            scores = score_run(run.folder, run.variant.name, run.seed, dataset, study.count, out / "cache", no_progress)
            save_sheet_once(networks_of(run.folder), out / "sheets" / f"{run.name}.png")
            click.echo(f"{run.name}: MMD-CD {scores.last.mmd or math.nan:.3f} ×10⁻³", err=True)
            if not scores.last.measured.endswith(references_key(dataset, study.count)):
                click.echo(f"  against other shapes than those of {data}: to compare it, remove {run.folder}", err=True)
        write_results(study, out, failures)
    click.echo(write_results(study, out, failures))
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
