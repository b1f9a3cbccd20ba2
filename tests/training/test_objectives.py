"""Objectives, gradient penalties and blocks of discriminators inside a whole step."""

import pytest
import torch
from click import UsageError
from torch.nn import functional

from networks.discriminator import DISCRIMINATOR_CHANNELS
from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import MinibatchSource
from training.gan_step import adversarial_terms, draw_images
from training.penalties import due_penalties, penalty_terms, penalty_warnings
from training.run.step_statistics import Statistics
from training.train_state import build_train_state, state_parts


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.mark.parametrize(
    "sections",
    [
        {"loss": {"objective": "relativistic", "r1_interval": 1}},
        {"loss": {"objective": "relativistic", "r1_interval": 2, "r2_interval": 3}},
        {"loss": {"objective": "hinge"}},
        {"loss": {"r2_weight": 0.5, "gamma_start": 10.0, "gamma_kimg": 1.0}},
        {"discriminator": {"single": True}, "augment": {"mode": "ada"}},
        {"discriminator": {"block": "bottleneck", "crop_conditioning": True}},
        {"discriminator": {"single": True}, "loss": {"objective": "relativistic"}, "training": {"micro_batch": 4}},
    ],
    ids=["relativistic", "lazy", "hinge", "R2", "single", "bottleneck", "all at once"],
)
def test_a_step_moves_every_weight(sections):
    settings = tiny.config(**sections)
    train_state = build_train_state(settings, Ranks())
    before = {name: value.clone() for name, value in tiny.tensors_of(train_state).items()}
    after, means = tiny.run_steps(settings, 2)
    for name, value in tiny.tensors_of(after).items():
        assert torch.isfinite(value).all(), name
        # Whole images have the same crop, zero, so its weights learn from crops alone.
        assert not torch.equal(before[name], value) or "deformation" in name, f"{name} did not change"
    heads = ["rgba"] if settings.discriminator.single else ["rgb", "mask"]
    assert list(after.discriminators) == heads
    assert {f"discriminator_{head}" for head in heads} <= set(state_parts(after))
    assert ("augment/probability" in means) == (settings.augment.mode == "ada")
    for head in heads:
        assert means[f"loss/generator_{head}"] != 0 and means[f"r1/{head}"] >= 0
        assert (f"r2/{head}" in means) == ("r2" in settings.penalties)


def optimizer_steps(settings, count):
    train_state, _ = tiny.run_steps(settings, count)
    parameter = next(iter(train_state.discriminator_adam.parameters.values()))
    return int(train_state.discriminator_adam.adam.state[parameter]["step"])


def test_a_penalty_without_interval_takes_no_step_of_its_own():
    assert optimizer_steps(tiny.config(loss={"r1_interval": 1}), 3) == 3
    assert optimizer_steps(tiny.config(loss={"r1_interval": 3}), 3) == 4
    both = {"r1_interval": 2, "r2_weight": 1.0}
    assert optimizer_steps(tiny.config(loss=both), 3) == 5, "penalties of one interval share a step"
    assert optimizer_steps(tiny.config(loss={**both, "r2_interval": 3}), 3) == 6


def test_intervals_of_penalties():
    settings = tiny.config(loss={"objective": "relativistic", "r1_interval": 4, "r2_interval": 2})
    assert settings.penalties == {"r1": (1.0, 4), "r2": (1.0, 2)}
    assert [due_penalties(settings, i) for i in (0, 1, 2, 4)] == [[["r1"], ["r2"]], [], [["r2"]], [["r1"], ["r2"]]]
    shared = tiny.config(loss={"objective": "relativistic", "r1_interval": 4})
    assert due_penalties(shared, 4) == [["r1", "r2"]]
    assert due_penalties(tiny.config(loss={"objective": "relativistic", "r1_interval": 1}), 0) == []
    assert tiny.config().penalties == {"r1": (1.0, 3)}
    assert "r2" not in tiny.config(loss={"objective": "relativistic", "r2_weight": 0.0}).penalties


def test_gamma_and_its_schedule_reach_the_penalty():
    """Twice the γ at the start and a schedule that has ended give the same weights as their product."""

    def weights(**loss):
        state, _ = tiny.run_steps(tiny.config(loss=loss), 1)
        return tiny.tensors_of(state)["rgb/output.weight"]

    plain, doubled = weights(gamma=2.0), weights(gamma=1.0, gamma_start=2.0, gamma_kimg=100.0)
    assert torch.equal(plain, doubled)
    assert not torch.equal(plain, weights(gamma=1.0))
    assert not torch.equal(weights(gamma=1.0, r2_weight=1.0), weights(gamma=1.0, r2_weight=3.0))
    assert not torch.equal(weights(gamma=1.0, r1_interval=1), weights(gamma=5.0, r1_interval=1)), "part of the loss"


def test_the_generator_is_compared_with_the_reals_of_its_own_minibatch():
    settings = tiny.config(loss={"objective": "relativistic"})
    train_state = build_train_state(settings, Ranks())
    batch = MinibatchSource(settings, tiny.data(settings), Ranks()).draw(0, 0)
    micro = draw_images(train_state, batch, train_state.adaptation.probability, settings)
    terms = adversarial_terms(train_state, micro, settings, Statistics())
    for term, (head, discriminator) in zip(terms, train_state.discriminators.items(), strict=True):
        real, fake = (
            discriminator(views.image(head), views.cameras, views.labels) for views in (micro.reals, micro.fakes)
        )
        assert term.item() == pytest.approx(functional.softplus(real - fake).mean().item(), rel=1e-5)


def test_r1_is_of_the_reals_and_r2_of_the_fakes():
    settings = tiny.config(loss={"r2_weight": 2.0, "gamma": 3.0})
    train_state = build_train_state(settings, Ranks())
    batch = MinibatchSource(settings, tiny.data(settings), Ranks()).draw(0, 0)
    micro = draw_images(train_state, batch, train_state.adaptation.probability, settings)
    terms = penalty_terms(train_state, micro.reals, micro.fakes, ["r1", "r2"], 0, settings, Statistics())
    expected = []
    for views, gamma in ((micro.reals, 3.0), (micro.fakes, 6.0)):
        for head, discriminator in train_state.discriminators.items():
            image = views.image(head).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(discriminator(image, views.cameras, views.labels).sum(), image)
            squared = gradient.square().flatten(1).sum(1).mean().item()
            expected.append(gamma / 2 * squared * settings.loss.r1_interval)
    assert [term.item() for term in terms] == pytest.approx(expected, rel=1e-5)


def test_known_failures_are_said():
    def warnings(**loss):
        return penalty_warnings(tiny.config(loss=loss))

    assert warnings() == warnings(objective="relativistic", r1_interval=1) == []
    assert "lost modes" in warnings(objective="relativistic", r1_interval=16)[0]
    assert "without R2 diverges" in warnings(objective="relativistic", r2_weight=0.0)[0]
    assert "without R1 and R2 diverges" in warnings(objective="relativistic", gamma=0.0)[0]
    with pytest.raises(UsageError, match=r"loss\.gamma_kimg: expected the length of the schedule"):
        tiny.config(loss={"gamma_start": 10.0})


def test_every_discriminator_has_its_loss_in_the_log():
    from training.run.run_log import GAN_LOSSES

    assert {f"loss/discriminator_{name}" for name in DISCRIMINATOR_CHANNELS} < set(GAN_LOSSES)
