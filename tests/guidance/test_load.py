"""Folders of every family pass through the production loader without a network, and broken ones are refused."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from guidance.composite import normal_control
from guidance.priors.latents import build_decode, build_encode
from guidance.priors.load import load_prior
from guidance.priors.prior import add_noise, guided_prediction
from guidance.score_distillation import asd, dds, sds
from tests.guidance.tiny_priors import FAMILIES, write_prior
from torch_utils.errors import UserError

FLOWS = ("sd3", "flux", "sana")
PIXELS = ("pixel_unet", "if")
PROMPTS = ["a red chair", "a blue car"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_guides(prior_folder, family, no_network):
    prior = load_prior(prior_folder(family))
    text, empty = prior.embed(PROMPTS), prior.embed([""])
    assert len(text) == 2 and len(empty) == 1
    assert prior.levels.is_flow == (family in FLOWS) and prior.pixel_space == (family in PIXELS)
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(2, 3, 40, 40, generator=generator) * 2 - 1).requires_grad_()
    side = 8 if prior.pixel_space else 32
    assert prior.resolution == (512 if family == "flux" else side)  # FLUX's configuration names no size
    x = prior.to_prior(images, side)
    assert x.shape == (2, prior.channels, 8, 8) and x.dtype == torch.float32
    (slope,) = torch.autograd.grad(x.square().sum(), images, retain_graph=True)
    assert slope.abs().max() > 0
    assert torch.equal(x, prior.to_prior(images, side))  # no noise in the encoder

    noise, t = torch.randn(x.shape, generator=generator), torch.tensor([0.3, 0.7])
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x.detach(), noise, alpha, sigma)
    more = {"concatenated": torch.zeros(2, 4, 8, 8)} if family == "ip2p" else {}
    got = prior.predict(x_t, t, text, **more)
    torch.testing.assert_close(add_noise(got.x0, got.eps, alpha, sigma), x_t, atol=1e-4, rtol=1e-4)
    # The prompt and the time matter.
    other = prior.predict(x_t, t, text[[1, 0]], **more)
    assert (got.eps - other.eps).abs().flatten(1).amax(1).min() > 1e-3
    raw, later = (prior.network(x_t, prior.levels.timestep(time), text, **more) for time in (t, t + 0.2))
    assert (raw - later).abs().flatten(1).amax(1).min() > 1e-3

    for gradient in (
        sds(prior, x, text, empty, t, noise, scale=7.5, **more),
        asd(prior, x, text, empty, t, noise, torch.tensor([0.2, 0.9]), **more),
        dds(prior, x, x * 0.9, text, text[[1, 0]], empty, t, noise, **more),
    ):
        assert gradient.shape == x.shape and gradient.isfinite().all() and gradient.abs().max() > 0
    null = dds(prior, x, x.detach().clone(), text, text, empty, t, noise, **more)
    assert torch.equal(null, torch.zeros_like(x))


def test_flux_is_told_its_guidance(prior_folder):
    prior = load_prior(prior_folder("flux"))
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7]), prior.embed(PROMPTS)
    assert prior.embedded_guidance
    weak, strong = (prior.predict(x, t, text, guidance=scale).eps for scale in (1.0, 30.0))
    assert (weak - strong).abs().max() > 1e-3
    assert torch.equal(guided_prediction(prior, x, t, text, None, 30.0).eps, strong)


def test_flux_tokens_are_blocks_of_two_by_two(prior_folder):
    """The packing of the library's pipeline, and its inverse."""
    from diffusers import FluxPipeline

    from guidance.priors.families import flux_network

    seen = {}

    class Transformer:
        config = type("Config", (), {"guidance_embeds": True})

        def __call__(self, hidden_states, **arguments):
            seen.update(arguments, hidden_states=hidden_states)
            return (hidden_states,)

    prior = load_prior(prior_folder("flux"))
    x = torch.randn(2, 4, 8, 6)
    assert torch.equal(flux_network(Transformer())(x, torch.tensor([300.0, 700.0]), prior.embed(PROMPTS)), x)
    assert torch.equal(seen["hidden_states"], FluxPipeline._pack_latents(x, 2, 4, 8, 6))
    wanted = FluxPipeline._prepare_latent_image_ids(2, 4, 3, torch.device("cpu"), torch.float32)
    assert torch.equal(seen["img_ids"], wanted)
    torch.testing.assert_close(seen["timestep"], torch.tensor([0.3, 0.7]))


