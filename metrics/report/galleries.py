"""Galleries of the report: the selection of shapes, and their images and mesh files on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metrics.report.report_schema import RANDOM_REFERENCES, RANDOM_SAMPLES, GalleryItem, Histogram
from metrics.session import Inputs
from metrics.shapes.results import Results
from metrics.shapes.set_scores import SCALES
from metrics.sources.shape_source import ShapeSource
from metrics.sources.thumbnails import Thumbnail
from rendering.images import save_png
from torch_utils.failures import note_failure
from torch_utils.files import WriteError

# Shapes shown in the seeded random gallery, and in each of the others.
RANDOM, OTHERS = 16, 8
THUMBNAIL_PX = 160


@dataclass
class GalleryMaker:
    """Writes the thumbnail and the GLB of each shape below `out` once, however many galleries show it."""

    out: Path
    written: dict[str, str] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)

    def item(
        self, source: ShapeSource, row: int, role: str, caption: str = "", other: GalleryItem | None = None
    ) -> GalleryItem:
        """A shape with its files, beside another one. role: of the source, as part of their names."""
        beside = {} if other is None else {
            "other_id": other.id, "other_thumbnail": other.thumbnail, "other_mesh": other.mesh,
        }  # fmt: skip
        return GalleryItem(
            id=source.ids[row],
            caption=caption,
            thumbnail=self.thumbnail(source, row, role),
            mesh=self.mesh(source, row, role),
            **beside,
        )

    def thumbnail(self, source: ShapeSource, row: int, role: str) -> str:
        """File name below `out` of a shape's thumbnail; "" for an empty shape."""
        name = self._name(source, row, role, ".png")
        if name not in self.written:
            self.written[name] = self._written(name, source, row, partial(_save_thumbnail, source, row))
        return self.written[name]

    def mesh(self, source: ShapeSource, row: int, role: str) -> str:
        """File name below `out` of a shape's GLB; "" where there is no mesh."""
        name = self._name(source, row, role, ".glb")
        if name not in self.written:
            self.written[name] = self._written(name, source, row, partial(source.export, row))
        return self.written[name]

    def _name(self, source: ShapeSource, row: int, role: str, ending: str) -> str:
        """The name of a shape's file; ids that are alike as file names, such as a/b and a_b, are told apart by rows."""
        name = f"gallery/{role}-{safe(source.ids[row])}"
        own = self.owners.setdefault(f"{name}{ending}".lower(), row) == row
        return f"{name}{ending}" if own else f"{name}-{row}{ending}"

    def _written(self, name: str, source: ShapeSource, row: int, write: Callable[[Path], bool]) -> str:
        """The name of a file if write(path) says that there is one. A shape that cannot be shown ends no report."""
        try:
            return name if write(self.out / name) else ""
        except WriteError:
            raise
        except Exception as error:  # noqa: BLE001  # as in `metrics.sources.shape_source.attempt_shape`
            note_failure(source.ids[row], error)
            return ""


def _save_thumbnail(source: ShapeSource, row: int, path: Path) -> bool:
    image = source.thumbnail(row, THUMBNAIL_PX)
    if image is None:
        return False
    save_png(path, fitted(image))
    return True


