"""Images of samples: unlit on black as the generator renders them; otherwise lit, or at least on light gray."""

import numpy as np
import pytest

from networks.generator import Generator
from rendering.camera import Cameras, orbit_cameras
from rendering.images import BLACK_BACKGROUND, LIGHT_BACKGROUND, to_uint8
from sampling.style_images import preview_shading, render_styles
from sampling.styles import styles_of_seeds
from tests.training import tiny


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny.rough_generator(cells=14).eval().requires_grad_(False)


def test_unlit_images_on_black_are_bitwise_those_of_the_generator(generator: Generator) -> None:
    w_geo, w_tex = styles_of_seeds(generator, [0, 1], 1.0)
    cameras = orbit_cameras([20.0, 160.0])
    shown = render_styles(generator, w_geo, w_tex, cameras, 48, shading="albedo", background=BLACK_BACKGROUND)
    rendered = generator.render(w_geo, w_tex, Cameras.cat([cameras, cameras]), resolution=48)
    assert (shown.reshape(4, 48, 48, 3) == to_uint8(rendered.rgb)).all()
    assert (shown[0, 0] != shown[0, 1]).any()


def test_colors_that_include_light_are_not_lit_again(generator: Generator) -> None:
    w_geo, w_tex = styles_of_seeds(generator, [0], 1.0)
    cameras = orbit_cameras([20.0])
    black, light = (
        render_styles(generator, w_geo, w_tex, cameras, 48, shading=preview_shading("soft"), background=background)
        for background in (BLACK_BACKGROUND, LIGHT_BACKGROUND)
    )
    corner = np.round(np.array(LIGHT_BACKGROUND) * 255)
    assert (light[0, 0, 0, 0] == corner).all()
    assert (light[0, 0, 24, 24] == black[0, 0, 24, 24]).all(), "the surface is the same on either background"
    lit = render_styles(generator, w_geo, w_tex, cameras, 48)
    assert (lit[0, 0, 24, 24] != light[0, 0, 24, 24]).any()


@pytest.mark.parametrize(("trained_on", "shown"), [(None, "soft"), ("albedo", "soft"), ("soft", "albedo")])
def test_only_base_colors_are_lit(trained_on: str | None, shown: str) -> None:
    assert preview_shading(trained_on) == shown
