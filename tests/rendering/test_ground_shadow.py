import math

import torch

from rendering.camera import Cameras
from rendering.ground_shadow import ground_shadow
from tests.rendering.scenes import sphere

FOV = math.radians(50)


def looking_down(elevation_deg: float) -> Cameras:
    return Cameras.orbit(torch.zeros(1), torch.tensor([math.radians(elevation_deg)]), 1.5, FOV)


def test_shadow_is_darkest_under_the_shape_and_fades_to_nothing() -> None:
    shadow = ground_shadow(sphere(0.2, 24), looking_down(89.9), 65)[0, 0]
    # Seen from above, the contact point of a ball lies in the middle.
    middle = shadow[32]
    assert middle[32] > 0.5
    assert middle[32] == shadow.max()
    assert middle[0] == 0 and middle[-1] == 0
    right, left = middle[33:], middle[:32].flip(0)
    torch.testing.assert_close(right, left, atol=0.02, rtol=0)
    assert (right.diff() <= 1e-3).all(), "it fades outward"


def test_shadow_lies_below_the_shape_in_the_image() -> None:
    shadow = ground_shadow(sphere(0.2, 24), looking_down(20), 64)[0, 0]
    rows = torch.arange(64) - 31.5
    assert (shadow.sum(1) * rows).sum() / shadow.sum() > 5


def test_a_camera_from_below_sees_no_shadow() -> None:
    assert not ground_shadow(sphere(0.2), looking_down(-80), 32).any()


def test_what_hangs_higher_casts_a_fainter_shadow() -> None:
    ball, plate = sphere(0.05, 24), sphere(0.2, 24)

    def under(height: float) -> float:
        hung = plate.replace(vertices=plate.vertices * torch.tensor([1, 0.05, 1]) + torch.tensor([0, height, 0]))
        shift = ball.vertices + torch.tensor([-0.5, 0.0, 0.0])
        both = hung.replace(
            vertices=torch.cat([shift, hung.vertices]),
            faces=torch.cat([ball.faces, hung.faces + len(ball.vertices)]),
            vertex_offsets=torch.tensor([0, len(shift) + len(hung.vertices)]),
            face_offsets=torch.tensor([0, len(ball.faces) + len(hung.faces)]),
        )
        return float(ground_shadow(both, looking_down(89.9), 65)[0, 0, 32, 32])

    assert under(0.0) > under(0.2) > under(0.6) > 0
