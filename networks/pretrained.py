"""Loading generators: from a `.safetensors` file, from a folder in the Hugging Face form, or included ones by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.differences import differences, differing
from configs.loader import build_config, nearest, override_config
from configs.schema import Config
from networks.backbone import START_RESOLUTION, resolutions
from networks.discriminator import ImageDiscriminator, build_discriminator, discriminator_names
from networks.generator import Generator
from networks.layers import channels_at
from torch_utils.checkpoint import NetworkFile, load_network, load_strictly, load_tensors
from torch_utils.errors import UserError

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
# The network in the folder of a training run.
RUN_NETWORK_NAME = "network.safetensors"
LICENSE = "Apache-2.0"
# The networks included in the package.
INCLUDED = Path(__file__).resolve().parent / "pretrained"


def pretrained_networks() -> list[str]:
    """Names of the included networks, such as "chair-64"."""
    return sorted(path.stem for path in INCLUDED.glob("*.safetensors"))


def license_of(source: Path | None) -> str:
    """The license of what a network file's generator makes: that of this code for the included ones, else unknown: "".

    Whoever trains on other images knows what these allow.
    """
    return LICENSE if source is not None and source.resolve().parent == INCLUDED else ""


def network_file(network: Path | str) -> Path:
    """The file that a user means by a file, a folder of a network or a run, or the name of an included network.

    A file or folder of that name comes first. UserError for a folder without a network and for an unknown bare name.
    """
    path = Path(network)
    if path.is_dir():
        for name in (WEIGHTS_NAME, RUN_NETWORK_NAME):
            if (path / name).is_file():
                return path / name
        raise UserError(f"{network}: a folder without a network: expected {RUN_NETWORK_NAME} or {WEIGHTS_NAME} in it")
    if path.exists() or path.suffix or path.name != str(network):
        return path
    included = INCLUDED / f"{path.name}.safetensors"
    if included.is_file():
        return included
    names = pretrained_networks()
    hint = nearest(path.name, names)
    raise UserError(f"{network}: no such file or included network{hint} (included: {', '.join(names) or 'none'})")


def load_generator(path: Path | str, device: torch.device | str = "cpu") -> Generator:
    """The generator that `network_file(path)` names, in evaluation mode, fp32.

    UserError where the file is missing, damaged, of another program, or does not fit its own configuration.
    """
    generator, _ = load_generator_file(path, device)
    return generator


def load_generator_file(
    path: Path | str, device: torch.device | str = "cpu", precision: str = "fp32", cells: int | None = None
) -> tuple[Generator, NetworkFile]:
    """`load_generator`, with everything else that the file holds (images seen, commit, header).

    precision: of the convolutions, as for `compute_dtype`. cells: of the grid that meshes are extracted from, in place
    of those that the network was trained with.
    """
    path = network_file(path)
    file = load_network(path)
    config = override_config(file.config, [] if cells is None else [f"geometry.cells={cells}"], str(path))
    _refuse_sizes(path, _generator_sizes(config), file.state)
    generator = Generator(config)
    load_strictly(generator, file.state, path)
    # Not the training's precision: unless one asks for it, samples do not depend on the processor.
    generator.precision = precision
    return generator.to(device).eval().requires_grad_(False), file


@dataclass(frozen=True)
class _Sizes:
    """What a configuration makes: sides of tensors and numbers of layers, by the names of their fields."""

    sides: dict[str, int]
    layers: dict[str, int]


def _generator_sizes(config: Config) -> _Sizes:
    mapping, backbone, geometry, texture = config.mapping, config.backbone, config.geometry, config.texture
    sides = {"mapping.z_dim": mapping.z_dim, "mapping.w_dim": mapping.w_dim, "classes": config.classes}
    sides["mapping.text_dim"] = mapping.text_dim
    sides["backbone.channel_base"] = channels_at(START_RESOLUTION, backbone.channel_base, backbone.channel_max)
    sides |= {"backbone.plane_channels": backbone.plane_channels, "geometry.hidden": geometry.hidden}
    sides |= {"texture.hidden": texture.hidden, "texture.features": texture.features}
    layers = {"mapping.layers": mapping.layers, "geometry.hidden_layers": geometry.hidden_layers}
    layers["geometry.deformation_hidden_layers"] = geometry.deformation_hidden_layers or 0
    layers["backbone.plane_resolution"] = len(resolutions(backbone.plane_resolution))
    if geometry.network == "volume":
        base, most = geometry.volume_channel_base, geometry.volume_channel_max
        sides["geometry.volume_channel_base"] = channels_at(START_RESOLUTION, base, most)
        layers["geometry.volume_resolution"] = len(resolutions(geometry.volume_resolution))
    return _Sizes(sides, layers)


def _discriminator_sizes(config: Config) -> _Sizes:
    own = config.discriminator
    names = set(discriminator_names(config))
    bases = {"mask_channel_base": own.mask_channel_base} if "mask" in names else {}
    bases |= {"channel_base": own.channel_base} if names & {"rgb", "rgba"} else {}
    sides = {name: channels_at(START_RESOLUTION, base, own.channel_max) for name, base in bases.items()}
    return _Sizes(
        {f"discriminator.{name}": side for name, side in sides.items()},
        {
            "discriminator.mapping_layers": own.mapping_layers,
            "data.resolution": len(resolutions(config.data.resolution)),
        },
    )


def _refuse_sizes(path: Path, sizes: _Sizes, tensors: Mapping[str, Tensor]) -> None:
    """UserError where no stored tensor is as large as a size that the header names, or has as many layers.

    Otherwise a damaged header would fill the memory with layers before they can be compared with the tensors.
    """
    largest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    for name, side in sizes.sides.items():
        if side > largest:
            raise UserError(
                f"{path}: its header names {name} of {side:,}, but the longest side of its tensors is {largest:,}"
            )
    for name, count in sizes.layers.items():
        if count > len(tensors):
            raise UserError(f"{path}: its header names {count:,} layers ({name}), but it holds {len(tensors)} tensors")


def load_pretrained_folder(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Generator, NetworkFile]:
    """`load_generator_file` of a folder in the Hugging Face form: config.json and model.safetensors.

    UserError where one of them is missing, or the two disagree.
    """
    folder = Path(folder)
    if not (folder / CONFIG_NAME).is_file() or not (folder / WEIGHTS_NAME).is_file():
        raise UserError(f"{folder}: expected {CONFIG_NAME} and {WEIGHTS_NAME}, as `save_pretrained` writes them")
    generator, file = load_generator_file(folder / WEIGHTS_NAME, device)
    try:
        stated = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG_NAME}: cannot be read as JSON ({error})") from None
    values = stated.get("config", {}) if isinstance(stated, dict) else {}
    apart = differences(build_config(values, str(folder / CONFIG_NAME)), build_config(file.config, str(folder)))
    if apart:
        raise UserError(f"{folder}: {differing(apart, CONFIG_NAME, WEIGHTS_NAME)}; save the network again")
    return generator, file


def discriminators_file(network: Path) -> Path:
    """Where the discriminators of a network file are looked for: `discriminators/<its name>` in its folder."""
    return network.parent / "discriminators" / network.name


def load_discriminators(network: Path, header: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The tensors of `discriminators_file(network)`; None where there is no such file.

    header: the network file's. UserError where the two files were not exported together.
    """
    path = discriminators_file(network)
    if not path.is_file():
        return None
    tensors, own = load_tensors(path, kind="discriminators")
    if any(own.get(key) != header.get(key) for key in ("nimg", "config", "commit")):
        raise UserError(
            f"{path}: belongs to another network than {network}; move it away, or export both from one state"
        )
    return tensors


def load_discriminator_networks(
    path: Path | str, device: torch.device | str = "cpu"
) -> tuple[Config, dict[str, ImageDiscriminator]]:
    """The discriminators by name, in evaluation mode, of a training state or a network file, and the configuration.

    UserError where there are none.
    """
    file = network_file(path)
    tensors, header = load_tensors(file)
    stored: Mapping[str, Tensor] | None = tensors
    if header.get("kind") != "training-state":
        stored = load_discriminators(file, header)
    if stored is None:
        raise UserError(f"{file}: has no discriminators next to it; name a training state of the run")
    config = build_config(header["config"], str(file))
    _refuse_sizes(file, _discriminator_sizes(config), stored)
    networks = {}
    for name in discriminator_names(config):
        prefix = f"discriminator_{name}/"
        own = {key.removeprefix(prefix): t.float() for key, t in stored.items() if key.startswith(prefix)}
        networks[name] = build_discriminator(config, name)
        load_strictly(networks[name], own, file)
        networks[name].to(device).eval().requires_grad_(False)
    return config, networks
