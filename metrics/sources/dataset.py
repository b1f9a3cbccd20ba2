"""One split of a dataset as a source of shapes."""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dataset_tool.dataset import ViewDataset
from mesh_io.read import read_mesh
from mesh_io.write import write_glb
from metrics.cache import content_key, mark_provisional
from metrics.sources.description import Description, attribute_text, attribute_texts
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages, over_gray, stack_images
from metrics.sources.sampling import choice_note, chosen_rows
from metrics.sources.shape_source import Shape, file_shapes, merged_shape
from metrics.sources.thumbnails import Thumbnail, stored_view
from torch_utils.distributed import Ranks, texts_of_ranks
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
        self._unreadable: dict[str, str] = {}  # views, and why

    @property
    def visible_points(self) -> bool:
        """Whether the dataset was rendered with --visible-points."""
        return bool(self.dataset.header.renderer.get("visible_points", False))

    @property
    def mesh_files(self) -> bool:
        """True: the source meshes."""
        return True

    def stored_points(self, rows: Sequence[int], count: int) -> tuple[Tensor, list[str]] | None:
        """The dataset's own surface points [rows, count, 3]; a shape without them says why."""
        surfaces, problems = torch.full((len(rows), count, 3), torch.nan), []
        for i, row in enumerate(rows):
            try:
                surfaces[i] = self._points(self.ids[row], count)
                problems.append("")
            except UserError as error:
                mark_provisional()
                problems.append(str(error))
        return surfaces, problems

    def _points(self, shape_id: str, count: int) -> Tensor:
        """The stored points of one shape [count, 3]."""
        if not self.dataset.has_points(shape_id):
            raise UserError(
                f"{shape_id}: has no surface points, which shape scores need; tetragan dataset render makes them"
            )
        points = torch.from_numpy(self.dataset.points(shape_id))
        if len(points) < count:
            raise UserError(f"{shape_id}: has {len(points)} surface points, expected {count}; render the dataset again")
        return points[:count]

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The source meshes of these rows in world units; one that is not at hand gives a shape with the reason."""
        return file_shapes(lambda row: self._shape(self.ids[row]), rows, self.ids)

    def world_shapes(self, rows: Sequence[int], settings: ImageSettings) -> list[Shape]:
        """The source meshes of these rows, which the dataset's matrices bring to world units."""
        return self.shapes(rows)

    def missing_mesh(self, rows: Sequence[int]) -> str:
        """The first of these shapes whose source mesh is not at hand, and why; "" if there is none."""
        for row in dict.fromkeys(rows):
            try:
                _, problem = self._mesh_file(self.dataset.meta(self.ids[row]))
            except UserError as error:
                problem = str(error)
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
        """The first of the places where the mesh may be. A dataset of someone else names no file outside them."""
        recorded = Path(str(meta.get("source", "")))
        if recorded.is_absolute() or ".." in recorded.parts:
            recorded = Path(recorded.name)
        candidates = [recorded] if self._meshes is None else [self._meshes / recorded, self._meshes / recorded.name]
        with suppress(OSError):  # a name that no file system takes
            return next((path for path in candidates if path.is_file()), None)
        return None

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
        """At most `count` stored views with their own cameras, spread evenly over all views of the shapes.

        The next view that can be read stands for one that cannot. UserError if none can be read.
        """
        rows = [row for row in range(len(self.ids)) if row not in omit]
        every = [(row, view) for row in rows for view in range(self._views(row))]
        if not every:
            raise UserError(f"{self.dataset.path}: no view can be read; {self._first_unreadable()}")
        step = max(1.0, len(every) / count)
        places = [int(i * step) for i in range(min(count, len(every)))]
        chosen = [every[place] for place in places]

        def draw(part: range) -> Tensor:
            images = [self._readable_view(every, places[i], settings.side) for i in part]
            return stack_images([over_gray(image, settings.background) for image in images])

        cameras = self.dataset.cameras([self.ids[row] for row, _ in chosen], [view for _, view in chosen])
        key = {"dataset": self.dataset.hash(), "split": self.split, "rows": rows, "count": len(chosen)}
        key |= {"side": settings.side, "background": settings.background}
        if self.at_random:
            key["ids"] = self.ids
        return LazyImages([row for row, _ in chosen], cameras, draw, key)

    def _views(self, row: int) -> int:
        """Number of views of a shape; 0 if its cameras cannot be read."""
        try:
            return self.dataset.views(self.ids[row])
        except UserError as error:
            self._unreadable[self.ids[row]] = str(error)
            return 0

    def _readable_view(self, every: Sequence[tuple[int, int]], place: int, side: int) -> NDArray[np.uint8]:
        """View `place` of `every`, or the next one that can be read: RGBA [side, side, 4], premultiplied."""
        for row, view in (*every[place:], *every[:place]):
            try:
                return self.dataset.load_premultiplied(self.ids[row], view, side)
            except UserError as error:
                mark_provisional()
                self._unreadable[f"{self.ids[row]}, view {view}"] = str(error)
        raise UserError(f"{self.dataset.path}: no view can be read; {self._first_unreadable()}")

    def _first_unreadable(self) -> str:
        return f"the first: {next(iter(self._unreadable.values()), 'there is none')}"

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
        try:
            meta = self.dataset.meta(shape_id)
        except UserError as error:
            self._unreadable[f"{shape_id}, description"] = str(error)
            return Description()
        attributes = attribute_texts(meta.get("attributes"))
        label = self.dataset.classes[self.dataset.label(shape_id)] if self.dataset.classes else meta.get("class")
        if label:
            attributes.setdefault("class", attribute_text(label))
        return Description(str(meta.get("caption") or ""), attributes)

    def notes(self, ranks: Ranks) -> list[str]:
        """That some of the split's shapes were left out, or could not be read as a whole, by whichever rank."""
        notes = [choice_note(len(self.ids), self.num_shapes, f"{self.split} shapes")] if self.at_random else []
        if self.visible_points:
            notes.append("surface points of all shapes lie only where they can be seen from outside")
        for text in texts_of_ranks(json.dumps(self._unreadable), ranks):
            self._unreadable |= json.loads(text)
        if self._unreadable:
            count = counted(len(self._unreadable), "file")
            notes.append(f"{self.split} split: {count} could not be read, and the next views stand for missing ones; "
                         f"{self._first_unreadable()}")  # fmt: skip
        return notes
