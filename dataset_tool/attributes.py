"""Classes of shapes by the attributes that `meta.json` records, such as the type of a chair and its legs."""

from collections.abc import Sequence

from dataset_tool.dataset import ViewDataset
from torch_utils.errors import UserError


def attribute_classes(
    dataset: ViewDataset, shape_ids: Sequence[str], attributes: Sequence[str]
) -> list[tuple[str, ...]]:
    """The class of every shape: its values of the attributes, as text. UserError where no shape has one of them."""
    known = [dataset.meta(shape_id).get("attributes") or {} for shape_id in shape_ids]
    for name in attributes:
        if not any(name in each for each in known):
            names = ", ".join(sorted({key for each in known for key in each})) or "none at all"
            raise UserError(f"{dataset.path}: no shape has an attribute {name!r}; they have {names}")
    return [tuple(str(each.get(name)) for name in attributes) for each in known]
