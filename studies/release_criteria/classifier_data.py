"""Labeled images for the classifier: a dataset's chairs with their attributes, and other procedural categories."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset, open_dataset
from dataset_tool.procedural.categories import CATEGORIES
from dataset_tool.procedural.write import write_shapes
from dataset_tool.render.render_dataset import render_dataset
from dataset_tool.render.render_shape import RenderSettings
from dataset_tool.sources.find_shapes import find_shapes
from studies.release_criteria.chair_types import ATTRIBUTES
from studies.release_criteria.classifier import SIDE
from torch_utils.errors import UserError

CATEGORY = "category"
OTHER_SEED = 11
UNKNOWN = -1


@dataclass(frozen=True)
class LabeledImages:
    """Images uint8 [N, 3, 64, 64] on black; the `views` of a shape follow each other.

    targets [N]: index of each attribute's value, UNKNOWN where it does not apply (a car's legs). attributes: one
    mapping a shape.
    """

    images: Tensor
    targets: dict[str, Tensor]
    attributes: list[Mapping[str, Any]]
    views: int

    def __len__(self) -> int:
        return self.images.shape[0]


def chair_attributes(dataset: ViewDataset, shape_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """The attributes of chairs. UserError for a dataset without them."""
    found = []
    for shape_id in shape_ids:
        attributes = dataset.meta(shape_id).get("attributes", {})
        if not all(name in attributes for name in ATTRIBUTES):
            raise UserError(
                f"{dataset.path}: {shape_id} has no {', '.join(ATTRIBUTES)} in its meta.json; make chairs "
                "that have, with: tetragan dataset procedural --category chair"
            )
        found.append(attributes)
    return found


def attribute_values(attributes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The values of the category, and those of every chair attribute that occur."""
    return {CATEGORY: tuple(CATEGORIES)} | {
        name: tuple(sorted({str(one[name]) for one in attributes})) for name in ATTRIBUTES
    }


def load_views(dataset: ViewDataset, shape_ids: Sequence[str], views: int) -> Tensor:
    """The first `views` views of each shape, on black, 64 px: uint8 [shapes · views, 3, 64, 64]."""
    if dataset.resolution % SIDE:
        raise UserError(f"{dataset.path}: expected views of a multiple of {SIDE} px, got {dataset.resolution}")
    if shape_ids and dataset.views(shape_ids[0]) < views:
        raise UserError(f"{dataset.path}: expected {views} views a shape at least, got {dataset.views(shape_ids[0])}")
    rows = [(shape_id, view) for shape_id in shape_ids for view in range(views)]
    with ThreadPoolExecutor(1) as pool:
        images = list(pool.map(lambda row: dataset.load_premultiplied(row[0], row[1], SIDE)[..., :3], rows))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def gather(
    chairs: ViewDataset,
    others: Mapping[str, ViewDataset],
    split: str,
    views: int,
    values: Mapping[str, Sequence[str]],
) -> LabeledImages:
    """A split's images, chairs first. values: the known values of each attribute; any other is UNKNOWN."""
    ids = chairs.splits[split]
    attributes = chair_attributes(chairs, ids)
    rows: list[Mapping[str, Any]] = [{**one, CATEGORY: "chair"} for one in attributes]
    images = [load_views(chairs, ids, views)]
    for name, dataset in others.items():
        images.append(load_views(dataset, dataset.splits[split], views))
        rows += [{CATEGORY: name}] * len(dataset.splits[split])
    targets = {}
    for name, known in values.items():
        index = {value: i for i, value in enumerate(known)}
        each = torch.tensor([index.get(str(row.get(name)), UNKNOWN) for row in rows])
        targets[name] = each.repeat_interleave(views)
    return LabeledImages(torch.cat(images), targets, rows, views)


def other_categories(chairs: ViewDataset, folder: Path, count: int, views: int) -> dict[str, ViewDataset]:
    """Datasets of all other procedural categories, with the chairs' cameras, scale, shading and resolution.

    Whatever `folder` already holds is reused.
    """
    renderer = chairs.header.renderer
    found = {}
    for name in CATEGORIES:
        if name == "chair":
            continue
        shapes, data = folder / f"{name}-shapes", folder / name
        write_shapes(name, count, OTHER_SEED, shapes)
        settings = RenderSettings(
            resolution=chairs.resolution,
            views=views,
            camera_distribution=chairs.camera_distribution,
            scale=float(renderer.get("scale", 0.7)),
            shading=renderer.get("shading", "albedo"),
            supersample=int(renderer.get("supersample", 2)),
        )
        render_dataset(find_shapes(shapes), data, settings, category=name)
        found[name] = open_dataset(data)
    return found
