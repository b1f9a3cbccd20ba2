"""Shapes of a network (by seed) and of a dataset (by split); `metrics/sources/folder.py` has the folder of meshes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mesh_io.read import read_mesh
from metrics.cache import content_key, file_hash
from metrics.sources.folder import Shape, single, usable
from sampling.generate import styles
from torch_utils.errors import UserError

# Samples that go through the generator together.
GENERATOR_BATCH = 8


@dataclass
class NetworkSource:
    """Shapes of a generator: seed first_seed + i is shape i, at truncation ψ.

    path: the network file, hashed into the key. generator: what `networks.pretrained.load_generator` gave.
    """

    path: Path
    generator: Any
    count: int
    truncation: float
    first_seed: int = 0
    label: str = field(init=False)
    ids: list[str] = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.label = f"{self.path.name}, ψ {self.truncation:g}"
        self.ids = [f"seed{self.first_seed + i:04d}" for i in range(self.count)]
        self.sha256 = file_hash(self.path)
        self.key = content_key({"network": self.sha256, "psi": self.truncation, "first": self.first_seed})

    def seed(self, row: int) -> int:
        """The seed of a shape."""
        return self.first_seed + row

    @property
    def device(self) -> torch.device:
        """Where the generator lives."""
        return next(self.generator.parameters()).device

    @torch.no_grad()
    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The meshes of these rows, on the CPU; an empty surface gives a shape that says so."""
        found: list[Shape] = []
        for start in range(0, len(rows), GENERATOR_BATCH):
            seeds = [self.seed(row) for row in rows[start : start + GENERATOR_BATCH]]
            w_geo, _ = styles(self.generator, seeds, self.truncation, self.device)
            generated = self.generator.mesh(w_geo)
            meshes, empty = generated.mesh.detach().to("cpu"), generated.empty.tolist()
            for i in range(len(seeds)):
                found.append(Shape(None, "empty surface") if empty[i] else usable(meshes[i]))
        return found

    def stored_points(self, rows: Sequence[int], count: int) -> Tensor | None:
        """None: points are drawn from the meshes."""
        return None


class DatasetSource:
    """One split of a dataset: its stored surface points, and its source meshes where those are still at hand.

    dataset: what `dataset_tool.dataset.open_dataset` gave. limit: at most this many shapes, in the split's order.
    meshes: a folder that holds the source meshes, for scores that need surfaces (LFD); None tries the recorded paths.
    """

    def __init__(self, dataset: Any, split: str, limit: int | None = None, meshes: Path | None = None) -> None:
        if split not in dataset.splits:
            raise UserError(f"dataset: expected a split {split!r}, got {', '.join(dataset.splits)}")
        self.dataset = dataset
        self.ids: list[str] = list(dataset.splits[split])[:limit]
        self.label = f"{dataset.category}, {split} split ({len(self.ids)} shapes)"
        self.key = content_key({"dataset": dataset.hash(), "split": split})
        self._meshes = meshes

    def stored_points(self, rows: Sequence[int], count: int) -> Tensor | None:
        """The dataset's own surface points [rows, count, 3]; UserError where it holds fewer."""
        clouds = []
        for row in rows:
            if not self.dataset.has_points(self.ids[row]):
                raise UserError(
                    f"{self.dataset.path}: {self.ids[row]} has no surface points; shape scores need a dataset that was "
                    "rendered from meshes (tetragan dataset render)"
                )
            points = torch.as_tensor(np.asarray(self.dataset.points(self.ids[row])), dtype=torch.float32)
            if points.ndim != 2 or points.shape[1] != 3 or points.shape[0] < count:
                raise UserError(
                    f"{self.ids[row]}: expected {count} surface points, got an array {list(points.shape)}; "
                    "render the dataset again"
                )
            clouds.append(points[:count])
        return torch.stack(clouds) if clouds else torch.empty(0, count, 3)

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The source meshes of these rows; one that is not at hand gives a shape with the reason."""
        return [self._shape(self.ids[row]) for row in rows]

    def missing_meshes(self, rows: Sequence[int]) -> str:
        """The first of some shapes whose source mesh is not at hand, and why; "" where all are."""
        for row in dict.fromkeys(rows):
            _, problem = self._mesh_file(self.dataset.meta(self.ids[row]))
            if problem:
                return f"{self.ids[row]}: {problem}"
        return ""

    def _mesh_file(self, meta: dict[str, Any]) -> tuple[Path, str]:
        """The mesh that a shape was rendered from, and what is wrong with it ("" where nothing is)."""
        path = self._mesh_path(meta)
        if path is None:
            return Path(), "its source mesh is not at hand; name its folder with --reference-meshes"
        if "sha256" in meta and file_hash(path) != meta["sha256"]:
            return path, f"{path.name} is not the mesh that was rendered"
        return path, ""

    def _shape(self, shape_id: str) -> Shape:
        meta = self.dataset.meta(shape_id)
        path, problem = self._mesh_file(meta)
        if problem:
            return Shape(None, problem)
        try:
            source = read_mesh(path)
        except UserError as error:
            return Shape(None, str(error))
        matrix = meta.get("source_to_world")
        if matrix is not None:
            source = source.transformed(np.asarray(matrix, np.float64))
        return single(source)

    def _mesh_path(self, meta: dict[str, Any]) -> Path | None:
        recorded = Path(str(meta.get("source", "")))
        candidates = [recorded] if self._meshes is None else [self._meshes / recorded, self._meshes / recorded.name]
        return next((path for path in candidates if path.is_file()), None)
