"""Two image grids side by side, each with a caption.

python -m benchmarks.demo.side_by_side A.png B.png --run RUN --out FILE
"""

import json
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rendering.images import save_png
from torch_utils.errors import UserError

GAP_PX = 24
LINE_PX = 36
PAPER, INK = (255, 255, 255), (20, 20, 20)


def side_by_side(images: list[tuple[str, Image.Image]]) -> np.ndarray:
    """One row [H, W, 3] uint8 of (caption, image), scaled to the height of the smallest, captions above."""
    height = min(image.height for _, image in images)
    scaled = [
        (caption, image.convert("RGB").resize((round(image.width * height / image.height), height)))
        for caption, image in images
    ]
    width = sum(image.width for _, image in scaled) + GAP_PX * (len(scaled) - 1)
    page = Image.new("RGB", (width, LINE_PX + height), PAPER)
    draw, left = ImageDraw.Draw(page), 0
    for caption, image in scaled:
        draw.text((left + 4, LINE_PX // 2), caption, INK, ImageFont.load_default(18), anchor="lm")
        page.paste(image, (left, LINE_PX))
        left += image.width + GAP_PX
    return np.asarray(page)


def trained_in(run: Path) -> str:
    """The caption "trained here: 30 kimg in 7 min", from a run's stats.jsonl."""
    log = run / "stats.jsonl"
    try:
        last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        return f"trained here: {last['nimg'] / 1000:g} kimg in {max(1, round(last['seconds'] / 60))} min"
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise UserError(f"{log}: cannot be read as a training log ({error}); expected the folder of a run") from None


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path).convert("RGB")
    except OSError as error:
        raise UserError(f"{path}: cannot be read as an image ({error})") from None


@click.command()
@click.argument("here", type=click.Path(path_type=Path))
@click.argument("included", type=click.Path(path_type=Path))
@click.option("--run", required=True, type=click.Path(path_type=Path), help="The training run that made HERE.")
@click.option("--name", default="chair-64", show_default=True, help="The network that made INCLUDED.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="PNG to write.")
def main(here: Path, included: Path, run: Path, name: str, out: Path) -> None:
    """Place the image grid of a network trained here next to that of an included network."""
    try:
        pages = [(trained_in(run), _open(here)), (f"included: {name}", _open(included))]
        save_png(out, side_by_side(pages))
    except UserError as error:
        raise click.UsageError(str(error)) from None


if __name__ == "__main__":
    main()
