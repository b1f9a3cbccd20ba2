"""Edit finished datasets: pack into a zip, merge, take a subset, change the splits."""

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dataset_tool.dataset import ViewDataset, open_dataset
from dataset_tool.fingerprint import fingerprint_of
from dataset_tool.format.dataset_json import SPLITS, Header
from dataset_tool.format.shards import INDEX, write_shards
from dataset_tool.format.splits import SHARES, Shares, split_shapes
from dataset_tool.format.storage import FolderStorage, join
from dataset_tool.format.writer import SHAPE_FILES, content_hash, new_shape, shape_folder, write_header
from torch_utils.errors import UserError
from torch_utils.files import make_folder, replacing, write_errors
from torch_utils.locks import new_folder, owned_folder

# Fields that must be equal in merged datasets. Of the renderer, those that affect the look of views and the points.
SHARED_FIELDS = ("resolution", "image_format", "camera_distribution")
SHARED_RENDERER = ("name", "shading", "supersample", "alpha", "masks", "visible_points", "light", "light_sha256",
                   "lights", "mean_radiance", "occlusion")  # fmt: skip


def files_of(dataset: ViewDataset, shape_id: str) -> list[str]:
    """All files of a shape, as paths in the dataset: those in its folder and those that its frames refer to."""
    folder = f"shapes/{shape_id}"
    frames = dataset.frames(shape_id)
    named = {join(folder, name) for name in (*frames.images, *(mask for mask in frames.masks if mask is not None))}
    if isinstance(dataset.storage, FolderStorage):
        own = (path for path in (dataset.path / folder).rglob("*") if path.is_file())
        named |= {path.relative_to(dataset.path).as_posix() for path in own}
    else:
        named |= {name for name in (f"{folder}/{part}" for part in SHAPE_FILES) if dataset.storage.exists(name)}
    outside = sorted(name for name in named if name.startswith(".."))
    if outside:
        raise UserError(f"{dataset.path}: {shape_id}: {outside[0]} lies outside the dataset and cannot be packed")
    return sorted(named)


def packed_shapes(dataset: ViewDataset) -> list[str]:
    """The shapes that are packed: those of the splits, and those in no split, which the content hash counts, too."""
    known = set(dataset.shape_ids())
    others = {i for i in dataset.storage.shape_ids() if dataset.storage.exists(f"shapes/{i}/meta.json")}
    return sorted(known | others)


def pack(
    dataset: ViewDataset, out: Path, on_shape: Callable[[], None] = lambda: None, shard_bytes: int | None = None
) -> None:
    """Write the dataset as one uncompressed zip, whose bytes depend on the contents only.

    shard_bytes: write a folder of shards of about this size instead (`pack_shards`).
    """
    if shard_bytes is not None:
        pack_shards(dataset, out, shard_bytes, on_shape)
        return
    _refuse_existing(out)
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        written: set[str] = set()
        _store(archive, "dataset.json", dataset.storage.read("dataset.json"))
        for shape_id in packed_shapes(dataset):
            for name in files_of(dataset, shape_id):
                if name not in written:
                    written.add(name)
                    _store(archive, name, dataset.storage.read(name))
            on_shape()


def pack_shards(dataset: ViewDataset, out: Path, shard_bytes: int, on_shape: Callable[[], None] = lambda: None) -> int:
    """Write the dataset as a folder of shards of about `shard_bytes` each; returns their number."""

    def reader(name: str) -> Callable[[], bytes]:
        return lambda: dataset.storage.read(name)

    shapes = ([(name, reader(name)) for name in files_of(dataset, i)] for i in packed_shapes(dataset))
    header = dataset.storage.read("dataset.json")
    with new_folder(out, ("shards", INDEX, "dataset.json")):
        return write_shards(out, shapes, header, shard_bytes, on_shape)


