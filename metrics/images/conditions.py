"""What the generated shapes were made for: the caption and the attributes that each of them should match."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from metrics.sources.description import Attributes, Description
from metrics.sources.shape_source import ShapeSource
from torch_utils.errors import UserError


@dataclass(frozen=True)
class Conditions:
    """The conditions of all generated shapes, from the command line; empty where each source's own hold."""

    caption: str = ""
    attributes: Attributes = field(default_factory=dict)


def parse_attributes(pairs: Sequence[str]) -> Attributes:
    """`--attribute name=value` options as a mapping; UserError for another form."""
    attributes: Attributes = {}
    for text in pairs:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise UserError(f"--attribute {text}: expected name=value, e.g. --attribute type=stool")
        attributes[name] = value
    return attributes


def descriptions(source: ShapeSource) -> list[Description]:
    """The descriptions of all shapes of a source, in order."""
    return [source.description(row) for row in range(len(source.ids))]


def conditions_of(source: ShapeSource, common: Conditions) -> list[Description]:
    """The condition of every generated shape, in order.

    The command line's caption and attributes win over captions.json of a folder of meshes, and over the class that a
    conditional network was given.
    """
    return [
        Description(common.caption or own.caption, {**own.attributes, **common.attributes})
        for own in descriptions(source)
    ]
