"""Losses, averages and optimizers against their equations."""

import math

import pytest
import torch
from torch import nn

from networks.discriminator import Discriminator
from tests.training import tiny
from torch_utils.distributed import Ranks
from training.ema import ema_beta, update_average
from training.losses import (
    OBJECTIVES,
    discriminator_loss,
    gamma_factor,
    generator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    r1_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    squared_gradient_norms,
)
from training.optimizer import AdamSettings, GuardedAdam, NonFiniteError, SkipGuard


def test_adversarial_losses_and_their_gradients():
    real, fake = torch.randn(6, dtype=torch.double), torch.randn(6, dtype=torch.double).requires_grad_()
    assert generator_loss(fake).item() == pytest.approx((-torch.sigmoid(fake).log()).mean().item())
    expected = -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(fake)).log().mean()
    assert discriminator_loss(real, fake).item() == pytest.approx(expected.item())
    generator_loss(fake).backward()
    assert torch.allclose(fake.grad, -torch.sigmoid(-fake.detach()) / 6)
    assert torch.autograd.gradcheck(lambda r, f: discriminator_loss(r, f), (real.requires_grad_(), fake))


def test_losses_are_finite_for_extreme_logits():
    extreme = torch.tensor([-1e4, 1e4]).requires_grad_()
    loss = generator_loss(extreme) + discriminator_loss(extreme, extreme)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(extreme.grad).all()


@pytest.fixture(scope="module")
def heads():
    """Both discriminators, in double, with images of four samples."""
    torch.manual_seed(0)
    settings = tiny.config()
    bank = tiny.data(settings).bank
    images, cameras = bank.batch(range(4))
    modules = [Discriminator(settings, 3), Discriminator(settings, 1)]
    return modules, [images[:, :3].clone(), images[:, 3:].clone()], cameras


def test_r1_equals_the_penalty_of_each_sample_alone(heads):
    """Against one call of autograd per sample."""
    modules, images, cameras = heads
    images = [image.clone().requires_grad_() for image in images]
    logits = [module(image, cameras) for module, image in zip(modules, images, strict=True)]
    norms = squared_gradient_norms(logits, images)
    for module, image, norm in zip(modules, images, norms, strict=True):
        for sample in range(4):
            again = image.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(module(again, cameras).sum(), again)
            assert norm[sample].item() == pytest.approx(gradient[sample].square().sum().item(), rel=1e-4)
    assert r1_loss(norms[0], 3.0, 16).item() == pytest.approx(3.0 / 2 * 16 * norms[0].mean().item())


def test_r1_gradient_by_finite_differences(heads):
    """Along the last layer's weights the penalty is a parabola, so a central difference of any size is exact."""
    (module, _), (image, _), cameras = heads
    weight = module.output.weight

    def penalty() -> torch.Tensor:
        again = image.clone().requires_grad_()
        return squared_gradient_norms([module(again, cameras)], [again])[0].mean()

    def penalty_at(distance: float) -> float:
        weight.data += distance * direction
        value = penalty().item()
        weight.data -= distance * direction
        return value

    (gradient,) = torch.autograd.grad(penalty(), weight)
    direction = gradient / gradient.norm()
    assert penalty_at(0.5) - penalty_at(-0.5) == pytest.approx(gradient.norm().item(), rel=1e-3)


def test_ema_beta_is_the_half_life():
    assert ema_beta(10**9, 16, 2.0, 0.05) ** (2000 / 16) == pytest.approx(0.5)
    # At 8 kimg a ramp of 0.05 allows a half-life of 400 images.
    assert ema_beta(8000, 16, 10.0, 0.05) ** (400 / 16) == pytest.approx(0.5)
    assert ema_beta(8000, 16, 10.0, 0.0) ** (10000 / 16) == pytest.approx(0.5)
    assert ema_beta(0, 16, 10.0, 0.05) == pytest.approx(0.0, abs=1e-30)


def test_update_average_is_the_equation():
    torch.manual_seed(0)
    average, live = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    for parameter in (*average.parameters(), *live.parameters()):
        nn.init.normal_(parameter)
    live.running_mean.fill_(3.0)
    for module, value in ((average, 1.0), (live, 2.0)):
        module.register_buffer("constant", torch.tensor(value), persistent=False)
    expected = [0.7 * a + 0.3 * b for a, b in zip(average.parameters(), live.parameters(), strict=True)]
    update_average(average, live, 0.7)
    for parameter, value in zip(average.parameters(), expected, strict=True):
        assert torch.allclose(parameter, value)
    assert torch.equal(average.running_mean, live.running_mean)
    assert average.constant == 1, "what is not saved is a constant: nothing to copy"


def test_lazy_regularization_keeps_the_decay_per_minibatch():
    lazy = AdamSettings(0.004, 0.5, 0.99).lazily_regularized(16)
    assert lazy.lr * 17 / 16 == pytest.approx(0.004)
    assert lazy.beta2 ** (17 / 16) == pytest.approx(0.99) and lazy.beta1 ** (17 / 16) == pytest.approx(0.5)


