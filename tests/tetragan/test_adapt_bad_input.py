"""Bad input of `tetragan adapt`: one clear line each, and nothing lost."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch

from guidance.priors import latents
from guidance.priors.folder import weight_bytes, weights_variant
from tests.command_line import assert_refused, run
from tests.guidance.tiny_priors import tiny_unet, write_prior
from tests.metrics.model_folders import write_clip
from tests.tetragan.adapt_runs import command, write_inputs
from tests.training.test_mesh_texture import textured_box
from training.adapt.shift import shift_step


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.safetensors and prior/."""
    return write_inputs(tmp_path_factory.mktemp("adapt"))


def test_bad_input(folder, tmp_path):
    def refused(*more: object, **changed: object) -> object:
        values = list(command(folder, tmp_path / "out", "--steps", 1))
        for name, value in changed.items():
            values[values.index(f"--{name}") + 1] = value
        return run(*values, *more)

    assert_refused(refused(prompt=" "), "prompt is empty")
    assert_refused(refused(prompt="A chair"), "--prompt and --source both say")
    assert_refused(refused("--source", "a red  chair"), "--prompt and --source both say")
    assert_refused(refused("--source", " "), "--source is empty")
    assert_refused(refused("--mode", "mapping", prompt="a {|red} chair"), "both say 'a chair'")
    cut = "a chair " + "red " * 9
    assert_refused(refused("--source", f"{cut} car", prompt=f"{cut} side"), "are the same to this prior")
    assert_refused(refused("--set", "resolution=9"), "takes multiples of 2 px, got 9; use 8")
    assert_refused(refused("--set", "resolution=large"), "--set resolution", "got 'large'")
    assert_refused(refused("--set", "resolution=0"), "--set resolution", "got 0")
    assert_refused(refused("--method", "rfds"), "rectified-flow")
    assert_refused(refused("--set", "bach=3"), "bach", "did you mean 'batch'")
    assert_refused(refused("--set", "batch=0"), "--set batch")
    for value in ("prompt=5", "source=3", "prior=3", "network=3", "keep=5", "method=sdss", f"seed={2**63}"):
        assert_refused(refused("--set", value), f"--set {value.partition('=')[0]}")
    for value, option in (("mode=mapping", "--mode"), ("prompts=[a]", "--prompts-file"), ("photos=a", "--photos")):
        assert_refused(refused("--set", value), f"use {option}")
    assert_refused(refused("--mode", "single", "--part", "texture"), "--part", "all styles of one sample")
    assert_refused(refused("--keep", "distances", "--set", "batch=1"), "--keep distances", "--set batch=2")
    assert_refused(refused("--sample", 3), "--sample", "add --mode single")
    assert_refused(refused("--set", "planes=true"), "--set planes", "add --mode single")
    liked = [each for each in command(folder, tmp_path / "out") if each not in ("--prompt", "a red chair")]
    assert_refused(run(*liked, "--mode", "single", "--reference", "chair.png"), "--prior", "leave it out")
    assert_refused(refused("--camera", "sofa"), "--camera")
    assert_refused(refused(network="chair-65"), "chair-65", "did you mean")
    assert_refused(refused(prior="stabilityai/sd-turbo"), "hf download stabilityai/sd-turbo")
    hub = "hf download openai/clip --local-dir priors/clip"
    assert_refused(refused("--method", "clip", prior="openai/clip"), hub)
    assert_refused(refused(prior="https://example.org/openai/clip/tree/main"), hub)
    assert_refused(refused("--set", "clip=openai/clip"), hub)
    for name, said in (("model.safetensors", "is a single file"), ("model.ckpt", "is pickled")):
        (tmp_path / name).write_bytes(b"weights")
        assert_refused(refused(prior=tmp_path / name), said, "expected a folder")
    assert_refused(refused(prior="pixels"), "--prior pixels", "no such folder or included prior")
    two = [value for value in command(folder, tmp_path / "out") if value not in ("--prompt", "a red chair")]
    (tmp_path / "prompts.txt").write_text("a red chair\na red, chair\n")
    outcome = run(*two, "--prompts-file", tmp_path / "prompts.txt")
    assert_refused(outcome, "'a red chair' and 'a red, chair'", "a-red-chair")
    assert_refused(run("adapt", "--out", tmp_path / "out", "--resume"), "holds no state")
    assert_refused(run("adapt", "--out", tmp_path / "out"), "--network is missing")
    assert_refused(
        run("adapt", "--network", "chair-64", "--out", tmp_path / "out"),
        "--prompt, --prompts-file, --data and --reference",
    )
    assert not (tmp_path / "out").exists()


