"""Train the included text priors and an independent classifier on captioned procedural shapes.

    python -m studies.text_priors --out networks/pretrained/priors

Every part is a folder that `transformers` or `diffusers` reads, in half precision: clip-a (guides), clip-b (evaluates
only), pixel (a text-conditional UNet on 16 px), latent (an autoencoder and a UNet on its latents) and classifier. A
part that is there is kept, so an interrupted run continues; --parts names those to make.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from guidance.priors.folder import import_libraries, load_component
from guidance.priors.prior import DiffusionPrior
from rendering.images import image_grid, save_png, to_uint8
from studies.plain_errors import PlainErrors
from studies.text_priors import models
from studies.text_priors.classifier import classifier_accuracy, make_classifier, train_classifier
from studies.text_priors.data import SIDE, Captioned, captioned_images, joined
from studies.text_priors.train_clip import retrieval, train_clip
from studies.text_priors.train_diffusion import BACKGROUND, build_prior, sampled_images, train_unet, train_vae
from torch_utils.errors import UserError
from torch_utils.files import write_json

CHUNK, HELD_OUT_SHAPES = 300, 100
SEED, CLASSIFIER_SEED, HELD_OUT = 0, 100, 200
PRIORS = ("clip-a", "clip-b", "pixel", "latent", "classifier")
SAMPLED = ("a red chair", "a blue striped chair", "a wooden chair", "a green mug", "a yellow car", "a white stool")


def images(seed: int, shapes: int, cache: Path, **light: Any) -> Captioned:
    """Images of the first `shapes` shapes of a seed, in chunks that an interrupted run keeps."""
    return joined(
        [
            captioned_images(seed, min(CHUNK, shapes - start), cache, start=start, **light)
            for start in range(0, shapes, CHUNK)
        ]
    )


def training_images(cache: Path, shapes: int) -> Captioned:
    """What the priors learn from: base colors without light."""
    return images(SEED, shapes, cache)


def classifier_images(cache: Path, shapes: int) -> Captioned:
    """What the classifier learns from: other shapes under another light, and the same unlit."""
    lit = images(CLASSIFIER_SEED, 2 * shapes // 5, cache, shading="soft", light="sky")
    return joined([lit, images(CLASSIFIER_SEED + 1, shapes // 5, cache)])


def save_half_model(model: Any, folder: Path) -> None:
    """Write a model in half precision."""
    model.half().save_pretrained(folder, safe_serialization=True)
    model.float()


def make_clip_part(folder: Path, cache: Path, shapes: int, steps: int) -> dict[str, Any]:
    """clip-a or clip-b: other sizes, seeds and halves of the shapes."""
    second = folder.name == "clip-b"
    torch.manual_seed(21 if second else 11)
    tokenizer = models.make_tokenizer()
    model = models.make_clip(tokenizer, 4, 64, 3) if second else models.make_clip(tokenizer, 8, 96, 3)
    data = training_images(cache, shapes)
    half = len(data.shots) // 2
    data = data.rows(range(half, len(data.shots)) if second else range(half))
    losses = train_clip(model, tokenizer, data, steps, seed=2 if second else 1)
    tokenizer.save_pretrained(folder)
    models.image_processor(SIDE).save_pretrained(folder)
    save_half_model(model, folder)
    figures = retrieval(model, tokenizer, images(HELD_OUT, HELD_OUT_SHAPES, cache), BACKGROUND)
    return {"loss": losses[-1], "held_out": figures}


def text_tower(out: Path) -> tuple[Any, Any]:
    """The text encoder and tokenizer of clip-a, which the diffusion priors share."""
    folder = out / "clip-a"
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: is missing, and the diffusion priors use its text tower; add --parts clip-a")
    _, transformers = import_libraries(folder)
    cpu = torch.device("cpu")
    encoder = load_component(folder, transformers.CLIPTextModel, torch.float32, cpu)
    return encoder, load_component(folder, transformers.AutoTokenizer, torch.float32, cpu)


def make_scheduler(prediction: str) -> Any:
    """DDIM with the cosine schedule (Nichol & Dhariwal 2021) for v, and the scaled linear one for ε."""
    from diffusers import DDIMScheduler

    if prediction == "v_prediction":
        return DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=prediction, clip_sample=True)
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    )


def sample_grid(prior: DiffusionPrior) -> Any:
    """Eight samples of each of `SAMPLED`, a row each, enlarged to 64 px."""
    drawn = sampled_images(prior, [text for text in SAMPLED for _ in range(8)])
    return image_grid(to_uint8(torch.nn.functional.interpolate(drawn.clamp(-1, 1), size=64)), 8, gap_px=2)


def make_pixel_part(folder: Path, cache: Path, shapes: int, steps: int) -> dict[str, Any]:
    """The UNet on 16 px, which predicts v."""
    torch.manual_seed(31)
    encoder, tokenizer = text_tower(folder.parent)
    unet, scheduler = models.make_pixel_unet(), make_scheduler("v_prediction")
    prior = build_prior(unet, scheduler, encoder, tokenizer)
    losses = train_unet(prior, training_images(cache, shapes), steps, seed=3)
    save_png(cache / "pixel.png", sample_grid(prior))
    write_pipeline(folder, {"unet": unet}, encoder, tokenizer, scheduler, "DiffusionPipeline")
    return {"loss": sum(losses[-50:]) / len(losses[-50:])}


def make_latent_part(folder: Path, cache: Path, shapes: int, steps: int) -> dict[str, Any]:
    """The autoencoder, then the UNet on its latents, which predicts ε."""
    torch.manual_seed(41)
    encoder, tokenizer = text_tower(folder.parent)
    data = training_images(cache, shapes)
    vae = models.make_vae()
    vae_losses = train_vae(vae, data, steps // 2, seed=4)
    unet, scheduler = models.make_latent_unet(), make_scheduler("epsilon")
    prior = build_prior(unet, scheduler, encoder, tokenizer, vae)
    losses = train_unet(prior, data, steps, seed=5)
    save_png(cache / "latent.png", sample_grid(prior))
    write_pipeline(folder, {"vae": vae, "unet": unet}, encoder, tokenizer, scheduler, "StableDiffusionPipeline")
    return {"vae_loss": vae_losses[-1], "loss": sum(losses[-50:]) / len(losses[-50:])}


def write_pipeline(
    folder: Path, networks: dict[str, Any], encoder: Any, tokenizer: Any, scheduler: Any, kind: str
) -> None:
    """A diffusers pipeline folder with model_index.json."""
    import diffusers

    index: dict[str, Any] = {"_class_name": kind, "_diffusers_version": diffusers.__version__}
    for name, network in networks.items():
        save_half_model(network, folder / name)
        index[name] = ["diffusers", type(network).__name__]
    save_half_model(encoder, folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    index |= {
        "text_encoder": ["transformers", type(encoder).__name__],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "scheduler": ["diffusers", type(scheduler).__name__],
    }
    if kind == "StableDiffusionPipeline":
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    write_json(folder / "model_index.json", index)


def make_classifier_part(folder: Path, cache: Path, shapes: int, steps: int) -> dict[str, Any]:
    """The independent classifier."""
    torch.manual_seed(51)
    model = make_classifier()
    losses = train_classifier(model, classifier_images(cache, shapes), steps, seed=6)
    models.image_processor(SIDE).save_pretrained(folder)
    save_half_model(model, folder)
    held_out = images(HELD_OUT, HELD_OUT_SHAPES, cache)
    return {"loss": losses[-1], "held_out": classifier_accuracy(model, held_out, BACKGROUND)}


STEPS: dict[str, tuple[Callable[[Path, Path, int, int], dict[str, Any]], int]] = {
    "clip-a": (make_clip_part, 2000),
    "clip-b": (make_clip_part, 1600),
    "pixel": (make_pixel_part, 2400),
    "latent": (make_latent_part, 2000),
    "classifier": (make_classifier_part, 600),
}


def make_parts(parts: Sequence[str], out: Path, cache: Path, shapes: int, effort: float) -> None:
    """Make the parts that are missing. A part is written at its end, so what is there is complete."""
    for name in parts:
        folder = out / name
        if folder.is_dir():
            click.echo(f"{name}: is there; delete {folder} to train it again")
            continue
        make, steps = STEPS[name]
        started = time.perf_counter()
        figures = make(folder, cache, shapes, max(2, round(steps * effort)))
        figures["seconds"] = round(time.perf_counter() - started, 1)
        click.echo(f"{name}: {figures}")


@click.command(cls=PlainErrors)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the priors.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("out/text_priors"), show_default=True)
@click.option("--parts", default=",".join(PRIORS), show_default=True, help="Those to make, with commas.")
@click.option("--shapes", default=1200, show_default=True, help="Shapes that the priors learn from.")
@click.option("--effort", default=1.0, show_default=True, help="Factor on the steps of every training.")
def main(out: Path, cache: Path, parts: str, shapes: int, effort: float) -> None:
    """Train the included text priors and the classifier."""
    torch.set_num_threads(1)
    chosen = [part.strip() for part in parts.split(",")]
    for part in chosen:
        if part not in PRIORS:
            raise UserError(f"--parts {part}: expected some of {', '.join(PRIORS)}")
    make_parts(chosen, out, cache, shapes, effort)


if __name__ == "__main__":
    main()
