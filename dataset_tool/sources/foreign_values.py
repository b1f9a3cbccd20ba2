"""What the values of foreign images and masks mean: looked at when a dataset is converted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dataset_tool.format import pixels
from torch_utils.errors import UserError
from torch_utils.files import read_file

Alpha = Literal["straight", "premultiplied"]
Masks = Literal["white", "black"]
SAMPLES = 64


def look_at_values(
    root: Path,
    views: Sequence[tuple[str, str | None]],
    alpha: Alpha | None,
    masks: Masks | None,
    note: Callable[[str], None],
) -> dict[str, str]:
    """What dataset.json has to say about the views, from a sample of them, evenly over all.

    views: image and mask (or None) of every view, relative to `root`. alpha, masks: what the user says that they are,
    or None. note: called with a line on a range of values that is scaled, and on an image that cannot be read.
    Returns {"alpha": "premultiplied"}, {"masks": "black"}, both, or {} for what is usual. UserError, with the option to
    add, if most views look premultiplied or inverted and the user has not said which.
    """
    chosen = [views[index] for index in np.unique(np.linspace(0, len(views) - 1, SAMPLES).astype(int)).tolist()]
    notes: dict[str, str] = {}
    premultiplied, inverted, translucent, masked = 0, 0, 0, 0
    for name, mask_name in chosen:
        try:
            image, how = _meant_image(root, name, mask_name)
        except UserError as error:
            note(str(error))
            continue
        if how:
            notes.setdefault(how, mask_name or name)
        values = image[..., 3]
        masked += int(values.min() < 255)
        translucent += int(((values > 0) & (values < 255)).sum() >= 16)
        premultiplied += int(pixels.looks_premultiplied(image))
        inverted += int(pixels.looks_inverted(values))
    for how, name in notes.items():
        note(f"{how} ({name})")
    if masks is None and inverted > 0.8 * max(masked, 1):
        raise UserError(
            f"{root}: {inverted} of {len(chosen)} masks look inverted: full along the border, empty in the middle; add "
            "--masks black if black is the object, --masks white if not"
        )
    if alpha is None and premultiplied > 0.5 * max(translucent, 1):
        raise UserError(
            f"{root}: {premultiplied} of {len(chosen)} images look as if their colors were multiplied by alpha; add "
            "--alpha premultiplied if they are, --alpha straight if not"
        )
    facts = {"alpha": "premultiplied"} if alpha == "premultiplied" else {}
    return facts | ({"masks": "black"} if masks == "black" else {})


def _meant_image(root: Path, name: str, mask_name: str | None) -> tuple[np.ndarray, str]:
    """A view with its mask as alpha [H, W, 4], and how the values of the mask were read."""
    image = pixels.decode(read_file(root / name), str(root / name), foreign=True)
    if mask_name is None:
        return image, ""
    coverage, how = pixels.decode_mask(read_file(root / mask_name), str(root / mask_name))
    if coverage.shape != image.shape[:2]:
        raise UserError(f"{root / mask_name}: expected the image's size {image.shape[:2]}, got {coverage.shape}")
    return np.concatenate([image[..., :3], coverage[..., None]], -1), how
