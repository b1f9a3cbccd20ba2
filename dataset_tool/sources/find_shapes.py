"""Find shapes in ShapeNet trees, folders and manifests, without opening a mesh."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataset_tool.sources.manifest import ManifestEntry, read_manifest
from dataset_tool.sources.orientation import axis_name, parse_front
from dataset_tool.sources.shapenet import (
    SHAPENET_FRONTS,
    SHAPENET_MESHES,
    ShapeNetPlace,
    SourceLayout,
    shapenet_place,
)
from dataset_tool.sources.split_lists import read_split_lists
from dataset_tool.sources.synsets import SYNSETS, synset_name
from mesh_io.find_meshes import MESH_SUFFIXES, Note, find_meshes
from torch_utils.errors import UserError
from torch_utils.files import parse_json, printable, read_file

FOUND_MANIFESTS = ("manifest.csv", "manifest.json", "metadata.csv", "metadata.json", "annotations.json",
                   "annotations.json.gz")  # fmt: skip


@dataclass(frozen=True)
class ShapeFile:
    """A mesh file to render, with what the source says about it.

    id: unique within the source; letters, digits, dot, dash, underscore. path: the mesh file. root: the source folder,
    from which the mesh may read textures. class_name: "" if unknown. up: axis name; None = as in the mesh file. front:
    axis name, or the rotation about the up axis in degrees that turns the front to +Z; None = the default for the up
    axis. layout: shapenet-v1, shapenet-v2, folder or manifest. split: train, val, test, or None without lists.
    """

    id: str
    path: Path
    root: Path
    caption: str = ""
    class_name: str = ""
    synset: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    up: str | None = None
    front: str | float | None = None
    layout: str = "folder"
    split: str | None = None


def find_shapes(
    source: Path | str,
    *,
    layout: SourceLayout = "auto",
    note: Note = lambda line: None,
    manifest: Path | str | None = None,
    split_lists: Path | str | None = None,
    up: str | None = None,
    front: str | float | None = None,
    class_name: str | None = None,
) -> list[ShapeFile]:
    """The shapes of a source, sorted by id.

    source: a ShapeNetCore tree (v1 or v2; a folder of synsets, or one synset), a folder with meshes at any depth, one
    mesh file, or a manifest (CSV or JSON). layout: "folder" takes a tree for a plain folder whatever its names are,
    "shapenet-v1" and "shapenet-v2" for ShapeNet. note: called with a line for all that was assumed or passed over.
    manifest: a file that lists the shapes to use, with captions, classes and axes (see `manifest.read_manifest`).
    Without it, a manifest.csv, manifest.json or metadata.json in the folder only describes shapes; shapes that it does
    not list are used as well. split_lists: a folder with train.txt, val.txt and test.txt, or one list file; only the
    listed ids are used. up, front, class_name: override layout and manifest for all shapes.
    Raises UserError for a missing or empty source, clashing ids, and lists that name no shape of the source.
    """
    source = Path(source)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; expected meshes, a ShapeNet tree or a manifest")
    if source.is_file() and source.suffix.lower() not in MESH_SUFFIXES:
        source, manifest = source.parent, source
    shapes = _scan(source, layout, note)
    if manifest is not None:
        shapes = _from_manifest(source, read_manifest(Path(manifest)), shapes, Path(manifest))
    else:
        shapes = _described_by_found(source, shapes, note)
    if not shapes:
        raise UserError(f"{source}: no meshes in it; expected files ending in {' '.join(MESH_SUFFIXES)}")
    shapes = _unique(shapes)
    if split_lists is not None:
        shapes, missing = apply_splits(shapes, read_split_lists(Path(split_lists)))
        if absent := [shape_id for ids in missing.values() for shape_id in ids]:
            note(f"{split_lists}: {len(absent):,} of its ids are not among the shapes, e.g. {absent[0]}")
    changes: dict[str, Any] = {}
    if up is not None:
        changes["up"] = axis_name(up)
    if front is not None:
        changes["front"] = parse_front(front)
    if class_name is not None:
        changes["class_name"] = class_name
    if changes:
        shapes = [replace(shape, **changes) for shape in shapes]
    return sorted(shapes, key=lambda shape: shape.id)


def _scan(source: Path, layout: SourceLayout, note: Note) -> list[ShapeFile]:
    """All mesh files at or below `source`: those of ShapeNet's layout as its shapes, the others as plain files."""
    if source.is_file():
        return [_file_shape(source.parent, source)]
    paths = find_meshes(source, note)
    places = {path: place for path in paths if (place := shapenet_place(source, path, layout)) is not None}
    best: dict[Path, Path] = {}
    for path, place in places.items():
        if place.folder not in best or place.rank < places[best[place.folder]].rank:
            best[place.folder] = path
    chosen = {path: places[path] for path in best.values()}
    inside = [path for path in paths if path not in chosen and any(above in best for above in path.parents)]
    left_out = set(inside)
    shapes = [
        _shapenet_shape(source, path, chosen[path], note) if path in chosen else _file_shape(source, path)
        for path in paths
        if path not in left_out
    ]
    _say_layout(source, layout, shapes, inside, note)
    return shapes


