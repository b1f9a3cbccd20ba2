import pytest
import torch

from rendering.color import linear_table, linear_to_srgb, psnr_db, srgb_to_linear, straight_alpha


def test_srgb_known_values_and_round_trip():
    known = torch.tensor([0.0, 0.04045, 0.5, 0.735357, 1.0])
    expected = torch.tensor([0.0, 0.0031308, 0.2140411, 0.5, 1.0])
    torch.testing.assert_close(srgb_to_linear(known), expected, atol=2e-6, rtol=0)
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, atol=2e-7, rtol=0)
    torch.testing.assert_close(linear_table()[[0, 128, 255]], srgb_to_linear(torch.tensor([0, 128, 255]) / 255))


def test_straight_alpha_divides_by_the_coverage_and_shows_nothing_where_there_is_none():
    mask = torch.tensor([0.0, 0.001, 0.4, 1.0]).view(1, 1, 1, 4)
    color = torch.tensor([0.2, 0.6, 1.0]).view(1, 3, 1, 1)
    shown = straight_alpha(color * mask, mask)
    assert shown.dtype == torch.uint8 and shown.shape == (1, 1, 4, 4)
    assert shown[0, 0].tolist() == [[0] * 4, [0] * 4, [51, 153, 255, 102], [51, 153, 255, 255]]


def test_linear_to_srgb_clips_and_has_a_finite_gradient():
    values = torch.tensor([-0.5, 0.0, 0.001, 0.5, 2.0], requires_grad=True)
    srgb = linear_to_srgb(values)
    torch.testing.assert_close(srgb[[0, 1, 4]].detach(), torch.tensor([0.0, 0.0, 1.0]))
    srgb.sum().backward()
    assert values.grad.isfinite().all()


def test_psnr_counts_from_one_and_ends_at_120_db():
    assert psnr_db(torch.tensor(0.01)) == pytest.approx(20)
    assert psnr_db(1.0) == 0
    assert psnr_db(0.0) == 120
