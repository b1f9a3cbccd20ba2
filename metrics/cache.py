"""Intermediate results on disk, in chunks that later evaluations reuse and that ranks divide among them.

A chunk is a safetensors file whose name contains a hash of everything it depends on. Rank k computes the chunks k,
k + world, …. All ranks then read all chunks, so every node must see the folder.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from torch_utils.checkpoint import save_safetensors
from torch_utils.distributed import Ranks, barrier
from torch_utils.files import WriteError

# Increased whenever the meaning of a stored chunk changes.
STORE_VERSION = 1
Tensors = dict[str, Tensor]
Result = TypeVar("Result")
_PROVISIONAL: ContextVar[bool] = ContextVar("provisional", default=False)


def mark_provisional() -> None:
    """Say that what is being computed is not to be kept for later evaluations.

    So are results without a view or a mesh that could not be read: with more memory, or by a later version, it may be.
    """
    _PROVISIONAL.set(True)


def watch_provisional(compute: Callable[[], Result]) -> tuple[Result, bool]:
    """What compute() gives, and whether it called `mark_provisional`."""
    outer = _PROVISIONAL.set(False)
    try:
        return compute(), _PROVISIONAL.get()
    finally:
        _PROVISIONAL.reset(outer)


def content_key(values: Mapping[str, Any]) -> str:
    """A short hash of the plain values that a stored result depends on."""
    text = json.dumps({"store": STORE_VERSION, **values}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ChunkStore:
    """Chunks of tensors in one folder.

    folder: created with the first chunk. ranks: divide the chunks. reused, computed: numbers of chunks so far.
    A folder that cannot be written costs a single rank nothing but the reuse: its chunks are kept in memory. Several
    ranks exchange their results through the folder, so for them it is an error.
    """

    def __init__(self, folder: Path, ranks: Ranks | None = None) -> None:
        self.folder = folder
        self.ranks = ranks or Ranks()
        self.reused = 0
        self.computed = 0
        self._unwritten: dict[Path, Tensors] = {}
        self._provisional: list[Path] = []

    def rows(
        self,
        name: str,
        key: str,
        count: int,
        chunk: int,
        compute: Callable[[range], Tensors],
        progress: Callable[[], None] | None = None,
    ) -> Tensors:
        """Tensors of `count` rows, from chunks of `chunk` rows.

        compute(rows) returns tensors with len(rows) rows each; it is called for chunks that are not stored. A chunk
        that it marks as provisional is not kept. progress is called once per chunk of this rank.
        """
        starts = list(range(0, count, chunk))
        for position, start in enumerate(starts):
            if position % self.ranks.world != self.ranks.rank:
                continue
            path = self._path(name, key, start, min(start + chunk, count))
            if self._read(path) is None:
                tensors, provisional = watch_provisional(partial(compute, range(start, min(start + chunk, count))))
                self._write(path, tensors, provisional=provisional)
                self.computed += 1
            else:
                self.reused += 1
            if progress is not None:
                progress()
        barrier(self.ranks)
        parts = [self._require(self._path(name, key, start, min(start + chunk, count))) for start in starts]
        barrier(self.ranks)
        while self._provisional:
            self._provisional.pop().unlink(missing_ok=True)
        return {label: torch.cat([part[label] for part in parts]) for label in parts[0]} if parts else {}

    def _path(self, name: str, key: str, start: int, stop: int) -> Path:
        return self.folder / f"{name}-{key}-{start:06d}-{stop:06d}.safetensors"

    def _read(self, path: Path) -> Tensors | None:
        """The chunk; None where it is missing or truncated, so that it is computed again."""
        if path in self._unwritten:
            return self._unwritten[path]
        try:
            return load_file(path)
        except (safetensors.SafetensorError, OSError):
            return None

    def _require(self, path: Path) -> Tensors:
        tensors = self._read(path)
        if tensors is None:
            raise RuntimeError(f"{path}: the result of another rank is missing; all ranks must share this folder")
        return tensors

    def _write(self, path: Path, tensors: Tensors, *, provisional: bool) -> None:
        stored = {label: tensor.detach().cpu().contiguous() for label, tensor in tensors.items()}
        if provisional and self.ranks.world == 1:
            self._unwritten[path] = stored
            return
        if provisional:
            self._provisional.append(path)
        try:
            save_safetensors(path, stored)
        except WriteError as error:
            if self.ranks.world > 1:
                raise
            if not self._unwritten:
                click.echo(f"{self.folder}: intermediate results are not kept ({error.reason})", err=True)
            self._unwritten[path] = stored
