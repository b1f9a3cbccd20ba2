"""Model folders of `transformers`: read from disk alone, whole, and without pickles or code of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from metrics.cache import file_hash
from torch_utils.errors import UserError

Kind = Literal["AutoModel", "AutoModelForImageClassification"]


@dataclass(frozen=True)
class ModelFolder:
    """A model in evaluation mode.

    inputs(images [B, 3, H, W] uint8): what the model takes, by the folder's own image processor. key: changes with
    any weight or setting. missing: names of weights that the folder lacks, of those that it may lack.
    """

    path: Path
    model: Any
    inputs: Callable[[Tensor], Any]
    key: str
    missing: frozenset[str]


def load_model_folder(
    option: str, path: Path, kind: Kind, device: torch.device | str, *, may_lack: str = ""
) -> ModelFolder:
    """The model of a folder. option: the command line's, for messages. may_lack: prefix of weights that may be absent.

    UserError for what is no such folder, for pickled weights, and where a weight is missing: transformers would fill
    that in at random and go on.
    """
    transformers = import_transformers(option, path)
    if not path.is_dir():
        raise UserError(f"{option} {path}: no such folder; expected one that save_pretrained wrote")
    if not any(path.glob("*.safetensors")):
        raise UserError(
            f"{option} {path}: holds no .safetensors file; pickled weights are not read, save the model again with "
            "transformers (save_pretrained)"
        )
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(str(path), local_files_only=True)
        model, info = getattr(transformers, kind).from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    # A folder from elsewhere may be wrong in any way, and transformers raises whatever that leads to.
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{option} {path}: is not a transformers image model ({reason})") from None
    missing = frozenset(info["missing_keys"])
    absent = sorted(name for name in missing if not may_lack or not name.startswith(may_lack))
    if absent:
        raise UserError(
            f"{option} {path}: its weights lack {absent[0]} of {type(model).__name__}; another kind of model?"
        )
    model = model.to(device).eval()

    def inputs(images: Tensor) -> Any:
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        return processor(images=[Image.fromarray(array) for array in arrays], return_tensors="pt").to(device)

    return ModelFolder(path, model, inputs, folder_key(path), missing)


def import_transformers(option: str, path: Path) -> Any:
    """The package, made silent; UserError that names the mending command where it is not installed."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{option} {path}: reading a model folder needs transformers; install it with: "
            "pip install -c constraints.txt transformers"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


def folder_key(path: Path) -> str:
    """A text that changes with any weight or setting of the folder."""
    files = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".json"))
    return "/".join(file_hash(p)[:16] for p in files)
