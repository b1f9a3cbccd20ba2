"""Whether a network is good enough to be included.

    python -m studies.release_criteria --network FILE --data DATASET --out DIR

Measures four generators against held-out shapes: the candidate, the same generator before training, the candidate with
one latent for all samples, and the candidate's shapes in plain gray. Prints and writes release_criteria.md
and release_criteria.json. What a classifier says of images and types is a criterion for chairs alone, for which one is
included.

Exit status 1 where the candidate misses a criterion. The others must fail; where one passes, the criteria prove
nothing and the exit status is 1 as well.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset, open_dataset
from metrics.cache import ChunkStore, content_key
from metrics.images.color_figures import color_figures
from metrics.protocols import Protocol
from metrics.report.report_schema import BEST_TRAINING_SHAPE, TRAIN_TEST_REFERENCE
from metrics.session import Inputs, Session
from metrics.shapes.evaluate_shapes import evaluate_shapes
from metrics.shapes.results import Results
from metrics.sources.dataset import DatasetSource
from metrics.sources.lazy_images import stack_images, to_uint8_truncating
from metrics.sources.network import GENERATOR_BATCH, NetworkSource
from metrics.sources.shape_source import Shape
from networks.generator import Generator
from networks.pretrained import load_generator, network_file
from rendering.camera_distribution import CameraDistribution
from sampling.styles import styles_of_seeds
from studies.plain_errors import PlainErrors
from studies.release_criteria.chair_types import TypeRule, occurring, type_probabilities
from studies.release_criteria.classifier import SIDE, ChairClassifier, load_chair_classifier
from studies.release_criteria.classifier_data import CATEGORY, load_views
from studies.release_criteria.criteria import (
    SHAPES,
    ColorFigures,
    Criterion,
    Figures,
    TrainTestReference,
    check_criteria,
    criteria_json,
    criteria_markdown,
    passes,
)
from studies.release_criteria.train_classifier import load_rules
from torch_utils.checkpoint import save_network
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text
from torch_utils.progress import progress_bar

NETWORK, UNTRAINED, COLLAPSED, GRAY, REAL = "network", "untrained", "collapsed", "gray", "held-out"
REPORT = "release_criteria"
CLASSIFIERS = {"chair": Path(__file__).parent / "chair_classifier"}
TRUNCATION = 1.0


class OneSeed(NetworkSource):
    """A collapsed generator: every sample is that of the first seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.label += ", one seed"
        self.key = content_key({"one seed of": self.key})

    def seed(self, row: int) -> int:
        """The first seed, for every row."""
        return self.first_seed

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The first shape, once for every row."""
        return super().shapes(rows[:1]) * len(rows)


@dataclass(frozen=True)
class TypeFinder:
    """A classifier of images, and the types that a generator must make. views: images of a shape that it sees."""

    classifier: ChairClassifier
    rules: list[TypeRule]
    views: int


@dataclass(frozen=True)
class Comparison:
    """What every generator is compared with. finder: for images and types; None where no classifier is known."""

    dataset: ViewDataset
    references: DatasetSource
    training: DatasetSource
    cache: Path
    finder: TypeFinder | None

    @property
    def views(self) -> int:
        """Images of each shape that are looked at."""
        return 1 if self.finder is None else self.finder.views

    @property
    def rules(self) -> list[TypeRule]:
        """What makes a type; none without a finder."""
        return [] if self.finder is None else self.finder.rules


def criteria_protocol(count: int) -> Protocol:
    """2,048 points, as many generated shapes at ψ 1 as held-out ones."""
    return Protocol(
        name="release criteria",
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
    """Every sample seen by `views` random cameras: uint8 [samples · views, 4, S, S] on black with coverage, S ≥ 64."""
    generator: Generator = source.generator
    side, parts = max(SIDE, generator.config.data.resolution), []
    with progress_bar("images", source.count) as advance:
        for start in range(0, source.count, GENERATOR_BATCH):
            rows = range(start, min(start + GENERATOR_BATCH, source.count))
            w_geo, w_tex = styles_of_seeds(generator, [source.seed(row) for row in rows], TRUNCATION)
            cameras = camera_distribution.sample(0, range(rows.start * views, rows.stop * views))
            rendered = generator.render(w_geo, w_tex, cameras, resolution=side)
            parts.append(to_uint8_truncating(torch.cat([rendered.rgb, rendered.mask * 2 - 1], 1)))
            for _ in rows:
                advance()
    return torch.cat(parts)


def classify_views(images: Tensor, finder: TypeFinder | None) -> tuple[float | None, dict[str, int]]:
    """The share of images [N, 3, S, S] of the category, %, and the number of shapes of each type; None and {} without.

    A shape counts as of a type only if most of its images are of the category. The classifier was trained on types of
    chairs alone, so it would name one for a ball too.
    """
    if finder is None:
        return None, {}
    found, values = finder.classifier.probabilities(images), finder.classifier.values
    chairs = (found[CATEGORY].argmax(1) == values[CATEGORY].index("chair")).float()
    is_chair = chairs.view(-1, finder.views).mean(1) > 0.5
    types = {name: p * is_chair for name, p in type_probabilities(found, values, finder.views).items()}
    return 100 * float(chairs.double().mean()), occurring(finder.rules, types)


def colors_of(rgba: Tensor) -> ColorFigures:
    """Color figures of images [N, 4, S, S] uint8, averaged over those with enough foreground."""
    found = color_figures(torch.cat([rgba[:, :3] / 127.5 - 1, rgba[:, 3:] / 255], 1)).nanmean(0)
    return ColorFigures(*(None if math.isnan(value) else value for value in found.tolist()))


def real_views(dataset: ViewDataset, ids: Sequence[str], side: int) -> Tensor:
    """A view of each shape, not always the same: uint8 [shapes, 4, S, S] on black with coverage."""
    images = [dataset.load_premultiplied(each, row % dataset.views(each), side) for row, each in enumerate(ids)]
    return stack_images(images)


def in_gray(rgba: Tensor) -> Tensor:
    """The same shapes in plain gray."""
    return torch.cat([(rgba[:, 3:] // 2).expand(-1, 3, -1, -1), rgba[:, 3:]], 1)


def measure_figures(
    source: NetworkSource, comparison: Comparison, training: DatasetSource | None
) -> tuple[Figures, Results, Tensor]:
    """All figures of a generator, and the images that the classifier saw."""

    def progress(what: str, total: int) -> AbstractContextManager:
        return progress_bar(what, total)

    store = ChunkStore(comparison.cache)
    session = Session(criteria_protocol(len(comparison.references.ids)), store, store, progress)
    found = evaluate_shapes(Inputs(source, comparison.references, training), session)
    values = {metric.name: metric.value for metric in found.metrics}
    images = images_of(source, comparison.dataset.camera_distribution, comparison.views)
    of_category, types = classify_views(images[:, :3], comparison.finder)
    figures = Figures(
        generated=source.count,
        references=int(found.references.usable.sum()),
        mmd=values.get("mmd_cd"),
        cov=values.get("cov_cd"),
        one_nna=values.get("one_nna_cd"),
        components=values.get("mesh_components"),
        empty=int((~found.generated.usable).sum()),
        of_category=of_category,
        types=types,
        colors=colors_of(images[:: comparison.views]),
    )
    return figures, found, images


def reference_scores(found: Results) -> TrainTestReference:
    """The scores of real shapes, from the rows that the evaluation lists next to a network."""
    rows = {row.name: row.values for row in found.baselines}
    reference, single = rows[TRAIN_TEST_REFERENCE], rows[BEST_TRAINING_SHAPE]
    return TrainTestReference(reference["mmd_cd"], reference["cov_cd"], single["mmd_cd"])


def untrained(network: Generator, path: Path) -> Generator:
    """The generator before its first training step; written to `path`."""
    config = network.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        start = Generator(config)
    save_network(path, start, config.model_dump(mode="json"), 0)
    return load_generator(path)


def measure_generators(
    network: str, comparison: Comparison, out: Path
) -> tuple[dict[str, Figures], TrainTestReference, ColorFigures]:
    """The figures of the candidate, of its start, of one seed repeated and of the candidate in gray.

    Beside them, the same scores of training shapes and the color figures of held-out views.
    """
    file = network_file(network)
    generator = load_generator(file)
    count = len(comparison.references.ids)
    start = out / "untrained.safetensors"
    figures = {}
    source = NetworkSource(file, generator, count, TRUNCATION)
    figures[NETWORK], found, images = measure_figures(source, comparison, comparison.training)
    gray = in_gray(images)
    of_category, types = classify_views(gray[:, :3], comparison.finder)
    colors = colors_of(gray[:: comparison.views])
    figures[GRAY] = replace(figures[NETWORK], of_category=of_category, types=types, colors=colors)
    real = colors_of(real_views(comparison.dataset, comparison.references.ids, images.shape[-1]))
    source = NetworkSource(start, untrained(generator, start), count, TRUNCATION)
    figures[UNTRAINED], _, _ = measure_figures(source, comparison, None)
    source = OneSeed(file, generator, count, TRUNCATION)
    figures[COLLAPSED], _, _ = measure_figures(source, comparison, None)
    return figures, reference_scores(found), real


def report_notes(comparison: Comparison, real_of_category: float | None) -> list[str]:
    """How the figures were measured. real_of_category: held-out images classified as of the category, %."""
    category, samples = comparison.dataset.header.category, len(comparison.references.ids)
    notes = [
        f"{samples} samples at ψ 1 against {samples} held-out shapes ({category}), 2,048 points. CD ×10⁻³ is squared "
        "and sums both directions.",
        "The train-vs-test reference and the best single shape are taken from "
        f"{len(comparison.training.ids)} training shapes.",
        "untrained: the same generator before its first step. collapsed: the network with seed 0 for all samples. "
        "gray: the network's shapes in plain gray.",
    ]
    if real_of_category is not None:
        notes.append(
            f"The classifier saw {comparison.views} images of each shape. It classifies {real_of_category:.1f} % of "
            "the held-out images as of the category."
        )
    return notes


def write_criteria(
    out: Path,
    figures: dict[str, Figures],
    reference: TrainTestReference,
    real_colors: ColorFigures,
    comparison: Comparison,
) -> dict[str, list[Criterion]]:
    """Write release_criteria.md and .json; returns every generator's criteria."""
    criteria = {name: check_criteria(each, reference, comparison.rules, real_colors) for name, each in figures.items()}
    ids, views = comparison.references.ids, comparison.views
    real_of_category, real_types = classify_views(load_views(comparison.dataset, ids, views), comparison.finder)
    types: dict[str, Any] = {name: each.types for name, each in figures.items()} | {REAL: real_types}
    title = "Release criteria: " + ("passed" if passes(criteria[NETWORK]) else "not passed")
    notes = report_notes(comparison, real_of_category)
    write_text(out / f"{REPORT}.md", criteria_markdown(title, criteria, types, comparison.rules, notes))
    real = {REAL: {"of_category": real_of_category, "types": real_types, "colors": vars(real_colors)}}
    write_json(out / f"{REPORT}.json", criteria_json(figures, criteria, reference) | real)
    return criteria


