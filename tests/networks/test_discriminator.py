"""The discriminators: conditioning, R1, groups, sizes, errors."""

import pytest
import torch
from click import UsageError

from networks.discriminator import (
    GROUP_WIDTH,
    BottleneckBlock,
    Discriminator,
    camera_condition,
    discriminator_input,
    discriminator_names,
)
from networks.layers import minibatch_stddev
from rendering.camera import Cameras
from tests.networks.helpers import cameras, tiny_config


def make(channels: int = 3, **sections) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(tiny_config(**sections), channels)


def random_images(count: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"from_rgb_stride": 2},
        {"conditioning": False},
        {"crop_conditioning": True},
        {"block": "strided"},
        {"block": "bottleneck"},
    ],
)
@pytest.mark.parametrize("channels", [3, 1, 4])
def test_every_parameter_gets_a_gradient(channels: int, options: dict) -> None:
    discriminator = make(channels, discriminator=options)
    crops = torch.tensor([[-1.0, 0.2, 0.3]]).repeat(4, 1) if options.get("crop_conditioning") else None
    logits = discriminator(random_images(4, channels), cameras(4), crops=crops)
    assert logits.shape == (4,)
    (logits * torch.tensor([1.0, -2.0, 0.5, 3.0])).sum().backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("block", ["residual", "strided", "bottleneck"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_r1_reaches_every_weight_through_the_second_derivative(precision: str, block: str) -> None:
    discriminator = make(training={"precision": precision}, discriminator={"block": block})
    images = random_images(4).requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images, cameras(4)).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    for name, parameter in discriminator.named_parameters():
        if name.endswith("weight"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
            assert parameter.grad.isfinite().all(), name


def test_r1_is_the_numerical_derivative() -> None:
    discriminator = make().double()
    images, seen = random_images(2).double().requires_grad_(), cameras(2)
    weight = discriminator.blocks[0].first.weight

    def penalty() -> torch.Tensor:
        (gradient,) = torch.autograd.grad(_double_logits(discriminator, images, seen).sum(), images, create_graph=True)
        return gradient.square().sum()

    (analytic,) = torch.autograd.grad(penalty(), weight)
    step = 1e-5
    with torch.no_grad():
        weight[0, 0, 0, 0] += step
    above = penalty().item()
    with torch.no_grad():
        weight[0, 0, 0, 0] -= 2 * step
    below = penalty().item()
    assert (above - below) / (2 * step) == pytest.approx(analytic[0, 0, 0, 0].item(), rel=1e-4, abs=1e-9)


def _double_logits(discriminator: Discriminator, images: torch.Tensor, seen: Cameras) -> torch.Tensor:
    """The convolutions in double, for finite differences (`forward` takes fp32 or bf16)."""
    x = discriminator.blocks(discriminator.entry(images.contiguous(memory_format=torch.channels_last)))
    features = discriminator.fully_connected(discriminator.convolution(torch.cat([x, x[:, :1] * 0], 1)).flatten(1))
    direction = discriminator.mapping(None, camera_condition(seen).double())
    return (discriminator.output(features) * direction).sum(1)


def test_the_camera_and_the_label_matter() -> None:
    discriminator = make(classes=2)
    images, seen = random_images(4), cameras(4)
    labels = torch.tensor([0, 1, 0, 1])
    logits = discriminator(images, seen, labels)
    assert not torch.allclose(logits, discriminator(images, cameras(4, seed=3), labels))
    assert not torch.allclose(logits, discriminator(images, seen, 1 - labels))
    with pytest.raises(ValueError, match=r"Discriminator\(\): expected labels of 2 classes, got none"):
        discriminator(images, seen)


def test_the_place_of_a_crop_matters() -> None:
    discriminator = make(discriminator={"crop_conditioning": True, "conditioning": False})
    images, seen = random_images(4), cameras(4)
    whole = discriminator(images, seen)
    assert torch.equal(whole, discriminator(images, seen, crops=torch.zeros(4, 3)))
    for column in range(3):
        crops = torch.zeros(4, 3)
        crops[:, column] = -1
        assert not torch.allclose(whole, discriminator(images, seen, crops=crops))


def test_classes_alone_are_projected() -> None:
    discriminator = make(classes=2, discriminator={"conditioning": False})
    images, labels = random_images(4), torch.tensor([0, 1, 0, 1])
    logits = discriminator(images, cameras(4), labels)
    assert torch.equal(logits, discriminator(images, cameras(4, seed=3), labels)), "cameras have no say"
    assert not torch.allclose(logits, discriminator(images, cameras(4), 1 - labels))


def test_bottlenecks_keep_the_variance_and_group_their_channels() -> None:
    torch.manual_seed(0)
    block = BottleneckBlock(32, 48)
    assert block.bottlenecks[0].grouped.weight.shape == (64, GROUP_WIDTH, 3, 3), "64 channels in groups of 16"
    x = torch.randn(4, 32, 16, 16)
    assert block.bottlenecks(x).std().item() == pytest.approx(1, abs=0.25)
    assert block(x).shape == (4, 48, 8, 8)
    # A group's output depends on its own channels alone.
    grouped = block.bottlenecks[0].grouped
    inner = torch.randn(1, 64, 4, 4)
    changed = inner.clone()
    changed[:, :GROUP_WIDTH] += 1
    same = (grouped(changed) == grouped(inner)).all(3).all(2)[0]
    assert same[GROUP_WIDTH:].all() and not same[:GROUP_WIDTH].any()


def test_a_single_discriminator_sees_both() -> None:
    assert discriminator_names(tiny_config()) == ("rgb", "mask")
    config = tiny_config(discriminator={"single": True})
    assert discriminator_names(config) == ("rgba",)
    rgb, mask = torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16)
    both = discriminator_input("rgba", rgb, mask)
    assert torch.equal(both[:, :3], discriminator_input("rgb", rgb, mask)) and torch.equal(both[:, 3:], mask)
    discriminator = Discriminator(config, 4)
    seen = cameras(2)
    logits = discriminator(both, seen)
    assert not torch.allclose(logits, discriminator(torch.cat([rgb, 1 - mask], 1), seen))
    assert not torch.allclose(logits, discriminator(torch.cat([-rgb, mask], 1), seen))
    with pytest.raises(UsageError, match="a single discriminator sees masks as they are; expected 1, got 2"):
        tiny_config(discriminator={"single": True, "mask_downsample": 2})


def test_camera_condition_is_sines_and_cosines() -> None:
    azimuth, elevation = torch.tensor([0.3, -2.0]), torch.tensor([0.1, 0.5])
    condition = camera_condition(Cameras.orbit(azimuth, elevation, 1.3, 0.8))
    expected = torch.stack([azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()], 1)
    assert torch.allclose(condition, expected, atol=1e-6)


def test_stddev_groups_are_contiguous_samples() -> None:
    x = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    channel = minibatch_stddev(x, 4)[:, 3]
    for group in (slice(0, 4), slice(4, 6)):
        expected = (x[group].var(0, unbiased=False) + 1e-8).sqrt().mean()
        assert torch.allclose(channel[group], expected.expand_as(channel[group]))
    # So two groups of four in one pass are two passes.
    discriminator = make()
    images, seen = random_images(8), cameras(8)
    halves = torch.cat([discriminator(images[:4], seen[:4]), discriminator(images[4:], seen[4:])])
    assert torch.allclose(discriminator(images, seen), halves, atol=1e-5)


def test_a_reduced_mask_is_averaged() -> None:
    discriminator = make(1, discriminator={"mask_downsample": 2})
    mask, seen = torch.rand(4, 1, 8, 8), cameras(4)
    fine = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    checkered = fine.clone()
    checkered[:, :, ::2] += 0.1
    checkered[:, :, 1::2] -= 0.1
    assert torch.allclose(discriminator(fine, seen), discriminator(checkered, seen), atol=1e-5)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Discriminator\(\): expected images \[B, \(3, 16, 16\)\], got \(2, 3, 8, 8\)"
    ):
        make()(torch.zeros(2, 3, 8, 8), cameras(2))


@pytest.mark.parametrize(("channels", "background"), [(3, -1.0), (1, 0.0), (4, (-1.0, -1.0, -1.0, 0.0))])
def test_the_background_enters_as_zero(channels, background):
    discriminator = make(channels)
    seen = []
    discriminator.entry.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    size = discriminator.resolution
    image = torch.tensor(background).view(1, -1, 1, 1).expand(4, channels, size, size)
    discriminator(image, cameras(4))
    assert not seen[0].any()
