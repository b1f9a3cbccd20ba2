"""One split of a dataset as a source of shapes."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from metrics.cache import content_key
from metrics.sources.description import Description, attribute_text, attribute_texts
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages, over_gray, stack_images
from metrics.sources.sampling import choice_note, chosen_rows
from metrics.sources.shape_source import Shape, attempt_shape, merged_shape
from metrics.sources.thumbnails import Thumbnail, stored_view
from torch_utils.errors import UserError
from torch_utils.files import file_hash
from torch_utils.text import counted


class DatasetSource:
    """The shapes of a split: stored surface points and views, and the source meshes where those are at hand.

    limit: at most this many shapes, the first of the split; with `at_random` a choice by a fixed seed. meshes: the
    folder of the source meshes, for scores that need surfaces (LFD, normals); None tries the paths that the dataset
    recorded.
    """

    def __init__(
        self,
        dataset: ViewDataset,
        split: str,
        limit: int | None = None,
        meshes: Path | None = None,
        *,
        at_random: bool = False,
    ) -> None:
        if split not in dataset.splits:
            raise UserError(f"dataset: expected a split {split!r}, got {', '.join(dataset.splits)}")
        self.dataset = dataset
        self.split = split
        every = list(dataset.splits[split])
        rows = chosen_rows(len(every), limit) if at_random else range(len(every))[:limit]
        self.ids: list[str] = [every[row] for row in rows]
        self.num_shapes = len(every)
        self.at_random = len(self.ids) < len(every) and at_random
        self.label = f"{dataset.category}, {split} split ({counted(len(self.ids), 'shape')})"
        key: dict[str, Any] = {"dataset": dataset.hash(), "split": split}
        self.key = content_key(key | {"ids": self.ids} if self.at_random else key)
        self._meshes = meshes

    def stored_points(self, rows: Sequence[int], count: int) -> Tensor | None:
        """The dataset's own surface points [rows, count, 3]; UserError where it holds fewer."""
        surfaces = []
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
            surfaces.append(points[:count])
        return torch.stack(surfaces) if surfaces else torch.empty(0, count, 3)

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The source meshes of these rows in world units; one that is not at hand gives a shape with the reason."""
        return [attempt_shape(self.ids[row], partial(self._shape, self.ids[row])) for row in rows]

    def world_shapes(self, rows: Sequence[int], settings: ImageSettings) -> list[Shape]:
        """The source meshes of these rows, which the dataset's matrices bring to world units."""
        return self.shapes(rows)

    def missing_mesh(self, rows: Sequence[int]) -> str:
        """The first of these shapes whose source mesh is not at hand, and why; "" if there is none."""
        for row in dict.fromkeys(rows):
            _, problem = self._mesh_file(self.dataset.meta(self.ids[row]))
            if problem:
                return f"{self.ids[row]}: {problem}"
        return ""

    def _mesh_file(self, meta: dict[str, Any]) -> tuple[Path, str]:
        """The mesh that a shape was rendered from, and what is wrong with it ("" if nothing is)."""
        path = self._mesh_path(meta)
        if path is None:
            return Path(), "its source mesh is not at hand; name its folder with --reference-meshes"
        if "sha256" in meta and file_hash(path) != meta["sha256"]:
            return path, f"{path.name} is not the mesh that was rendered"
        return path, ""

    def _mesh_path(self, meta: dict[str, Any]) -> Path | None:
        recorded = Path(str(meta.get("source", "")))
        candidates = [recorded] if self._meshes is None else [self._meshes / recorded, self._meshes / recorded.name]
        return next((path for path in candidates if path.is_file()), None)

    def _shape(self, shape_id: str) -> Shape:
        meta = self.dataset.meta(shape_id)
        path, problem = self._mesh_file(meta)
        if problem:
            return Shape(None, problem)
        source = read_mesh(path)
        matrix = meta.get("source_to_world")
        if matrix is not None:
            source = source.transformed(np.asarray(matrix, np.float64))
        return merged_shape(source)

    def images(
        self, count: int, settings: ImageSettings, *, camera_seed: int = 0, omit: Collection[int] = ()
    ) -> LazyImages:
        """At most `count` stored views with their own cameras, spread evenly over all views of the shapes."""
        rows = [row for row in range(len(self.ids)) if row not in omit]
        every = [(row, view) for row in rows for view in range(self.dataset.views(self.ids[row]))]
        step = max(1.0, len(every) / count)
        chosen = [every[int(i * step)] for i in range(min(count, len(every)))]

        def draw(part: range) -> Tensor:
            shown = [(self.ids[row], view) for row, view in (chosen[i] for i in part)]
            images = [self.dataset.load_premultiplied(shape_id, view, settings.side) for shape_id, view in shown]
            return stack_images([over_gray(image, settings.background) for image in images])

        cameras = self.dataset.cameras([self.ids[row] for row, _ in chosen], [view for _, view in chosen])
        key = {"dataset": self.dataset.hash(), "split": self.split, "rows": rows, "count": len(chosen)}
        key |= {"side": settings.side, "background": settings.background}
        if self.at_random:
            key["ids"] = self.ids
        return LazyImages([row for row, _ in chosen], cameras, draw, key)

    def thumbnail(self, row: int, side_px: int) -> Thumbnail | None:
        """The stored view that is nearest to the view of the other sources' thumbnails."""
        return stored_view(self.dataset, self.ids[row])

    def export(self, row: int, path: Path) -> bool:
        """Write the geometry of the source mesh."""
        mesh = self.shapes([row])[0].mesh
        if mesh is None:
            return False
        write_glb(path, mesh, unlit=False)
        return True

    def description(self, row: int) -> Description:
        """What meta.json says of a shape; its class counts as the attribute "class"."""
        shape_id = self.ids[row]
        meta = self.dataset.meta(shape_id)
        attributes = attribute_texts(meta.get("attributes"))
        label = self.dataset.classes[self.dataset.label(shape_id)] if self.dataset.classes else meta.get("class")
        if label:
            attributes.setdefault("class", attribute_text(label))
        return Description(str(meta.get("caption") or ""), attributes)

    def notes(self) -> list[str]:
        """That some of the split's shapes were left out."""
        if not self.at_random:
            return []
        return [choice_note(len(self.ids), self.num_shapes, f"{self.split} shapes")]
