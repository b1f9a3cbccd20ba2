"""The gate for shipped chairs.

    python -m studies.release_criteria --network FILE --data DATASET --classifier DIR --out DIR

Measures the network, the same network before training, and the same network with one latent for all samples, against
held-out chairs; prints and writes gate.md and gate.json. Exit status 1 where the network misses a demand, or where one
of the other two misses none (the gate is blind then).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset, open_dataset
from metrics.cache import ChunkStore, content_key
from metrics.images.detectors import to_uint8
from metrics.protocols import Protocol
from metrics.session import Inputs, Session
from metrics.shapes.evaluate_shapes import evaluate_shapes
from metrics.shapes.results import Found
from metrics.sources.folder import Shape
from metrics.sources.network_dataset import GENERATOR_BATCH, DatasetSource, NetworkSource
from networks.generator import Generator
from networks.pretrained import load_generator_file, network_file
from rendering.camera_distribution import CameraDistribution
from sampling.generate import styles
from studies.plain_errors import PlainErrors
from studies.release_criteria.chair_types import TypeRule, occurring, type_probabilities
from studies.release_criteria.classifier import SIDE, Judge, load_judge
from studies.release_criteria.classifier_data import CATEGORY, load_views
from studies.release_criteria.criteria import SHAPES, Figures, Floor, Line, as_json, judged, markdown, passes
from studies.release_criteria.train_classifier import load_rules
from torch_utils.checkpoint import save_network
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text
from torch_utils.progress import progress_bar

NETWORK, UNTRAINED, COLLAPSED, REAL = "network", "untrained", "collapsed", "held-out chairs"
CLASSIFIER = Path(__file__).parent / "chair_classifier"
TRUNCATION = 1.0


class OneSeed(NetworkSource):
    """A generator that has collapsed: every sample is that of the first seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.label += ", one seed"
        self.key = content_key({"one seed of": self.key})

    def seed(self, row: int) -> int:
        return self.first_seed

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        return super().shapes(rows[:1]) * len(rows)


@dataclass(frozen=True)
class Examination:
    """What every generator is held against. views: images of each shape that the classifier sees."""

    dataset: ViewDataset
    references: DatasetSource
    judge: Judge
    rules: list[TypeRule]
    views: int
    cache: Path
    training: DatasetSource


def protocol(count: int) -> Protocol:
    """2,048 points, as many generated shapes at ψ 1 as held-out ones."""
    return Protocol(
        name="gate",
        version=1,
        description="MMD, COV and 1-NNA with CD; components and empty surfaces",
        max_references=count,
        points=2048,
        truncation=TRUNCATION,
        shape_metrics=("validity",),
        crossing_shapes=0,
    )


@torch.no_grad()
def images_of(source: NetworkSource, camera_distribution: CameraDistribution, views: int) -> Tensor:
    """Every sample by `views` cameras of the camera distribution: uint8 [samples · views, 3, S, S] on black, S ≥ 64."""
    generator: Generator = source.generator
    side, parts = max(SIDE, generator.config.data.resolution), []
    with progress_bar("images", source.count) as advance:
        for start in range(0, source.count, GENERATOR_BATCH):
            rows = range(start, min(start + GENERATOR_BATCH, source.count))
            w_geo, w_tex = styles(generator, [source.seed(row) for row in rows], TRUNCATION)
            cameras = camera_distribution.sample(0, range(rows.start * views, rows.stop * views))
            parts.append(to_uint8(generator.render(w_geo, w_tex, cameras, resolution=side).rgb))
            for _ in rows:
                advance()
    return torch.cat(parts)


def look(images: Tensor, exam: Examination) -> tuple[float, dict[str, int]]:
    """The share of images taken for chairs, %, and how many shapes are of each type.

    A shape that most of its images do not show as a chair is of no type: of a ball, the judge would name one too.
    """
    found, values = exam.judge.probabilities(images), exam.judge.values
    chairs = (found[CATEGORY].argmax(1) == values[CATEGORY].index("chair")).float()
    is_chair = chairs.view(-1, exam.views).mean(1) > 0.5
    types = {name: p * is_chair for name, p in type_probabilities(found, values, exam.views).items()}
    return 100 * float(chairs.double().mean()), occurring(exam.rules, types)


def measure(source: NetworkSource, exam: Examination, training: DatasetSource | None) -> tuple[Figures, Found]:
    """All figures of a generator."""

    def progress(what: str, total: int) -> AbstractContextManager:
        return progress_bar(what, total)

    store = ChunkStore(exam.cache)
    session = Session(protocol(len(exam.references.ids)), store, store, progress)
    found = evaluate_shapes(Inputs(source, exam.references, training), session)
    values = {metric.name: metric.value for metric in found.metrics}
    chairs, types = look(images_of(source, exam.dataset.camera_distribution, exam.views), exam)
    figures = Figures(
        generated=source.count,
        references=int(found.references.usable.sum()),
        mmd=values.get("mmd_cd"),
        cov=values.get("cov_cd"),
        one_nna=values.get("one_nna_cd"),
        components=values.get("mesh_components"),
        empty=int((~found.generated.usable).sum()),
        chairs=chairs,
        types=types,
    )
    return figures, found