def test_a_network_in_the_folder_is_not_replaced(folder, tmp_path):
    network = tmp_path / "network.safetensors"
    shutil.copy(folder / "net.safetensors", network)
    before = network.read_bytes()
    for name in ("network.safetensors", "model.safetensors"):
        network = network.rename(tmp_path / name)
        assert_refused(run(*command(folder, tmp_path, "--steps", 1)), f"--out {tmp_path}: holds a network")
        assert network.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == [name]


def test_broken_priors(folder, tmp_path):
    def with_prior(change) -> object:
        shutil.rmtree(tmp_path / "prior", ignore_errors=True)
        shutil.copytree(folder / "prior", tmp_path / "prior")
        change(tmp_path / "prior")
        values = list(command(folder, tmp_path / "out", "--steps", 1))
        values[values.index("--prior") + 1] = tmp_path / "prior"
        return run(*values)

    def without_text_encoder(path: Path) -> None:
        shutil.rmtree(path / "text_encoder")

    def unknown_prediction(path: Path) -> None:
        file = path / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "score"}))

    def pickled(path: Path) -> None:
        weights = next((path / "unet").glob("*.safetensors"))
        weights.rename(weights.with_suffix(".bin"))

    def changed(name: str, **values: object):
        def change(path: Path) -> None:
            file = path / name
            file.write_text(json.dumps(json.loads(file.read_text()) | values))

        return change

    assert_refused(with_prior(without_text_encoder), "incomplete", "text_encoder")
    assert_refused(with_prior(lambda path: (path / "unet" / "config.json").unlink()), "incomplete", "config.json")
    assert_refused(with_prior(unknown_prediction), "prediction type score")
    other = changed("model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])
    assert_refused(with_prior(other), "scheduler EDMEulerScheduler is not supported")
    assert_refused(with_prior(pickled), "pickled")
    for side in ("big", -8):
        assert_refused(with_prior(changed("unet/config.json", sample_size=side)), "sample_size", "expected a number")
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    outcome = with_prior(changed("model_index.json", safety_checker=checker))
    assert outcome.status == 0 and "its safety checker is left out" in outcome.stderr


def test_broken_clips(folder, tmp_path):
    def with_clip(change) -> object:
        shutil.rmtree(tmp_path / "clip", ignore_errors=True)
        change(write_clip(tmp_path / "clip"))
        values = list(command(folder, tmp_path / "out", "--steps", 1))
        values[values.index("--prior") + 1] = tmp_path / "clip"
        return run(*values)

    def pickled(path: Path) -> None:
        (path / "model.safetensors").rename(path / "pytorch_model.bin")

    assert_refused(with_clip(pickled), "pytorch_model.bin is pickled")
    assert_refused(with_clip(lambda path: (path / "tokenizer.json").unlink()), "incomplete, it has no tokenizer")
    assert_refused(with_clip(lambda path: (path / "preprocessor_config.json").unlink()), "it has no image processor")


def test_priors_that_take_more_than_a_prompt(folder, tmp_path):
    box = textured_box(tmp_path / "box.glb")
    write_prior(tmp_path / "ip2p", "ip2p")
    shutil.copytree(folder / "prior", tmp_path / "views")
    tiny_unet(3, class_embed_type="projection", projection_class_embeddings_input_dim=16).save_pretrained(
        tmp_path / "views" / "unet"
    )
    for name, said in (("ip2p", "8 channels"), ("views", "class labels")):
        values = list(command(folder, tmp_path / "out", "--steps", 1))
        values[values.index("--prior") + 1] = tmp_path / name
        assert_refused(run(*values), f"--prior {tmp_path / name}", said)
        words = ("--prompt", "a red chair", "--prior", tmp_path / name, "--size", 64, "--out", tmp_path / "red.glb")
        assert_refused(run("texture", box, *words), f"--prior {tmp_path / name}", said)


def test_only_the_weights_that_are_loaded_count(folder, tmp_path):
    shutil.copytree(folder / "prior", tmp_path / "prior")
    needed = weight_bytes(tmp_path / "prior", torch.float32)
    file = next((tmp_path / "prior" / "unet").glob("*.safetensors"))
    shutil.copy(file, tmp_path / "prior" / "v1-5-pruned.safetensors")
    for variant in ("fp16", "non_ema", "fp16-00001-of-00002"):
        shutil.copy(file, file.with_name(f"diffusion_pytorch_model.{variant}.safetensors"))
    assert weight_bytes(tmp_path / "prior", torch.float32) == needed
    file.unlink()
    next((tmp_path / "prior" / "unet").glob("*.fp16.safetensors")).unlink()
    next((tmp_path / "prior" / "unet").glob("*non_ema*")).unlink()
    assert weights_variant(tmp_path / "prior" / "unet") == {"variant": "fp16"}
    assert weight_bytes(tmp_path / "prior", torch.float32) == needed


def test_words_that_a_prior_does_not_know_are_said(folder, tmp_path):
    values = list(command(folder, tmp_path / "out", "--steps", 1))
    values[values.index("--prompt") + 1] = "a mauve red chair"
    outcome = run(*values)
    assert outcome.status == 0 and "note: the prior does not know 'mauve'" in outcome.stderr
    assert "'red'" not in outcome.stderr


def test_a_vae_that_returns_nan_in_half_precision_is_raised_once(folder, tmp_path, caplog):
    write_prior(tmp_path / "prior", "unet")
    in_half = latents._mean

    def overflowing(vae, images):
        return in_half(vae, images) * (1 if vae.dtype == torch.float32 else torch.nan)

    values = list(command(folder, tmp_path / "out", "--steps", 2, "--set", "precision=bf16"))
    values[values.index("--prior") + 1] = tmp_path / "prior"
    with mock.patch.object(latents, "_mean", overflowing):
        outcome = run(*values)
    assert outcome.status == 0, outcome.stderr
    said = [record.getMessage() for record in caplog.records if "VAE" in record.getMessage()]
    assert said == ["the prior's VAE returned NaN in bfloat16; it runs in float32 from here on"]


def test_memory(folder, tmp_path):
    no_memory = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")
    with mock.patch("diffusers.UNet2DConditionModel.from_pretrained", side_effect=no_memory):
        assert_refused(run(*command(folder, tmp_path / "out")), "does not fit into memory", "its weights take", "free")
    for place in ("guide.prompt_texts", "shift_job.sheet_images", "shift_job.shift_step", "shift_job._scores"):
        with mock.patch(f"training.adapt.{place}", side_effect=no_memory):
            assert_refused(run(*command(folder, tmp_path / "out")), "does not fit into memory", "--set batch=1")
    first = iter([True, True, False])

    def later(*values: object) -> object:
        if next(first):
            return shift_step(*values)
        raise no_memory

    with mock.patch("training.adapt.shift_job.shift_step", later):
        refused = run(*command(folder, tmp_path / "later", "--steps", 6))
    assert_refused(refused, "does not fit into memory", "GiB are free", "--resume", str(tmp_path / "later"))
    assert run("adapt", "--out", tmp_path / "later", "--resume", "--steps", 3).status == 0
    with mock.patch("training.adapt.prior.available_memory", return_value=1000):
        assert_refused(run(*command(folder, tmp_path / "out")), "its weights take", "are free")
    with mock.patch("training.adapt.shift_job.shift_gradients", side_effect=RuntimeError("not enough memory: 1 GB")):
        assert_refused(run(*command(folder, tmp_path / "out")), "does not fit into memory", "--set batch=1")


def test_a_prior_that_answers_nan_stops_the_run(folder, tmp_path):
    nan = mock.patch(
        "training.adapt.distillation.method_gradient", side_effect=lambda m, p, x, *_: torch.full_like(x, torch.nan)
    )
    with nan:
        outcome = run(*command(folder, tmp_path / "out", "--steps", 9))
    assert_refused(outcome, "not finite for 5 steps in a row", "precision=fp32")
