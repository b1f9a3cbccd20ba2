"""Scores of a run of the study: distances of its networks to held-out shapes, and its speed, kept in scores.json."""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError

from configs.strict import StrictModel
from dataset_tool.dataset import ViewDataset
from metrics.cache import ChunkStore
from metrics.protocols import Protocol
from metrics.report.report_schema import Baseline
from metrics.session import Inputs, ProgressBar, Session
from metrics.shapes.evaluate_shapes import evaluate_shapes
from metrics.sources.dataset import DatasetSource
from metrics.sources.network import NetworkSource
from networks.pretrained import load_generator_file
from rendering.camera import GRID_AZIMUTH_DEG, orbit_cameras
from rendering.images import image_grid, save_png
from sampling.style_images import preview_shading, render_styles
from sampling.styles import styles_of_seeds
from torch_utils.errors import UserError
from torch_utils.files import file_hash, write_json
from torch_utils.progress import progress_bar
from training.run.run_log import read_stats

SCORES = "scores.json"
SAMPLE_SEEDS = range(16)
SAMPLE_COLUMNS = 8
MAX_TRAINING = 400


class Score(StrictModel):
    """Figures of one network. mmd ×10⁻³ (CD squared, both directions summed); cov, one_nna, empty in %.

    measured: what the figures depend on: hashes of the network and the dataset, and the count.
    """

    nimg: int
    mmd: float | None = None
    cov: float | None = None
    one_nna: float | None = None
    components: float | None = None
    empty: float | None = None
    references: int = 0
    measured: str


class RunScores(StrictModel):
    """What the table and the curves need of a run. scores: by images seen. images_per_second: mean over the run."""

    variant: str
    seed: int
    images_per_second: float
    scores: list[Score] = Field(default_factory=list)
    baselines: list[Baseline] = Field(default_factory=list)

    @property
    def last(self) -> Score:
        """The scores of the finished network."""
        return self.scores[-1]


def study_protocol(count: int) -> Protocol:
    """CD, components and empty share of `count` generated shapes against as many held-out ones, ψ = 1."""
    return Protocol(
        name=f"study, {count} shapes",
        version=1,
        description="MMD, COV and 1-NNA with CD; components and empty share",
        max_references=count,
        max_training=MAX_TRAINING,
        shape_metrics=("validity",),
        crossing_shapes=0,
    )


def networks_of(folder: Path) -> list[Path]:
    """The network files of a run, by images seen."""
    return sorted(folder.glob("network-*.safetensors"))


def load_scores(folder: Path) -> RunScores | None:
    """A run's scores.json; None if it is missing or incomplete."""
    try:
        return RunScores.model_validate_json((folder / SCORES).read_bytes())
    except (OSError, ValidationError):
        return None


def references_key(dataset: ViewDataset, count: int) -> str:
    """The references that figures depend on: the end of `Score.measured`."""
    return f"{dataset.hash()[:16]}/{count}"


def score_run(
    folder: Path, variant: str, seed: int, dataset: ViewDataset, count: int, cache: Path, progress: ProgressBar
) -> RunScores:
    """Measure every network of a run that has no scores for these references yet, and write scores.json.

    Scores stay valid when a run's networks have been deleted.
    """
    files, known = networks_of(folder), load_scores(folder)
    if not files and known and known.scores:
        return known
    if not files:
        raise UserError(f"{folder}: holds no network-….safetensors; remove it and run the study again")
    old = {score.measured: score for score in known.scores} if known else {}
    scores, baselines = [], known.baselines if known else []
    for file in files:
        key = f"{file_hash(file)[:16]}/{references_key(dataset, count)}"
        if key in old:
            scores.append(old[key])
            continue
        score, found = measure_network(file, key, dataset, count, cache, progress, final=file == files[-1])
        scores.append(score)
        baselines = found or baselines
    result = RunScores(
        variant=variant, seed=seed, images_per_second=run_speed(folder), scores=scores, baselines=baselines
    )
    write_json(folder / SCORES, result.model_dump(mode="json"))
    return result


def measure_network(
    file: Path,
    key: str,
    dataset: ViewDataset,
    count: int,
    cache: Path,
    progress: ProgressBar,
    *,
    final: bool,
    split: str = "test",
) -> tuple[Score, list[Baseline]]:
    """Figures of a network file against a split.

    final: also those of the training shapes: the reference and the best single one.
    """
    protocol = study_protocol(count)
    generator, stored = load_generator_file(file)
    references = DatasetSource(dataset, split, count)
    if not references.ids:
        raise UserError(
            f"{dataset.path}: its {split} split is empty; split it with: tetragan dataset split {dataset.path}"
        )
    generated = NetworkSource(file, generator, len(references.ids), protocol.truncation, protocol.first_seed)
    training = DatasetSource(dataset, "train", protocol.max_training) if final and dataset.splits["train"] else None
    with tempfile.TemporaryDirectory() as own:
        session = Session(protocol, ChunkStore(Path(own)), ChunkStore(cache), progress)
        found = evaluate_shapes(Inputs(generated, references, training), session)
    values = {metric.name: metric.value for metric in found.metrics}
    score = Score(
        nimg=stored.nimg,
        mmd=values.get("mmd_cd"),
        cov=values.get("cov_cd"),
        one_nna=values.get("one_nna_cd"),
        components=values.get("mesh_components"),
        empty=values.get("mesh_empty"),
        references=len(references.ids),
        measured=key,
    )
    return score, found.baselines


def no_progress(_what: str, _total: int) -> AbstractContextManager:
    """A progress bar that shows nothing."""
    return progress_bar("", 0, quiet=True)


def stats_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's stats.jsonl; none without a log."""
    return read_stats(folder / "stats.jsonl")


def run_speed(folder: Path) -> float:
    """Images a second over the whole training; 0 without a log."""
    lines = stats_of(folder)
    return lines[-1]["nimg"] / max(lines[-1]["seconds"], 1e-9) if lines else 0.0


@torch.no_grad()
def save_samples(network: Path, path: Path) -> None:
    """Write an image grid of seeds 0–15 at ψ = 1 and the trained resolution."""
    generator, file = load_generator_file(network)
    w_geo, w_tex = styles_of_seeds(generator, list(SAMPLE_SEEDS), 1.0)
    side = generator.config.data.resolution
    shading = preview_shading(file.header.get("shading"))
    images = render_styles(generator, w_geo, w_tex, orbit_cameras([GRID_AZIMUTH_DEG]), side, shading=shading)
    save_png(path, image_grid(images[:, 0], SAMPLE_COLUMNS))
