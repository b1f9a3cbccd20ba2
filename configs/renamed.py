"""Settings that had another name once. Files with the former names keep loading."""

from copy import deepcopy
from typing import Any

# former path → current path
RENAMED = {
    "geometry.lattice": "geometry.tet_grid",
    "geometry.join_parts": "geometry.connect_components",
    "geometry.rgb_gradient": "rendering.color_gradient",
    "texture.plane_gain": "texture.plane_scale",
    "discriminator.entry_stride": "discriminator.from_rgb_stride",
    "discriminator.mask_resolution_divisor": "discriminator.mask_downsample",
    "loss.sdf_regulariser": "loss.sdf_regularizer_weight",
    "loss.style_mixing": "training.style_mixing_prob",
    "training.coarse_kimg": "training.progressive_kimg",
}


def with_current_names(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A configuration's nested values under the current names, and the former paths that it contained."""
    found: list[str] = []
    for old, new in RENAMED.items():
        section, _, field = old.partition(".")
        if not isinstance(values.get(section), dict) or field not in values[section]:
            continue
        if not found:
            values = deepcopy(values)
        found.append(old)
        value = values[section].pop(field)
        target, _, field = new.partition(".")
        # An empty section of a YAML file is None. A value under the current name wins.
        values[target] = values.get(target) or {}
        values[target].setdefault(field, value)
    return values, found
