"""Tensors with a JSON header in one safetensors file: networks and training states. No pickle anywhere.

A file is written under a temporary name, fsynced and renamed. Its header carries a checksum over the names, shapes,
bytes and the header itself, so a damaged file is refused with one clear line instead of loading as a network that
renders noise.
"""

import json
import os
import re
import struct
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from torch_utils.errors import UserError
from torch_utils.files import WriteError, replacing

FORMAT_VERSION = 1
_KEY = "tetragan"  # the one metadata entry; its value is the header in JSON
_PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True)
class NetworkFile:
    """The content of a network file.

    state: parameters and buffers by name, float32 on the CPU for any precision of the file.
    config: plain nested values. nimg: real images shown to the discriminator before it was saved.
    commit: of the code that wrote it. header: the whole header.
    """

    state: dict[str, Tensor]
    config: dict[str, Any]
    nimg: int
    commit: str
    header: dict[str, Any] = field(default_factory=dict)


def save_network(
    path: Path,
    generator: nn.Module,
    config: Mapping[str, Any],
    nimg: int,
    *,
    half: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Save a generator to one file.

    config: plain values, `Config.model_dump(mode="json")`. half: store float16 (half the size; ValueError if a value
    does not fit). extra: more JSON values for the header, e.g. the dataset's name.
    """
    state = {name: tensor.detach() for name, tensor in generator.state_dict().items()}
    if half:
        state = {name: _to_half(name, tensor) for name, tensor in state.items()}
    header = {**(extra or {}), "kind": "network", "config": dict(config), "nimg": int(nimg), "commit": code_version()}
    header["precision"] = "fp16" if half else "fp32"
    save_tensors(path, state, header)


def save_half(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """`save_tensors` in float16; ValueError if a value does not fit."""
    save_tensors(path, {name: _to_half(name, tensor) for name, tensor in tensors.items()}, header)


def load_network(path: Path) -> NetworkFile:
    """Read a network file. UserError if it is missing, damaged, or of another type or version."""
    tensors, header = load_tensors(path, kind="network")
    state = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    if not isinstance(header.get("config"), dict):
        raise UserError(f"{path}: the network file's header has no config; train or download it again")
    nimg = header.get("nimg", 0)
    if not isinstance(nimg, int):
        raise UserError(f"{path}: the network file's header has nimg {str(nimg)[:40]!r}, expected an integer")
    return NetworkFile(state, header["config"], nimg, str(header.get("commit", "")), header)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy `state` into `module`; UserError with `path` and the first difference unless all names and shapes agree."""
    expected = module.state_dict()
    missing, foreign = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    advice = "it was written with another configuration"
    if missing:
        raise UserError(f"{path}: has no tensor {missing[0]!r} ({len(missing)} missing); {advice}")
    if foreign:
        raise UserError(f"{path}: has a tensor {foreign[0]!r} too many ({len(foreign)} in all); {advice}")
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape:
            raise UserError(
                f"{path}: expected {name} of shape {tuple(tensor.shape)}, got {tuple(state[name].shape)}; {advice}"
            )
    module.load_state_dict(dict(state))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors of any device and dtype with a JSON header; `path` appears only when it is complete.

    header: JSON values; "kind" is the type of the file. "format_version" and "checksum" are added here.
    """
    path = Path(path)
    stored = _separate(tensors)
    text = json.dumps({**header, "format_version": FORMAT_VERSION}, ensure_ascii=False)
    full = {**json.loads(text), "checksum": _checksum(stored, text)}
    save_safetensors(path, stored, {_KEY: json.dumps(full, ensure_ascii=False)})


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous CPU tensors that share no memory; WriteError where the file cannot be written."""
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask sets it; safetensors gives access to the owner only
        try:
            safetensors.torch.save_file(dict(tensors), temporary, metadata=None if metadata is None else dict(metadata))
        except safetensors.SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise WriteError(path, os.strerror(int(number[1]))) from None
        temporary.chmod(mode)


def load_tensors(path: Path, kind: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`: tensors on the CPU and the header.

    kind: refuse files of another type. UserError with one line if the file is missing, a pickle, truncated, damaged,
    not TetraGAN's, or of a newer format.
    """
    path = Path(path)
    header = read_header(path)
    if kind is not None and header.get("kind") != kind:
        found = " ".join(str(header.get("kind", "file of unknown type")).split())[:40]
        raise UserError(f"{path}: expected a {kind} file, got a {found} file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is damaged or cut short ({_first_line(error)}); copy or train it again") from None
    checksum = header.pop("checksum", None)
    if checksum != _checksum(tensors, json.dumps(header, ensure_ascii=False)):
        raise UserError(f"{path}: is damaged (its checksum does not match); copy or train it again")
    return tensors, header


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a file without its tensors (not checked against the checksum). UserError as `load_tensors`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
            _refuse_foreign(path, start)
            length = struct.unpack("<Q", start[:8])[0]
            file.seek(8)
            size = path.stat().st_size
            if length > size - 8:
                raise UserError(f"{path}: is cut short or not a safetensors file; copy or train it again")
            header = json.loads(file.read(length))
        text = header.get("__metadata__", {}).get(_KEY)
        values = None if text is None else json.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is damaged or not a safetensors file; copy or train it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: is a safetensors file, but not one that `tetragan train` wrote")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        found = " ".join(str(version).split())[:20]
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, got {found}; install a matching tetragan")
    return values


@lru_cache
def code_version() -> str:
    """The commit of the running code ("-dirty" with local changes); outside a checkout, the package's version."""
    if (_PROJECT / ".git").exists():
        command = ["git", "-C", str(_PROJECT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass  # no git, or a checkout of another owner: the version must do
    try:
        return metadata.version("tetragan")
    except metadata.PackageNotFoundError:
        return "unknown"


def _refuse_foreign(path: Path, start: bytes) -> None:
    """UserError for the most common wrong files."""
    # The length of a header may begin like a pickle; its JSON then follows.
    pickled = start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[8:] != b"{"
    if start[:4] == b"PK\x03\x04" or pickled:
        raise UserError(f"{path}: is a pickle or zip archive, which can run code when opened; expected .safetensors")
    if len(start) < 8:
        raise UserError(f"{path}: is cut short or empty; copy or train it again")


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors, none of which shares memory with another (safetensors refuses shared memory)."""
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        storage = flat.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != flat.numel() * flat.element_size():
            flat = flat.clone()
        seen.add(flat.untyped_storage().data_ptr())
        stored[name] = flat
    return stored


def _checksum(tensors: Mapping[str, Tensor], header: str) -> int:
    """CRC-32 over the header's JSON and every tensor's name, type, shape and bytes, in order of names."""
    value = zlib.crc32(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        if tensor.numel():
            value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return value


def _to_half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    if not torch.isfinite(half).all():
        raise ValueError(f"save_network(): expected values that fit float16, got {tensor.abs().max()} in {name}")
    return half


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
