from pathlib import Path

import numpy as np
import torch
from PIL import Image

from geometry.mesh import Mesh
from geometry.normals import vertex_normals
from rendering.camera import orbit_cameras
from rendering.images import (
    BLACK_BACKGROUND,
    LIGHT_BACKGROUND,
    ColorsAt,
    image_grid,
    preview_images,
    save_png,
    show_views,
    to_uint8,
    vertex_sky_visibility,
)
from tests.rendering.scenes import sphere


def test_grid_places_images_row_by_row() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    sheet = image_grid(images, columns=3, gap_px=1)
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


def painted(color: tuple[float, float, float]) -> ColorsAt:
    return lambda points, _offsets: points.new_tensor(color).expand(len(points), 3)


def test_unlit_on_black_shows_the_colors_themselves() -> None:
    color, cameras = painted((0.2, 0.4, 0.8)), orbit_cameras([35])
    image = preview_images(sphere(0.35, 24), color, cameras, 32, shading="albedo", background=BLACK_BACKGROUND)[0]
    assert image[16, 16].tolist() == [51, 102, 204]
    assert image[0, 0].tolist() == [0, 0, 0]


def luma_on_a_ball(color: tuple[float, float, float]) -> tuple[float, np.ndarray]:
    """Brightness, 0–255, of the background, and of a ball of one color [P], its silhouette left out."""
    image = preview_images(sphere(0.35, 24), painted(color), orbit_cameras([35]), 64)[0].astype(float)
    luma = image @ np.array([0.2126, 0.7152, 0.0722])
    y, x = np.mgrid[:64, :64] - 31.5
    return float(luma[0, 0]), luma[np.hypot(x, y) < 18]


def test_a_dark_shape_stands_out_and_shows_its_form() -> None:
    background, ball = luma_on_a_ball((0.18, 0.17, 0.17))
    assert background > 235
    assert background - ball.max() > 120
    assert ball.min() > 35, "no black"
    assert ball.max() - ball.min() > 18, "the form is visible"


def test_a_white_shape_is_not_blown_out() -> None:
    _, ball = luma_on_a_ball((1.0, 1.0, 1.0))
    assert ball.max() < 250
    assert ball.max() - ball.min() > 30


def test_corners_are_darker_than_open_surfaces() -> None:
    ball = sphere(0.2, 24)
    shift = ball.vertices.new_tensor([0.21, 0, 0])
    pair = Mesh.single(
        torch.cat([ball.vertices - shift, ball.vertices + shift]),
        torch.cat([ball.faces, ball.faces + len(ball.vertices)]),
    )
    share = vertex_sky_visibility(pair, vertex_normals(pair))[:, 0]
    x = pair.vertices[:, 0]
    assert share[x.abs() < 0.03].mean() < 0.5
    assert share[x.abs() > 0.39].mean() > 0.9


def test_real_views_lie_on_the_same_background() -> None:
    view = torch.full((1, 4, 2, 2), -1.0)
    view[:, 3] = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    image = show_views(view)[0]
    assert image[0, 0].tolist() == [round(value * 255) for value in LIGHT_BACKGROUND]
    assert image[0, 1].tolist() == [0, 0, 0]
    assert image[1, 0, 0] == round(LIGHT_BACKGROUND[0] * 127.5)


def test_materials_are_shown_in_the_room_of_previews():
    """A metal reflects the room, so it is not the dielectric of the same color; colors alone look as before."""
    mesh = sphere(0.35, 24)
    surfaces = {"color": [0.6, 0.5, 0.4], "dielectric": [0.6, 0.5, 0.4, 0.0, 0.5], "metal": [0.6, 0.5, 0.4, 1.0, 0.1]}
    cameras = orbit_cameras([20.0])
    seen = {}
    for name, values in surfaces.items():
        field: ColorsAt = lambda points, _, v=values: torch.tensor(v).expand(len(points), -1)  # noqa: E731
        seen[name] = preview_images(mesh, field, cameras, 48)[0].astype(int)
    middle = {name: image[14:34, 14:34] for name, image in seen.items()}
    assert np.abs(middle["metal"] - middle["dielectric"]).mean() > 5
    assert middle["metal"].std() > 1.5 * middle["dielectric"].std(), "highlights and dark reflections"
    assert np.abs(middle["color"] - middle["dielectric"]).mean() < 40
