"""A whole step: what it changes, and what it leaves alone."""

import math

import pytest
import torch

from tests.training import tiny
from torch_utils.distributed import Ranks
from training.data import MinibatchSource
from training.gan_step import discriminator_step, training_step
from training.run.step_statistics import Statistics
from training.train_state import build_train_state, state_parts


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def step_once(settings, poison=None):
    """One step from the start: (weights before, train_state after, norms)."""
    train_state = build_train_state(settings, Ranks())
    before = {name: value.clone() for name, value in tiny.tensors_of(train_state).items()}
    batch = MinibatchSource(settings, tiny.data(settings), Ranks()).draw(0, 0)
    if poison:
        poison(train_state, batch)
    norms = training_step(train_state, batch, settings, Ranks(), Statistics())
    return before, train_state, norms


def test_a_step_changes_every_weight():
    before, train_state, norms = step_once(tiny.config())
    for name, value in tiny.tensors_of(train_state).items():
        moved = not torch.equal(before[name], value)
        # The average at nimg = 0 has a half-life of zero: it follows at once.
        assert moved or "deformation" in name, f"{name} did not change"
    assert all(torch.isfinite(values).all() for values in norms.values())
    for name, value in train_state.average.state_dict().items():
        assert torch.allclose(value, train_state.generator.state_dict()[name], atol=1e-7)
    assert all(p.requires_grad for d in train_state.discriminators.values() for p in d.parameters())


def test_non_finite_gradients_leave_the_networks_alone():
    def poison(train_state, batch):
        batch.reals.rgb[0, 0, 0, 0] = math.nan

    before, train_state, norms = step_once(tiny.config(), poison)
    assert not torch.isfinite(norms["discriminators"]).all()
    after = tiny.tensors_of(train_state)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith(("rgb/", "mask/")))
    assert torch.isfinite(norms["generator"]).all(), "the generator's step does not see the reals"
    assert all(torch.isfinite(value).all() for value in after.values())


def test_floaters_are_searched_in_every_fourth_minibatch_if_their_weight_is_positive():
    settings = tiny.config(loss={"floater_weight": 0.5}, geometry={"sdf_scale": 5.0})
    train_state = build_train_state(settings, Ranks())
    source = MinibatchSource(settings, tiny.data(settings), Ranks())
    seen = []
    for iteration in range(5):
        statistics = Statistics()
        training_step(train_state, source.draw(iteration * 8, iteration), settings, Ranks(), statistics)
        seen.append(statistics.read(Ranks()).get("loss/floaters"))
    assert [value is not None for value in seen] == [True, False, False, False, True]
    assert seen[0][0] > 0, "a random field has floaters"
    plain, _ = tiny.run_steps(tiny.config(geometry={"sdf_scale": 5.0}), 1)
    weighed, means = tiny.run_steps(settings, 1)
    assert means["loss/floaters"] == pytest.approx(seen[0][0])
    sdf = "geometry.sdf.layers.1.weight"
    assert not torch.equal(plain.generator.state_dict()[sdf], weighed.generator.state_dict()[sdf])


def test_the_generator_waits_while_only_the_discriminators_learn():
    before, train_state, norms = step_once(tiny.config(training={"generator_delay_kimg": 0.001}))
    after = tiny.tensors_of(train_state)
    moved = {name.split("/")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"rgb", "mask", "generator"} and set(norms) == {"discriminators"}
    assert all(
        torch.equal(before[name], after[name]) for name in before if "w_average" not in name and "generator" in name
    )


def test_fakes_carry_no_graph_while_the_generator_waits(monkeypatch):
    """The discriminators learn the same with and without the graph."""

    def fakes_of(delay_kimg):
        seen = []

        def spy(train_state, micro_batches, *rest):
            seen.append(micro_batches[0].fakes)
            return discriminator_step(train_state, micro_batches, *rest)

        monkeypatch.setattr("training.gan_step.discriminator_step", spy)
        train_state = step_once(tiny.config(training={"generator_delay_kimg": delay_kimg}))[1]
        return seen[0], train_state

    (learning, usual), (waiting, delayed) = fakes_of(0.0), fakes_of(1.0)
    assert learning.rgb.requires_grad and learning.mask.requires_grad
    assert not waiting.rgb.requires_grad and not waiting.mask.requires_grad
    assert torch.equal(learning.rgb, waiting.rgb) and torch.equal(learning.mask, waiting.mask)
    for head in usual.discriminators:
        for mine, other in zip(
            usual.discriminators[head].parameters(), delayed.discriminators[head].parameters(), strict=True
        ):
            assert torch.equal(mine, other)


def test_gamma_and_mask_weight_reach_their_networks():
    usual = step_once(tiny.config())[1]
    strong = step_once(tiny.config(loss={"gamma": 100.0}))[1]
    assert not torch.equal(strong.discriminators["rgb"].entry.weight, usual.discriminators["rgb"].entry.weight)
    only_mask = step_once(tiny.config(loss={"gamma_mask": 100.0}))[1]
    assert torch.equal(only_mask.discriminators["rgb"].entry.weight, usual.discriminators["rgb"].entry.weight)
    assert torch.equal(only_mask.discriminators["mask"].entry.weight, strong.discriminators["mask"].entry.weight)
    silent = step_once(tiny.config(loss={"mask_weight": 0.0}))[1]
    assert not torch.equal(silent.generator.backbone.constant, usual.generator.backbone.constant)
    assert torch.equal(silent.discriminators["mask"].entry.weight, usual.discriminators["mask"].entry.weight)


def test_two_views_a_shape_and_augmentation_and_classes():
    settings = tiny.config(
        data={"resolution": 16, "views_per_shape": 2}, augment={"mode": "ada", "probability": 0.5}
    ).model_copy(update={"classes": 3})
    train_state, means = tiny.run_steps(settings, 4)
    assert means["augment/probability"] != 0.5
    assert all(math.isfinite(value) for value in means.values())
    assert "augment/probability" in {
        f"{part}/{name}" for part, member in state_parts(train_state).items() for name in member.state_dict()
    }


def test_statistics_of_a_step():
    _, means = tiny.run_steps(tiny.config(), 3)
    heads = ("rgb", "mask")
    expected = {f"{kind}_{head}" for head in heads for kind in ("loss/discriminator", "loss/generator")}
    expected |= {
        f"{kind}_{head}" for head in heads for kind in ("logits/real", "logits/fake", "sign/real", "sign/fake")
    }
    expected |= {"r1/rgb", "r1/mask", "loss/generator", "loss/sdf_sign", "loss/fallback_surface"}
    expected |= {"coverage/real", "coverage/fake", "geometry/empty", "geometry/faces"}
    expected |= {"gradient/generator", "gradient/discriminators"}
    assert expected == set(means)
    assert 0 < means["coverage/fake"] < 1 and means["geometry/faces"] > 10
