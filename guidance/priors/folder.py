"""Reading a folder in the form of `diffusers`: from disk only, safetensors only, without code of its own."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from guidance.priors.prior import NoiseLevels, PredictionType
from torch_utils.errors import UserError
from torch_utils.failures import is_out_of_memory
from torch_utils.process import available_memory

_PREDICTION_TYPES: dict[str, PredictionType] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "sample",
    "flow_prediction": "flow",
}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Weights as `from_pretrained` reads them without a variant, whole or in parts.
_WHOLE = re.compile(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors")
_INSTALL = "pip install -c constraints.txt diffusers transformers peft"


def read_index(path: Path, known: Sequence[str]) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """The pipeline's class, and name → (library, class) of its parts, of model_index.json.

    known: classes that the caller can use. UserError for another one, a hub name, or a folder without a readable index.
    """
    require_folder(path, "prior")
    try:
        index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
        class_name = index["_class_name"]
        parts = {name: tuple(value) for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    except FileNotFoundError:
        raise UserError(f"prior {path}: has no model_index.json; expected a folder of a diffusers pipeline") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"prior {path}: model_index.json cannot be read ({type(error).__name__}: {error})") from None
    if class_name not in known:
        raise UserError(f"prior {path}: {class_name} is not supported; expected one of {', '.join(known)}")
    return class_name, parts


def require_folder(path: Path, kind: str) -> None:
    """UserError where there is no such folder; for the name of a model on the hub, with the command that gets it."""
    if path.is_dir():
        return
    if path.is_file():
        pickled = path.suffix in _PICKLES
        reason = "is pickled and can run code when opened" if pickled else "is a single file"
        raise UserError(f"{kind} {path}: {reason}; expected a folder that save_pretrained of the library wrote")
    hub = re.fullmatch(r"(?:https?:/+[^/]+/)?([\w.-]+/[\w.-]+)(?:/tree/\w+)?", str(path))
    if hub is None:
        raise UserError(f"{kind} {path}: no such folder")
    name = hub[1]
    raise UserError(
        f"{kind} {path}: no such folder; if you mean the model of that name on the hub: hf download {name} --local-dir "
        f"priors/{name.split('/')[1]}"
    )


def native_side(path: Path, config: Mapping[str, Any]) -> int:
    """Side of the latents, or pixels, that a denoiser of a folder was trained on, by its configuration.

    128 where that names none (FLUX). UserError where it is no number.
    """
    side = config.get("sample_size") or 128
    side = side[0] if isinstance(side, list | tuple) and side else side
    if not isinstance(side, int) or side < 1:
        raise UserError(f"prior {path}: sample_size in its config.json is {side!r}; expected a number of pixels")
    return side


def import_libraries(path: Path) -> tuple[Any, Any]:
    """diffusers and transformers, without their progress bars; UserError with the command that installs them."""
    try:
        import diffusers
        import transformers
    except ImportError:
        raise UserError(f"prior {path}: reading it needs diffusers; install it: {_INSTALL}") from None
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    return diffusers, transformers


def component_class(path: Path, name: str, library: str, class_name: str) -> Any:
    """The class of a part of the pipeline; UserError for one that neither diffusers nor transformers has."""
    modules = dict(zip(("diffusers", "transformers"), import_libraries(path), strict=True))
    found = getattr(modules.get(library), class_name, None)
    if found is None:
        raise UserError(f"prior {path}: {name} is {library}.{class_name}, which this installation does not have")
    return found


def load_component(folder: Path, component_class: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A model in evaluation mode without gradients, a tokenizer or a scheduler. UserError where it is broken."""
    name = component_class.__name__
    options: dict[str, Any] = {"local_files_only": True}
    is_model = issubclass(component_class, torch.nn.Module)
    if is_model:
        options |= {"use_safetensors": True, "output_loading_info": True, **weights_variant(folder)}
        if component_class.__module__.startswith("diffusers"):
            options |= {"torch_dtype": dtype, "low_cpu_mem_usage": False}
        else:
            options["dtype"] = dtype
    try:
        loaded = component_class.from_pretrained(str(folder), **options)
        if is_model and not loaded[1]["missing_keys"]:
            loaded[0].to(device)
    # A downloaded folder may be broken in any way, and the libraries raise any kind of exception.
    except Exception as error:  # noqa: BLE001
        if is_out_of_memory(error):
            raise UserError(_too_large(folder, name, dtype, device)) from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"prior {folder}: cannot be read as {name} ({reason})") from None
    if not is_model:
        return loaded
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(f"prior {folder}: its weights lack {missing[0]} of {name}; download or save it again")
    return model.eval().requires_grad_(False)


def _too_large(folder: Path, name: str, dtype: torch.dtype, device: torch.device) -> str:
    free = available_memory(device)
    has = "" if free is None else f", and {as_gib(free)} are free"
    takes = as_gib(weight_bytes(folder, dtype))
    advice = "half precision takes half of it, and a smaller prior less"
    return f"prior {folder}: {name} does not fit into memory (its weights take {takes}{has}); {advice}"


def as_gib(count: int) -> str:
    """Bytes as text: "1.5 GiB", "20 MiB"."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Bytes of all weights of a folder once they are loaded in `dtype`; reads the headers alone."""
    from safetensors import SafetensorError, safe_open

    total = 0
    is_pipeline = (folder / "model_index.json").is_file()
    for part in {path.parent for path in folder.rglob("*.safetensors")}:
        # Beside the index of a pipeline lie copies of its parts in one file, for other programs.
        if part.name in ("safety_checker", "feature_extractor") or (is_pipeline and part == folder):
            continue
        files = list(part.glob("*.safetensors"))
        for file in [file for file in files if _WHOLE.fullmatch(file.name)] or files:
            try:
                with safe_open(file, framework="pt") as tensors:
                    shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
            except (SafetensorError, OSError):
                continue  # `load_component` says what is wrong with it
            total += sum(torch.Size(shape).numel() for shape in shapes)
    return total * dtype.itemsize


def weights_variant(folder: Path) -> dict[str, str]:
    """The `variant` option if every weight file is of one. UserError where there are none, or only pickled ones."""
    files = [file.name for file in folder.glob("*.safetensors")]
    if not files:
        pickled = next((file.name for file in sorted(folder.glob("*")) if file.suffix in _PICKLES), None)
        if pickled:
            raise UserError(
                f"prior {folder}: {pickled} is pickled and can run code when opened; expected .safetensors (download "
                "them, or save the model again with save_pretrained)"
            )
        raise UserError(f"prior {folder}: incomplete, it has no .safetensors file; download or save the folder again")
    if all(re.search(r"\.fp16[.-]", name) for name in files):
        return {"variant": "fp16"}
    return {}


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