def _say_layout(
    source: Path, layout: SourceLayout, shapes: Sequence[ShapeFile], inside: Sequence[Path], note: Note
) -> None:
    """Say what was assumed from the names of files, what is not read, and the option that changes it."""
    for name, front in SHAPENET_FRONTS.items():
        count = sum(shape.layout == name for shape in shapes)
        if count and layout == "auto":
            change = "--layout folder, or --front, if they are not"
            note(f"taken for {name}, front {front}: {count} of {len(shapes)} meshes ({change})")
    if inside:
        first = printable(inside[0].relative_to(source))
        note(
            f"{len(inside)} further mesh files in the folders of ShapeNet's shapes are not read, e.g. {first}; "
            "--layout folder reads all"
        )
    plain = sum(shape.layout == "folder" and shape.path.name == "model.obj" for shape in shapes)
    if plain and layout == "auto":
        note(
            f"model.obj is the name of {plain} of {len(shapes)} meshes, as in ShapeNet v1, but neither synsets nor ids "
            "say that they are ShapeNet's: front +Z is assumed (--layout shapenet-v1: front +X)"
        )
    if layout in SHAPENET_FRONTS and not any(shape.layout == layout for shape in shapes):
        ending = "/".join(next(ending for ending, name in SHAPENET_MESHES if name == layout))
        raise UserError(f"--layout {layout}: no ID/{ending} in {source}; use --layout folder")


def _shapenet_shape(root: Path, path: Path, place: ShapeNetPlace, note: Note) -> ShapeFile:
    shape = ShapeFile(
        id=clean_id(place.folder.name),
        path=path,
        root=root,
        class_name=synset_name(place.synset),
        synset=place.synset,
        up="+Y",
        front=SHAPENET_FRONTS[place.layout],
        layout=place.layout,
    )
    try:
        return _with_meta(shape, place.folder / "meta.json")
    except UserError as error:
        note(f"{error}; it is passed over")
        return shape


def _with_meta(shape: ShapeFile, path: Path) -> ShapeFile:
    """`shape` with caption, attributes, class, front and up from a meta.json, if there is one."""
    if not path.is_file():
        return shape
    meta = parse_json(read_file(path), printable(path))
    if not isinstance(meta, dict):
        raise UserError(f"{printable(path)}: expected an object with caption, attributes, class, front, up")
    attributes = meta.get("attributes", {})
    try:
        up = axis_name(str(meta["up"])) if "up" in meta else shape.up
        front = parse_front(meta["front"]) if "front" in meta else shape.front
    except (UserError, TypeError) as error:
        raise UserError(f"{printable(path)}: {error}") from None
    return replace(
        shape,
        caption=str(meta.get("caption", "")),
        attributes=attributes if isinstance(attributes, dict) else {},
        class_name=str(meta.get("class", shape.class_name)),
        up=up,
        front=front,
    )


def _file_shape(root: Path, path: Path) -> ShapeFile:
    relative = path.relative_to(root).with_suffix("")
    # The first folder of the path is the class, as in chairs/oak.glb.
    class_name = relative.parts[0] if len(relative.parts) > 1 else ""
    return ShapeFile(clean_id("_".join(relative.parts)), path, root, class_name=class_name)


def clean_id(text: str) -> str:
    """`text` as an id of at most 120 letters, digits, dots, dashes and underscores, without a leading dot."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".").rstrip(". ")
    return name[:120] or "shape"


def _unique(shapes: Sequence[ShapeFile]) -> list[ShapeFile]:
    """Shapes with ids that are unique regardless of case. Equal ids get their suffix appended, then a number.

    The ids depend on the files only, not on the order in which they were found.
    """
    counts = Counter(shape.id.lower() for shape in shapes)
    taken = {name for name, count in counts.items() if count == 1}
    result = []
    for shape in sorted(shapes, key=lambda shape: (shape.id, str(shape.path))):
        if counts[shape.id.lower()] > 1:
            base = f"{shape.synset}_{shape.id}" if shape.synset else f"{shape.id}_{shape.path.suffix[1:].lower()}"
            candidates = (base if number == 1 else f"{base}_{number}" for number in range(1, len(shapes) + 2))
            shape = replace(shape, id=next(name for name in candidates if name.lower() not in taken))
            taken.add(shape.id.lower())
        result.append(shape)
    return result


def _from_manifest(
    source: Path, entries: Sequence[ManifestEntry], shapes: Sequence[ShapeFile], manifest: Path
) -> list[ShapeFile]:
    """The shapes that a manifest lists, with its descriptions. Entries without a path match by id or file stem."""
    by_path = {os.path.normpath(shape.path): shape for shape in shapes}
    by_name = _by_name(shapes)
    result = []
    for entry in entries:
        if entry.path:
            shape = _named_shape(source, manifest, entry, by_path)
        elif entry.id in by_name:
            shape = by_name[entry.id]
        else:
            raise UserError(f"{manifest}: {entry.where}: no mesh with id {entry.id!r} in {source}")
        result.append(replace(_apply_entry(shape, entry), layout="manifest"))
    repeated = [name for name, count in Counter(shape.id for shape in result).items() if count > 1]
    explicit = {clean_id(entry.id) for entry in entries if entry.id}
    clash = [name for name in repeated if name in explicit]
    if clash:
        raise UserError(f"{manifest}: id {clash[0]!r} is given to more than one shape")
    return result


def _named_shape(source: Path, manifest: Path, entry: ManifestEntry, by_path: dict[str, ShapeFile]) -> ShapeFile:
    """The shape at an entry's path, relative to the source folder or to the folder of the manifest."""
    for base in (source, manifest.parent):
        path = Path(os.path.normpath(base / entry.path.replace("\\", "/")))
        if str(path) in by_path:
            return by_path[str(path)]
        if path.is_file():
            if path.suffix.lower() not in MESH_SUFFIXES:
                raise UserError(f"{manifest}: {entry.where}: {entry.path} is no mesh format that is read")
            if not path.resolve().is_relative_to(source.resolve()):
                raise UserError(
                    f"{manifest}: {entry.where}: {entry.path} lies outside {source}; name a folder above it"
                )
            return _file_shape(source, path)
    raise UserError(f"{manifest}: {entry.where}: {entry.path}: no such file in {source}")


