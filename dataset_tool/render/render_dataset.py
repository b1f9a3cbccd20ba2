"""Render a dataset: many shapes, in several processes and shards, resumable."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dataset_tool.format.dataset_json import SPLITS, Header, header_values, parse_header
from dataset_tool.format.splits import SHARES, Shares, hash_splits
from dataset_tool.format.storage import FolderStorage
from dataset_tool.format.writer import content_hash, shape_folder, write_header
from dataset_tool.render.render_shape import RenderSettings, ShapeReport, run_shape
from dataset_tool.sources.find_shapes import ShapeFile, common_class
from torch_utils.errors import UserError
from torch_utils.files import write_json
from torch_utils.process import keep_freed_memory

# Longest side of a shape, world units. These are the published object scales.
SCALES = {"car": 0.9, "motorbike": 0.9, "chair": 0.7, "table": 0.7, "animal": 0.7, "human": 0.9, "house": 0.8}
SCALES |= {"lamp": 0.8, "mug": 0.7, "plane": 0.75}  # procedural categories without a published scale
DEFAULT_SCALE = 0.7
FAILURES = "failures.json"
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
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    shares: Shares | None = None,
    on_shape: Callable[[ShapeReport], None] | None = None,
) -> RenderResult:
    """Render `sources` into the dataset at `root`, except for shapes that are already there.

    category: of all shapes; None = that of the dataset if it exists, else their class if all have the same, else
    "object". workers: single-threaded processes; 1 renders in this process. shard (i, n): only every n-th shape from
    the i-th on, so that n machines share the work. The last shard to finish writes the splits of all. shares: of train,
    val and test for shapes without split lists; None keeps those of a finished dataset. A killed run continues if it
    is started again. UserError if the settings differ from those of the dataset, or if no shape could be rendered.
    """
    category = category or _category_of(root) or common_class(sources) or "object"
    _prepare(root, _header(settings, category))
    mine = list(sources[shard[0] :: shard[1]])
    result = RenderResult()
    todo = []
    for source in mine:
        if shape_folder(root, source.id).is_dir():
            result.skipped.append(source.id)
        else:
            todo.append(source)
    run = _in_this_process if workers <= 1 else _in_processes
    for report in run(todo, settings, root, workers):
        if report.fatal:
            raise UserError(f"{report.failure}; make room and run the same command again: it continues")
        if report.failure is not None:
            result.failures[report.shape_id] = report.failure
        else:
            result.rendered.append(report.shape_id)
            if report.warnings:
                result.warnings[report.shape_id] = report.warnings
        if on_shape is not None:
            on_shape(report)
    name = FAILURES if shard[1] == 1 else f"failures-{shard[0]}-of-{shard[1]}.json"
    if result.failures:
        write_json(root / name, dict(sorted(result.failures.items())))
    else:
        (root / name).unlink(missing_ok=True)
    if not result.rendered and not result.skipped and mine:
        first = next(iter(result.failures.values()))
        raise UserError(f"none of {len(mine)} shapes could be rendered; the first: {first}")
    result.splits = dict(finish(root, sources, shares).splits)
    return result


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
    if root.exists() and (not root.is_dir() or any(not _is_ours(entry.name) for entry in root.iterdir())):
        raise UserError(f"--out {root}: is not empty and holds no dataset; name a new folder")
    try:
        (root / "shapes").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {root}: cannot be made ({error.strerror})") from None
    write_header(root, header)


def _is_ours(name: str) -> bool:
    """Whether another shard created this before it wrote its dataset.json."""
    return name == "shapes" or name.startswith(".dataset.json.")


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
            splits = hash_splits(shape_ids, shares or SHARES)
        classes, labels = _classes(known, shape_ids, old)
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


def _classes(
    known: dict[str, ShapeFile], shape_ids: Sequence[str], old: Header
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names and labels; empty unless every shape has a class and there are at least two classes."""
    names = {i: known[i].class_name if i in known else _old_class(old, i) for i in shape_ids}
    classes = tuple(sorted(set(names.values())))
    if len(classes) < 2 or "" in classes:
        return (), {}
    index = {name: label for label, name in enumerate(classes)}
    return classes, {shape_id: index[name] for shape_id, name in names.items()}


def _old_class(old: Header, shape_id: str) -> str:
    return old.classes[old.labels[shape_id]] if shape_id in old.labels else ""


def _in_this_process(todo: Sequence[ShapeFile], settings: RenderSettings, root: Path, _: int) -> Iterator[ShapeReport]:
    for source in todo:
        yield run_shape(source, settings, root)


def _start_worker() -> None:
    """Use one thread, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()


def _in_processes(
    todo: Sequence[ShapeFile], settings: RenderSettings, root: Path, workers: int
) -> Iterator[ShapeReport]:
    """Yield reports in the order in which shapes finish.

    If a process dies, the shapes in progress are tried again once, each alone. Shapes that were finished, but not
    reported, are then read from their folders.
    """
    suspects: list[ShapeFile] = []
    rest = list(todo)
    while rest:
        done: set[str] = set()
        try:
            for report in _pool(rest, settings, root, min(workers, len(rest)), suspects):
                done.add(report.shape_id)
                yield report
        except BrokenProcessPool:
            done |= {source.id for source in suspects}
        rest = [source for source in rest if source.id not in done]
    for source in suspects:
        try:
            yield from _pool([source], settings, root, 1, [])
        except BrokenProcessPool:
            cause = "the process that rendered it died (out of memory?)"
            yield ShapeReport(source.id, failure=f"{source.path}: {cause}")


def _context() -> multiprocessing.context.BaseContext:
    """Fork processes from a server that has imported everything and has no threads, hence no locks to copy."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dataset_tool.render.render_shape"])
    return context


def _pool(
    todo: Sequence[ShapeFile], settings: RenderSettings, root: Path, workers: int, running: list[ShapeFile]
) -> Iterator[ShapeReport]:
    """Render in `workers` processes. On BrokenProcessPool, the shapes in progress are added to `running`."""
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker)
    pending: dict[Future[ShapeReport], ShapeFile] = {}
    queue = iter(todo)
    try:
        # Only a few shapes are queued ahead of the workers, so that the first starts at once.
        for source in queue:
            pending[pool.submit(run_shape, source, settings, root)] = source
            if len(pending) >= 2 * workers:
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                yield from _results(finished, pending)
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            yield from _results(finished, pending)
    except BrokenProcessPool:
        running.extend(pending.values())
        raise
    finally:
        for process in list((pool._processes or {}).values()) if pending else ():
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _results(
    finished: set[Future[ShapeReport]], pending: dict[Future[ShapeReport], ShapeFile]
) -> Iterator[ShapeReport]:
    for future in finished:
        report = future.result()
        del pending[future]
        yield report