def test_adam_equals_torch_adam_and_skips_non_finite_gradients():
    torch.manual_seed(0)
    mine, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(mine.state_dict())
    guarded = GuardedAdam("generator", dict(mine.named_parameters()), AdamSettings(0.1, 0.0, 0.99), Ranks())
    plain = torch.optim.Adam(theirs.parameters(), 0.1, (0.0, 0.99), foreach=False, fused=False)
    for number in range(5):
        gradients = [torch.randn_like(p) for p in mine.parameters()]
        for network in (mine, theirs):
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
        if number == 2:
            mine.weight.grad[0, 1] = math.inf
            before = {name: value.clone() for name, value in (mine.state_dict() | guarded.state_dict()).items()}
            norms = guarded.step()
            after = mine.state_dict() | guarded.state_dict()
            assert not torch.isfinite(norms[0]) and torch.isfinite(norms[1])
            assert all(torch.equal(before[name], after[name]) for name in before)
            continue
        norms = guarded.step()
        assert norms.tolist() == pytest.approx([gradient.norm().item() for gradient in gradients])
        plain.step()
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_adam_does_not_depend_on_the_memory_layout():
    torch.manual_seed(0)
    value, gradient = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(value.clone(memory_format=layout))
        adam = GuardedAdam("generator", {"weight": parameter}, AdamSettings(0.1, 0.0, 0.99), Ranks())
        for scale in (1.0, -3.0):
            parameter.grad = scale * gradient
            adam.step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[0], results[1])


def test_guard_counts_a_step_late_and_stops_with_the_cause():
    guard = SkipGuard(3, {"generator": ["a", "b"]})
    good, bad = torch.tensor([1.0, 2.0]), torch.tensor([1.0, math.nan])
    steps = [guard.check({"generator": norms}) for norms in (good, bad, bad, good, bad, bad)]
    assert steps == [0, 0, 1, 1, 0, 1] and guard.in_a_row == 1
    assert guard.check({"generator": bad}) == 1
    with pytest.raises(NonFiniteError, match="3 steps in a row: generator: b"):
        guard.settle()


def test_relativistic_losses_compare_pairs():
    real, fake = torch.randn(6, dtype=torch.double), torch.randn(6, dtype=torch.double)
    expected = -torch.sigmoid(real - fake).log().mean()
    assert relativistic_discriminator_loss(real, fake).item() == pytest.approx(expected.item())
    # The generator's loss is that of the discriminator with the sides exchanged, and a common shift changes nothing.
    assert relativistic_generator_loss(real, fake).item() == relativistic_discriminator_loss(fake, real).item()
    shifted = relativistic_generator_loss(real + 3, fake + 3)
    assert shifted.item() == pytest.approx(relativistic_generator_loss(real, fake).item())
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    assert relativistic_generator_loss(real, fake[order]).item() != pytest.approx(
        relativistic_generator_loss(real, fake).item()
    )


def test_hinge_losses_stop_at_the_margin():
    real, fake = torch.tensor([2.0, 0.5, -1.0]).requires_grad_(), torch.tensor([-3.0, 0.0, 1.0]).requires_grad_()
    loss = hinge_discriminator_loss(real, fake)
    assert loss.item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    loss.backward()
    assert real.grad.tolist() == pytest.approx([0, -1 / 3, -1 / 3])
    assert fake.grad.tolist() == pytest.approx([0, 1 / 3, 1 / 3])
    assert hinge_generator_loss(fake).item() == pytest.approx(2 / 3)


def test_objectives_are_the_named_losses():
    real, fake = torch.randn(5), torch.randn(5)
    assert set(OBJECTIVES) == {"non_saturating", "relativistic", "hinge"}
    default = OBJECTIVES["non_saturating"]
    assert torch.equal(default.discriminator(real, fake), discriminator_loss(real, fake))
    assert torch.equal(default.generator(real, fake), generator_loss(fake))
    for name, objective in OBJECTIVES.items():
        moved = objective.generator(real + 1, fake)
        assert torch.equal(moved, objective.generator(real, fake)) != objective.paired, name
        # The generator gains when its images look more real.
        assert objective.generator(real, fake + 1) < objective.generator(real, fake)
        assert objective.discriminator(real, fake - 1) <= objective.discriminator(real, fake)


def test_gamma_falls_along_a_cosine():
    assert gamma_factor(0, 10, 100) == 10
    assert gamma_factor(50_000, 10, 100) == pytest.approx(5.5)
    assert gamma_factor(100_000, 10, 100) == gamma_factor(10**9, 10, 100) == 1
    assert gamma_factor(25_000, 10, 100) == pytest.approx(1 + 9 * (1 + 2**-0.5) / 2)
    assert gamma_factor(123, 1.0, 0.0) == 1


def test_several_lazy_steps_share_the_decay():
    settings = AdamSettings(0.004, 0.5, 0.99)
    assert settings.lazily_regularized() == settings
    both = settings.lazily_regularized(4, 8)
    steps = 1 + 1 / 4 + 1 / 8
    assert both.lr * steps == pytest.approx(0.004) and both.beta2**steps == pytest.approx(0.99)
    assert settings.lazily_regularized(16).lr == 0.004 * (16 / 17), "as it was, bit by bit"
