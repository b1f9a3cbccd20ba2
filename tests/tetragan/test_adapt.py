"""`tetragan adapt` from the command line, with a tiny network and a tiny prior of random weights."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
import trimesh
from PIL import Image

from configs.loader import build_config
from guidance.priors import latents
from networks.generator import Generator
from networks.pretrained import load_generator
from sampling.trained_generator import load
from studies.soak.inputs import SETTINGS
from tests.command_line import assert_refused, run
from tests.guidance.tiny_priors import write_prior
from tests.metrics.model_folders import write_clip
from torch_utils.checkpoint import load_tensors, read_header, save_network
from training.adapt import loop
from training.adapt.shift import shift_step


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """network.safetensors and prior/."""
    root = tmp_path_factory.mktemp("adapt")
    torch.manual_seed(0)
    config = build_config({**SETTINGS, "category": "chair"}, "tiny")
    save_network(
        root / "net.safetensors", Generator(config), config.model_dump(mode="json"), 8, extra={"data": "discs"}
    )
    write_prior(root / "prior", "pixel_unet")
    return root


def command(folder: Path, out: Path, *more: object) -> tuple:
    return (
        "adapt", "--network", folder / "net.safetensors", "--prompt", "a red chair", "--prior", folder / "prior",
        "--out", out, "--set", "batch=2", "--set", "supersample=1", "--set", "rate=0.01", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "red"
    outcome = run(*command(folder, out, "--steps", 4, "--part", "texture", "--keep", "distances"))
    assert outcome.status == 0, outcome.stderr
    assert "4 steps of 2 images of 8 px: about" in outcome.stderr and "MiB" in outcome.stderr
    assert "a red chair from 'a chair'" in outcome.stdout
    return out


def test_the_result_is_an_ordinary_network(folder, adapted, tmp_path):
    before, after = load_generator(folder / "net.safetensors"), load_generator(adapted)
    moved = [n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert moved and all("texture" in name for name in moved)
    header = read_header(adapted / "network.safetensors")
    assert header["data"] == "discs" and header["adapted"]["prompt"] == "a red chair" and header["nimg"] == 8
    assert load(adapted).sample(seed=1).render().shape == (32, 32, 3)
    outcome = run("generate", "--network", adapted, "--seeds", "0", "--format", "none", "--out", tmp_path / "made")
    assert outcome.status == 0, outcome.stderr


def test_sheets_and_report(adapted):
    assert [path.name for path in sorted(adapted.glob("sheet-*.png"))] == [f"sheet-{k:06d}.png" for k in range(5)]
    text = (adapted / "report.html").read_text()
    for part in ("a chair → a red chair", "dds, guidance scale 2.5", "Loss", "sheet-000004.png", "4 of 4"):
        assert part in text


def test_a_resumed_adaptation_is_the_undisturbed_one(folder, adapted, tmp_path):
    out = tmp_path / "red"
    call = command(folder, out, "--part", "texture", "--keep", "distances", "--quiet")
    outcome = run(*call, "--steps", 2)
    assert outcome.status == 0 and not outcome.stderr, outcome.stderr
    assert_refused(run(*command(folder, out)), "--resume")
    assert_refused(run("adapt", "--out", out, "--resume", "--prompt", "a car"), "leave out --prompt")
    assert_refused(run(*call, "--resume", "--set", "seed=9"), "has seed 0, but this one has 9")
    assert run(*call, "--resume", "--steps", 3).status == 0
    assert run("adapt", "--out", out, "--resume", "--steps", 4, "--quiet").status == 0
    (first, header), (second, other) = (load_tensors(path / "state.safetensors") for path in (adapted, out))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert header["settings"] == other["settings"]


def test_a_stopped_adaptation_goes_on(folder, adapted, tmp_path, monkeypatch):
    """Ctrl-C after the first step: the state is whole, and the rest is bitwise the same."""
    from contextlib import contextmanager

    @contextmanager
    def at_once():
        yield [2]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", at_once)
        outcome = run(*command(folder, tmp_path, "--steps", 4, "--part", "texture", "--keep", "distances"))
    assert outcome.status == 130 and "--resume" in outcome.stderr
    assert run("adapt", "--out", tmp_path, "--resume").status == 0
    first, second = (load_tensors(path / "state.safetensors")[0] for path in (adapted, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_file_of_prompts(folder, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red chair\na blue chair\n")
    call = [
        value for value in command(folder, tmp_path / "out", "--steps", 1) if value not in ("--prompt", "a red chair")
    ]
    outcome = run(*call, "--prompts-file", prompts)
    assert outcome.status == 0, outcome.stderr
    made = [load_generator(tmp_path / "out" / name) for name in ("a-red-chair", "a-blue-chair")]
    assert any(not torch.equal(a, b) for a, b in zip(*(net.parameters() for net in made), strict=True))
    assert_refused(run(*call, "--prompts-file", prompts), "--resume")
    assert run(*call, "--prompts-file", prompts, "--resume").status == 0


def test_clip_guides_and_another_evaluates(folder, tmp_path):
    guides, evaluates = (write_clip(tmp_path / name) for name in ("clip", "other"))
    values = list(command(folder, tmp_path / "out", "--steps", 1, "--set", f"clip={evaluates}"))
    values[values.index("--prior") + 1] = guides
    outcome = run(*values)
    assert outcome.status == 0, outcome.stderr
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<td>clip</td>" in text and "CLIP: cosine of images and prompt" in text
    header = read_header(tmp_path / "out" / "network.safetensors")
    assert header["adapted"]["method"] == "clip" and header["adapted"]["prior"] == "clip"
    values[values.index("--out") + 1] = tmp_path / "b"
    assert_refused(run(*values, "--method", "dds"), "--method dds: needs a diffusion prior")
    assert_refused(run(*command(folder, tmp_path / "b", "--method", "clip")), "--method clip: needs a CLIP")
    more = ("--set", f"second_prior={guides}")
    assert_refused(run(*command(folder, tmp_path / "b", *more)), "second_prior", "--method clip")


def test_one_sample_moves_to_words_or_to_an_image(folder, tmp_path):
    more = ("--mode", "single", "--sample", 3, "--steps", 2)
    outcome = run(*command(folder, tmp_path / "words", *more, "--set", "planes=true"))
    assert outcome.status == 0, outcome.stderr
    image = torch.zeros(16, 16, 4, dtype=torch.uint8)
    image[4:12, 4:12] = 255
    Image.fromarray(image.numpy()).save(tmp_path / "white.png")
    call = ["adapt", "--network", folder / "net.safetensors", "--mode", "single", "--reference", tmp_path / "white.png"]
    outcome = run(*call, "--out", tmp_path / "image", "--steps", 2, "--set", "threads=1")
    assert outcome.status == 0, outcome.stderr
    for name in ("words", "image"):
        assert len(trimesh.load_mesh(tmp_path / name / "sample.glb", merge_primitives=True).faces) > 10
        tensors, header = load_tensors(tmp_path / name / "styles.safetensors", "styles")
        assert {"w_geo", "w_tex"} <= tensors.keys() and header["network"] == "net.safetensors"
        assert "<th>sample</th>" in (tmp_path / name / "report.html").read_text()
    resumed = run("adapt", "--out", tmp_path / "image", "--resume", "--steps", 3)
    assert resumed.status == 0, resumed.stderr
    assert_refused(run(*call[:3], *call[5:], "--out", tmp_path / "b"), "--mode single")
    assert_refused(run(*call, "--prompt", "a car", "--out", tmp_path / "b"), "one of --prompt")


def test_one_network_learns_many_prompts(folder, tmp_path):
    clip, prompts = write_clip(tmp_path / "clip"), tmp_path / "prompts.txt"
    prompts.write_text("a {red|blue} chair\n")
    more = ("--mode", "mapping", "--steps", 2, "--set", f"text_encoder={clip}", "--part", "texture")
    values = list(command(folder, tmp_path / "out", *more))
    values[values.index("--prompt") : values.index("--prompt") + 2] = ["--prompts-file", prompts]
    outcome = run(*values)
    assert outcome.status == 0, outcome.stderr
    assert "a red chair, a blue chair" in (tmp_path / "out" / "report.html").read_text()
    resumed = run("adapt", "--out", tmp_path / "out", "--resume", "--steps", 3)
    assert resumed.status == 0, resumed.stderr
    header = read_header(tmp_path / "out" / "network.safetensors")
    assert header["text"] == {"encoder": str(clip), "source": "a chair"}
    assert header["adapted"]["prompts"] == ["a red chair", "a blue chair"]

    def images(network: Path, name: str, *more: object) -> bytes:
        call = ("generate", "--network", network, "--seeds", "0-1", "--format", "none", "--workers", 1)
        made = run(*call, "--out", tmp_path / name, *more)
        assert made.status == 0, made.stderr
        return (tmp_path / name / "samples.png").read_bytes()

    plain = images(tmp_path / "out", "plain")
    assert plain == images(folder / "net.safetensors", "before")
    assert images(tmp_path / "out", "red", "--prompt", "a red chair") != plain
    assert json.loads((tmp_path / "red" / "samples.json").read_text())["made_by"]["prompt"] == "a red chair"
    call = ("generate", "--network", folder / "net.safetensors", "--format", "none", "--out", tmp_path / "no")
    assert_refused(run(*call, "--prompt", "a red chair"), "knows no texts", "--mode mapping")
    assert_refused(run(*values, "--method", "clip", "--resume"), "leave out --method clip")
    assert_refused(run(*values, "--method", "sds", "--resume"), "has method dds, but this one has sds")


def test_bad_input(folder, tmp_path):
    def refused(*more: object, **changed: object) -> object:
        values = list(command(folder, tmp_path / "out"))
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
    assert_refused(run("adapt", "--out", tmp_path / "out", "--resume"), "holds no state")
    assert_refused(run("adapt", "--out", tmp_path / "out"), "--network is missing")
    assert_refused(
        run("adapt", "--network", "chair-64", "--out", tmp_path / "out"), "--prompt, --prompts-file and --reference"
    )
    assert not (tmp_path / "out").exists()


def test_broken_priors(folder, tmp_path):
    def with_prior(change) -> object:
        shutil.rmtree(tmp_path / "prior", ignore_errors=True)
        shutil.copytree(folder / "prior", tmp_path / "prior")
        change(tmp_path / "prior")
        values = list(command(folder, tmp_path / "out"))
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
    for side in ("big", -8, []):
        refused = with_prior(changed("unet/config.json", sample_size=side))
        if side:
            assert_refused(refused, "sample_size", "expected a number")
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    outcome = with_prior(changed("model_index.json", safety_checker=checker))
    assert outcome.status == 0 and "its safety checker is left out" in outcome.stderr


def test_broken_clips(folder, tmp_path):
    def with_clip(change) -> object:
        shutil.rmtree(tmp_path / "clip", ignore_errors=True)
        change(write_clip(tmp_path / "clip"))
        values = list(command(folder, tmp_path / "out"))
        values[values.index("--prior") + 1] = tmp_path / "clip"
        return run(*values)

    def pickled(path: Path) -> None:
        (path / "model.safetensors").rename(path / "pytorch_model.bin")

    assert_refused(with_clip(pickled), "pytorch_model.bin is pickled")
    assert_refused(with_clip(lambda path: (path / "tokenizer.json").unlink()), "incomplete, it has no tokenizer")
    assert_refused(with_clip(lambda path: (path / "preprocessor_config.json").unlink()), "it has no image processor")


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
    for place in ("guide.prompt_texts", "start.sheet_images", "start.shift_step", "start._scores"):
        with mock.patch(f"training.adapt.{place}", side_effect=no_memory):
            assert_refused(run(*command(folder, tmp_path / "out")), "does not fit into memory", "--set batch=1")
    first = iter([True, True, False])

    def later(*values: object) -> object:
        if next(first):
            return shift_step(*values)
        raise no_memory

    with mock.patch("training.adapt.start.shift_step", later):
        refused = run(*command(folder, tmp_path / "later", "--steps", 6))
    assert_refused(refused, "does not fit into memory", "GiB are free", "--resume", str(tmp_path / "later"))
    assert run("adapt", "--out", tmp_path / "later", "--resume", "--steps", 3).status == 0
    with mock.patch("training.adapt.prior.available_memory", return_value=1000):
        assert_refused(run(*command(folder, tmp_path / "out")), "its weights take", "are free")
    with mock.patch("training.adapt.start.shift_gradients", side_effect=RuntimeError("not enough memory: 1 GB")):
        assert_refused(run(*command(folder, tmp_path / "out")), "does not fit into memory", "--set batch=1")


def test_a_prior_that_answers_nan_stops_the_run(folder, tmp_path):
    nan = mock.patch(
        "training.adapt.distillation.method_gradient", side_effect=lambda m, p, x, *_: torch.full_like(x, torch.nan)
    )
    with nan:
        outcome = run(*command(folder, tmp_path / "out", "--steps", 9))
    assert_refused(outcome, "not finite for 5 steps in a row", "precision=fp32")
