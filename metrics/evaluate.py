"""One evaluation from options to files: inputs, measurements, images, report."""

import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from dataset_tool.dataset import open_dataset
from metrics.cache import ChunkStore
from metrics.images.evaluate_images import Judges, appearance, load_judges
from metrics.protocols import ImageProtocol, Protocol, load_protocol
from metrics.report.galleries import histograms, make_galleries
from metrics.report.html import html
from metrics.report.markdown import markdown
from metrics.report.published import published_rows
from metrics.report.report_schema import EvaluationRun, Report, save_json
from metrics.session import Inputs, ProgressBar, Session
from metrics.shapes.distances import distance_device
from metrics.shapes.evaluate_shapes import evaluate_shapes
from metrics.shapes.results import Found
from metrics.sources.folder import FolderSource, ShapeSource
from metrics.sources.network_dataset import DatasetSource, NetworkSource
from torch_utils import distributed
from torch_utils.checkpoint import code_version
from torch_utils.devices import pick_device
from torch_utils.errors import UserError
from torch_utils.files import write_text
from torch_utils.progress import progress_bar


@dataclass(frozen=True)
class Options:
    """The command's options; see `tetragan/evaluate.py`."""

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


def run(options: Options) -> Report:
    """Measure and write report.json, report.md and report.html into `options.out`; the report.

    Under `torchrun` every rank measures its share and rank 0 writes.
    """
    start = time.monotonic()
    protocol = resolved_protocol(options)
    ranks = distributed.start("cpu" if options.device == "cpu" else "auto")
    try:
        dataset = open_dataset(options.data) if options.data else None
        device = ranks.device if ranks.world > 1 else pick_device(options.device)
        judges = _load_judges(options, protocol, device)
        network, nimg = _load_network(options, device)
        inputs = make_inputs(options, protocol, dataset, network)
        session = Session(
            protocol,
            ChunkStore(options.out / "cache", ranks),
            ChunkStore(options.cache or default_cache(), ranks),
            _progress(options.quiet or not ranks.first),
            distance_device(device),
        )
        found = evaluate_shapes(inputs, session)
        found.metrics += appearance(judges, inputs, session, dataset, options.split, options.reference_meshes, found)
        if not ranks.first:
            return _report(options, protocol, dataset, inputs, found, nimg, start)
        galleries, failures = make_galleries(inputs, found, options.out)
        report = _report(options, protocol, dataset, inputs, found, nimg, start).model_copy(
            update={"galleries": galleries, "failures": failures, "histograms": histograms(found)}
        )
        write(report, options.out)
        return report
    finally:
        distributed.stop(ranks)


def resolved_protocol(options: Options) -> Protocol:
    """The protocol with the command line's changes; a changed protocol says so in its name."""
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
    """ψ goes for images as for shapes; `--normals` adds a score and changes none."""
    if protocol.images is None:
        return None
    changes: dict[str, Any] = {"normals": protocol.images.normals or options.normals}
    if options.truncation is not None:
        changes["truncation"] = options.truncation
    return protocol.images.model_copy(update=changes)


def default_cache() -> Path:
    """Where statistics of real data are kept: $XDG_CACHE_HOME/tetragan/metrics, or ~/.cache/tetragan/metrics."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tetragan" / "metrics"


def _load_judges(options: Options, protocol: Protocol, device: torch.device) -> Judges:
    return load_judges(
        options.detector,
        options.detector_hash,
        options.clip,
        options.classifier,
        options.caption,
        options.attributes,
        protocol.images,
        device,
        (options.cache or default_cache()) / "detectors",
    )


def _load_network(options: Options, device: torch.device) -> tuple[Any, int | None]:
    if options.network is None:
        return None, None
    from networks.pretrained import load_generator_file

    generator, file = load_generator_file(options.network, device)
    return generator, file.nimg


def make_inputs(options: Options, protocol: Protocol, dataset: Any, generator: Any) -> Inputs:
    """The sources that the options name; as many generated shapes as the protocol wants for the references."""
    limit = protocol.max_references
    references: ShapeSource
    training: ShapeSource | None = None
    if dataset is not None:
        references = DatasetSource(dataset, options.split, limit, options.reference_meshes)
        if not references.ids:
            raise UserError(f"--data {options.data}: its {options.split} split is empty; try --split train")
        if options.split != "train" and dataset.splits["train"]:
            training = DatasetSource(dataset, "train", protocol.max_training, options.reference_meshes)
    else:
        assert options.reference_meshes is not None
        references = FolderSource(options.reference_meshes, limit)
    count = len(references.ids) * protocol.generated_per_reference
    generated: ShapeSource
    if options.network is not None:
        from networks.pretrained import network_file

        generated = NetworkSource(
            network_file(options.network), generator, count, protocol.truncation, protocol.first_seed
        )
    else:
        assert options.generated is not None
        generated = FolderSource(options.generated, count)
    return Inputs(generated, references, training)


def _progress(quiet: bool) -> ProgressBar:
    def bar(what: str, total: int) -> AbstractContextManager:
        return progress_bar(what, total, quiet=quiet)

    return bar


def _report(
    options: Options,
    protocol: Protocol,
    dataset: Any,
    inputs: Inputs,
    found: Found,
    nimg: int | None,
    start: float,
) -> Report:
    network = inputs.generated if isinstance(inputs.generated, NetworkSource) else None
    rows = list(found.baselines)
    if dataset is not None:
        rows += published_rows(dataset.category, protocol, len(found.references.ids))
    notes = [*found.notes, *_folder_notes(inputs)]
    return Report(
        run=EvaluationRun(
            generated=inputs.generated.label,
            references=inputs.references.label,
            training=inputs.training.label if inputs.training else "",
            network=network.path.name if network else "",
            network_sha256=network.sha256 if network else "",
            nimg=nimg,
            dataset=options.data.name if options.data else "",
            dataset_hash=dataset.hash() if dataset is not None else "",
            num_generated=len(found.generated.ids),
            num_references=len(found.references.ids),
            num_training=len(found.training.ids) if found.training else 0,
            commit=code_version(),
            seconds=time.monotonic() - start,
            notes=notes,
        ),
        protocol=protocol.model_dump(mode="json"),
        metrics=found.metrics,
        baselines=rows,
    )


def _folder_notes(inputs: Inputs) -> list[str]:
    """Mesh files that were passed over, and formats that were mixed."""
    notes = []
    for source in (inputs.references, inputs.generated):
        if isinstance(source, FolderSource) and source.found > len(source.ids):
            used, counts = len(source.ids), "the protocol's counts ask for no more"
            notes.append(f"{source.folder.name}/: only the first {used} of {source.found} files, by name; {counts}")
    if isinstance(inputs.generated, FolderSource) and len(inputs.generated.formats) > 1:
        notes.append(f"the generated meshes are of several formats: {', '.join(inputs.generated.formats)}")
    return notes


def write(report: Report, out: Path) -> None:
    """report.json, report.md and report.html."""
    out.mkdir(parents=True, exist_ok=True)
    save_json(report, out / "report.json")
    write_text(out / "report.md", markdown(report))
    write_text(out / "report.html", html(report, out))
    click.echo(f"{out / 'report.html'} (also report.md and report.json)")
    for name in ("mmd_cd", "cov_cd", "one_nna_cd", "fid"):
        metric = report.metric(name)
        if metric is not None and metric.value is not None:
            click.echo(f"  {metric.title} {metric.value:.4g} {metric.unit}")
