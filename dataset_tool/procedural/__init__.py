"""Parametric, textured shapes with captions, in ShapeNet's layout: data to learn from without a download."""

from dataset_tool.procedural.categories import CATEGORIES, SYNSETS, make_shape, shape_id
from dataset_tool.procedural.shape import Material, Part, ProceduralShape
from dataset_tool.procedural.write import WriteSummary, write_shapes

__all__ = [
    "CATEGORIES",
    "SYNSETS",
    "Material",
    "Part",
    "ProceduralShape",
    "WriteSummary",
    "make_shape",
    "shape_id",
    "write_shapes",
]
