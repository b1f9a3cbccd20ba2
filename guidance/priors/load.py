"""Diffusion priors from folders: text to image, and from one image and a camera (Zero-1-to-3)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.composite import CameraProjection
from guidance.priors.families import FAMILIES, FLUX, SD3, UNET, build_network
from guidance.priors.folder import (
    component_class,
    import_libraries,
    load_component,
    native_side,
    noise_levels,
    read_index,
    require_folder,
    weights_variant,
)
from guidance.priors.included import prior_folder
from guidance.priors.latents import build_condition, build_decode, build_encode, same
from guidance.priors.prior import DiffusionPrior, Embeddings
from guidance.priors.text import TEXT_CLASSES, TOKENIZERS, build_embed, unknown_words
from torch_utils.errors import UserError
from torch_utils.files import file_hash, parse_json, read_file

# Parts of a pipeline that guidance does not use.
_UNUSED = ("safety_checker", "feature_extractor", "watermarker")
# The class of the ControlNet of each denoiser.
_CONTROLNETS = {UNET: "ControlNetModel", SD3: "SD3ControlNetModel"}
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load_prior(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    controlnet: str | Path | None = None,
) -> DiffusionPrior:
    """A text-to-image prior from a folder that `save_pretrained` of a diffusers pipeline wrote, or an included one.

    UNets (Stable Diffusion 1, 2, XL; DeepFloyd IF's first stage; a UNet without a VAE works on pixels) and
    transformers (SD3, FLUX, SANA, PixArt), with ε, v, sample or flow prediction. dtype: default bfloat16 on a GPU,
    float32 on the CPU. controlnet: folder of a ControlNet for a UNet or SD3; its image is the condition `control`.
    UserError, one line, for a folder that is not complete, pickled weights, an unknown class, scheduler or prediction
    type, and a hub name in place of a folder.
    """
    path, where = prior_folder(folder), torch.device(device)
    dtype = dtype or _default_dtype(where)
    pipeline, index = read_index(path, TEXT_CLASSES)
    classes = _classes(path, index, (*_UNUSED, "image_encoder"))
    _check_parts(path, classes, ("text_encoder", "tokenizer", "scheduler"))
    prior, components = _assemble(path, classes, controlnet, dtype, where)
    return replace(
        prior,
        embed=build_embed(pipeline, components, where),
        unknown_words=partial(unknown_words, [part for name, part in components.items() if name in TOKENIZERS]),
        text_key=cache(lambda: text_key(path)),
        notes=_notes(path, index),
    )


@dataclass(frozen=True)
class NovelViewPrior:
    """A prior of an object's other views (Zero-1-to-3).

    prior: takes the embeddings of `guidance.composite.view_embeddings` and the condition `concatenated`
    (`prior.condition` of the reference image, zeros for none). features(images [B, 3, H, W] in [−1, 1]) → [B, 768] of
    its image encoder. projection: joins them with the relative camera.
    """

    prior: DiffusionPrior
    features: Callable[[Tensor], Tensor]
    projection: CameraProjection


def load_novel_view_prior(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> NovelViewPrior:
    """A Zero-1-to-3 prior from a folder with `image_encoder` and `cc_projection`. UserError as in `load_prior`."""
    path, where = Path(folder), torch.device(device)
    dtype = dtype or _default_dtype(where)
    _, index = read_index(path, ("Zero1to3StableDiffusionPipeline",))
    # The projection is one linear layer; the class that the folder names is the pipeline's own code.
    classes = _classes(path, index, (*_UNUSED, "cc_projection"))
    _check_parts(path, classes, ("image_encoder", "scheduler"))
    prior, components = _assemble(path, classes, None, dtype, where)
    projection = _load_projection(path / "cc_projection", prior).to(where)
    features = _image_features(components["image_encoder"], where)
    return NovelViewPrior(replace(prior, notes=_notes(path, index)), features, projection)


def _default_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _classes(path: Path, index: dict[str, tuple[Any, Any]], unused: tuple[str, ...]) -> dict[str, Any]:
    parts = {name: found for name, found in index.items() if found[0] is not None and name not in unused}
    return {name: component_class(path, name, *found) for name, found in parts.items()}


def _check_parts(path: Path, classes: dict[str, Any], needed: tuple[str, ...]) -> None:
    """UserError unless the folder has what guidance needs, and weights for each model. Before gigabytes are read."""
    denoiser = classes.get("transformer") or classes.get("unet")
    if denoiser is None:
        raise UserError(f"prior {path}: model_index.json names neither unet nor transformer; is it text-to-image?")
    if denoiser.__name__ not in FAMILIES:
        raise UserError(f"prior {path}: {denoiser.__name__} is not supported; expected one of {', '.join(FAMILIES)}")
    for name in needed:
        if name not in classes:
            raise UserError(f"prior {path}: incomplete, model_index.json names no {name}; save the folder again")
    for name, found in classes.items():
        if not (path / name).is_dir():
            raise UserError(f"prior {path}: incomplete, it lacks {name}/; download or save the folder again")
        if issubclass(found, torch.nn.Module):
            weights_variant(path / name)


def _assemble(
    path: Path, classes: dict[str, Any], controlnet: str | Path | None, dtype: torch.dtype, device: torch.device
) -> tuple[DiffusionPrior, dict[str, Any]]:
    """The prior without its text, and the loaded parts."""
    kind, levels = noise_levels(path, load_component(path / "scheduler", classes["scheduler"], dtype, device), device)
    components = {
        name: load_component(path / name, found, dtype, device)
        for name, found in classes.items()
        if name != "scheduler"
    }
    denoiser = components.get("transformer") or components["unet"]
    vae = components.get("vae")
    factor = 1 if vae is None else vae_factor(vae)
    net = _load_controlnet(path, denoiser, controlnet, dtype, device)
    prior = DiffusionPrior(
        network=build_network(denoiser, net, _control_encoder(net, vae)),
        prediction_type=kind,
        levels=levels,
        embed=_no_text,
        encode=same if vae is None else build_encode(vae),
        decode=same if vae is None else build_decode(vae),
        pixel_space=vae is None,
        resolution=native_side(path, denoiser.config) * factor,
        factor=factor,
        channels=_channels(denoiser, vae),
        device=device,
        dtype=dtype,
        check_resolution=_resolution_check(path, denoiser, factor),
        embedded_guidance=type(denoiser).__name__ == FLUX and bool(denoiser.config.guidance_embeds),
        condition=None if vae is None else build_condition(vae),
        module=denoiser,
    )
    return prior, components


def _no_text(_: Any) -> Embeddings:
    raise ValueError("embed(): this prior takes an image, not a prompt")


def _notes(path: Path, index: dict[str, tuple[Any, Any]]) -> tuple[str, ...]:
    if index.get("safety_checker", (None, None))[0] is None:
        return ()
    return (f"{path}: its safety checker is left out, since it answers with black images",)


def _load_controlnet(
    path: Path, denoiser: Any, controlnet: str | Path | None, dtype: torch.dtype, device: torch.device
) -> Any:
    if controlnet is None:
        return None
    family, folder = type(denoiser).__name__, Path(controlnet)
    if family not in _CONTROLNETS:
        raise UserError(f"{folder}: a ControlNet needs one of {', '.join(_CONTROLNETS)}; prior {path} has a {family}")
    require_folder(folder, "ControlNet")
    expected = _CONTROLNETS[family]
    config = parse_json(read_file(folder / "config.json"), str(folder / "config.json"))
    written = config.get("_class_name") if isinstance(config, dict) else None
    if written != expected:
        raise UserError(f"ControlNet {folder}: is a {written}; prior {path} takes a {expected}")
    net = load_component(folder, getattr(import_libraries(path)[0], expected), dtype, device)
    if family == SD3:
        if net.config.extra_conditioning_channels:
            raise UserError(f"ControlNet {folder}: takes a mask besides its image (inpainting), which is not supported")
        if net.pos_embed is None:  # SD3.5's share that of the transformer
            net.pos_embed = denoiser.pos_embed
    return net


def _control_encoder(net: Any, vae: Any) -> Callable[[Tensor], Tensor] | None:
    """How the ControlNet of a transformer takes its image: as latents, which those of InstantX do not shift."""
    if net is None or type(net).__name__ != _CONTROLNETS[SD3]:
        return None
    unscaled = build_condition(vae)
    shift = 0.0 if net.config.force_zeros_for_pooled_projection else vae.config.get("shift_factor") or 0.0
    return lambda images: (unscaled(images) - shift) * vae.config.scaling_factor


def _load_projection(folder: Path, prior: DiffusionPrior) -> CameraProjection:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not folder.is_dir():
        raise UserError(f"prior {folder.parent}: incomplete, it lacks {folder.name}/; download it again")
    weights_variant(folder)
    unet: Any = prior.module
    projection = CameraProjection(int(unet.config.cross_attention_dim))
    try:
        projection.load_state_dict(load_file(min(folder.glob("*.safetensors"))))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"prior {folder}: is no camera projection of this UNet ({reason})") from None
    return projection.float().requires_grad_(False)


def _image_features(encoder: Any, device: torch.device) -> Callable[[Tensor], Tensor]:
    side = int(encoder.config.image_size)
    mean, std = (torch.tensor(value, device=device)[:, None, None] for value in (_CLIP_MEAN, _CLIP_STD))

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        resized = F.interpolate(images, (side, side), mode="bicubic", align_corners=False, antialias=True)
        normalized = ((resized.clamp(-1, 1) + 1) / 2 - mean) / std
        return encoder(normalized.to(encoder.dtype)).image_embeds.float()

    return features


def vae_factor(vae: Any) -> int:
    """Pixels along a latent's side."""
    blocks = vae.config.get("block_out_channels") or vae.config.get("encoder_block_out_channels")
    return 2 ** (len(blocks) - 1)


def _channels(denoiser: Any, vae: Any) -> int:
    """Channels of x: a UNet may take more (concatenated conditions) and give more (learned variance)."""
    if vae is not None:
        return int(vae.config.latent_channels)
    return int(denoiser.config.in_channels)


def _resolution_check(path: Path, denoiser: Any, factor: int) -> Callable[[int], None]:
    """check(side): UserError for a side in pixels that the denoiser cannot take."""
    config = denoiser.config
    if type(denoiser).__name__ == UNET:
        multiple = factor * 2 ** (len(config.block_out_channels) - 1)
    elif type(denoiser).__name__ == FLUX:
        multiple = factor * 2
    else:
        multiple = factor * int(config.patch_size)
    # SD3 cuts its position embeddings out of a table.
    largest = factor * config.patch_size * config.pos_embed_max_size if type(denoiser).__name__ == SD3 else None

    def check(side: int) -> None:
        if side <= 0 or side % multiple:
            near = max(multiple, round(side / multiple) * multiple)
            raise UserError(f"prior {path}: takes multiples of {multiple} px, got {side}; use {near}")
        if largest is not None and side > largest:
            raise UserError(f"prior {path}: takes at most {largest} px, got {side}; use {largest}")

    return check


def text_key(path: Path) -> str:
    """A key that changes with any weight or setting of the text encoders and tokenizers of a folder."""
    folders = sorted(folder for folder in path.iterdir() if folder.name.startswith(("text_encoder", "tokenizer")))
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
    named = "".join(f"{file.relative_to(path)} {file_hash(file)}\n" for file in files)
    return hashlib.sha256(named.encode()).hexdigest()
