"""A run that starts from what another one learned: `--init`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from configs.loader import build_config, override_config
from configs.schema import Config
from networks.discriminator import Discriminator
from networks.generator import Generator
from networks.pretrained import load_discriminators, network_file
from torch_utils.checkpoint import load_tensors, read_header
from torch_utils.errors import UserError
from training.gan_step import TrainState
from training.run.state_file import LATEST, latest_state

# Parameters that learn at `mapping.lr_multiplier` times the optimizer's rate, in generator and discriminators.
MAPPING = re.compile(r"mapping(_geo|_tex)?\.layers\.")


@torch.no_grad()
def initialize_from(train_state: TrainState, path: Path, judges_path: Path | None = None) -> list[str]:
    """Start from a network file or a training state; with the discriminators, where they are in it or beside it.

    judges_path: another run, state or network, whose discriminators are taken instead. A run's folder stands for its
    newest state. Tensors are taken by name where their shapes agree. Larger planes (`backbone.plane_resolution`) keep
    the shapes that the network makes: the blocks that it lacks add nothing at first. Discriminators for another
    resolution keep their coarse blocks. Returns what starts anew: tensors that have another shape in the new
    configuration (resolution, classes), and "the discriminators" where none were found. UserError where nothing fits.
    """
    weights, judges, multiplier = _stored(path)
    own_multiplier = train_state.generator.config.mapping.lr_multiplier
    change = multiplier / own_multiplier
    fresh = _take(train_state.generator, weights, change)
    if len(fresh) == len(train_state.generator.state_dict()):
        raise UserError(f"{path}: none of its tensors fits this configuration; use the preset that it was trained with")
    silence_grown_blocks(train_state.generator, fresh)
    train_state.average.load_state_dict(train_state.generator.state_dict())
    if judges_path is not None:
        _, judges, multiplier = _stored(judges_path)
        change = multiplier / own_multiplier
        if judges is None:
            raise UserError(
                f"--discriminators {judges_path}: no discriminators in it or beside it; a run or a state has them"
            )
    if judges is None:
        return ["the discriminators", *fresh]
    for head, discriminator in train_state.discriminators.items():
        part = f"discriminator_{head}/"
        fresh += [part + name for name in _take(discriminator, coarse_blocks(judges, part, discriminator), change)]
    return fresh


def config_of(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of what --init names (a run's folder, a state, a network), with "path=value" overrides."""
    return override_config(read_header(_file(path)).get("config", {}), overrides, str(path))


def _file(path: Path) -> Path:
    return latest_state(path) if (path / LATEST).is_file() else network_file(path)


def _stored(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, float]:
    """A generator's tensors, the discriminators' or None, and the mapping's multiplier, of what --init names."""
    file = _file(path)
    tensors, header = load_tensors(file)
    config = build_config(header.get("config", {}), "the file's configuration")
    if header.get("kind") == "training-state":
        weights = {name.removeprefix("average/"): value for name, value in tensors.items()}
        return weights, tensors, config.mapping.lr_multiplier
    if header.get("kind") == "network":
        return tensors, load_discriminators(file, header), config.mapping.lr_multiplier
    raise UserError(f"{path}: expected a network or a training state, got {header.get('kind')!r}")


def silence_grown_blocks(generator: Generator, fresh: Sequence[str]) -> None:
    """Where the planes are larger than those that the weights come from, let the blocks on top add nothing yet.

    fresh: the generator's tensors that were not taken.
    """
    backbone, names = generator.backbone, generator.state_dict().keys()
    numbers = range(len(backbone.blocks))
    taken = [k for k in numbers if any(n.startswith(f"backbone.blocks.{k}.") and n not in fresh for n in names)]
    for index in numbers[taken[-1] + 1 :] if taken else ():
        backbone.zero_initialize(index)


def _take(module: nn.Module, stored: Mapping[str, Tensor], change: float) -> list[str]:
    """Copy the tensors whose names and shapes agree into a module; returns the names of the others.

    change: of the mapping networks' learning-rate multiplier. Their weights are stored divided by it, so that they must
    be scaled for the network to say the same.
    """
    left = []
    for name, value in module.state_dict().items():
        if name in stored and stored[name].shape == value.shape:
            value.copy_(stored[name] * change if MAPPING.match(name) else stored[name])
        else:
            left.append(name)
    return left


def coarse_blocks(stored: Mapping[str, Tensor], prefix: str, discriminator: Discriminator) -> dict[str, Tensor]:
    """A stored discriminator's tensors under the names that they have in `discriminator`, which may see more pixels.

    Its blocks are counted from the image on, so those of equal resolution have other numbers. The entry goes with the
    images' resolution and is left out where that differs.
    """
    own = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    numbers = [int(name.split(".")[1]) for name in own if name.startswith("blocks.")]
    more = len(discriminator.blocks) - (max(numbers, default=-1) + 1)
    found = {}
    for name, value in own.items():
        kind, _, rest = name.partition(".")
        if kind == "blocks":
            number, _, rest = rest.partition(".")
            found[f"blocks.{int(number) + more}.{rest}"] = value
        elif kind != "entry" or more == 0:
            found[name] = value
    return found
