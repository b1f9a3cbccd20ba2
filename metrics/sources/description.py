"""Descriptions of shapes: a caption and attributes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Values by name, in the spelling of a classifier's labels.
Attributes = dict[str, str]


@dataclass(frozen=True)
class Description:
    """caption: "" if there is none. attributes: values by name, in the spelling of a classifier's labels."""

    caption: str = ""
    attributes: Attributes = field(default_factory=dict)


def attribute_text(value: Any) -> str:
    """An attribute's value in the spelling of a classifier's labels: booleans become true and false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def attribute_texts(values: Any) -> Attributes:
    """The attributes of a JSON object as texts, without those that are null; empty for anything but an object."""
    if not isinstance(values, Mapping):
        return {}
    return {str(name): attribute_text(value) for name, value in values.items() if value is not None}
