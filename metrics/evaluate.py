"""One evaluation, from the options to the files of the report."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from dataset_tool.dataset import ViewDataset, open_dataset
from metrics.cache import ChunkStore
from metrics.images.conditions import Conditions, parse_attributes
from metrics.images.evaluate_images import evaluate_images
from metrics.images.image_models import ModelChoice, load_image_models
from metrics.protocols import ImageProtocol, Protocol, load_protocol
from metrics.report.galleries import histograms, make_galleries
from metrics.report.html import report_html
from metrics.report.markdown import report_markdown
from metrics.report.published import published_rows
from metrics.report.report_schema import EvaluationRun, Report, save_json
from metrics.report.words import report_verdict
from metrics.session import Inputs, ProgressBar, Session
from metrics.shapes.distances import distance_device
from metrics.shapes.evaluate_shapes import evaluate_shapes
from metrics.shapes.results import Results
from metrics.sources.dataset import DatasetSource
from metrics.sources.folder import FolderSource
from metrics.sources.image_settings import ImageSettings, make_image_settings
from metrics.sources.network import NetworkSource
from metrics.sources.shape_source import ShapeSource
from networks.generator import Generator
from networks.grid_memory import check_cells
from networks.pretrained import load_generator_file, network_file
from torch_utils import distributed
from torch_utils.cache_folder import cache_folder
from torch_utils.checkpoint import code_version
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.failures import failure_log
from torch_utils.files import can_write, file_hash, remove_leftovers, write_text
from torch_utils.locks import owned_folder
from torch_utils.progress import progress_bar


@dataclass(frozen=True)
class Options:
    """The options of the command; see `tetragan/evaluate.py`."""

    network: Path | None
    generated: Path | None
    data: Path | None
    reference_meshes: Path | None
    out: Path
    protocol: str = "quick"
    split: str = "test"
    count: int | None = None
    truncation: float | None = None
    detector: Path | str | None = None
    detector_hash: str | None = None
    cache: Path | None = None
    device: str = "auto"
    quiet: bool = False
    clip: Path | None = None
    classifier: Path | None = None
    caption: str = ""
    attributes: tuple[str, ...] = ()
    normals: bool = False


def run_evaluation(options: Options) -> Report:
    """Evaluate, write report.json, report.md and report.html into `options.out`, and return the report.

    Under `torchrun` every rank computes its share and rank 0 writes.
    """
    start = time.monotonic()
    protocol = resolved_protocol(options)
    ranks = distributed.start(options.device)
    try:
        dataset = open_dataset(options.data) if options.data else None
        device = ranks.device
        conditions = Conditions(options.caption, parse_attributes(options.attributes))
        cache = _cache(options, ranks)
        choice = ModelChoice(options.detector, options.detector_hash, options.clip, options.classifier)
        models = load_image_models(choice, conditions, protocol.images, device, cache / "detectors")
        generator, nimg = _load_generator(options, device)
        inputs = make_inputs(options, protocol, dataset, generator)
        with _owned(options.out, ranks):
            session = Session(
                protocol,
                ChunkStore(options.out / "cache", ranks),
                ChunkStore(cache, ranks),
                _progress(options.quiet or not ranks.first),
                distance_device(device),
            )
            results = evaluate_shapes(inputs, session)
            of_normals = dataset is not None and dataset.header.renderer.get("shading") == "normals"
            settings = make_image_settings(protocol, dataset, generator) if protocol.images and not of_normals else None
            results.metrics += evaluate_images(models, conditions, settings, inputs, session, results)
            report = _report(options, protocol, dataset, settings, inputs, results, nimg, start, ranks)
            return _with_galleries(report, inputs, results, options.out, start) if ranks.first else report
    finally:
        distributed.stop(ranks)


@contextmanager
def _owned(out: Path, ranks: Ranks) -> Iterator[None]:
    """Be the one evaluation that works in the folder, with a log of the failures.

    The first rank owns the folder. The others start once it does, and end if it cannot.
    """
    log = out / "failures.log"
    if not ranks.first:
        distributed.barrier(ranks)
        with failure_log(log, fresh=False):
            yield
        return
    with owned_folder(out), failure_log(log):
        remove_leftovers(out / "cache")
        distributed.barrier(ranks)
        yield


def _with_galleries(report: Report, inputs: Inputs, results: Results, out: Path, start: float) -> Report:
    """Make the galleries and write the report."""
    galleries, failures = make_galleries(inputs, results, out)
    seconds = report.run.model_copy(update={"seconds": time.monotonic() - start})
    report = report.model_copy(
        update={"run": seconds, "galleries": galleries, "failures": failures, "histograms": histograms(results)}
    )
    write_report(report, out)
    return report


def resolved_protocol(options: Options) -> Protocol:
    """The protocol with the changes of the command line, which become part of its name."""
    protocol = load_protocol(options.protocol)
    changes: dict[str, Any] = {}
    name = protocol.name
    if options.count is not None and (protocol.max_references is None or options.count < protocol.max_references):
        changes["max_references"] = options.count
        name += f", at most {options.count} references"
    if options.truncation is not None and options.truncation != protocol.truncation:
        changes["truncation"] = options.truncation
        name += f", ψ {options.truncation:g}"
    images = _changed_images(options, protocol)
    if images != protocol.images:
        changes["images"] = images
    changes["name"] = name
    return protocol.model_copy(update=changes)


def _changed_images(options: Options, protocol: Protocol) -> ImageProtocol | None:
    """`--truncation` applies to images too. `--normals` adds a score and changes no other."""
    if protocol.images is None:
        return None
    changes: dict[str, Any] = {"normals": protocol.images.normals or options.normals}
    if options.truncation is not None:
        changes["truncation"] = options.truncation
    return protocol.images.model_copy(update=changes)


def _cache(options: Options, ranks: Ranks) -> Path:
    """Where results on real data are kept; below `options.out` where the cache cannot be written."""
    folder = options.cache or cache_folder() / "metrics"
    reason = can_write(folder)
    if not distributed.agree(bool(reason), ranks):
        return folder
    if ranks.first:
        click.echo(
            f"{folder}: cannot be written ({reason}); results on real data are kept in {options.out / 'cache'}, where "
            "other evaluations do not find them (name another place with --cache)",
            err=True,
        )
    return options.out / "cache"


def _load_generator(options: Options, device: torch.device) -> tuple[Generator | None, int | None]:
    """The network and the number of images it was trained with; None, None for a folder of meshes."""
    if options.network is None:
        return None, None
    generator, file = load_generator_file(options.network, device)
    check_cells(generator.config, 1, device)
    return generator, file.nimg


def make_inputs(
    options: Options, protocol: Protocol, dataset: ViewDataset | None, generator: Generator | None
) -> Inputs:
    """The sources that the options name, with as many generated shapes as the protocol wants for the references."""
    limit = protocol.max_references
    references: ShapeSource
    training: ShapeSource | None = None
    image_references: ShapeSource | None = None
    image_training: ShapeSource | None = None
    if dataset is not None:
        references = DatasetSource(dataset, options.split, limit, options.reference_meshes, at_random=True)
        if not references.ids:
            raise UserError(f"--data {options.data}: its {options.split} split is empty; try --split train")
        if options.split != "train" and dataset.splits["train"]:
            meshes = options.reference_meshes
            training = DatasetSource(dataset, "train", protocol.max_training, meshes, at_random=True)
            image_training = DatasetSource(dataset, "train", None, meshes)
        image_references = DatasetSource(dataset, options.split, None, options.reference_meshes)
    else:
        assert options.reference_meshes is not None
        references = FolderSource(options.reference_meshes, limit)
    count = len(references.ids) * protocol.generated_per_reference
    generated: ShapeSource
    if options.network is not None:
        assert generator is not None
        classes = dataset.classes if dataset is not None else ()
        path = network_file(options.network)
        generated = NetworkSource(path, generator, count, protocol.truncation, protocol.first_seed, classes)
    else:
        assert options.generated is not None
        generated = FolderSource(options.generated, count)
    return Inputs(generated, references, training, image_references, image_training)


def _progress(quiet: bool) -> ProgressBar:
    def bar(what: str, total: int) -> AbstractContextManager:
        return progress_bar(what, total, quiet=quiet)

    return bar


def _report(
    options: Options,
    protocol: Protocol,
    dataset: ViewDataset | None,
    settings: ImageSettings | None,
    inputs: Inputs,
    results: Results,
    nimg: int | None,
    start: float,
    ranks: Ranks,
) -> Report:
    """The report without its galleries and histograms."""
    network = network_file(options.network) if options.network is not None else None
    rows = list(results.baselines)
    if dataset is not None:
        measured = {metric.name for metric in results.metrics if metric.value is not None}
        rows += published_rows(dataset.category, protocol, len(results.references.ids), settings, measured)
    every = (inputs.references, inputs.training, inputs.generated, inputs.image_references, inputs.image_training)
    notes = dict.fromkeys(note for source in every if source is not None for note in source.notes(ranks))
    return Report(
        run=EvaluationRun(
            generated=inputs.generated.label,
            references=inputs.references.label,
            training=inputs.training.label if inputs.training else "",
            network=network.name if network else "",
            network_sha256=file_hash(network) if network else "",
            nimg=nimg,
            dataset=options.data.name if options.data else "",
            dataset_hash=dataset.hash() if dataset is not None else "",
            num_generated=len(results.generated.ids),
            num_references=len(results.references.ids),
            num_training=len(results.training.ids) if results.training else 0,
            commit=code_version(),
            seconds=time.monotonic() - start,
            notes=[*results.notes, *notes],
        ),
        protocol=protocol.model_dump(mode="json"),
        metrics=results.metrics,
        baselines=rows,
    )


def write_report(report: Report, out: Path) -> None:
    """Write report.json, report.md and report.html, and print the main scores and all remarks."""
    save_json(report, out / "report.json")
    write_text(out / "report.md", report_markdown(report))
    write_text(out / "report.html", report_html(report, out))
    click.echo(f"{out / 'report.html'} (also report.md and report.json)")
    click.echo(f"  {report_verdict(report)}")
    for name in ("mmd_cd", "cov_cd", "one_nna_cd", "fid", "fd", "recall"):
        metric = report.metric(name)
        if metric is not None and metric.value is not None:
            by = f" ({metric.detector})" if metric.detector else ""
            click.echo(f"  {metric.title} {metric.value:.4g} {metric.unit}".rstrip() + by)
    if report.failures:
        first = report.failures[0]
        click.echo(
            f"  note: {len(report.failures)} of {report.run.num_generated} generated shapes have no usable surface and "
            f"count as empty; the first: {first.id}: {first.caption}"
        )
    for note in report.run.notes:
        click.echo(f"  note: {note}")