def test_controlnet_starts_as_a_no_op_and_then_matters(prior_folder, tmp_path, no_network):
    from diffusers import ControlNetModel

    plain = load_prior(prior_folder("unet"))
    net = ControlNetModel.from_unet(plain.module, conditioning_embedding_out_channels=(4, 4, 8))
    net.save_pretrained(tmp_path / "control")
    prior = load_prior(prior_folder("unet"), controlnet=tmp_path / "control")
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7]), prior.embed(PROMPTS)
    control = torch.rand(2, 3, 32, 32)
    without = plain.predict(x, t, text)
    assert torch.equal(prior.predict(x, t, text, control=control).eps, without.eps)
    with pytest.raises(ValueError, match="expected a control image"):
        prior.predict(x, t, text)
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    net.save_pretrained(tmp_path / "control")
    prior = load_prior(prior_folder("unet"), controlnet=tmp_path / "control")
    assert not torch.equal(prior.predict(x, t, text, control=control).eps, without.eps)
    empty = prior.predict(x, t, text, control=control, control_scale=0.0)
    torch.testing.assert_close(empty.eps, without.eps)
    with pytest.raises(UserError, match="is a ControlNetModel; prior"):
        load_prior(prior_folder("sd3"), controlnet=tmp_path / "control")
    with pytest.raises(UserError, match="ControlNet needs one of UNet2DConditionModel, SD3Transformer2DModel"):
        load_prior(prior_folder("pixart"), controlnet=tmp_path / "control")


@pytest.mark.parametrize("shared", [False, True], ids=["of its own", "as of SD3.5"])
def test_the_controlnet_of_a_transformer_sees_normals(prior_folder, tmp_path, no_network, shared):
    """A no-op at first; then normals matter, through the VAE, and the scale 0 leaves them out."""
    from diffusers import SD3ControlNetModel

    torch.manual_seed(0)
    plain = load_prior(prior_folder("sd3"))
    names = ("sample_size", "patch_size", "in_channels", "attention_head_dim", "num_attention_heads",
             "caption_projection_dim", "pooled_projection_dim", "pos_embed_max_size")  # fmt: skip
    config = {name: plain.module.config[name] for name in names}
    text = None if shared else plain.module.config.joint_attention_dim
    net = SD3ControlNetModel(
        **config, num_layers=1, out_channels=4, joint_attention_dim=text, use_pos_embed=not shared,
        force_zeros_for_pooled_projection=not shared,
    )  # fmt: skip
    net.save_pretrained(tmp_path / "control")
    prior = load_prior(prior_folder("sd3"), controlnet=tmp_path / "control")
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7]), prior.embed(PROMPTS)
    control = normal_control(torch.nn.functional.normalize(torch.randn(2, 32, 32, 3), dim=-1), torch.ones(2, 32, 32, 1))
    without = plain.predict(x, t, text)
    torch.testing.assert_close(prior.predict(x, t, text, control=control).eps, without.eps)
    with pytest.raises(ValueError, match="expected a control image"):
        prior.predict(x, t, text)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    net.save_pretrained(tmp_path / "control")
    prior = load_prior(prior_folder("sd3"), controlnet=tmp_path / "control")
    first, other = (prior.predict(x, t, text, control=image).eps for image in (control, control.flip(-1)))
    assert (first - without.eps).abs().max() > 1e-3 and (first - other).abs().max() > 1e-3
    torch.testing.assert_close(prior.predict(x, t, text, control=control, control_scale=0.0).eps, without.eps)
    both = guided_prediction(prior, x, t, text, prior.embed([""]), 3.0, control=control)
    assert both.eps.isfinite().all()


