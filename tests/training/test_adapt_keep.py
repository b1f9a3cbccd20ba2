"""What an adaptation keeps: the original discriminators as a regularizer."""

import pytest
import torch

from networks.discriminator import build_discriminator, discriminator_names
from networks.generator import Generator
from networks.pretrained import discriminators_file
from tests.compare import weights_hash
from tests.training.test_adapt import CAMERAS, objective, run_steps, tiny_generator
from torch_utils.checkpoint import read_header, save_network, save_tensors
from torch_utils.errors import UserError
from training.adapt.keep import KeptDiscriminators, keep_realism, keep_structure, load_kept, realism_loss
from training.adapt.settings import AdaptSettings, Keep, new_settings
from training.adapt.shift import (
    Answer,
    Pair,
    Shift,
    build_shift,
    downsampled,
    draw_pair,
    draw_scene,
    shift_step,
    structure_loss,
)
from training.run.state_file import save_state

CPU = torch.device("cpu")


def discriminators(generator: Generator) -> KeptDiscriminators:
    torch.manual_seed(1)
    config = generator.config
    networks = {name: build_discriminator(config, name) for name in discriminator_names(config)}
    return KeptDiscriminators({name: net.eval().requires_grad_(False) for name, net in networks.items()}, config)


def tensors_of(kept: KeptDiscriminators) -> dict[str, torch.Tensor]:
    named = kept.networks.items()
    return {f"discriminator_{head}/{name}": t for head, net in named for name, t in net.state_dict().items()}


def write_network(path, generator: Generator, kept: KeptDiscriminators | None) -> None:
    save_network(path, generator, generator.config.model_dump(mode="json"), 8)
    if kept is not None:
        about = {name: value for name, value in read_header(path).items() if name in ("nimg", "config", "commit")}
        discriminators_file(path).parent.mkdir()
        save_tensors(discriminators_file(path), tensors_of(kept), {"kind": "discriminators", **about})


def settings(network, keep: tuple[Keep, ...] = ("discriminators",), weight: float = 1.0) -> AdaptSettings:
    values = {"network": str(network), "prior": "p", "prompt": "0.9", "source": "0"}
    return AdaptSettings(**values, keep=keep, keep_weight=weight)


def drawing(shift: Shift):
    def draw(step: int, side: int, supersample: int, background: float):
        scene = draw_scene(shift.twin, CAMERAS, 0, range(2 * step, 2 * step + 2))
        return scene, draw_pair(shift, scene, side, supersample, background)

    return draw


def test_realism_is_zero_at_the_twin_and_counts_what_looks_less_real():
    shift = build_shift(tiny_generator(), "both", 1e-2)
    kept = discriminators(shift.twin)
    scene, pair = drawing(shift)(0, kept.config.data.resolution, 1, 0.0)
    loss = realism_loss(kept, scene, pair)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in shift.generator.parameters())
    logits = [
        kept.networks["rgb"](images, scene.cameras, scene.labels) for images in (pair.twin_images, pair.images.neg())
    ]
    other = Pair(pair.images.neg(), pair.twin_images, pair.mask, pair.twin_mask)
    wanted = torch.relu(logits[0] - logits[1]).mean()
    torch.testing.assert_close(realism_loss(kept, scene, other), wanted)
    opposite = Pair(pair.twin_images, pair.images.neg(), pair.mask, pair.twin_mask)
    torch.testing.assert_close(realism_loss(kept, scene, opposite), torch.relu(logits[1] - logits[0]).mean())


def test_they_lead_back_to_images_that_look_real(tmp_path):
    """From a generator that looks less real than its twin, the term alone leads back."""
    moved, shift = (build_shift(tiny_generator(), "texture", 1e-2) for _ in range(2))
    run_steps(moved, objective("0.9", "0", "sds"), 6)
    shift.generator.load_state_dict(moved.generator.state_dict())
    write_network(tmp_path / "net.safetensors", shift.twin, discriminators(shift.twin))
    kept = load_kept(str(tmp_path / "net.safetensors"), CPU)

    def unreal() -> float:
        with torch.no_grad():
            return float(realism_loss(kept, *drawing(shift)(0, kept.config.data.resolution, 1, 0.0)))

    def nothing(pair: Pair, step: int) -> Answer:
        return Answer(pair.images.sum() * 0, torch.tensor(True))

    before = unreal()
    run_steps(shift, keep_realism(nothing, settings(tmp_path / "net.safetensors"), drawing(shift), CPU), 6)
    assert before > 0 and unreal() < 0.7 * before
    assert not any(p.grad is not None for net in kept.networks.values() for p in net.parameters())


def test_a_null_prompt_moves_nothing_with_them(tmp_path):
    shift = build_shift(tiny_generator(), "both", 1e-2)
    write_network(tmp_path / "net.safetensors", shift.twin, discriminators(shift.twin))
    before = weights_hash(shift.generator)
    own = settings(tmp_path / "net.safetensors")
    run_steps(shift, keep_realism(objective("0.4", "0.4"), own, drawing(shift), CPU), 2)
    assert weights_hash(shift.generator) == before


