from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rendering.images import grid, orbit_cameras, save_png, to_uint8


def test_grid_places_images_row_by_row() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    sheet = grid(images, columns=3, gap_px=1)
    assert sheet.shape == (5, 11, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[0, 4, 0] == 1
    assert sheet[3, 0, 0] == 3
    assert sheet[3, 9, 0] == 255


def test_to_uint8_covers_the_range() -> None:
    image = torch.tensor([-1.0, 0.0, 1.0, 2.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_uint8(image)[0, :, :, 0].tolist() == [[0, 128], [255, 255]]


def test_save_png_leaves_one_file(tmp_path: Path) -> None:
    save_png(tmp_path / "a" / "b.png", np.zeros((2, 2, 3), np.uint8))
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
    with Image.open(tmp_path / "a" / "b.png") as image:
        assert image.size == (2, 2)


def test_orbit_cameras_see_front_at_azimuth_zero() -> None:
    position = orbit_cameras([0], elevation_deg=0).position()
    torch.testing.assert_close(position, torch.tensor([[0.0, 0.0, 1.2]]), atol=1e-6, rtol=0)
