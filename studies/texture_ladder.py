"""How well a known texture is fitted by its texels and by a deep image prior: the first rung of texture synthesis.

    python -m studies.texture_ladder --size 512 --steps 2000 --width 128 --out out/ladder

The loss is the squared difference of sRGB values. Reported is the PSNR of the texture, in dB; `ladder.png` shows the
truth and the two fits.
"""

import math
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset_tool.procedural import textures as tx
from rendering.color import psnr_db
from rendering.images import save_png
from training.mesh_texture.parameterizations import DeepImagePrior, PlainMaps


def known_texture(side: int) -> Tensor:
    """Three patches of procedural cloth, wood and stone beside a smooth gradient [side, side, 3], sRGB."""
    half = side // 2
    line = np.linspace(0, 255, half)
    smooth = np.stack(np.broadcast_arrays(line[:, None], line[None], 255 - line[:, None]), -1).astype(np.uint8)
    patches = [
        tx.checked(tx.cloth_field("plain", 0), (40, 70, 140), (230, 220, 200), "tartan"),
        tx.shade(tx.wood_field(1), (70, 44, 28), (190, 140, 90)),
        tx.shade(tx.marble_field(2), (80, 80, 84), (236, 234, 228)),
    ]
    scaled = [np.asarray(Image.fromarray(patch).resize((half, half), Image.Resampling.LANCZOS)) for patch in patches]
    rows = [np.concatenate([scaled[0], scaled[1]], 1), np.concatenate([scaled[2], smooth], 1)]
    return torch.from_numpy(np.concatenate(rows).astype(np.float32) / 255)


def fit_image(
    model: PlainMaps | DeepImagePrior, truth: Tensor, steps: int, report: Callable[[int, float], None]
) -> Tensor:
    """The texture [S, S, 3] that the model gives after a number of steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), model.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, model.learning_rate / 50)
    every = 2 ** max(0, math.ceil(math.log2(steps / 8)))
    for step in range(steps):
        image = model()[0]
        loss = (image - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % every == 0:
            report(step + 1, psnr_db((image.detach() - truth).square().mean()))
    with torch.no_grad():
        return model()[0]


@click.command()
@click.option("--size", default=512, show_default=True)
@click.option("--steps", default=2000, show_default=True)
@click.option("--width", default=128, show_default=True, help="Channels of the deep image prior.")
@click.option("--threads", default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(size: int, steps: int, width: int, threads: int, out: Path) -> None:
    """Print the PSNR of both parameterizations as they learn."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    truth = known_texture(size)
    models: dict[str, PlainMaps | DeepImagePrior] = {
        "RGB parameters": PlainMaps([torch.full_like(truth, 0.5)]),
        "deep image prior": DeepImagePrior(3, 1, size, width=width),
    }
    shown = [truth]
    for name, model in models.items():

        def report(step: int, value: float, name: str = name) -> None:
            print(f"{name:18} step {step:5}  {value:5.2f} dB", flush=True)

        shown.append(fit_image(model, truth, steps, report))
        print(f"{name:18} {psnr_db((shown[-1] - truth).square().mean()):.2f} dB", flush=True)
    save_png(out / "ladder.png", (torch.cat(shown, 1).clamp(0, 1) * 255).round().byte().numpy())


if __name__ == "__main__":
    main()
