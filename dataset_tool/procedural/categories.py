"""The procedural categories by name, and the function that makes a shape of one."""

import hashlib
from collections.abc import Callable

import numpy as np

from dataset_tool.procedural.car import SYNSET as CAR
from dataset_tool.procedural.car import make_car
from dataset_tool.procedural.chair import SYNSET as CHAIR
from dataset_tool.procedural.chair import make_chair
from dataset_tool.procedural.lamp import SYNSET as LAMP
from dataset_tool.procedural.lamp import make_lamp
from dataset_tool.procedural.mug import SYNSET as MUG
from dataset_tool.procedural.mug import make_mug
from dataset_tool.procedural.plane import SYNSET as PLANE
from dataset_tool.procedural.plane import make_plane
from dataset_tool.procedural.shape import ProceduralShape
from dataset_tool.procedural.table import SYNSET as TABLE
from dataset_tool.procedural.table import make_table
from torch_utils.errors import UserError
from torch_utils.seeding import sample_rng

VERSION = 1
"""Version in every id, incremented whenever the shape of a (category, seed, index) changes."""

CATEGORIES: dict[str, Callable[[np.random.Generator], ProceduralShape]] = {
    "chair": make_chair,
    "table": make_table,
    "lamp": make_lamp,
    "mug": make_mug,
    "car": make_car,
    "plane": make_plane,
}
SYNSETS: dict[str, str] = {
    "chair": CHAIR,
    "table": TABLE,
    "lamp": LAMP,
    "mug": MUG,
    "car": CAR,
    "plane": PLANE,
}


def check_category(category: str) -> None:
    """Raises UserError unless the category exists."""
    if category not in CATEGORIES:
        raise UserError(f"--category {category}: expected one of {', '.join(CATEGORIES)}")


def make_shape(category: str, seed: int, index: int) -> ProceduralShape:
    """The shape of (category, seed, index). It does not depend on other shapes."""
    check_category(category)
    return CATEGORIES[category](sample_rng(seed, index, f"procedural-{category}"))


def shape_id(category: str, seed: int, index: int) -> str:
    """The name of a shape on disk: 32 hex digits, like ShapeNet's."""
    return hashlib.sha256(f"{category}/{seed}/{index}/{VERSION}".encode()).hexdigest()[:32]
