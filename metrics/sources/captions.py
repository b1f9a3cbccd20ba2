"""`captions.json` of a folder of meshes: file name → caption, or → {"caption": …, "attributes": {…}}."""

import json
from pathlib import Path
from typing import Any

from metrics.sources.description import Description, attribute_texts
from torch_utils.errors import UserError

CAPTIONS_NAME = "captions.json"


def load_captions(folder: Path) -> dict[str, Description]:
    """Descriptions by file name; empty if the folder has no captions.json. UserError for one of another form."""
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
        return Description(value)
    if isinstance(value, dict):
        return Description(str(value.get("caption") or ""), attribute_texts(value.get("attributes")))
    raise UserError(f'{path}: {name}: expected a caption or {{"caption": …, "attributes": {{…}}}}')