def safe(name: str) -> str:
    """A shape's id as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def fitted(image: Thumbnail) -> Thumbnail:
    """The image, reduced to the size of thumbnails if it is larger."""
    if max(image.shape[:2]) <= THUMBNAIL_PX:
        return image
    resized = Image.fromarray(image)
    resized.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def make_galleries(
    inputs: Inputs, results: Results, out: Path
) -> tuple[dict[str, list[GalleryItem]], list[GalleryItem]]:
    """Galleries by title, and the failures; writes their images and meshes into `out`/gallery."""
    shown = Shown(inputs, results, GalleryMaker(out))
    galleries = {
        RANDOM_SAMPLES: [shown.sample(row) for row in _random_rows(results.generated.usable, RANDOM)],
        RANDOM_REFERENCES: [shown.reference(row) for row in _random_rows(results.references.usable, OTHERS)],
    }
    if "cd" in results.matrices:
        galleries |= _matched(shown)
    failures = [
        GalleryItem(id=shape_id, caption=problem)
        for shape_id, problem in zip(inputs.generated.ids, results.generated.problems, strict=True)
        if problem
    ]
    return {title: items for title, items in galleries.items() if items}, failures


@dataclass(frozen=True)
class Shown:
    """What galleries show: the shapes, their scores, and their files."""

    inputs: Inputs
    results: Results
    maker: GalleryMaker

    def sample(self, row: int, caption: str = "", other: GalleryItem | None = None) -> GalleryItem:
        """A generated shape."""
        return self.maker.item(self.inputs.generated, row, "generated", caption, other)

    def reference(self, row: int, caption: str = "", other: GalleryItem | None = None) -> GalleryItem:
        """A reference."""
        return self.maker.item(self.inputs.references, row, "reference", caption, other)


def _random_rows(usable: Tensor, count: int) -> list[int]:
    """At most `count` rows where usable [N] bool, chosen by a fixed seed."""
    rows = usable.nonzero()[:, 0]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[:count]].sort().values.tolist()


def _matched(shown: Shown) -> dict[str, list[GalleryItem]]:
    """Samples by distance to the nearest reference, uncovered references, and samples near training shapes."""
    results = shown.results
    factor, between = SCALES["cd"].factor, results.matrices["cd"].between
    reference_rows = results.references.usable.nonzero()[:, 0].tolist()
    distance, nearest = between.nearest_reference()
    order = [row for row in distance.argsort().tolist() if torch.isfinite(distance[row])]
    middle = max(0, len(order) // 2 - OTHERS // 2)
    chosen = {
        "Nearest to a reference (best)": order[:OTHERS],
        "Median distance to the nearest reference": order[middle : middle + OTHERS],
        "Farthest from any reference (worst)": order[::-1][:OTHERS],
    }

    def with_reference(row: int) -> GalleryItem:
        caption = f"CD {factor * float(distance[row]):.3g}×10⁻³"
        return shown.sample(row, caption, shown.reference(reference_rows[int(nearest[row])]))

    galleries = {title: [with_reference(row) for row in rows] for title, rows in chosen.items()}
    galleries["References that no sample covers"] = _uncovered(shown, reference_rows)
    if results.memorization is not None:
        galleries["Samples nearest to a training shape"] = _training_neighbors(shown, order)
    return galleries


def _uncovered(shown: Shown, reference_rows: Sequence[int]) -> list[GalleryItem]:
    """References that no sample covers, the farthest from any sample first, with their nearest sample."""
    between, factor = shown.results.matrices["cd"].between, SCALES["cd"].factor
    distance, generated = between.nearest_generated()
    reach, covered = between.nearest_reference()
    uncovered = set(range(between.num_references)) - set(covered[torch.isfinite(reach)].tolist())
    rows = [row for row in distance.argsort(descending=True).tolist() if row in uncovered][:OTHERS]
    return [
        shown.reference(
            reference_rows[row],
            f"nearest sample at CD {factor * float(distance[row]):.3g}×10⁻³",
            shown.sample(int(generated[row])),
        )
        for row in rows
        if torch.isfinite(distance[row])
    ]


def _training_neighbors(shown: Shown, order: Sequence[int]) -> list[GalleryItem]:
    memorization, training = shown.results.memorization, shown.results.training
    assert memorization is not None and training is not None and shown.inputs.training is not None
    training_rows = training.usable.nonzero()[:, 0].tolist()
    items = []
    for row in sorted(order, key=lambda row: float(memorization.nearest[row]))[:OTHERS]:
        copy = "" if bool(memorization.authentic[row]) else ", a likely copy"
        other = shown.maker.item(shown.inputs.training, training_rows[int(memorization.index[row])], "training")
        items.append(shown.sample(row, f"{float(memorization.nearest[row]):.3g}{copy}", other))
    return items


def histograms(results: Results) -> list[Histogram]:
    """Histograms of the nearest distances in both directions and to training shapes, and of components and faces."""
    made: list[Histogram] = []
    for kind, matrices in results.matrices.items():
        scale = SCALES[kind]
        unit = f"{scale.name} {scale.unit}".strip()
        to_generated, _ = matrices.between.nearest_generated()
        to_reference, _ = matrices.between.nearest_reference()
        made += _histogram(f"Reference → nearest sample ({scale.name})", unit, scale.factor * to_generated)
        made += _histogram(f"Sample → nearest reference ({scale.name})", unit, scale.factor * to_reference)
    if results.memorization is not None:
        scale = SCALES[next(iter(results.matrices))]
        unit = f"{scale.name} {scale.unit}".strip()
        made += _histogram("Sample → nearest training shape", unit, scale.factor * results.memorization.nearest)
    meshes = [v for v in results.generated.validity if v is not None]
    made += _histogram(
        "Components per mesh", "components", torch.tensor([float(v.components) for v in meshes]), whole=True
    )
    made += _histogram("Faces per mesh", "faces", torch.tensor([float(v.faces) for v in meshes]))
    return made


def _histogram(title: str, unit: str, values: Tensor, *, bins: int = 24, whole: bool = False) -> list[Histogram]:
    values = values[torch.isfinite(values)].double()
    if values.numel() == 0 or values.min() == values.max():
        return []  # one bar would say nothing that the tables do not
    low, high = float(values.min()), float(values.max())
    if whole:
        low, high = low - 0.5, high + 0.5
        bins = min(bins, round(high - low))
    counts, edges = np.histogram(values.numpy(), bins=bins, range=(low, high))
    return [Histogram(title=title, unit=unit, edges=edges.tolist(), counts=counts.tolist())]
