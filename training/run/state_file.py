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

from configs.differences import differences
from configs.loader import build_config
from configs.schema import Config
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError
from torch_utils.files import write_json
from training.run.renamed import COUNTERS, under_current_names

LATEST = "latest.json"
STATES = "state-*.safetensors"
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
    point_to_state(path, nimg)
    for old in sorted(folder.glob(STATES))[:-KEPT]:
        if old != path:
            old.unlink()
    return path


def load_state(folder: Path, parts: Mapping[str, Stateful], config: Config) -> dict[str, Any]:
    """Load the newest state of `folder` into `parts` and return its header (nimg, counters, threads, …).

    "note" and "path" in it: the remark and the file of `newest_whole_state`. UserError if there is no state or if its
    configuration differs. A setting that did not exist yet when the state was written has its default value.
    """
    path, tensors, header, note = newest_whole_state(folder)
    if not isinstance(header.get("counters"), dict) or not isinstance(header.get("nimg"), int):
        raise UserError(f"{path}: its header has no counters or no number of images; start a new run with --init")
    written = build_config(header.get("config", {}), str(path))
    difference = first_difference(written, config)
    if difference:
        raise UserError(f"{path}: was written with {difference}; start a new run from its weights with --init")
    for part, member in parts.items():
        copy_state(member, f"{part}/", tensors, path)
    return {**header, "counters": under_current_names(header["counters"], COUNTERS), "note": note, "path": path}


def point_to_state(path: Path, nimg: int) -> None:
    """Let latest.json name a state of `nimg` images."""
    write_json(path.with_name(LATEST), {"state": path.name, "nimg": nimg})


def any_state(folder: Path) -> bool:
    """Whether a run's folder holds a state, whole or not."""
    return next(folder.glob(STATES), None) is not None


def newest_whole_state(folder: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any], str]:
    """The state of a run that can be read: its file, tensors and header, and a remark ("" if there is nothing to say).

    That is the one that latest.json names. If the pointer or its file is missing or damaged, it is the newest of the
    others, and the remark says so. UserError where there is none.
    """
    named, problem = _named_state(folder)
    others = sorted((path for path in folder.glob(STATES) if path != named), reverse=True)
    for path in [named, *others] if named is not None else others:
        try:
            tensors, header = load_tensors(path, kind="training-state")
        except UserError as error:
            problem = problem or str(error)
            continue
        return path, tensors, header, problem and f"{problem}; continuing from {path.name}, the newest whole state."
    reason = problem or f"no {STATES} in it"
    raise UserError(f"{folder}: holds no whole state to resume ({reason}); start again in another folder")


def latest_state(folder: Path) -> Path:
    """The file of `newest_whole_state`."""
    return newest_whole_state(folder)[0]


def _named_state(folder: Path) -> tuple[Path | None, str]:
    """The file that latest.json names, and what is wrong with the pointer."""
    pointer = folder / LATEST
    try:
        name = json.loads(pointer.read_text(encoding="utf-8"))["state"]
    except FileNotFoundError:
        return None, f"{pointer} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return None, f"{pointer} cannot be read"
    return folder / Path(str(name)).name, ""


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


def first_difference(old: Config, new: Config) -> str:
    """ "path = a, but this run has b" for the first setting in which two configurations differ, otherwise "".

    `RESUMABLE` settings may differ.
    """
    for path, (a, b) in differences(old, new).items():
        if path not in RESUMABLE:
            return f"{path} = {a}, but this run has {b}"
    return ""


# Settings that a resumed run may change: its length, with the decay of the rates at its end, and what does not affect
# what is learned: intervals, threads, and how many images go through the networks at once.
RESUMABLE = frozenset(
    f"training.{name}"
    for name in (
        "total_kimg",
        "lr_decay_kimg",
        "snapshot_kimg",
        "state_kimg",
        "log_kimg",
        "threads",
        "max_skipped_steps",
        "micro_batch",
        "validation_shapes",
        "validation_images",
        "rollbacks",
    )
)
