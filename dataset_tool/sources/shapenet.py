"""ShapeNet's two layouts: which meshes of a tree are ShapeNet's, and which way they face."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SourceLayout = Literal["auto", "folder", "shapenet-v1", "shapenet-v2"]
# Path of a ShapeNet mesh below the folder of its id, best first, with its layout.
SHAPENET_MESHES = (
    (("models", "model_normalized.obj"), "shapenet-v2"),
    (("model_normalized.obj",), "shapenet-v2"),
    (("model.obj",), "shapenet-v1"),
    (("models", "model.obj"), "shapenet-v1"),
)
SHAPENET_FRONTS = {"shapenet-v2": "-Z", "shapenet-v1": "+X"}


@dataclass(frozen=True)
class ShapeNetPlace:
    """Where a mesh stands in a ShapeNet tree. rank: in `SHAPENET_MESHES`; a shape's mesh of the lowest rank is read."""

    folder: Path
    synset: str
    layout: str
    rank: int


def shapenet_place(source: Path, path: Path, layout: SourceLayout) -> ShapeNetPlace | None:
    """The place of a mesh in a ShapeNet tree (synsets of shapes, or shapes), or None if it does not stand in one.

    `model.obj` is a common name. With layout "auto" it needs the synset, or an id like ShapeNet's, as further evidence.
    """
    parts = path.relative_to(source).parts
    for rank, (ending, name) in enumerate(SHAPENET_MESHES):
        above = parts[: -len(ending)]
        if layout in ("folder", *SHAPENET_FRONTS) and layout != name:
            continue
        if parts[-len(ending) :] != ending or not (len(above) == 1 or (len(above) == 2 and _is_synset(above[0]))):
            continue
        synset = above[0] if len(above) == 2 else source.resolve().name if _is_synset(source.resolve().name) else ""
        if layout == "auto" and name == "shapenet-v1" and not (synset or _is_shapenet_id(above[-1])):
            return None
        return ShapeNetPlace(source.joinpath(*above), synset, name, rank)
    return None


def _is_synset(name: str) -> bool:
    return re.fullmatch(r"\d{8}", name) is not None


def _is_shapenet_id(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{24,40}", name) is not None
