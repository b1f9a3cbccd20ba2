"""Diffusion priors from folders in the form of `diffusers`: from disk only, safetensors only, no code of their own."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from guidance.priors.families import FAMILIES, FLUX, SD3, UNET, build_network
from guidance.priors.latents import build_decode, build_encode, same
from guidance.priors.prior import DiffusionPrior, NoiseLevels, PredictionType
from guidance.priors.text import TEXT_CLASSES, build_embed
from torch_utils.errors import UserError
from torch_utils.files import file_hash

_PREDICTION_TYPES: dict[str, PredictionType] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "sample",
    "flow_prediction": "flow",
}
# Parts of a pipeline that guidance does not use.
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")
_INSTALL = "pip install -c constraints.txt diffusers transformers peft"


def load_prior(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    controlnet: str | Path | None = None,
) -> DiffusionPrior:
    """A text-to-image prior from a folder that `save_pretrained` of a diffusers pipeline wrote.

    UNets (Stable Diffusion 1, 2, XL; DeepFloyd IF's first stage; a UNet without a VAE works on pixels) and
    transformers (SD3, FLUX, SANA, PixArt), with ε, v, sample or flow prediction. dtype: default bfloat16 on a GPU,
    float32 on the CPU. controlnet: folder of a ControlNet for a UNet; its image is the condition `control`. UserError,
    one line, for a folder that is not complete, pickled weights, an unknown class, scheduler or prediction type, and a
    hub name in place of a folder.
    """
    path, where = Path(folder), torch.device(device)
    dtype = dtype or (torch.bfloat16 if where.type == "cuda" else torch.float32)
    pipeline, index = read_index(path)
    parts = {name: found for name, found in index.items() if found[0] is not None and name not in _UNUSED}
    # What is cheap to check comes before gigabytes are read.
    classes = {name: _component_class(path, name, *found) for name, found in parts.items()}
    _check_parts(path, classes)
    kind, levels = noise_levels(path, _load_component(path / "scheduler", classes["scheduler"], dtype, where), where)
    components = {
        name: _load_component(path / name, found, dtype, where)
        for name, found in classes.items()
        if name != "scheduler"
    }
    denoiser = components.get("transformer") or components["unet"]
    vae = components.get("vae")
    factor = 1 if vae is None else vae_factor(vae)
    return DiffusionPrior(
        network=build_network(denoiser, _load_controlnet(path, denoiser, controlnet, dtype, where)),
        prediction_type=kind,
        levels=levels,
        embed=build_embed(pipeline, components, where),
        encode=same if vae is None else build_encode(vae),
        decode=same if vae is None else build_decode(vae),
        pixel_space=vae is None,
        resolution=_native_side(denoiser) * factor,
        channels=_channels(denoiser, vae),
        device=where,
        dtype=dtype,
        check_resolution=_resolution_check(path, denoiser, factor),
        embedded_guidance=type(denoiser).__name__ == FLUX and bool(denoiser.config.guidance_embeds),
        module=denoiser,
        text_key=cache(lambda: text_key(path)),
        notes=_notes(path, index),
    )


def _check_parts(path: Path, classes: dict[str, Any]) -> None:
    """UserError unless the folder has what guidance needs, and weights for each model."""
    denoiser = classes.get("transformer") or classes.get("unet")
    if denoiser is None:
        raise UserError(f"prior {path}: model_index.json names neither unet nor transformer; is it text-to-image?")
    if denoiser.__name__ not in FAMILIES:
        raise UserError(f"prior {path}: {denoiser.__name__} is not supported; expected one of {', '.join(FAMILIES)}")
    for name in ("text_encoder", "tokenizer", "scheduler"):
        if name not in classes:
            raise UserError(f"prior {path}: incomplete, model_index.json names no {name}; save the folder again")
    for name, found in classes.items():
        if not (path / name).is_dir():
            raise UserError(f"prior {path}: incomplete, it lacks {name}/; download or save the folder again")
        if issubclass(found, torch.nn.Module):
            _variant(path / name)


def _notes(path: Path, index: dict[str, tuple[Any, Any]]) -> tuple[str, ...]:
    if index.get("safety_checker", (None, None))[0] is None:
        return ()
    return (f"{path}: its safety checker is left out, since it answers with black images",)


def read_index(path: Path) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """The pipeline's class, and name → (library, class) of its parts. UserError as in `load_prior`."""
    if not path.is_dir():
        hub = re.fullmatch(r"[\w.-]+/[\w.-]+", str(path))
        advice = f"; if you mean the model of that name on the hub: hf download {path} --local-dir priors/{path.name}"
        raise UserError(f"prior {path}: no such folder{advice if hub else ''}")
    try:
        index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
        class_name = index["_class_name"]
        parts = {name: tuple(value) for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    except FileNotFoundError:
        raise UserError(f"prior {path}: has no model_index.json; expected a folder of a diffusers pipeline") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"prior {path}: model_index.json cannot be read ({type(error).__name__}: {error})") from None
    if class_name not in TEXT_CLASSES:
        raise UserError(f"prior {path}: {class_name} is not supported; expected one of {', '.join(TEXT_CLASSES)}")
    return class_name, parts


def _import_libraries(path: Path) -> tuple[Any, Any]:
    try:
        import diffusers
        import transformers
    except ImportError:
        raise UserError(f"prior {path}: reading it needs diffusers; install it: {_INSTALL}") from None
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    return diffusers, transformers


def _component_class(path: Path, name: str, library: str, class_name: str) -> Any:
    """The class of a part of the pipeline; UserError for one that neither diffusers nor transformers has."""
    modules = dict(zip(("diffusers", "transformers"), _import_libraries(path), strict=True))
    found = getattr(modules.get(library), class_name, None)
    if found is None:
        raise UserError(f"prior {path}: {name} is {library}.{class_name}, which this installation does not have")
    return found


def _load_component(folder: Path, component_class: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A model in evaluation mode without gradients, a tokenizer or a scheduler. UserError as in `load_prior`."""
    name = component_class.__name__
    options: dict[str, Any] = {"local_files_only": True}
    is_model = issubclass(component_class, torch.nn.Module)
    if is_model:
        options |= {"use_safetensors": True, "output_loading_info": True, **_variant(folder)}
        if component_class.__module__.startswith("diffusers"):
            options |= {"torch_dtype": dtype, "low_cpu_mem_usage": False}
        else:
            options["dtype"] = dtype
    try:
        loaded = component_class.from_pretrained(str(folder), **options)
    # A downloaded folder may be broken in any way, and the libraries raise any kind of exception.
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"prior {folder}: cannot be read as {name} ({reason})") from None
    if not is_model:
        return loaded
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(f"prior {folder}: its weights lack {missing[0]} of {name}; download or save it again")
    return model.to(device).eval().requires_grad_(False)


def _variant(folder: Path) -> dict[str, str]:
    """The `variant` option if every weight file is of one. UserError where there are none, or only pickled ones."""
    files = [file.name for file in folder.glob("*.safetensors")]
    if not files:
        pickled = next((file.name for pattern in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(pattern)), None)
        if pickled:
            raise UserError(
                f"prior {folder}: {pickled} is pickled and can run code when opened; expected .safetensors (download "
                "them, or save the model again with save_pretrained)"
            )
        raise UserError(f"prior {folder}: incomplete, it has no .safetensors file; download or save the folder again")
    if all(".fp16." in name for name in files):
        return {"variant": "fp16"}
    return {}


def _load_controlnet(
    path: Path, denoiser: Any, controlnet: str | Path | None, dtype: torch.dtype, device: torch.device
) -> Any:
    if controlnet is None:
        return None
    if type(denoiser).__name__ != UNET:
        raise UserError(f"{controlnet}: a ControlNet needs a {UNET}; prior {path} has a {type(denoiser).__name__}")
    folder = Path(controlnet)
    if not folder.is_dir():
        raise UserError(f"ControlNet {folder}: no such folder")
    return _load_component(folder, _import_libraries(path)[0].ControlNetModel, dtype, device)


def noise_levels(path: Path, scheduler: Any, device: torch.device) -> tuple[PredictionType, NoiseLevels]:
    """Prediction type and noise levels of a scheduler of diffusers. UserError for one that is not known."""
    name = type(scheduler).__name__
    if name.startswith("FlowMatch"):
        return "flow", NoiseLevels()
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if scheduler is None or alphas is None or name.startswith("EDM"):
        raise UserError(f"prior {path}: scheduler {name} is not supported; expected a DDPM-like or FlowMatch scheduler")
    written = str(scheduler.config.get("prediction_type"))
    kind = _PREDICTION_TYPES.get(written)
    if kind is None:
        expected = ", ".join(_PREDICTION_TYPES)
        raise UserError(f"prior {path}: prediction type {written} is not known; expected one of {expected}")
    if kind == "flow":
        return kind, NoiseLevels()
    alphas = torch.as_tensor(alphas, dtype=torch.float32, device=device)
    if kind == "epsilon" and alphas[-1] <= 0:
        raise UserError(f"prior {path}: a schedule that ends in pure noise (zero SNR) needs v or sample prediction")
    return kind, NoiseLevels(alphas)


def vae_factor(vae: Any) -> int:
    """Pixels along a latent's side."""
    blocks = vae.config.get("block_out_channels") or vae.config.get("encoder_block_out_channels")
    return 2 ** (len(blocks) - 1)


def _native_side(denoiser: Any) -> int:
    """Side of the latents, or pixels, that the denoiser was trained on; 128 where its configuration has none (FLUX)."""
    side = denoiser.config.get("sample_size") or 128
    return int(side if isinstance(side, int) else side[0])


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
