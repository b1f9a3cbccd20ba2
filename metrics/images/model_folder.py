"""Model folders of `transformers`, read from disk only, without pickles and without code of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from torch_utils.errors import UserError
from torch_utils.files import file_hash

ModelClass = Literal["AutoModel", "AutoModelForImageClassification"]


@dataclass(frozen=True)
class ModelFolder:
    """A model in evaluation mode.

    inputs(images [B, 3, H, W] uint8) → the model's inputs, by the folder's own image processor. key: changes with any
    weight or setting. missing: names of optional weights that the folder lacks.
    """

    path: Path
    model: Any
    inputs: Callable[[Tensor], Any]
    key: str
    missing: frozenset[str]


def load_model_folder(
    option: str, path: Path, model_class: ModelClass, device: torch.device | str, *, may_lack: str = ""
) -> ModelFolder:
    """The model of a folder.

    option: of the command line, for messages. may_lack: prefix of the names of optional weights. UserError if the path
    is no such folder, for pickled weights, and for a missing weight, which transformers would initialize at random.
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
        model, info = getattr(transformers, model_class).from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    # A downloaded folder may be broken in any way, and transformers raises any kind of exception.
    except Exception as error:  # noqa: BLE001
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{option} {path}: is not a transformers image model ({reason})") from None
    missing = frozenset(info["missing_keys"])
    absent = sorted(name for name in missing if not may_lack or not name.startswith(may_lack))
    if absent:
        raise UserError(
            f"{option} {path}: its weights lack {absent[0]} of {type(model).__name__}; is it another type of model?"
        )
    model = model.to(device).eval()

    def inputs(images: Tensor) -> Any:
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        return processor(images=[Image.fromarray(array) for array in arrays], return_tensors="pt").to(device)

    return ModelFolder(path, model, inputs, folder_key(path), missing)


def import_transformers(option: str, path: Path) -> Any:
    """The package without its progress bars and warnings; UserError with the command that installs it."""
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
    """A key that changes with any weight or setting of the folder."""
    files = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".json"))
    return "/".join(file_hash(p)[:16] for p in files)
