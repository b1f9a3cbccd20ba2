"""What other renderers are compared with: the image of the latents, against our own render of the exported file."""

from pathlib import Path

import numpy as np
import torch

from mesh_io.read import read_mesh
from rendering.camera import Cameras
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from sampling.trained_generator import load
from studies.renderer_agreement import MIN_IOU, MIN_PSNR
from studies.sample_agreement import compared, our_images


def test_the_exported_file_looks_like_the_latents_and_another_sample_does_not(tmp_path: Path) -> None:
    samples = load("chair-64").sample([3, 4])
    files = samples.export(tmp_path, pivot="source")
    cameras = Cameras.orbit(torch.tensor([0.6]), torch.tensor([0.35]), 2.6, 0.42)
    ours = [our_images(sample, cameras, 192) for sample in samples]
    bare = [images[1] for images in ours]
    drawn = [render_views(build_scene(read_mesh(path)), cameras, 192, supersample=4).images for path in files]
    names = [path.stem for path in files]
    assert compared("own", names, bare, iter(drawn), tmp_path)
    assert not compared("swapped", names, bare, iter(drawn[::-1]), tmp_path)
    assert (MIN_IOU, MIN_PSNR) == (0.98, 28.0)
    lit = [images[0] for images in ours]
    assert all(
        np.array_equal(a[..., 3], b[..., 3]) and not np.array_equal(a, b) for a, b in zip(lit, bare, strict=True)
    )
