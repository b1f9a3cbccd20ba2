import torch

from rendering.color import linear_table, linear_to_srgb, srgb_to_linear


def test_srgb_known_values_and_round_trip():
    known = torch.tensor([0.0, 0.04045, 0.5, 0.735357, 1.0])
    expected = torch.tensor([0.0, 0.0031308, 0.2140411, 0.5, 1.0])
    torch.testing.assert_close(srgb_to_linear(known), expected, atol=2e-6, rtol=0)
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, atol=2e-7, rtol=0)
    torch.testing.assert_close(linear_table()[[0, 128, 255]], srgb_to_linear(torch.tensor([0, 128, 255]) / 255))


def test_linear_to_srgb_clips_and_has_a_finite_gradient():
    values = torch.tensor([-0.5, 0.0, 0.001, 0.5, 2.0], requires_grad=True)
    srgb = linear_to_srgb(values)
    torch.testing.assert_close(srgb[[0, 1, 4]].detach(), torch.tensor([0.0, 0.0, 1.0]))
    srgb.sum().backward()
    assert values.grad.isfinite().all()
