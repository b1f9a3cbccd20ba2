"""State files: every tensor and counter that a run needs to continue as if it had never stopped.

A state is one safetensors file, `state-<nimg>.safetensors`, with the counters in its header. `latest.json` names the
newest and is written last. The newest two are kept. On the CPU with the same number of threads, a resumed run is
bitwise identical to an uninterrupted one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from configs.loader import build_config
from configs.schema import Config
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError
from torch_utils.files import write_json
from training.run.renamed import COUNTERS, under_current_names

LATEST = "latest.json"
KEPT = 2


class Stateful(Protocol):
    """A part of a state: a module or an optimizer."""

    def state_dict(self) -> Any:
        """Tensors by name."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore what `state_dict` returned."""


def save_state(
    folder: Path, parts: Mapping[str, Stateful], nimg: int, counters: Mapping[str, Any], config: Mapping[str, Any]
) -> Path:
    """Write the state after `nimg` images, point latest.json at it, and remove all but the newest two.

    parts: by name; the tensors of each are saved as "<part>/<name>". counters: JSON values. config: the run's.
    """
    tensors = {f"{part}/{name}": tensor for part, p in parts.items() for name, tensor in p.state_dict().items()}
    path = folder / f"state-{nimg:09d}.safetensors"
    header = {
        "kind": "training-state",
        "nimg": nimg,
        "counters": dict(counters),
        "config": dict(config),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    save_tensors(path, tensors, header)
    write_json(folder / LATEST, {"state": path.name, "nimg": nimg})
    for old in sorted(folder.glob("state-*.safetensors"))[:-KEPT]:
        if old != path:
            old.unlink()
    return path


def load_state(folder: Path, parts: Mapping[str, Stateful], config: Config) -> dict[str, Any]:
    """Load the newest state of `folder` into `parts` and return its header (nimg, counters, threads, …).

    UserError if there is none or if its configuration differs. A setting that did not exist yet when the state was
    written has its default value.
    """
    path = latest_state(folder)
    tensors, header = load_tensors(path, kind="training-state")
    written = build_config(header.get("config", {}), str(path))
    difference = first_difference(written.model_dump(), config.model_dump())
    if difference:
        raise UserError(f"{path}: was written with {difference}; start a new run from its weights with --init")
    for part, member in parts.items():
        copy_state(member, f"{part}/", tensors, path)
    return {**header, "counters": under_current_names(header["counters"], COUNTERS)}


def latest_state(folder: Path) -> Path:
    """The file that latest.json names. UserError if there is none."""
    pointer = folder / LATEST
    try:
        name = json.loads(pointer.read_text(encoding="utf-8"))["state"]
        path = folder / Path(str(name)).name
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no state to resume ({LATEST} is missing); start without --resume") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f'{pointer}: cannot be read; write {{"state": "state-….safetensors"}} into it') from None
    return path


@torch.no_grad()
def copy_state(member: Stateful, prefix: str, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tensors whose names begin with `prefix` into `member`; UserError unless names and shapes agree."""
    current: Mapping[str, Tensor] = member.state_dict()
    stored = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for name in sorted(current.keys() | stored.keys()):
        if name not in stored or name not in current or stored[name].shape != current[name].shape:
            have = tuple(stored[name].shape) if name in stored else "none"
            want = tuple(current[name].shape) if name in current else "none"
            raise UserError(
                f"{path}: expected {prefix}{name} of shape {want}, got {have}; it was written by another version"
            )
    for name, value in current.items():
        value.copy_(stored[name])


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any], free: frozenset[str] = frozenset()) -> str:
    """ "path = a, but the run has b" for the first setting in which two configurations differ, otherwise "".

    free: paths that may differ; default RESUMABLE.
    """
    free = free or RESUMABLE
    flat_old, flat_new = flatten(old), flatten(new)
    for path in sorted(flat_old.keys() | flat_new.keys()):
        if path not in free and flat_old.get(path) != flat_new.get(path):
            return f"{path} = {flat_old.get(path)}, but this run has {flat_new.get(path)}"
    return ""


# Settings that a resumed run may change, since they do not affect what is learned: length, intervals, threads, and how
# many images go through the networks at once.
RESUMABLE = frozenset(
    f"training.{name}"
    for name in ("total_kimg", "snapshot_kimg", "state_kimg", "log_kimg", "threads", "max_skipped_steps", "micro_batch")
)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"section.field": value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