@click.command(cls=PlainErrors)
@click.option("--network", required=True, help="A network file, a folder with one, or the name of an included network.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset with held-out shapes.")
@click.option(
    "--classifier",
    type=click.Path(path_type=Path),
    help="Folder from `studies.release_criteria.train_classifier`.  [default: the included one for chairs, else none]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the report; its cache is reused.",
)
@click.option("--count", default=SHAPES, show_default=True, help="Held-out shapes at most, and as many samples.")
@click.option(
    "--training", default=400, show_default=True, help="Training shapes for the reference and the best single shape."
)
def main(network: str, data: Path, classifier: Path | None, out: Path, count: int, training: int) -> None:
    """Check a network against the release criteria."""
    dataset = open_dataset(data)
    folder = classifier or CLASSIFIERS.get(dataset.header.category)
    finder = None if folder is None else TypeFinder(load_chair_classifier(folder), *load_rules(folder))
    references = DatasetSource(dataset, "test", count)
    if not references.ids or not dataset.splits["train"]:
        raise UserError(f"{data}: expected train and test splits; make them with: tetragan dataset split {data}")
    out.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(dataset, references, DatasetSource(dataset, "train", training), out / "cache", finder)
    figures, reference, real_colors = measure_generators(network, comparison, out)
    criteria = write_criteria(out, figures, reference, real_colors, comparison)
    click.echo((out / f"{REPORT}.md").read_text(encoding="utf-8"))
    wrongly_passed = [name for name in (UNTRAINED, COLLAPSED, GRAY) if passes(criteria[name])]
    for name in wrongly_passed:
        click.echo(f"The {name} generator passes too, so these criteria prove nothing.", err=True)
    if wrongly_passed or not passes(criteria[NETWORK]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
