"""The Python blocks of docs/guidance.md run, in their order, with tiny priors and fewer steps."""

import math
from pathlib import Path

import torch

from tests.metrics.model_folders import write_clip
from tests.tetragan.test_python_api import python_blocks

DOCUMENT = Path(__file__).parents[2] / "docs/guidance.md"


def test_the_blocks_run(tmp_path, monkeypatch, prior_folder, no_network) -> None:
    (tmp_path / "priors").mkdir()
    (tmp_path / "priors/my-prior").symlink_to(prior_folder("pixel_unet"))
    write_clip(tmp_path / "priors/my-clip")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images, source_images, photos = torch.rand(3, 2, 3, 8, 8) * 2 - 1
    images.requires_grad_()
    names: dict[str, object] = {"images": images, "source_images": source_images, "photos": photos}
    names |= {"azimuth_rad": torch.tensor([0.1, math.pi]), "elevation_rad": torch.tensor([0.2, 1.4])}
    blocks = python_blocks(DOCUMENT.read_text(encoding="utf-8"))
    assert len(blocks) == 4
    for block in blocks:
        short = block.replace("steps=400", "steps=2").replace("steps=100", "steps=2")
        exec(compile(short, str(DOCUMENT), "exec"), names)
    assert isinstance(names["gradient"], torch.Tensor) and names["gradient"].abs().max() > 0
    assert images.grad is not None and images.grad.abs().max() > 0
    assert len(list((tmp_path / "cache").iterdir())) == 4