class OverflowingVae(torch.nn.Module):
    """An autoencoder whose inner values do not fit half precision, as those of SDXL's: ∞ − ∞ is NaN."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(300.0))
        self.config = SimpleNamespace(scaling_factor=2.0, shift_factor=0.5)

    @property
    def dtype(self):
        return self.weight.dtype

    def encode(self, images, return_dict):
        large = images * self.weight * self.weight * 4
        return (SimpleNamespace(mode=lambda: large - large + images),)

    def decode(self, latents, return_dict):
        return self.encode(latents, return_dict)[0].mode(), None


@pytest.mark.parametrize("build", [build_encode, build_decode])
def test_a_half_precision_vae_that_overflows_is_raised_once(caplog, build):
    vae = OverflowingVae().half()
    convert = build(vae)
    values = torch.linspace(0.5, 1, 4).reshape(1, 1, 2, 2)
    first, again = convert(values), convert(values)
    assert first.isfinite().all() and torch.equal(first, again) and vae.dtype == torch.float32
    wanted = (values - 0.5) * 2 if build is build_encode else values / 2 + 0.5
    torch.testing.assert_close(first, wanted, atol=1e-3, rtol=1e-3)
    assert [record.getMessage() for record in caplog.records] == [
        "the prior's VAE returned NaN in float16; it runs in float32 from here on"
    ]


def copied(prior_folder, tmp_path, family="unet"):
    return shutil.copytree(prior_folder(family), tmp_path / "prior")


def edit(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def test_a_hub_name_gives_the_command_that_downloads_it():
    with pytest.raises(UserError, match=r"hf download someone/some-prior --local-dir priors/some-prior"):
        load_prior("someone/some-prior")
    with pytest.raises(UserError, match=r"no such folder$"):
        load_prior("/nowhere/at/all")


def break_index(path):
    (path / "model_index.json").unlink()


def break_json(path):
    (path / "model_index.json").write_text("{")


def drop_folder(path):
    shutil.rmtree(path / "vae")


def drop_weights(path):
    next((path / "unet").glob("*.safetensors")).unlink()


def pickle_weights(path):
    drop_weights(path)
    (path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")


def cut_weights(path):
    file = next((path / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])


def lose_a_tensor(path):
    from safetensors.torch import load_file, save_file

    file = next((path / "unet").glob("*.safetensors"))
    tensors = load_file(file)
    tensors.pop("conv_in.weight")
    save_file(tensors, file)


def other_prediction(path):
    edit(path / "scheduler" / "scheduler_config.json", prediction_type="score")


def other_scheduler(path):
    edit(path / "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])


def other_class(path):
    edit(path / "model_index.json", unet=["diffusers", "NoSuchModel"])


def other_pipeline(path):
    edit(path / "model_index.json", _class_name="StableVideoDiffusionPipeline")


def no_text(path):
    edit(path / "model_index.json", text_encoder=[None, None])


def code_of_its_own(path):
    edit(path / "model_index.json", unet=["my_unet", "MyUNet"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_index, "has no model_index.json"),
        (break_json, "model_index.json cannot be read"),
        (drop_folder, "incomplete, it lacks vae/"),
        (drop_weights, "incomplete, it has no .safetensors file"),
        (pickle_weights, "diffusion_pytorch_model.bin is pickled"),
        (cut_weights, "cannot be read as UNet2DConditionModel"),
        (lose_a_tensor, "lack conv_in.weight"),
        (other_prediction, "prediction type score is not known"),
        (other_scheduler, "scheduler EDMEulerScheduler is not supported"),
        (other_class, "unet is diffusers.NoSuchModel"),
        (other_pipeline, "StableVideoDiffusionPipeline is not supported"),
        (no_text, "names no text_encoder"),
        (code_of_its_own, "unet is my_unet.MyUNet"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_folder_is_one_line(prior_folder, tmp_path, damage, message, no_network):
    path = copied(prior_folder, tmp_path)
    damage(path)
    with pytest.raises(UserError) as caught:
        load_prior(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_resolution_that_the_prior_cannot_take(prior_folder):
    prior = load_prior(prior_folder("unet"))
    with pytest.raises(UserError, match=r"takes multiples of 8 px, got 30; use 32"):
        prior.to_prior(torch.zeros(1, 3, 30, 30), 30)
    assert prior.to_prior(torch.zeros(1, 3, 30, 30)).shape[-1] == 8
    with pytest.raises(UserError, match=r"takes at most 64 px, got 128"):
        load_prior(prior_folder("sd3")).to_prior(torch.zeros(1, 3, 128, 128), 128)


def test_a_safety_checker_is_left_out_and_said(prior_folder, tmp_path):
    path = copied(prior_folder, tmp_path)
    edit(path / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    prior = load_prior(path)
    (note,) = prior.notes
    assert "safety checker is left out" in note


def test_the_text_key_follows_the_text_encoder_only(tmp_path, prior_folder):
    path = copied(prior_folder, tmp_path)
    key = load_prior(path).text_key()
    assert key == load_prior(prior_folder("unet")).text_key()
    write_prior(tmp_path / "other", "unet", seed=1)
    assert load_prior(tmp_path / "other").text_key() != key


def test_half_precision_weights_of_the_hub_are_found(prior_folder, tmp_path):
    """Downloads often hold `….fp16.safetensors` only."""
    path = copied(prior_folder, tmp_path)
    for name in ("unet", "vae", "text_encoder"):
        (file,) = (path / name).glob("*.safetensors")
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    prior, wanted = load_prior(path), load_prior(prior_folder("unet"))
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([0.5])
    assert torch.equal(prior.predict(x, t, prior.embed(["a"])).eps, wanted.predict(x, t, wanted.embed(["a"])).eps)
