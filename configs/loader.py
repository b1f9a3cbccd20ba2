"""From presets, YAML files and `--set path=value` to one frozen `Config`."""

import difflib
import logging
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from click import UsageError
from pydantic import ValidationError

from configs.renamed import RENAMED, with_current_names
from configs.schema import Config

PRESETS = Path(__file__).parent / "presets"
# Presets that others extend; they are not categories themselves.
BASES = ("base", "base-full", "base-get3d", "base-get3d-volume")
_log = logging.getLogger(__name__)


def preset_names() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem not in BASES)


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Resolve a configuration.

    name_or_path: a preset (`chair`), a preset with a resolution (`chair-128`) or a YAML file.
    overrides: "path.to.field=value" strings, the value in YAML. Raises UsageError naming the nearest valid key.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        values, old = with_current_names(_read_yaml(Path(name_or_path)))
        if old:
            changes = ", ".join(f"{name} is now {RENAMED[name]}" for name in old)
            _log.info("%s: has settings under former names: %s", name_or_path, changes)
    else:
        values = _preset(name_or_path)
    return override_config(values, overrides, name_or_path)


def override_config(values: dict[str, Any], overrides: Sequence[str], source: str) -> Config:
    """A validated Config from nested plain values and "path.to.field=value" strings; `source` names it in errors."""
    values = deepcopy(with_current_names(values)[0])
    for override in overrides:
        _apply(values, override)
    return build_config(values, source)


def build_config(values: dict[str, Any], source: str) -> Config:
    """A validated Config from nested plain values, also under former names; `source` names them in errors."""
    if not isinstance(values, dict):
        raise UsageError(f"{source}: expected sections of settings, got {type(values).__name__}")
    values, _ = with_current_names(values)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{source}: unknown setting {path!r}{nearest(path, field_paths())}") from None
        message = first["msg"].removeprefix("Value error, ")
        location = f" {path}:" if path else ""
        given = f", got {first.get('input')!r}" if path else ""  # a check of several settings names them itself
        raise UsageError(f"{source}:{location} {message}{given}"[:400]) from None


def dump_config(config: Config) -> str:
    """The whole resolved configuration as YAML, which `--config` takes back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def field_paths() -> list[str]:
    """Every settable path, e.g. "loss.gamma"."""
    paths = []
    for name, field in Config.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        paths += [f"{name}.{key}" for key in section] if section else [name]
    return paths


def _preset(name: str) -> dict[str, Any]:
    """A preset's values; the suffix `-R` of `<category>-R` sets the resolution and scales γ with resolution²."""
    if name in preset_names():
        return _read_preset(name)
    category, _, suffix = name.rpartition("-")
    if not (suffix.isdigit() and category in preset_names()):
        raise UsageError(
            f"{name}: no such preset or YAML file{nearest(name, preset_names())} (presets: {', '.join(preset_names())})"
        )
    values = _read_preset(category)
    config = build_config(values, category)
    factor = (int(suffix) / config.data.resolution) ** 2
    values.setdefault("data", {})["resolution"] = int(suffix)
    loss = values.setdefault("loss", {})
    loss["gamma"] = config.loss.gamma * factor
    if config.loss.gamma_mask is not None:
        loss["gamma_mask"] = config.loss.gamma_mask * factor
    _log.info(
        "%s: %s at %s px, loss.gamma %g × (%s / %d)² = %g",
        *(name, category, suffix, config.loss.gamma, suffix, config.data.resolution, loss["gamma"]),
    )
    return values


def _read_preset(name: str) -> dict[str, Any]:
    """A preset's values on top of those of the preset that its key `base` names."""
    values = _read_yaml(PRESETS / f"{name}.yaml")
    if "base" not in values:
        return values
    merged = _read_preset(values.pop("base"))
    for key, value in values.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; presets: {', '.join(preset_names())}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected sections with settings, got {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise UsageError(f"--set {override}: expected path.to.field=value, e.g. --set loss.gamma=10")
    if path in RENAMED:
        raise UsageError(f"--set {path}: is named {RENAMED[path]} now")
    if path not in field_paths():
        raise UsageError(f"--set {path}: unknown setting{nearest(path, field_paths())}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {override}: {text!r} is not a YAML value") from None
    *sections, field = path.split(".")
    target = values
    for section in sections:
        if target.get(section) is None:  # absent, or an empty section of a YAML file
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            raise UsageError(f"--set {path}: {section} is not a section in the configuration file")
    target[field] = value


def nearest(name: str, candidates: Sequence[str]) -> str:
    """ "; did you mean …?" for a message about an unknown name, or "" if no candidate is similar."""
    match = difflib.get_close_matches(name, candidates, 1, cutoff=0.4)
    return f"; did you mean {match[0]!r}?" if match else ""
