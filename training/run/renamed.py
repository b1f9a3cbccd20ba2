"""Statistics and counters that had another name once. Logs and states with the former names can still be read."""

from collections.abc import Mapping
from typing import Any

# former name → current name
STATISTICS = {
    "probe/components": "fixed_samples/components",
    "probe/diversity": "fixed_samples/diversity",
    "loss/repair": "loss/fallback_surface",
    **{
        f"logits/{images}_{head}/deviation": f"logits/{images}_{head}/std"
        for images in ("real", "fake")
        for head in ("rgb", "mask")
    },
}
COUNTERS = {"number": "iteration"}


def under_current_names(values: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The values under their current names. renamed: STATISTICS or COUNTERS."""
    return {renamed.get(name, name): value for name, value in values.items()}
