"""A prior with low-rank adapters (LoRA) that are trained while its weights stay as they are."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidance.priors.prior import DiffusionPrior, Embeddings
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError

# The attention projections of UNets and transformers.
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
CAMERA_VALUES = 16


@dataclass(frozen=True)
class AdaptedPrior:
    """A prior that answers with its adapter on. The prior that it was made from answers without it, before and after.

    parameters: what is trained, by name. rank: of the adapter. camera_embedding: None without a camera.
    """

    prior: DiffusionPrior
    parameters: dict[str, nn.Parameter]
    rank: int
    camera_embedding: nn.Module | None = None

    def optimizer(self, rate: float = 1e-4) -> torch.optim.AdamW:
        """AdamW over the adapter. rate: 1e-4 as ProlificDreamer and DreamBooth-LoRA use."""
        return torch.optim.AdamW(self.parameters.values(), lr=rate)


def add_lora(prior: DiffusionPrior, name: str, *, rank: int = 4, camera: bool = False, seed: int = 0) -> AdaptedPrior:
    """A LoRA adapter on the attention of a prior; it starts as an exact no-op.

    name: of the adapter; several adapters of one prior need different names. camera: the network also takes `camera`
    [B, 16] (the camera-to-world matrix), through an embedding that is added to that of the time, zero-initialized;
    UNets only. ValueError for a prior without a module, a second adapter of that name, or a camera for a transformer.
    """
    from peft import LoraConfig

    module: Any = prior.module
    if module is None:
        raise ValueError("add_lora(): expected a prior with a module, got one without")
    if name in (getattr(module, "peft_config", None) or {}):
        raise ValueError(f"add_lora(): the prior already has an adapter {name}")
    if camera and getattr(module, "class_embedding", module) is not None:
        raise ValueError(f"add_lora(): expected a UNet without class labels for a camera, got {type(module).__name__}")
    with torch.random.fork_rng(devices=[prior.device] if prior.device.type == "cuda" else []):
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            # peft asks whether a second adapter is meant; it is.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            module.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)), adapter_name=name)
        embedding = _CameraEmbedding(module.time_embedding.linear_2.out_features).to(prior.device) if camera else None
    module.disable_adapters()
    parameters = {key: value for key, value in module.named_parameters() if f".{name}." in key}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()  # the adapter trains in fp32, whatever the prior's precision
        parameter.requires_grad_(True)
    if embedding is not None:
        parameters |= {f"camera_embedding.{key}": value for key, value in embedding.named_parameters()}
    network = _adapted_network(prior.network, module, name, embedding)
    return AdaptedPrior(prior.with_network(network), parameters, rank, embedding)


def new_lora(
    prior: DiffusionPrior, name: str, option: str, *, rank: int = 4, camera: bool = False, seed: int = 0
) -> AdaptedPrior:
    """`add_lora` for a command: an adapter of that name that the prior had before is taken off.

    option: what needs it, such as "--photos". UserError without peft, and for a prior that takes no adapter.
    """
    module: Any = prior.module
    try:
        if name in (getattr(module, "peft_config", None) or {}):
            module.delete_adapters(name)
        return add_lora(prior, name, rank=rank, camera=camera, seed=seed)
    except ImportError:
        raise UserError(f"{option}: needs peft; install it: pip install -c constraints.txt peft") from None
    except ValueError:
        raise UserError(
            f"{option}: the prior has no attention that an adapter can learn in; choose another, such as --prior pixel"
        ) from None


def takes_camera(prior: DiffusionPrior) -> bool:
    """Whether `add_lora` can give the network a camera: a UNet without class labels."""
    return getattr(prior.module, "class_embedding", prior.module) is None


def weights_key(prior: DiffusionPrior) -> str:
    """A key that changes with any weight of the denoiser or of the text encoders; adapters have no part in it."""
    assert prior.module is not None, "a prior with an adapter has a module"
    digest = hashlib.sha256(prior.text_key().encode())
    for name, value in sorted(prior.module.state_dict().items()):
        if ".lora_" not in name:
            digest.update(name.replace(".base_layer", "").encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def answers_with(prior: DiffusionPrior, adapted: AdaptedPrior, name: str) -> DiffusionPrior:
    """Another prior of the same module, such as one with a ControlNet, that answers with an adapter on.

    name: of the adapter. ValueError where the priors do not share their module.
    """
    if prior.module is None or prior.module is not adapted.prior.module:
        raise ValueError("answers_with(): expected a prior with the module of the adapted one")
    return prior.with_network(_adapted_network(prior.network, prior.module, name, adapted.camera_embedding))


def _adapted_network(
    network: Callable[..., Tensor], module: Any, name: str, embedding: nn.Module | None
) -> Callable[..., Tensor]:
    def call(
        x_t: Tensor, timestep: Tensor, embeddings: Embeddings, *, camera: Tensor | None = None, **conditions: Any
    ) -> Tensor:
        with _adapter_on(module, name):
            if embedding is None or camera is None:
                return network(x_t, timestep, embeddings, **conditions)
            module.class_embedding = embedding
            try:
                return network(x_t, timestep, embeddings, class_labels=camera, **conditions)
            finally:
                module.class_embedding = None

    return call


class _CameraEmbedding(nn.Sequential):
    """16 → C → C as UNets embed projections; the last layer is zero-initialized."""

    def __init__(self, width: int) -> None:
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(CAMERA_VALUES, width), nn.SiLU(), last)

    def forward(self, camera: Tensor) -> Tensor:
        """camera [B, 16] in the prior's precision → [B, C]; computed in fp32, as it is trained."""
        return super().forward(camera.float()).to(camera.dtype)


@contextmanager
def _adapter_on(module: Any, name: str) -> Iterator[None]:
    module.enable_adapters()
    module.set_adapter(name)
    try:
        yield
    finally:
        module.disable_adapters()
        # peft freezes what it turns off; a parameter that is frozen at the time of `backward` gets no gradient.
        for key, parameter in module.named_parameters():
            if ".lora_" in key:
                parameter.requires_grad_(True)


def drop_cameras(camera: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """camera [B, 16] with a random share of the rows set to zero, so that the network also learns the mean of all."""
    kept = torch.rand(len(camera), 1, generator=generator) >= share
    return camera * kept.to(camera)


def save_adapter(path: Path, adapted: AdaptedPrior, about: Mapping[str, Any] | None = None) -> None:
    """Write the adapter's weights to one file. about: more JSON values for its header, such as what it has learned."""
    tensors = {name: parameter.detach() for name, parameter in adapted.parameters.items()}
    save_tensors(path, tensors, {**(about or {}), "kind": "adapter", "rank": adapted.rank})


def load_adapter(path: Path, adapted: AdaptedPrior) -> None:
    """Read weights of `save_adapter` into an adapter. UserError if the file is of another rank, prior or camera."""
    tensors, _ = load_tensors(path, kind="adapter")
    _check_names(path, adapted.parameters, list(tensors))
    for name, parameter in adapted.parameters.items():
        if tensors[name].shape != parameter.shape:
            raise UserError(
                f"{path}: expected {name} of shape {tuple(parameter.shape)}, got {tuple(tensors[name].shape)}; "
                "it belongs to another prior or rank"
            )
    with torch.no_grad():
        for name, parameter in adapted.parameters.items():
            parameter.copy_(tensors[name])


def _check_names(path: Path, expected: dict[str, nn.Parameter], found: Sequence[str]) -> None:
    different = sorted(set(expected) ^ set(found))
    if different:
        raise UserError(f"{path}: is an adapter of another prior or name (first difference: {different[0]})")