def _store(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise UserError(f"--out {out}: exists already; name a new one")


def merge(datasets: Sequence[ViewDataset], out: Path, on_shape: Callable[[], None] = lambda: None) -> Header:
    """Copy the shapes of several datasets with equal settings into one. Every shape keeps its split.

    A shape that occurs in two datasets must have the same meta.json in both.
    """
    first = datasets[0]
    for other in datasets[1:]:
        _check_alike(first, other)
    splits: dict[str, dict[str, None]] = {name: {} for name in SPLITS}
    owner: dict[str, tuple[str, ViewDataset]] = {}
    classes = sorted({_class(dataset, i) for dataset in datasets for i in dataset.shape_ids()})
    for dataset in datasets:
        for name, ids in dataset.splits.items():
            for shape_id in ids:
                _check_clash(owner, shape_id, name, dataset)
                splits[name][shape_id] = None
    categories = list(dict.fromkeys(dataset.category for dataset in datasets))
    labeled = len(classes) > 1 and "" not in classes
    header = first.header.model_copy(
        update={
            "category": "+".join(categories),
            "views": max(dataset.header.views for dataset in datasets),
            "classes": tuple(classes) if labeled else (),
            "labels": {i: classes.index(_class(d, i)) for i, (_, d) in sorted(owner.items())} if labeled else {},
            "splits": {name: tuple(sorted(ids)) for name, ids in splits.items()},
        }
    )
    return _write_copy({shape_id: dataset for shape_id, (_, dataset) in owner.items()}, header, out, on_shape)


def _check_alike(first: ViewDataset, other: ViewDataset) -> None:
    # Shapes of other programs have different numbers of views even in one dataset.
    foreign = first.header.renderer.get("name") == "foreign"
    for name in SHARED_FIELDS if foreign else (*SHARED_FIELDS, "views"):
        a, b = getattr(first.header, name), getattr(other.header, name)
        if a != b:
            raise UserError(
                f"{other.path}: its {name} is {b}, that of {first.path} is {a}; render both alike to join them"
            )
    for name in SHARED_RENDERER:
        a, b = (dataset.header.renderer.get(name, "not set") for dataset in (first, other))
        if a != b:
            theirs = f"its renderer's {name} is {b}, that of {first.path} is {a}"
            raise UserError(f"{other.path}: {theirs}; render both alike to join them")


def _check_clash(owner: dict[str, tuple[str, ViewDataset]], shape_id: str, name: str, dataset: ViewDataset) -> None:
    if shape_id not in owner:
        owner[shape_id] = (name, dataset)
        return
    before, other = owner[shape_id]
    path = f"shapes/{shape_id}/meta.json"
    if before != name or other.storage.read(path) != dataset.storage.read(path):
        raise UserError(f"{dataset.path}: {shape_id} is in {other.path} too and differs; leave one out with subset")


def _class(dataset: ViewDataset, shape_id: str) -> str:
    if dataset.classes:
        return dataset.classes[dataset.label(shape_id)]
    return (
        str(dataset.meta(shape_id).get("class", "")) if dataset.storage.exists(f"shapes/{shape_id}/meta.json") else ""
    )


def subset(
    dataset: ViewDataset,
    out: Path,
    *,
    splits: Sequence[str] = (),
    ids: Sequence[str] | None = None,
    class_name: str | None = None,
    count: int | None = None,
    on_shape: Callable[[], None] = lambda: None,
) -> Header:
    """Copy the shapes that meet all conditions into a new dataset. Every shape keeps its split.

    count: maximum number of shapes per split, spread evenly over the sorted ids.
    """
    known, wanted = set(dataset.shape_ids()), set(ids or ())
    unknown = sorted(wanted - known)
    if unknown:
        raise UserError(f"{dataset.path}: has no shape {unknown[0]} ({len(unknown)} of the ids are unknown)")
    if class_name is not None and class_name not in dataset.classes:
        raise UserError(f"--class {class_name}: expected one of {', '.join(dataset.classes) or 'none'}")
    chosen: dict[str, tuple[str, ...]] = {}
    for name, members in dataset.splits.items():
        kept = [i for i in sorted(members) if (not splits or name in splits) and (ids is None or i in wanted)]
        kept = [i for i in kept if class_name is None or _class(dataset, i) == class_name]
        if count is not None and len(kept) > count:
            kept = [kept[round(k * (len(kept) - 1) / max(count - 1, 1))] for k in range(count)]
        chosen[name] = tuple(kept)
    shape_ids = sorted(i for members in chosen.values() for i in members)
    if not shape_ids:
        raise UserError(f"{dataset.path}: no shape fits all the conditions")
    labels = {i: dataset.header.labels[i] for i in shape_ids if i in dataset.header.labels}
    header = dataset.header.model_copy(update={"splits": chosen, "labels": labels})
    return _write_copy(dict.fromkeys(shape_ids, dataset), header, out, on_shape)


def resplit(path: Path, lists: dict[str, list[str]] | None, shares: Shares = SHARES) -> Header:
    """Change the splits of a dataset folder, to lists of ids, or (None) by hash in these shares, copies together."""
    dataset = open_dataset(path)
    if not isinstance(dataset.storage, FolderStorage):
        raise UserError(f"{path}: a zip or shards cannot be changed; split the folder, then pack it")
    present = dataset.storage.shape_ids()
    if not present:
        raise UserError(f"{path}: has no shapes to split; copy its folder shapes, too")
    if lists is None:
        known = {i: dataset.storage.exists(f"shapes/{i}/meta.json") for i in present}
        metas = {i: fingerprint_of(dataset.meta(i)) if known[i] else {} for i in present}
        splits = split_shapes(metas, shares)
    else:
        splits = {name: sorted(set(lists.get(name, ())) & set(present)) for name in SPLITS}
        if not any(splits.values()):
            raise UserError(f"{path}: none of the listed ids is in it")
    header = dataset.header.model_copy(update={"splits": {name: tuple(ids) for name, ids in splits.items()}})
    with owned_folder(path):
        write_header(path, header)
    return header


def _write_copy(sources: dict[str, ViewDataset], header: Header, out: Path, on_shape: Callable[[], None]) -> Header:
    """Copy shapes into a new folder, with `header` for the rest."""
    with new_folder(out, ("shapes", "dataset.json")):
        _copy_shapes(sources, out, on_shape)
        return _finish(out, header, sorted(sources))


def _copy_shapes(sources: dict[str, ViewDataset], out: Path, on_shape: Callable[[], None]) -> None:
    """Copy shapes, with hard links instead of copies if the file system supports them."""
    make_folder(out / "shapes")
    for shape_id, dataset in sorted(sources.items()):
        folder = f"shapes/{shape_id}/"
        names = files_of(dataset, shape_id)
        foreign = next((name for name in names if not name.startswith(folder)), None)
        if foreign is not None:
            raise UserError(f"{dataset.path}: {shape_id} uses {foreign}, outside its own folder; pack it instead")
        with new_shape(out, shape_id) as target:
            for name in names:
                place = target / name.removeprefix(folder)
                make_folder(place.parent)
                _link_or_copy(dataset, name, place)
        on_shape()


def _link_or_copy(dataset: ViewDataset, name: str, place: Path) -> None:
    if isinstance(dataset.storage, FolderStorage):
        try:
            os.link(dataset.path / name, place)
            return
        except OSError:
            pass  # another file system, or one without links
    data = dataset.storage.read(name)
    with write_errors(place):
        place.write_bytes(data)


def _finish(out: Path, header: Header, shape_ids: Sequence[str]) -> Header:
    """Write dataset.json last, because until then the folder counts as an unfinished dataset."""
    with_meta = [i for i in shape_ids if (shape_folder(out, i) / "meta.json").is_file()]
    header = header.model_copy(update={"content": content_hash(out, with_meta)})
    write_header(out, header)
    return header
