"""LoRA on a prior: a no-op at the start, trained apart from it, stored in one file; VSD's follower; DreamBooth."""

import copy

import pytest
import torch

from benchmarks.guidance import measure
from guidance.dreambooth import Subject, bootstrap, class_samples, cleaning_time, dreambooth_loss, train_dreambooth
from guidance.lora import add_lora, drop_cameras, load_adapter, save_adapter, weights_key
from guidance.variational import follower_loss, vsd
from tests.guidance.gaussian_prior import gaussian_prior
from tests.guidance.unet_prior import base_hash, text, unet_prior
from torch_utils.errors import UserError


def sample_inputs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, 2, 3, 8, 8, generator=generator)
    return x, noise, torch.tensor([0.3, 0.7]), torch.randn(2, 16, generator=generator)


def test_an_adapter_starts_as_a_no_op_and_leaves_the_prior_alone():
    prior = unet_prior()
    x, noise, t, camera = sample_inputs()
    before, weights = prior.predict(x, t, text()).eps, base_hash(prior.module)
    adapted = add_lora(prior, "follower", camera=True)
    for conditions in ({}, {"camera": camera}):
        assert torch.equal(adapted.prior.predict(x, t, text(), **conditions).eps, before)
    assert torch.equal(vsd(prior, adapted.prior, x, text(), None, t, noise, camera=camera, scale=1.0), 0 * x)
    optimizer = adapted.optimizer(1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(12):
        loss = follower_loss(adapted, x, text(), generator, camera=camera)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < sum(losses[:4])
    assert torch.equal(prior.predict(x, t, text()).eps, before)
    assert base_hash(prior.module) == weights
    after = adapted.prior.predict(x, t, text(), camera=camera).eps
    assert not torch.equal(after, before)
    assert not torch.equal(after, adapted.prior.predict(x, t, text(), camera=camera[[1, 0]]).eps)
    assert vsd(prior, adapted.prior, x, text(), None, t, noise, camera=camera, scale=1.0).abs().max() > 0


def test_an_adapter_touches_no_other_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert add_lora(unet_prior(), "alone").parameters


def test_two_adapters_do_not_take_each_others_gradients():
    prior = unet_prior()
    x, noise, t, _ = sample_inputs()
    first, second = add_lora(prior, "first"), add_lora(prior, "second", seed=1)
    with pytest.raises(ValueError, match="already has an adapter first"):
        add_lora(prior, "first")
    loss = dreambooth_loss(first.prior, Subject(x, text()), torch.Generator().manual_seed(0))
    second.prior.predict(x, t, text())  # another adapter is used before `backward`
    loss.backward()
    # The first matrix gets no gradient while the second is zero.
    grown = [parameter for name, parameter in first.parameters.items() if ".lora_B." in name]
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in grown)
    assert all(parameter.grad is None for parameter in second.parameters.values())
    assert all(parameter.grad is None for name, parameter in prior.module.named_parameters() if ".lora_" not in name)
    assert vsd(first.prior, second.prior, x, text(), None, t, noise, scale=1.0).abs().max() == 0


def test_an_adapter_is_stored_in_one_file(tmp_path):
    x, _, t, camera = sample_inputs()
    adapted = add_lora(unet_prior(), "one", camera=True)
    with torch.no_grad():
        for parameter in adapted.parameters.values():
            parameter.add_(0.1)
    save_adapter(tmp_path / "one.safetensors", adapted)
    again = add_lora(unet_prior(), "one", camera=True, seed=7)
    load_adapter(tmp_path / "one.safetensors", again)
    got, wanted = (each.prior.predict(x, t, text(), camera=camera).eps for each in (again, adapted))
    assert torch.equal(got, wanted)
    with pytest.raises(UserError, match="another prior or rank"):
        load_adapter(tmp_path / "one.safetensors", add_lora(unet_prior(), "one", camera=True, rank=2))
    with pytest.raises(UserError, match="another prior or name"):
        load_adapter(tmp_path / "one.safetensors", add_lora(unet_prior(), "two"))


def test_what_cannot_be_adapted():
    with pytest.raises(ValueError, match="expected a prior with a module"):
        add_lora(gaussian_prior(), "one")
    classes = unet_prior(class_embed_type="projection", projection_class_embeddings_input_dim=16)
    with pytest.raises(ValueError, match="without class labels"):
        add_lora(classes, "one", camera=True)


def test_a_share_of_the_cameras_is_dropped():
    camera = torch.ones(1000, 16)
    dropped = drop_cameras(camera, 0.1, torch.Generator().manual_seed(0))
    rows = dropped.any(1)
    assert 0.07 < 1 - rows.float().mean() < 0.13 and (dropped[rows] == 1).all()


def test_dreambooth_learns_the_subject_and_keeps_its_class():
    """Both adapters learn the subject; only the one that goes on making its class keeps what the class was."""
    prior = unet_prior()
    subject_text, class_text = text(2)[:1], text(2)[1:]
    class_x = class_samples(prior, class_text, None, 3, torch.Generator().manual_seed(0), batch=2, steps=4, scale=1.0)
    assert class_x.shape == (3, 3, 8, 8) and class_x.abs().max() <= 1
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.6
    drift = {}
    for weight in (0.0, 1.0):
        adapted = add_lora(prior, f"weight{int(weight)}")
        subject = Subject(x, subject_text, class_x, class_text)
        losses = train_dreambooth(
            adapted, subject, torch.Generator().manual_seed(2), steps=20, rate=1e-2, class_weight=weight
        )
        assert len(losses) == 20
        fixed = torch.Generator().manual_seed(3)
        own, was = (
            dreambooth_loss(each, Subject(x, subject_text), copy.copy(fixed).set_state(fixed.get_state()), batch=8)
            for each in (adapted.prior, prior)
        )
        assert own < 0.95 * was
        fixed = torch.Generator().manual_seed(4)
        drift[weight] = dreambooth_loss(adapted.prior, Subject(class_x, class_text), fixed, batch=8).item()
    assert drift[1.0] < drift[0.0]


def test_bootstrap_cleans_the_renders_and_tunes_on_them():
    prior = unet_prior()
    adapted = add_lora(prior, "dreambooth")
    renders = sample_inputs()[0].clamp(-1, 1)
    generator = torch.Generator().manual_seed(0)
    cleaned = bootstrap(
        prior, adapted, renders, text(), None, 1.0, generator, subject=Subject(renders[:1], text()), scale=1.0,
        clean_steps=2, train_steps=2,
    )  # fmt: skip
    assert cleaned.shape == renders.shape and not torch.equal(cleaned, renders) and cleaned.abs().max() <= 1
    assert any(value.any() for name, value in adapted.parameters.items() if ".lora_B." in name)
    times = [cleaning_time(progress) for progress in (0.0, 0.5, 1.0)]
    assert times == pytest.approx([0.775, 0.5625, 0.35])


@pytest.mark.parametrize("method", ["vsd", "rfds"])
def test_the_benchmark_takes_a_step(method):
    result = measure(method, "tiny", 64, 1, 1, torch.device("cpu"), torch.float32)
    assert result["seconds"] > 0 and result["peak_gb"] > 0


def test_the_key_of_a_prior_is_that_of_its_weights():
    prior = unet_prior()
    key = weights_key(prior)
    adapted = add_lora(prior, "one")
    for value in adapted.parameters.values():
        value.data.add_(1)
    assert weights_key(prior) == key == weights_key(unet_prior()) != weights_key(unet_prior(seed=1))
