"""What shapes are said to be: captions and attributes, of a dataset's shapes and of generated ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.images.classifier import attribute_text
from metrics.sources.folder import FolderSource, ShapeSource
from metrics.sources.network_dataset import NetworkSource
from torch_utils.errors import UserError

# In a folder of meshes: file name → caption, or → {"caption": …, "attributes": {…}}.
CAPTIONS_NAME = "captions.json"
Attributes = dict[str, str]


@dataclass(frozen=True)
class Description:
    """caption: "" where there is none. attributes: values by name, as a classifier's labels write them."""

    caption: str
    attributes: Attributes


def parse_attributes(pairs: Sequence[str]) -> Attributes:
    """`--attribute name=value` options as a mapping; UserError for another form."""
    found: Attributes = {}
    for text in pairs:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise UserError(f"--attribute {text}: expected name=value, e.g. --attribute type=stool")
        found[name] = value
    return found


def described(dataset: Any, shape_id: str) -> Description:
    """A dataset's shape by its meta.json; its class counts as the attribute "class"."""
    meta = dataset.meta(shape_id)
    attributes = _as_text(meta.get("attributes"))
    label = dataset.classes[dataset.label(shape_id)] if dataset.classes else meta.get("class")
    if label:
        attributes.setdefault("class", attribute_text(label))
    return Description(str(meta.get("caption") or ""), attributes)


def asked(source: ShapeSource, caption: str, attributes: Attributes, classes: Sequence[str]) -> list[Description]:
    """What every generated shape was asked to be, in order.

    caption, attributes: what all of them were asked for on the command line; they win over `captions.json` of a folder
    of meshes, and over the class that a conditional network was given.
    """
    found: list[Description] = []
    listed = _listed(source.folder) if isinstance(source, FolderSource) else {}
    conditional = (
        isinstance(source, NetworkSource) and bool(classes) and source.generator.config.classes == len(classes)
    )
    for row, shape_id in enumerate(source.ids):
        own = listed.get(shape_id, Description("", {}))
        # `sampling.generate.styles` shows the classes of a conditional network in turn.
        given = {"class": classes[source.seed(row) % len(classes)]} if conditional else {}  # type: ignore[attr-defined]
        found.append(Description(caption or own.caption, {**given, **own.attributes, **attributes}))
    return found


def _listed(folder: Path) -> dict[str, Description]:
    path = folder / CAPTIONS_NAME
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object of file name → caption, got {type(values).__name__}")
    return {str(name): _description(path, str(name), value) for name, value in values.items()}


def _description(path: Path, name: str, value: Any) -> Description:
    if isinstance(value, str):
        return Description(value, {})
    if isinstance(value, dict):
        return Description(str(value.get("caption") or ""), _as_text(value.get("attributes")))
    raise UserError(f'{path}: {name}: expected a caption or {{"caption": …, "attributes": {{…}}}}')


def _as_text(values: Any) -> Attributes:
    if not isinstance(values, Mapping):
        return {}
    return {str(name): attribute_text(value) for name, value in values.items() if value is not None}