def floor_of(found: Found) -> Floor:
    """The real shapes' figures, from the rows that the evaluation puts beside a network."""
    rows = {row.name: row.values for row in found.baselines}
    floor, single = rows["training shapes (the floor)"], rows["best single training shape, repeated"]
    return Floor(floor["mmd_cd"], floor["cov_cd"], single["mmd_cd"])


def untrained(network: Generator, path: Path) -> Generator:
    """The generator that the network was when its training began; written to `path`."""
    config = network.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        start = Generator(config)
    save_network(path, start, config.model_dump(mode="json"), 0)
    return load_generator_file(path)[0]


def examine(network: str, exam: Examination, out: Path) -> tuple[dict[str, Figures], Floor]:
    """The figures of the network, of its start, and of one seed repeated."""
    file = network_file(network)
    generator, _ = load_generator_file(file)
    count = len(exam.references.ids)
    start = out / "untrained.safetensors"
    figures = {}
    figures[NETWORK], found = measure(NetworkSource(file, generator, count, TRUNCATION), exam, exam.training)
    source = NetworkSource(start, untrained(generator, start), count, TRUNCATION)
    figures[UNTRAINED], _ = measure(source, exam, None)
    figures[COLLAPSED], _ = measure(OneSeed(file, generator, count, TRUNCATION), exam, None)
    return figures, floor_of(found)


def write(out: Path, figures: dict[str, Figures], floor: Floor, exam: Examination) -> dict[str, list[Line]]:
    """gate.md and gate.json; every generator's lines."""
    lines = {name: judged(each, floor, exam.rules) for name, each in figures.items()}
    ids = exam.references.ids
    real_chairs, real_types = look(load_views(exam.dataset, ids, exam.views), exam)
    types: dict[str, Any] = {name: each.types for name, each in figures.items()} | {REAL: real_types}
    verdict = "passed" if passes(lines[NETWORK]) else "not passed"
    notes = [
        f"{len(ids)} samples at ψ 1 against {len(ids)} held-out chairs, 2,048 points; CD is squared, both directions "
        f"summed, ×10⁻³; floor and best single chair among {len(exam.training.ids)} "
        "training chairs",
        f"the classifier saw {exam.views} images of each; of the held-out chairs' it takes {real_chairs:.1f} % for "
        "chairs",
        "untrained: the same generator before its first step; collapsed: the network with seed 0 for all samples",
    ]
    write_text(out / "gate.md", markdown(f"Gate: {verdict}", lines, types, exam.rules, notes))
    write_json(out / "gate.json", as_json(figures, lines, floor) | {REAL: {"chairs": real_chairs, "types": real_types}})
    return lines


@click.command(cls=PlainErrors)
@click.option("--network", required=True, help="A network file, a folder with one, or a included network's name.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset of procedural chairs.")
@click.option(
    "--classifier",
    type=click.Path(path_type=Path),
    default=CLASSIFIER,
    help="Of `studies.release_criteria.train_classifier`.  [default: ours]",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the report; goes on there.")
@click.option("--count", default=SHAPES, show_default=True, help="Held-out chairs, and as many samples.")
@click.option("--training", default=400, show_default=True, help="Training chairs for floor and best single chair.")
def main(network: str, data: Path, classifier: Path, out: Path, count: int, training: int) -> None:
    """Hold a network against the demands on those that are shipped."""
    dataset = open_dataset(data)
    rules, views = load_rules(classifier)
    references = DatasetSource(dataset, "test", count)
    if not references.ids or not dataset.splits["train"]:
        raise UserError(f"{data}: the gate needs a test and a train split; split again with: tetragan dataset split")
    out.mkdir(parents=True, exist_ok=True)
    exam = Examination(
        dataset,
        references,
        load_judge(classifier),
        rules,
        views,
        out / "cache",
        DatasetSource(dataset, "train", training),
    )
    figures, floor = examine(network, exam, out)
    lines = write(out, figures, floor, exam)
    click.echo((out / "gate.md").read_text(encoding="utf-8"))
    blind = [name for name in (UNTRAINED, COLLAPSED) if passes(lines[name])]
    for name in blind:
        click.echo(f"The gate is blind: the {name} generator passes it.", err=True)
    if blind or not passes(lines[NETWORK]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
