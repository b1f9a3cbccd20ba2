"""Published results, each marked as comparable or not."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from metrics.protocols import Protocol
from metrics.report.report_schema import Baseline

FILE = Path(__file__).parent / "published.yaml"


@cache
def _table() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def published_rows(category: str, protocol: Protocol, num_references: int) -> list[Baseline]:
    """The published rows of a category (none for an unknown one).

    A row is comparable only under its own protocol and with the references of the published test split; otherwise its
    note says what differs.
    """
    table = _table()
    entry = table["categories"].get(category)
    if entry is None:
        return []
    differences = []
    if protocol.name != table["protocol"]:
        differences.append(f"protocol {table['protocol']}")
    if num_references != entry["test_shapes"]:
        differences.append(f"{entry['test_shapes']} ShapeNet test shapes")
    note = "published; " + ("measured with " + ", ".join(differences) if differences else "same protocol and counts")
    return [
        Baseline(name=name, values={k: float(v) for k, v in values.items()}, comparable=not differences, note=note)
        for name, values in entry["rows"].items()
    ]
