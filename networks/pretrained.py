"""Generators from and to files: one `.safetensors` file, or a folder in the Hugging Face form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.loader import build_config, nearest, override_config
from configs.schema import Config
from networks.generator import Generator
from torch_utils.checkpoint import (
    NetworkFile,
    code_version,
    load_network,
    load_strictly,
    load_tensors,
    read_header,
    save_half,
    save_network,
    save_tensors,
)
from torch_utils.errors import UserError
from torch_utils.files import replacing

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
PRETRAINED = Path(__file__).resolve().parent / "pretrained"
# What can be changed in a trained network: how its fields are cut into a mesh and drawn.
SETTABLE = (
    "geometry.cells",
    "geometry.tet_grid",
    "geometry.connect_components",
    "rendering.supersample",
    "rendering.backend",
)


def pretrained_networks() -> list[str]:
    """Names of the networks that come with the project, such as "chair-64"."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def network_file(network: Path | str) -> Path:
    """The file that the user means: a file, a folder written by `save_pretrained`, or the name of a included network.

    A file or folder of that name comes first. UserError for a bare name that is neither.
    """
    path = Path(network)
    if path.is_dir():
        return path / WEIGHTS_NAME
    if path.exists() or path.suffix or path.name != str(network):
        return path
    shipped = PRETRAINED / f"{path.name}.safetensors"
    if shipped.is_file():
        return shipped
    names = pretrained_networks()
    hint = nearest(path.name, names)
    raise UserError(f"{network}: no such file, and no included network{hint} (shipped: {', '.join(names) or 'none'})")


def load_generator(path: Path | str, device: torch.device | str = "cpu") -> Generator:
    """The generator that `network_file(path)` names, in evaluation mode, fp32.

    UserError where the file is missing, damaged, foreign or of another configuration.
    """
    generator, _ = load_generator_file(path, device)
    return generator


def load_generator_file(path: Path | str, device: torch.device | str = "cpu") -> tuple[Generator, NetworkFile]:
    """`load_generator` with everything else that the file holds (images shown, commit, header)."""
    path = network_file(path)
    file = load_network(path)
    generator = Generator(_config(file.config, path))
    load_strictly(generator, file.state, path)
    # The same mesh on every machine: inference does not follow the training's number format.
    generator.precision = "fp32"
    return generator.to(device).eval().requires_grad_(False), file


def from_pretrained(folder: Path | str, device: torch.device | str = "cpu") -> Generator:
    """The generator of a folder with config.json and model.safetensors."""
    folder = Path(folder)
    if not (folder / CONFIG_NAME).is_file() or not (folder / WEIGHTS_NAME).is_file():
        raise UserError(f"{folder}: expected {CONFIG_NAME} and {WEIGHTS_NAME}, as `save_pretrained` writes them")
    generator, file = load_generator_file(folder / WEIGHTS_NAME, device)
    try:
        stated = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG_NAME}: cannot be read as JSON ({error})") from None
    if _config(stated.get("config", {}), folder / CONFIG_NAME) != _config(file.config, folder):
        raise UserError(f"{folder}: {CONFIG_NAME} and {WEIGHTS_NAME} disagree; save the network again")
    return generator


def save_pretrained(generator: Generator, folder: Path | str, nimg: int = 0, *, half: bool = False) -> None:
    """Write config.json and model.safetensors to a folder. half: store float16."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = generator.config.model_dump(mode="json")
    save_network(folder / WEIGHTS_NAME, generator, config, nimg, half=half)
    _write_config(folder, config, nimg)


def discriminators_beside(network: Path) -> Path:
    """Where the discriminators of a network file are looked for: `discriminators/<its name>` in its folder."""
    return network.parent / "discriminators" / network.name


def load_discriminators(network: Path, header: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """What lies in `discriminators_beside(network)`; None where nothing does.

    header: the network file's. UserError where they were not saved together.
    """
    path = discriminators_beside(network)
    if not path.is_file():
        return None
    tensors, own = load_tensors(path, kind="discriminators")
    if any(own.get(key) != header.get(key) for key in ("nimg", "config", "commit")):
        raise UserError(f"{path}: judged another network than {network}; move it away, or export both from one state")
    return tensors


def export_network(network: Path | str, out: Path, *, half: bool = False, overrides: Sequence[str] = ()) -> list[Path]:
    """Copy a network that `network_file` names to `out`: one file where that ends in .safetensors, else a folder.

    network may be a training state: its running average is taken. half: store float16. overrides: "path=value" of
    `SETTABLE`, which change how the weights are used and not what they mean. Where `out` is a file, the
    discriminators of the state, or of `discriminators_beside(network)`, go to `discriminators_beside(out)` for a later
    --init; a folder has the Hugging Face form and holds the generator alone. Returns the files of weights. UserError as
    `load_generator`.
    """
    source = network_file(network)
    weights, judges, header = _exported(source)
    for override in overrides:
        if override.partition("=")[0] not in SETTABLE:
            raise UserError(f"--set {override}: of a network only {', '.join(SETTABLE)} can be changed")
    config = override_config(_config(header["config"], source).model_dump(mode="json"), overrides, str(source))
    header["config"] = config.model_dump(mode="json")
    load_strictly(Generator(config), weights, source)  # refuses what is not whole
    header["precision"] = "fp16" if half else "fp32"
    save = save_half if half else save_tensors
    target = out if out.suffix == ".safetensors" else out / WEIGHTS_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    save(target, weights, header)
    if target != out:
        _write_config(out, header["config"], header["nimg"])
        return [target]
    if judges is None:
        return [target]
    beside = discriminators_beside(out)
    beside.parent.mkdir(exist_ok=True)
    save(beside, judges, {**header, "kind": "discriminators"})
    return [target, beside]


def _exported(source: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, dict[str, Any]]:
    """A generator, its discriminators and a network file's header, from a network file or a training state; fp32."""
    if read_header(source).get("kind") != "training-state":
        file = load_network(source)
        judges = load_discriminators(source, file.header)
        return file.state, judges and {name: tensor.float() for name, tensor in judges.items()}, dict(file.header)
    tensors, header = load_tensors(source, kind="training-state")
    header = {"kind": "network", "config": header["config"], "nimg": header["nimg"], "commit": code_version()}
    weights = {name.removeprefix("average/"): t for name, t in tensors.items() if name.startswith("average/")}
    judges = {name: t for name, t in tensors.items() if name.startswith(("discriminator_rgb/", "discriminator_mask/"))}
    return weights, judges, header


def _write_config(folder: Path, config: dict, nimg: int) -> None:
    text = json.dumps({"model_type": "tetragan", "nimg": nimg, "config": config}, indent=2)
    with replacing(folder / CONFIG_NAME) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _config(values: dict, path: Path) -> Config:
    return build_config(values, str(path))
