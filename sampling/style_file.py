"""Styles of some samples in one safetensors file: what `tetragan project` writes, and --latents reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sampling.directions import check_network
from sampling.samples import Samples
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError

if TYPE_CHECKING:
    from sampling.trained_generator import TrainedGenerator

KIND = "styles"


def save_styles(
    path: Path,
    names: Sequence[str],
    w_geo: Tensor,
    w_tex: Tensor,
    network: Mapping[str, Any],
    facts: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write styles [B, slots, w_dim] of shape and of texture, with a name for each sample.

    network: the identity of the generator that they belong to. facts: JSON values about each sample, for readers.
    """
    if not len(names) == len(w_geo) == len(w_tex):
        raise ValueError(f"save_styles(): expected {len(names)} styles, got {len(w_geo)} and {len(w_tex)}")
    header = {"kind": KIND, "names": list(names), "network": dict(network), "facts": list(facts)}
    save_tensors(path, {"w_geo": w_geo.detach(), "w_tex": w_tex.detach()}, header)


def load_styles(path: Path, generator: "TrainedGenerator") -> tuple[list[str], Samples]:
    """The names and samples of a file of `save_styles`. UserError where it is none, or of another network.

    Samples are written to files of these names, so none may lead to another folder.
    """
    tensors, header = load_tensors(path, KIND)
    check_network(path, header, generator)
    try:
        samples = generator.from_styles(*(tensors[name].to(generator.device) for name in ("w_geo", "w_tex")))
    except ValueError as error:
        raise UserError(f"{path}: does not fit the network ({error})") from None
    names = [str(name) for name in header["names"]]
    if len(names) != len(samples):
        raise UserError(f"{path}: has {len(names)} names for {len(samples)} samples; make the file again")
    wrong = next((name for name in names if name in ("", ".", "..") or set(name) & set("/\0")), None)
    if wrong is not None:
        raise UserError(f"{path}: a sample is called {wrong!r}, which is no plain file name; make the file again")
    return names, samples