def _described_by_found(source: Path, shapes: Sequence[ShapeFile], note: Note) -> list[ShapeFile]:
    """The shapes with the descriptions of a manifest that lies among them, if one does.

    Nobody named that file: one that does not read as a manifest, or that describes none of the meshes, is passed over.
    """
    if any(shape.layout.startswith("shapenet") for shape in shapes):
        return list(shapes)
    for path in (source / name for name in FOUND_MANIFESTS):
        if not path.is_file():
            continue
        try:
            described = _described(source, read_manifest(path), shapes)
        except UserError as error:
            note(f"{error}; it is passed over (--manifest FILE names one that must be read)")
            continue
        changed = sum(before != after for before, after in zip(shapes, described, strict=True))
        if changed:
            note(f"{path}: describes {changed} of {len(shapes)} shapes (captions, classes, axes, splits)")
            return described
        note(f"{path}: describes none of the meshes and is passed over")
    return list(shapes)


def _described(source: Path, entries: Sequence[ManifestEntry], shapes: Sequence[ShapeFile]) -> list[ShapeFile]:
    """All shapes, with the descriptions of those that the manifest lists."""
    by_path = {os.path.normpath(source / entry.path.replace("\\", "/")): entry for entry in entries if entry.path}
    by_id = {entry.id: entry for entry in entries if entry.id}
    result = []
    for shape in shapes:
        entry = by_path.get(os.path.normpath(shape.path)) or by_id.get(shape.path.stem) or by_id.get(shape.id)
        result.append(shape if entry is None else _apply_entry(shape, entry))
    return result


def _by_name(shapes: Sequence[ShapeFile]) -> dict[str, ShapeFile]:
    names = {shape.path.stem: shape for shape in shapes}
    return names | {shape.id: shape for shape in shapes}


def _apply_entry(shape: ShapeFile, entry: ManifestEntry) -> ShapeFile:
    return replace(
        shape,
        id=clean_id(entry.id) if entry.id else shape.id,
        caption=entry.caption or shape.caption,
        class_name=entry.class_name or shape.class_name,
        attributes={**shape.attributes, **entry.attributes},
        up=entry.up or shape.up,
        front=shape.front if entry.front is None else entry.front,
        split=entry.split or shape.split,
    )


def apply_splits(
    shapes: Iterable[ShapeFile], splits: dict[str, list[str]]
) -> tuple[list[ShapeFile], dict[str, list[str]]]:
    """The listed shapes with their split, and for each split the ids that are missing in the source.

    Raises UserError if none of the listed ids is among the shapes.
    """
    split_of = {shape_id: name for name, ids in splits.items() for shape_id in ids}
    kept = [replace(shape, split=split_of[shape.id]) for shape in shapes if shape.id in split_of]
    if not kept:
        example = next(iter(split_of), "none")
        raise UserError(f"split lists: none of their {len(split_of)} ids (e.g. {example}) is among the shapes")
    present = {shape.id for shape in kept}
    missing = {name: [shape_id for shape_id in ids if shape_id not in present] for name, ids in splits.items()}
    return kept, missing


def common_class(shapes: Iterable[ShapeFile]) -> str:
    """The class of all shapes, or their ShapeNet category; "" where they have several, or one has none."""
    shapes = list(shapes)
    names = {shape.class_name for shape in shapes}
    if len(names) > 1:  # armchairs and stools are chairs
        names = {synset_name(shape.synset) if shape.synset in SYNSETS else "" for shape in shapes}
    return names.pop() if len(names) == 1 else ""
