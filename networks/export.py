"""Writing generators: one `.safetensors` file, or a folder in the Hugging Face form with a model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.loader import build_config, override_config
from networks.discriminator import DISCRIMINATOR_CHANNELS
from networks.generator import Generator
from networks.grid_memory import check_cells
from networks.model_card import model_card
from networks.pretrained import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    discriminators_file,
    license_of,
    load_discriminators,
    network_file,
)
from torch_utils.checkpoint import (
    code_version,
    load_network,
    load_strictly,
    load_tensors,
    read_header,
    save_half,
    save_tensors,
)
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text

CARD_NAME = "README.md"
# Names of files that an --out may be meant for; any other name is that of a folder.
FOREIGN_SUFFIXES = {".pt", ".pth", ".pkl", ".ckpt", ".bin", ".onnx", ".zip", ".glb"}
COLOR_PREFIX, RGB_PREFIX = "discriminator_color/", "discriminator_rgb/"
# What can be changed in a trained network: how its signed distance is cut into a mesh, and how that is drawn.
SETTABLE = (
    "geometry.cells",
    "geometry.tet_grid",
    "geometry.subdivide",
    "geometry.symmetric",
    "geometry.connect_components",
    "rendering.supersample",
    "rendering.backend",
)


def write_pretrained_folder(
    folder: Path, state: Mapping[str, Tensor], header: Mapping[str, Any], *, half: bool = False, license_name: str = ""
) -> Path:
    """Write config.json, model.safetensors and the model card README.md, the Hugging Face form; the file of weights.

    state: the generator's. header: a network file's, with config, nimg and commit. half: store float16.
    license_name: of the card. An existing README.md is kept: it may have been written by hand.
    """
    _save(folder / WEIGHTS_NAME, state, header, half)
    write_json(
        folder / CONFIG_NAME, {"model_type": "tetragan", "nimg": header["nimg"], "config": dict(header["config"])}
    )
    if not (folder / CARD_NAME).exists():
        write_text(folder / CARD_NAME, model_card(header, folder.resolve().name, license_name))
    return folder / WEIGHTS_NAME


def export_network(
    network: Path | str,
    out: Path,
    *,
    half: bool = False,
    overrides: Sequence[str] = (),
    textures: Path | str | None = None,
) -> list[Path]:
    """Copy a network that `network_file` names to `out`: one file where that ends in .safetensors, else a folder.

    network may also be a training state: its running average is taken. half: store float16. overrides: "path=value" of
    `SETTABLE`, which change how the weights are used and not what they mean. textures: a network or state of a texture
    stage that began with this network, whose textures are taken. Where `out` is a file, the discriminators of the
    state, or of `discriminators_file(network)`, go to `discriminators_file(out)` for a later --init, but with
    `textures` none that saw normals or lit surfaces instead of its colors; a folder has the Hugging Face form and
    holds the generator alone. Returns the files of weights. UserError as `load_generator`, and for an `out` that is
    named as a file of another format.
    """
    if out.suffix.lower() in FOREIGN_SUFFIXES:
        raise UserError(
            f"--out {out}: expected a .safetensors file or a folder, e.g. {out.with_suffix('.safetensors')}"
        )
    source = network_file(network)
    weights, discriminators, header = _read(source)
    if textures is not None:
        weights, color, other = _with_textures(weights, source, network_file(textures))
        before, after = (build_config(each["config"], str(source)) for each in (header, other))
        if discriminators is not None:
            # Those of normals or lit surfaces would take plain colors for fakes.
            fit = before.training.stage != "geometry" and before.texture.channels == after.texture.channels
            discriminators = {k: v for k, v in discriminators.items() if fit or not k.startswith(RGB_PREFIX)}
            discriminators |= color
        header["shading"] = other.get("shading", "albedo")
        header["config"] = before.model_copy(update={"texture": after.texture}).model_dump(mode="json")
    for override in overrides:
        if override.partition("=")[0] not in SETTABLE:
            raise UserError(f"--set {override}: of a network only {', '.join(SETTABLE)} can be changed")
    config = override_config(
        build_config(header["config"], str(source)).model_dump(mode="json"), overrides, str(source)
    )
    if textures is not None:  # shapes and textures go on together
        config = override_config(config.model_dump(mode="json"), ["training.stage=joint"], str(source))
    header["config"] = config.model_dump(mode="json")
    if any(override.startswith("geometry.cells=") for override in overrides):
        check_cells(config, 1, torch.device("cpu"))
    load_strictly(Generator(config), weights, source)  # refuses a file that lacks a tensor, before anything is written
    if out.suffix != ".safetensors":
        return [write_pretrained_folder(out, weights, header, half=half, license_name=license_of(source))]
    _save(out, weights, header, half)
    if discriminators is None or all(name.startswith(COLOR_PREFIX) for name in discriminators):
        return [out]  # the texture stage has none of images
    target = discriminators_file(out)
    _save(target, discriminators, {**header, "kind": "discriminators"}, half)
    return [out, target]


def _with_textures(
    weights: Mapping[str, Tensor], source: Path, textures: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """The weights with the textures of another network, that one's color discriminator if it has one, and its header.

    UserError where anything but the textures differs, since textures fit the features of their own shapes alone.
    """
    other, discriminators, header = _read(textures)
    config = build_config(header["config"], str(textures))
    with torch.device("meta"):
        taken = {"w_average_tex", *Generator(config).texture_parameters()}
    if weights.keys() != other.keys() or any(
        not torch.equal(value, other[name]) for name, value in weights.items() if name not in taken
    ):
        raise UserError(f"--textures {textures}: its shapes are not those of {source}; start the texture stage from it")
    color = {name: value for name, value in (discriminators or {}).items() if name.startswith(COLOR_PREFIX)}
    joined = {name: other[name] if name in taken else value for name, value in weights.items()}
    return joined, color, header


def _save(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], half: bool) -> None:
    save = save_half if half else save_tensors
    save(path, tensors, {**header, "precision": "fp16" if half else "fp32"})


def _read(source: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, dict[str, Any]]:
    """A generator, its discriminators and a network file's header, from a network file or a training state; fp32."""
    if read_header(source).get("kind") != "training-state":
        file = load_network(source)
        discriminators = load_discriminators(source, file.header)
        if discriminators is not None:
            discriminators = {name: tensor.float() for name, tensor in discriminators.items()}
        return file.state, discriminators, dict(file.header)
    tensors, header = load_tensors(source, kind="training-state")
    header = {"kind": "network", "config": header["config"], "nimg": header["nimg"], "commit": code_version()}
    weights = {name.removeprefix("average/"): t for name, t in tensors.items() if name.startswith("average/")}
    prefixes = (*(f"discriminator_{name}/" for name in DISCRIMINATOR_CHANNELS), COLOR_PREFIX)
    discriminators = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    return weights, discriminators or None, header
