"""Render a dataset: many shapes, in several processes and shards, resumable."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from dataset_tool.fingerprint import fingerprint_of
from dataset_tool.format.dataset_json import SPLITS, Header, header_values, parse_header
from dataset_tool.format.splits import SHARES, Shares, split_shapes
from dataset_tool.format.storage import FolderStorage
from dataset_tool.format.writer import content_hash, shape_folder, write_header
from dataset_tool.render.render_shape import RenderSettings, ShapeReport, run_shape
from dataset_tool.sources.find_shapes import ShapeFile, common_class
from torch_utils.errors import UserError
from torch_utils.failures import failure_log, log_failure
from torch_utils.files import file_hash, is_leftover, make_folder, printable, write_errors, write_json
from torch_utils.locks import is_lock, owned_folder
from torch_utils.process import keep_freed_memory
from torch_utils.workers import Failed, run_in_workers

# Longest side of a shape, world units. These are the published object scales.
SCALES = {"car": 0.9, "motorbike": 0.9, "chair": 0.7, "table": 0.7, "animal": 0.7, "human": 0.9, "house": 0.8}
SCALES |= {"lamp": 0.8, "mug": 0.7, "plane": 0.75}  # procedural categories without a published scale
DEFAULT_SCALE = 0.7
# Fields that must be equal in all runs into one folder.
FIXED_FIELDS = ("category", "camera_distribution", "resolution", "views", "image_format", "renderer", "seed")


@dataclass
class RenderResult:
    """The outcome of a run: ids rendered now, ids rendered before, messages by id, and the ids of each split."""

    rendered: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)


def render_dataset(
    sources: Sequence[ShapeFile],
    root: Path,
    settings: RenderSettings,
    *,
    category: str | None = None,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    shares: Shares | None = None,
    on_shape: Callable[[ShapeReport], None] | None = None,
) -> RenderResult:
    """Render `sources` into the dataset at `root`, except for shapes that are already there.

    category: of all shapes; None = that of the dataset if it exists, else their class if all have the same, else
    "object". workers: single-threaded processes; 0 renders in this process, which a shape that exhausts the memory then
    ends. A shape that cannot be rendered is a failure of the result, whatever the cause; `failures.log` has the
    tracebacks. shard (i, n): only every n-th shape from the i-th on, so that n machines share the work. The last shard
    to finish writes the splits of all. shares: of train, val and test for shapes without split lists; None keeps those
    of a finished dataset. A killed run continues if it is started again. UserError if another process works in the
    folder, if the settings differ from those of the dataset, if it cannot be written, or if no shape could be rendered.
    """
    category = category or _category_of(root) or common_class(sources) or "object"
    mine = list(sources[shard[0] :: shard[1]])
    suffix = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
    _refuse_foreign(root)
    with owned_folder(root, shard), failure_log(root / f"failures{suffix}.log"):
        _prepare(root, _header(settings, category))
        result = _render(mine, root, settings, workers, on_shape)
        if result.failures:
            write_json(root / f"failures{suffix}.json", dict(sorted(result.failures.items())))
        else:
            with write_errors(root):
                (root / f"failures{suffix}.json").unlink(missing_ok=True)
        if not result.rendered and not result.skipped and mine:
            first = next(iter(result.failures.values()))
            raise UserError(f"none of {len(mine)} shapes could be rendered; the first: {first}")
        result.splits = dict(finish(root, sources, shares).splits)
    return result


def _render(
    sources: Sequence[ShapeFile],
    root: Path,
    settings: RenderSettings,
    workers: int,
    on_shape: Callable[[ShapeReport], None] | None,
) -> RenderResult:
    """Render the shapes that are not there yet. UserError if the dataset cannot be written."""
    result = RenderResult(skipped=[source.id for source in sources if shape_folder(root, source.id).is_dir()])
    there = set(result.skipped)
    for source in [source for source in sources if source.id in there]:
        if other := _other_source(root, source):
            result.skipped.remove(source.id)
            taken = f"its id {source.id} belongs to {other} of an earlier run"
            result.failures[source.id] = f"{printable(source.path)}: {taken}; rename one of them, or name a new folder"
    for report in _reports([source for source in sources if source.id not in there], settings, root, workers):
        if report.fatal:
            raise UserError(f"{report.failure}; make room and run the same command again: it continues")
        if report.failure is not None:
            result.failures[report.shape_id] = report.failure
            log_failure(report.shape_id, report.traceback)
        else:
            result.rendered.append(report.shape_id)
            if report.warnings:
                result.warnings[report.shape_id] = report.warnings
        if on_shape is not None:
            on_shape(report)
    return result


def _other_source(root: Path, source: ShapeFile) -> str:
    """The file that the shape of this id was rendered from, if it is another one; "" if not.

    Only the id of a name that had to be changed, such as one in another alphabet, depends on the files beside it.
    """
    relative = source.path.relative_to(source.root).with_suffix("")
    if source.id in ("_".join(relative.parts), *relative.parts):
        return ""
    meta = _meta(root, source.id)
    recorded = str(meta.get("source", ""))
    if PurePosixPath(recorded).name == printable(source.path.name):
        return ""
    with suppress(OSError):
        if meta.get("sha256") == file_hash(source.path):
            return ""
    return recorded


def _category_of(root: Path) -> str:
    """The category of the dataset that is being continued; "" if there is none."""
    path = root / "dataset.json"
    return parse_header(path.read_bytes(), str(path)).category if path.is_file() else ""


def _header(settings: RenderSettings, category: str) -> Header:
    return Header(
        category=category,
        camera_distribution=settings.camera_distribution,
        resolution=settings.resolution,
        views=settings.views,
        image_format=settings.image_format,
        seed=settings.seed,
        renderer=settings.facts(),
    )


def _prepare(root: Path, header: Header) -> None:
    """Create the folder, or check that it contains the same render."""
    path = root / "dataset.json"
    if path.is_file():
        _check_same(root, parse_header(path.read_bytes(), str(path)), header)
        return
    make_folder(root / "shapes")
    write_header(root, header)


def _refuse_foreign(root: Path) -> None:
    """UserError if the folder holds something that is no dataset."""
    if not root.is_dir() or (root / "dataset.json").is_file():
        return
    if any(not _is_ours(entry.name) for entry in root.iterdir()):
        raise UserError(f"--out {root}: is not empty and holds no dataset; name a new folder")


def _is_ours(name: str) -> bool:
    """Whether another shard created this before it wrote its dataset.json."""
    return name == "shapes" or name.startswith("failures") or is_lock(name) or is_leftover(name)


def _check_same(root: Path, old: Header, new: Header) -> None:
    before, now = header_values(old), header_values(new)
    for name in FIXED_FIELDS:
        if before[name] != now[name]:
            raise UserError(
                f"--out {root}: holds a dataset whose {name} is {_brief(before[name])}, not {_brief(now[name])}; "
                "use the same settings to continue it, or name a new folder"
            )


def _brief(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        value = {key: part for key, part in value.items() if key not in ("near", "far", "target_jitter", "roll_deg")}
    return str(value)


def finish(root: Path, sources: Sequence[ShapeFile] = (), shares: Shares | None = None) -> Header:
    """Write splits, classes and the content hash of all rendered shapes.

    shares: of the splits by hash; None keeps existing splits as long as no shape was added.
    Afterwards the shapes are listed again, and if another shard has added some, everything is written again.
    """
    known = {source.id: source for source in sources}
    while True:
        shape_ids = FolderStorage(root).shape_ids()
        old = parse_header((root / "dataset.json").read_bytes(), str(root / "dataset.json"))
        splits = {name: list(ids) for name, ids in old.splits.items()}
        assigned = {shape_id for ids in splits.values() for shape_id in ids}
        given = {name: [i for i in shape_ids if i in known and known[i].split == name] for name in SPLITS}
        if any(given.values()):
            splits = {name: sorted({*given[name], *(set(splits.get(name, ())) - set(known))}) for name in SPLITS}
        elif shares is not None or assigned != set(shape_ids):
            splits = split_shapes(_fingerprints(root, shape_ids), shares or SHARES)
        classes, labels = _classes(root, known, shape_ids, old)
        header = old.model_copy(
            update={
                "splits": {name: tuple(splits.get(name, ())) for name in SPLITS},
                "classes": classes,
                "labels": labels,
                "content": content_hash(root, shape_ids),
            }
        )
        write_header(root, header)
        if FolderStorage(root).shape_ids() == shape_ids:
            return header


def _fingerprints(root: Path, shape_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {shape_id: fingerprint_of(_meta(root, shape_id)) for shape_id in shape_ids}


def _meta(root: Path, shape_id: str) -> dict[str, Any]:
    """The meta.json of a shape; {} if it is missing or damaged, which `check` reports."""
    with suppress(OSError, ValueError):
        values = json.loads((shape_folder(root, shape_id) / "meta.json").read_bytes())
        return values if isinstance(values, dict) else {}
    return {}


def _classes(
    root: Path, known: dict[str, ShapeFile], shape_ids: Sequence[str], old: Header
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names and labels; empty unless every shape has a class and there are at least two classes."""
    names = {i: known[i].class_name if i in known else _old_class(root, old, i) for i in shape_ids}
    classes = tuple(sorted(set(names.values())))
    if len(classes) < 2 or "" in classes:
        return (), {}
    index = {name: label for label, name in enumerate(classes)}
    return classes, {shape_id: index[name] for shape_id, name in names.items()}


def _old_class(root: Path, old: Header, shape_id: str) -> str:
    """The class of a shape of an earlier run: of its label, or of its meta.json while all had one class."""
    if shape_id in old.labels:
        return old.classes[old.labels[shape_id]]
    return str(_meta(root, shape_id).get("class", ""))


def _reports(todo: Sequence[ShapeFile], settings: RenderSettings, root: Path, workers: int) -> Iterator[ShapeReport]:
    """The report of each shape, in the order in which they finish. A shape whose process dies has failed."""
    function = partial(run_shape, settings=settings, root=root)
    preload = ("dataset_tool.render.render_shape",)
    for source, report in run_in_workers(function, todo, workers, initialize=_use_one_thread, preload=preload):
        if isinstance(report, Failed):
            yield ShapeReport(source.id, failure=f"{source.path}: {report.cause}", traceback=report.traceback)
        else:
            yield report


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
