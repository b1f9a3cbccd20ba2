"""Train and compare variants of a preset.

    python -m studies.learning_study studies/learning_study/study.yaml --data DATASET --out DIR [--only NAME …]

Trains every variant with every seed, on one thread each, and measures the networks against held-out shapes. Called
again, it keeps finished runs and resumes interrupted ones. Written into DIR:

    table.md               every run, and every variant against the one that it is compared with
    curves/<group>.svg     distance, losses and diversity by images seen, a group's variants together
    samples/<run>.png      seeds 0–15 at ψ 1
    runs/<run>/            the training run, with its scores.json
    logs/<run>.log         output of the training

A finished run needs only its scores.json, config.yaml and stats.jsonl. Copy those to DIR on another machine, and the
study continues there.
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
    Study,
    StudyRun,
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
    save_samples,
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
    ("diversity of masks", "fixed_samples/diversity"),
)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workspace:
    """The study with its datasets and output folder. others: datasets by the names that variants use."""

    study: Study
    data: Path
    others: Mapping[str, Path]
    out: Path

    def training_data(self, variant: Variant) -> Path:
        """The dataset that a variant trains on. A subset is written when it is first needed."""
        whole = self.others[variant.data] if variant.data else self.data
        if variant.train_shapes is None:
            return whole
        path = self.out / "data" / f"{variant.data or 'main'}-{variant.train_shapes}"
        if not (path / "dataset.json").is_file():
            shutil.rmtree(path, ignore_errors=True)  # left by an interrupted call
            path.parent.mkdir(parents=True, exist_ok=True)
            subset(open_dataset(whole), path, splits=("train",), count=variant.train_shapes)
        return path


def train_run(run: StudyRun, workspace: Workspace) -> str:
    """Train a run to its end. Returns "", or the exit status and the last line of its log."""
    log = workspace.out / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = train_command(run, workspace.study.base, workspace.training_data(run.variant))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(entry for entry in (str(ROOT), os.environ.get("PYTHONPATH", "")) if entry)
    with log.open("a", encoding="utf-8") as file:
        environment = {**os.environ, **one_thread, "PYTHONPATH": path}
        status = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
    if status == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"exit status {status}: {lines[-1] if lines else 'no output'} ({log})"


def finished(run: StudyRun) -> bool:
    """Whether a run needs no more training: its network exists, or its scores reach the last image."""
    scores = load_scores(run.folder)
    measured = scores is not None and bool(scores.scores) and scores.last.nimg >= run.total_nimg
    return complete(run) or measured


def trained(runs: Sequence[StudyRun], workspace: Workspace, jobs: int) -> Iterator[tuple[StudyRun, str]]:
    """Train the unfinished runs, `jobs` at a time. Yields each run when it ends, with the reason if it failed."""
    done = [run for run in runs if finished(run)]
    waiting = [run for run in runs if run not in done]
    yield from ((run, "") for run in done)
    if jobs == 1:
        for run in waiting:
            click.echo(f"training {run.name} to {run.kimg:g} kimg", err=True)
            yield run, train_run(run, workspace)
        return
    for run in waiting:
        workspace.training_data(run.variant)  # two runs must not write the same subset at once
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(train_run, run, workspace): run for run in waiting}
        for future in as_completed(futures):
            yield futures[future], future.result()


def update_samples(networks: Sequence[Path], path: Path) -> None:
    """Write the image grid of a run's last network, unless it is up to date or no network is kept."""
    if networks and (not path.exists() or path.stat().st_mtime < networks[-1].stat().st_mtime):
        save_samples(networks[-1], path)


def results_on_disk(study: Study, out: Path) -> dict[str, list[RunScores]]:
    """Finished and measured runs of the study by variant, from this call or earlier ones."""
    results: dict[str, list[RunScores]] = {}
    for run in plan_runs(study, out):
        scores = load_scores(run.folder) if finished(run) else None
        if scores is not None and scores.scores:
            results.setdefault(run.variant.name, []).append(scores)
    return results


def group_panels(study: Study, group: str, out: Path, results: Mapping[str, Sequence[RunScores]]) -> list[Panel]:
    """The curves of a group's variants and of the variants that they are compared with."""
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
    """Write table.md and the curves of everything on disk; returns the path of table.md."""
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
    "--data", type=click.Path(path_type=Path), required=True, help="Dataset; its test split is the reference."
)
@click.option("--also", multiple=True, metavar="NAME=DATASET", help="Other datasets that variants train on.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the study; finished runs stay.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these variants or groups; may be repeated.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Only these seeds; may be repeated.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time, one thread each.")
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
    workspace = Workspace(study, data, _others(also), out)
    runs, failures = [], {}
    for run in plan_runs(study, out, only, seeds):
        check_unchanged(run, study.base)
        if run.variant.data and run.variant.data not in workspace.others:
            failures[run.name] = f"needs another dataset: --also {run.variant.data}=DATASET"
        else:
            runs.append(run)
    for run, problem in trained(runs, workspace, jobs):
        if problem:
            failures[run.name] = problem
            click.echo(f"failed: {run.name}: {problem}", err=True)
        else:
            scores = score_run(run.folder, run.variant.name, run.seed, dataset, study.count, out / "cache", no_progress)
            update_samples(networks_of(run.folder), out / "samples" / f"{run.name}.png")
            click.echo(f"{run.name}: MMD-CD {scores.last.mmd or math.nan:.3f} ×10⁻³", err=True)
            if not scores.last.measured.endswith(references_key(dataset, study.count)):
                click.echo(
                    f"  measured against other shapes than those of {data}; to redo it, remove {run.folder}",
                    err=True,
                )
        write_results(study, out, failures)
    click.echo(write_results(study, out, failures))
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
