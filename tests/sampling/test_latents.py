import pytest
import torch

from sampling.latents import latents, parse_seeds, spherical_path
from torch_utils.errors import UserError


def test_seeds_are_numbers_and_inclusive_ranges() -> None:
    assert parse_seeds("0-3,7, 5-5") == [0, 1, 2, 3, 7, 5]


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "1.5", "0-99999999", "9" * 5000, "²", "٣"])
def test_bad_seeds_are_one_clear_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^--seeds ") as error:
        parse_seeds(text)
    assert "\n" not in str(error.value)


def test_a_seed_gives_the_same_latent_in_any_company() -> None:
    geo, tex = latents([3, 4, 5], 8)
    alone_geo, alone_tex = latents([4], 8)
    assert torch.equal(geo[1], alone_geo[0])
    assert torch.equal(tex[1], alone_tex[0])
    assert not torch.equal(geo, tex)


def test_spherical_path_keeps_ends_and_norms() -> None:
    start, end = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)).unbind()
    path = spherical_path(start, end, 5)
    torch.testing.assert_close(path[0], start)
    torch.testing.assert_close(path[-1], end)
    norms = path.norm(dim=1)
    torch.testing.assert_close(norms[2], (start.norm() + end.norm()) / 2)
    angles = torch.arccos(torch.cosine_similarity(path[1:], path[:-1]))
    torch.testing.assert_close(angles, angles[:1].expand(4), rtol=1e-4, atol=1e-4)


def test_spherical_path_between_equal_latents_stays() -> None:
    point = torch.ones(4)
    torch.testing.assert_close(spherical_path(point, point, 3), point.expand(3, 4))
