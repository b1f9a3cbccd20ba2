"""Contact sheets of a dataset, as a PNG or one self-contained HTML file."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_tool.dataset import ViewDataset, meta_warnings
from mesh_io.find_meshes import Note
from torch_utils.errors import UserError
from torch_utils.files import replacing, write_text

DAMAGED = (200, 60, 50)
BACKGROUND = 235  # light gray, so that both white and black objects stand out


def choose(dataset: ViewDataset, split: str | None, count: int) -> list[str]:
    """`count` ids, spread evenly over a split, or over all splits if it is None."""
    ids = dataset.shape_ids() if split is None else dataset.splits[split]
    if not ids:
        raise UserError(f"{dataset.path}: split {split} has no shapes")
    if len(ids) <= count:
        return ids
    return [ids[round(i * (len(ids) - 1) / max(count - 1, 1))] for i in range(count)]


def thumbnails(dataset: ViewDataset, shape_id: str, views: int, side: int, note: Note) -> list[np.ndarray]:
    """Evenly chosen views of a shape, RGB uint8, at the smallest 1/n of the stored size of at least `side` px.

    A view that cannot be read is a red square. note: called with a line on each.
    """
    factor = max(1, dataset.resolution // side)
    while dataset.resolution % factor:
        factor -= 1
    px = dataset.resolution // factor
    damaged = np.full((px, px, 3), DAMAGED, np.uint8)
    try:
        total = dataset.views(shape_id)
    except UserError as error:
        note(str(error))
        return [damaged]
    images = []
    count = min(views, total)
    for i in range(count):
        view = round(i * (total - 1) / max(count - 1, 1))
        try:
            rgba = dataset.load_premultiplied(shape_id, view, px).astype(np.uint16)
        except UserError as error:
            note(str(error))
            images.append(damaged)
            continue
        image = rgba[..., :3] + (255 - rgba[..., 3:]) * BACKGROUND // 255
        images.append(image.clip(max=255).astype(np.uint8))
    return images


def write_png_contact_sheet(
    dataset: ViewDataset,
    shape_ids: Sequence[str],
    path: Path,
    *,
    views: int,
    side: int,
    columns: int = 1,
    note: Note = lambda line: None,
) -> None:
    """Write a PNG with `columns` shapes per row, each with its views side by side. note: as in `thumbnails`."""
    shapes = [thumbnails(dataset, shape_id, views, side, note) for shape_id in shape_ids]
    rows = [[image for shape in shapes[i : i + columns] for image in shape] for i in range(0, len(shapes), columns)]
    widest = max(len(row) for row in rows)
    blank = np.full_like(rows[0][0], BACKGROUND)
    image = np.concatenate([np.concatenate([*row, *[blank] * (widest - len(row))], 1) for row in rows])
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_html_contact_sheet(
    dataset: ViewDataset,
    shape_ids: Sequence[str],
    path: Path,
    *,
    views: int,
    side: int,
    note: Note = lambda line: None,
) -> None:
    """Write one HTML file with images, ids, splits, captions and warnings. note: as in `thumbnails`."""
    owner = {shape_id: name for name, ids in dataset.splits.items() for shape_id in ids}
    blocks = []
    for shape_id in shape_ids:
        images = "".join(_image_tag(image) for image in thumbnails(dataset, shape_id, views, side, note))
        meta: dict[str, Any] = {}
        if dataset.storage.exists(f"shapes/{shape_id}/meta.json"):
            try:
                meta = dataset.meta(shape_id)
            except UserError as error:
                note(str(error))
        notes = "".join(f"<p class=warn>{html.escape(text)}</p>" for text in meta_warnings(meta))
        caption = html.escape(str(meta.get("caption", "")))
        facts = f"{owner.get(shape_id, 'no split')}" + (f", {meta['faces']} faces" if "faces" in meta else "")
        blocks.append(
            f"<section><h2>{html.escape(shape_id)}</h2><p>{html.escape(facts)}</p><p>{caption}</p>{notes}"
            f"<div>{images}</div></section>"
        )
    counts = ", ".join(f"{name} {len(ids)}" for name, ids in dataset.splits.items())
    title = html.escape(f"{dataset.category}: {dataset.path.name}")
    write_text(
        path,
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1><p>{dataset.resolution} px, {counts}</p>{''.join(blocks)}</html>\n",
    )


def _image_tag(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" width={image.shape[1]} height={image.shape[0]} src="data:image/png;base64,{data}">'


STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;background:#ebebeb;color:#222}"
    "section{border-top:1px solid #bbb;padding:.5em 0}h2{font-size:1em;margin:.2em 0;font-family:monospace}"
    "p{margin:.2em 0}.warn{color:#a03000}img{margin-right:2px}"
)