def test_where_they_are_found(tmp_path):
    generator = tiny_generator()
    kept = discriminators(generator)
    write_network(tmp_path / "net.safetensors", generator, kept)
    run = tmp_path / "run"
    run.mkdir()
    write_network(run / "network.safetensors", generator, None)
    with pytest.raises(UserError, match="has none, neither as"):
        load_kept(str(run), CPU)
    parts = {f"discriminator_{name}": network for name, network in kept.networks.items()}
    save_state(run, parts, 8, {"nimg": 8}, generator.config.model_dump(mode="json"))
    for source in (tmp_path / "net.safetensors", run):
        found = load_kept(str(source), CPU)
        assert found.networks.keys() == kept.networks.keys() == {"rgb", "mask"}
        for name, network in found.networks.items():
            own = kept.networks[name].state_dict()
            assert all(torch.equal(value, own[key]) for key, value in network.state_dict().items())


def test_without_the_setting_an_objective_stays_the_same():
    def answer(pair: Pair, step: int) -> Answer:
        return Answer(pair.images.sum(), torch.tensor(True))

    assert keep_realism(answer, settings("none", keep=("distances",)), drawing(None), CPU) is answer


def solid_pair(images: torch.Tensor, twin_images: torch.Tensor) -> Pair:
    """Images that the object fills."""
    mask = torch.ones_like(images[:, :1])
    return Pair(images, twin_images, mask, mask)


def test_structure_is_what_remains_of_light_and_dark():
    """Zero, with a gradient of zero, at the twin; hue and contrast are free; detail that turns around counts as two."""
    twin = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0)).double() - 0.5
    images = twin.clone().requires_grad_()
    loss = structure_loss(solid_pair(images, twin))
    (gradient,) = torch.autograd.grad(loss, images)
    assert abs(float(loss.detach())) < 1e-12 and float(gradient.abs().max()) < 1e-12
    gray = (twin * twin.new_tensor((0.2126, 0.7152, 0.0722)).view(3, 1, 1)).sum(1, keepdim=True)
    red = 0.5 * gray + twin.new_tensor((0.5, -0.3, -0.3)).view(3, 1, 1)
    torch.testing.assert_close(structure_loss(solid_pair(red, twin)), twin.new_tensor(0.0))
    torch.testing.assert_close(structure_loss(solid_pair(twin.neg(), twin)), twin.new_tensor(2.0))
    flat = torch.zeros_like(twin).requires_grad_()
    loss = structure_loss(solid_pair(flat, twin))
    (gradient,) = torch.autograd.grad(loss, flat)
    torch.testing.assert_close(loss.detach(), twin.new_tensor(1.0))
    assert float(gradient.abs().max()) < 100
    torch.testing.assert_close(structure_loss(solid_pair(twin, flat.detach())), twin.new_tensor(1.0))


def test_structure_counts_inside_the_object_alone():
    twin = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., :6] = 1
    other = torch.where(mask > 0, twin, twin.neg())
    assert float(structure_loss(Pair(other, twin, mask, mask))) < 1e-6
    assert float(structure_loss(solid_pair(other, twin))) > 0.3


def test_structure_leads_back_to_the_twins_detail():
    """From a generator whose detail a prompt has changed, the term alone leads back; the prior sees its own pixels."""
    moved, shift = (build_shift(tiny_generator(), "texture", 1e-2) for _ in range(2))
    run_steps(moved, objective("0.9", "0", "sds"), 6)
    shift.generator.load_state_dict(moved.generator.state_dict())

    def lost() -> float:
        with torch.no_grad():
            return float(structure_loss(drawing(shift)(0, 16, 1, 0.7)[1]))

    def nothing(pair: Pair, step: int) -> Answer:
        assert pair.images.shape[-1] == 8
        return Answer(pair.images.sum() * 0, torch.tensor(True))

    before = lost()
    answer = keep_structure(nothing, settings("none", keep=("structure",), weight=1.0), 2)
    for step in range(6):
        shift_step(shift, drawing(shift)(step, 16, 1, 0.7)[1], step, answer)
    assert lost() < 0.9 * before


def test_smaller_samples_make_the_same_pixels():
    """Four pixels averaged are a pixel with four samples."""
    shift = build_shift(tiny_generator(), "texture", 1e-2)
    small, large = drawing(shift)(0, 8, 2, 0.7)[1], drawing(shift)(0, 16, 1, 0.7)[1]
    for name in ("images", "twin_images", "mask", "twin_mask"):
        torch.testing.assert_close(getattr(downsampled(large, 2), name), getattr(small, name), atol=1e-6, rtol=0)
    assert downsampled(large, 1) is large


def test_what_holds_detail_allows_a_larger_scale():
    given = {"network": "chair-64", "prompt": "a red chair"}
    assert new_settings(given, []).scale == 2.5
    assert new_settings({**given, "keep": ("structure",)}, []).scale == 4.0
    assert new_settings({**given, "keep": ("structure",), "scale": 3.0}, []).scale == 3.0
    assert new_settings({**given, "keep": ("structure",), "method": "asd"}, []).scale == 7.5
