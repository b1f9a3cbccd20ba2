"""Panels of a density: its shade, arrows of a score, points of samples."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from guidance.score_matching import GaussianMixture

SIDE, TITLE, SCALE = 240, 22, 2  # px of a panel, of its title; supersampling
INK, ARROW, POINT, TRUTH = "#222222", "#d55e00", "#0072b2", "#b0b0b0"
ARROWS = 15


def _pixels(x: Tensor, extent: float) -> np.ndarray:
    """Positions on the panel at SCALE; y points up."""
    scaled = (x.double() / extent * torch.tensor([1.0, -1.0]) + 1) / 2 * SIDE * SCALE
    return (scaled + torch.tensor([0.0, TITLE * SCALE])).numpy()


def blank(title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE * SCALE, (SIDE + TITLE) * SCALE), "white")
    draw = ImageDraw.Draw(image)
    draw.text((6 * SCALE, TITLE * SCALE / 2), title, INK, ImageFont.load_default(13 * SCALE), anchor="lm")
    return image, draw


def field_panel(title: str, score: Callable[[Tensor], Tensor], density: GaussianMixture, extent: float) -> Image.Image:
    """Arrows of a score over the density's shade. All arrows are drawn by direction; their length grows slowly."""
    image, draw = blank(title)
    side = SIDE * SCALE
    axis = (torch.arange(side) + 0.5) / side * 2 * extent - extent
    rows, columns = torch.meshgrid(-axis, axis, indexing="ij")
    shade = density.log_density(torch.stack([columns, rows], -1).reshape(-1, 2)).exp().reshape(side, side)
    gray = (255 - 150 * (shade / shade.max()).sqrt()).numpy().astype(np.uint8)
    image.paste(Image.fromarray(gray).convert("RGB"), (0, TITLE * SCALE))
    centers = (torch.arange(ARROWS) + 0.5) / ARROWS * 2 * extent - extent
    starts = torch.cartesian_prod(centers, centers)
    with torch.no_grad():
        values = score(starts)
    length = values.norm(dim=1, keepdim=True)
    reach = 0.9 * extent / ARROWS * 2 * length / (length + length.median())
    for first, last in zip(
        _pixels(starts, extent), _pixels(starts + reach * values / length.clamp_min(1e-9), extent), strict=True
    ):
        _arrow(draw, first, last)
    return finished(image)


def _arrow(draw: ImageDraw.ImageDraw, first: np.ndarray, last: np.ndarray) -> None:
    draw.line([tuple(first), tuple(last)], fill=ARROW, width=SCALE)
    back, turn = (first - last) * 0.35, np.array([[0.86, -0.5], [0.5, 0.86]])
    for side in (turn @ back, turn.T @ back):
        draw.line([tuple(last), tuple(last + side)], fill=ARROW, width=SCALE)


def points_panel(title: str, samples: Tensor, truth: Tensor, extent: float) -> Image.Image:
    """Samples over samples of the density itself (gray)."""
    image, draw = blank(title)
    draw.rectangle([0, TITLE * SCALE, SIDE * SCALE - 1, (SIDE + TITLE) * SCALE - 1], outline="#dddddd")
    for points, color in ((truth, TRUTH), (samples, POINT)):
        for x, y in _pixels(points, extent):
            if 0 <= x < SIDE * SCALE and TITLE * SCALE <= y < (SIDE + TITLE) * SCALE:
                draw.ellipse([x - SCALE, y - SCALE, x + SCALE, y + SCALE], fill=color)
    return finished(image)


def finished(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE + TITLE), Image.Resampling.BOX)


def row(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels side by side."""
    gap = 8
    page = Image.new("RGB", ((SIDE + gap) * len(panels) - gap, SIDE + TITLE), "white")
    for i, panel in enumerate(panels):
        page.paste(panel, (i * (SIDE + gap), 0))
    return page
