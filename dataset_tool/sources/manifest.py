"""Manifests: CSV and JSON files that list and describe shapes."""

import csv
import gzip
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tool.sources.orientation import axis_name, parse_front
from mesh_io.find_meshes import MESH_SUFFIXES
from torch_utils.errors import UserError

# The names of each field in common manifests.
FIELDS = {
    "path": ("file", "path", "filename", "file_name", "mesh", "local_path"),
    "id": ("id", "uid", "shape_id", "model_id", "fullId"),
    "caption": ("caption", "description", "text", "name"),
    "class": ("class", "class_name", "category", "label", "kind"),
    "up": ("up", "up_axis"),
    "front": ("front", "front_axis", "yaw_to_front_deg"),
    "split": ("split",),
}
LISTS = ("models", "shapes", "objects", "items", "entries")
SPLITS = ("train", "val", "test")
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class ManifestEntry:
    """One shape of a manifest; missing fields are empty strings or None. where: position in the file, for messages."""

    where: str
    path: str = ""
    id: str = ""
    caption: str = ""
    class_name: str = ""
    up: str = ""
    front: str | float | None = None
    split: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


def read_manifest(path: Path) -> list[ManifestEntry]:
    """The entries of a manifest, in order.

    CSV files have a header line. JSON files, also .json.gz, contain a list of objects, an object with such a list under
    "models" or "shapes", or an object of id → object, id → path or id → caption, like those of Objaverse. Fields: path,
    id, caption, class, up axis, front (axis or degrees), split, attributes. Other CSV columns become attributes, other
    JSON keys are ignored. Raises UserError naming file and entry.
    """
    data = _read(path)
    name = path.name.lower().removesuffix(".gz")
    try:
        text = data.decode("utf-8-sig")
        rows = _csv_rows(text) if name.endswith((".csv", ".tsv")) else _json_rows(path, json.loads(text))
    except UserError:
        raise
    except (ValueError, csv.Error, RecursionError) as error:  # ValueError also for a number of 5,000 digits
        raise UserError(f"{path}: cannot be read as a CSV or JSON manifest ({str(error)[:80]})") from None
    entries = [_entry(path, where, row, name.endswith((".csv", ".tsv"))) for where, row in rows]
    if not entries:
        raise UserError(f"{path}: the manifest has no entries")
    return entries


def _read(path: Path) -> bytes:
    try:
        if path.suffix.lower() != ".gz":
            return path.read_bytes()
        with gzip.open(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest") from None
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB")
    return data


def _csv_rows(text: str) -> list[tuple[str, dict[str, Any]]]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    rows = []
    for row in reader:
        cells = {(key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        if any(cells.values()):
            rows.append((f"line {reader.line_num}", cells))
    return rows


def _json_rows(path: Path, content: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(content, dict):
        lists = [content[key] for key in LISTS if isinstance(content.get(key), list)]
        if not lists:
            return [(f"entry {key!r}", _keyed_row(path, key, value)) for key, value in content.items()]
        # Values of the outer object (category, up axis) are the defaults of its entries.
        common = {key: content[key] for name in ("class", "up", "front") for key in FIELDS[name] if key in content}
        content = [{**common, **row} if isinstance(row, dict) else row for row in lists[0]]
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of shapes or an object of id → shape")
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise UserError(f"{path}: entry {number}: expected an object with path or id")
    return [(f"entry {number}", row) for number, row in enumerate(content)]


def _keyed_row(path: Path, key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"id": key, **value}
    if isinstance(value, str):
        is_path = value.lower().endswith(MESH_SUFFIXES)
        return {"id": key, "path" if is_path else "caption": value}
    raise UserError(f"{path}: entry {key!r}: expected an object, a path or a caption")


def _entry(path: Path, where: str, row: dict[str, Any], keep_others: bool) -> ManifestEntry:
    """One row. keep_others: columns of other names become attributes. UserError names the file and `where`."""

    def text(name: str) -> str:
        for key in FIELDS[name]:
            if row.get(key) not in (None, "", []):
                value = row[key]
                return str(value[0] if isinstance(value, list) else value).strip()
        return ""

    if not (text("path") or text("id")):
        columns = ", ".join(list(row)[:6])
        raise UserError(f"{path}: {where}: neither path nor id (it has {columns or 'nothing'})")
    attributes = row.get("attributes")
    attributes = dict(attributes) if isinstance(attributes, dict) else {}
    if keep_others:
        known = {alias for aliases in FIELDS.values() for alias in aliases}
        attributes |= {key: value for key, value in row.items() if key not in known and key and value}
    try:
        up = axis_name(text("up")) if text("up") else ""
        front = parse_front(text("front")) if text("front") else None
    except UserError as error:
        raise UserError(f"{path}: {where}: {error}") from None
    if text("split") and text("split") not in SPLITS:
        raise UserError(f"{path}: {where}: split {text('split')!r}, expected {', '.join(SPLITS)}")
    return ManifestEntry(
        where, text("path"), text("id"), text("caption"), text("class"), up, front, text("split"), attributes
    )
