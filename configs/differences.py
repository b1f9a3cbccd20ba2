"""Where two configurations differ, for messages that name the setting and both values."""

from collections.abc import Iterable, Mapping
from typing import Any

from configs.schema import Config

# Settings that decide which tensors a generator has and of what shapes. `geometry.deformation` counts as on or off.
GENERATOR_SIZES = frozenset(
    (
        "classes",
        *(f"mapping.{name}" for name in ("z_dim", "w_dim", "layers")),
        *(f"backbone.{name}" for name in ("plane_resolution", "plane_channels", "channel_base", "channel_max")),
        *(f"geometry.{name}" for name in ("network", "extraction", "deformation", "hidden", "hidden_layers")),
        *(f"geometry.{name}" for name in ("deformation_hidden_layers", "volume_resolution", "volume_channel_base")),
        "geometry.volume_channel_max",
        *(f"texture.{name}" for name in ("channels", "hidden", "features")),
    )
)


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Path and both values of every setting in which two configurations differ, in alphabetical order."""
    flat_old, flat_new = flatten(old.model_dump()), flatten(new.model_dump())
    return {path: (flat_old[path], flat_new[path]) for path in sorted(flat_old) if flat_old[path] != flat_new[path]}


def size_differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """`differences` in `GENERATOR_SIZES`: why the tensors of one generator do not fit the other."""
    found = {path: values for path, values in differences(old, new).items() if path in GENERATOR_SIZES}
    if all(found.get("geometry.deformation", (0, 0))):
        del found["geometry.deformation"]  # on in both
    if "volume" not in (old.geometry.network, new.geometry.network):
        of_volumes = ("geometry.volume_", "geometry.deformation_hidden_layers")
        found = {path: values for path, values in found.items() if not path.startswith(of_volumes)}
    return found


def differing(paths: Mapping[str, tuple[Any, Any]], old: str, new: str, most: int = 3) -> str:
    """ "geometry.hidden = 8 in OLD and 16 in NEW, …": the first `most` of `differences`; old, new: names of the two."""
    shown: Iterable[str] = (f"{path} = {a} in {old} and {b} in {new}" for path, (a, b) in list(paths.items())[:most])
    rest = len(paths) - most
    return "; ".join(shown) + (f"; and {rest} more" if rest > 0 else "")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"section.field": value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
