"""`--init`: a run that starts with the weights of another."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from configs.differences import differences, differing, size_differences
from configs.loader import build_config, override_config
from configs.schema import Config
from networks.backbone import TriPlaneBackbone
from networks.discriminator import Discriminator, ImageDiscriminator
from networks.export import SETTABLE
from networks.generator import Generator
from networks.pretrained import load_discriminators, network_file
from torch_utils.checkpoint import load_tensors, read_header
from torch_utils.errors import UserError
from training.run.state_file import any_state, latest_state
from training.train_state import TrainState
from training.widening import widened

# Parameters whose learning rate is scaled by `mapping.lr_multiplier`, in the generator and the discriminators.
MAPPING = re.compile(r"mapping(_geo|_tex)?\.layers\.")


@dataclass(frozen=True)
class InitSource:
    """Where a run's first weights come from.

    path: a run's folder (its newest state), a state, a network file or an included network's name. discriminators:
    another run, state or network to take the discriminators from; None for those of `path`, if it has any.
    """

    path: Path
    discriminators: Path | None = None


@dataclass(frozen=True)
class Initialization:
    """What a run took over.

    sources: in words. fresh: names of what starts untrained. why: differing sizes, or "". widened: number of the
    generator's tensors that hold smaller ones.
    """

    sources: str
    fresh: list[str]
    why: str
    widened: int = 0

    def note(self) -> str:
        """A line for the log."""
        more = f" and {len(self.fresh) - 3} more tensors" if len(self.fresh) > 3 else ""
        wider = f"; wider, with no effect at first: {self.widened} tensors" if self.widened else ""
        new = f"; new: {', '.join(self.fresh[:3])}{more}" if self.fresh else ""
        return f"Started from {self.sources}{wider}{new}" + (f" ({self.why})." if self.why else ".")


@torch.no_grad()
def initialize_from(train_state: TrainState, config: Config, source: InitSource) -> Initialization:
    """Copy weights into `train_state`, by name where the shapes agree. config: the run's.

    The discriminators are copied too if the file contains them or they lie beside it. A wider generator starts as the
    narrower one (`widened`).

    If the planes are larger than before (`backbone.plane_resolution`), the generated shapes stay the same at first,
    because the new blocks start with no effect. Discriminators for another resolution keep the blocks that both have.

    `fresh` of the result: tensors whose shape changed (resolution, classes), and "the discriminators" if there were
    none. UserError if nothing fits, or if the texture stage could not keep the shapes.
    """
    path = source.path
    weights, discriminators, stored = _stored(path)
    why = differing(size_differences(stored, config), str(path), "this run")
    if config.training.stage == "texture":
        refuse_other_shapes(stored, config, path)
    own_multiplier = config.mapping.lr_multiplier
    change = stored.mapping.lr_multiplier / own_multiplier
    if config.texture.channels != stored.texture.channels:
        weights = weights | with_own_channels(weights, train_state.generator)
    wider = widened(weights, train_state.generator)
    fresh = _take(train_state.generator, weights | wider, change)
    if len(fresh) == len(train_state.generator.state_dict()):
        reason = why or "it has none of this program's"
        raise UserError(f"{path}: none of its tensors fits ({reason}); use the preset that it was trained with")
    zero_initialize_new_blocks(train_state.generator, fresh)
    train_state.average.load_state_dict(train_state.generator.state_dict())
    if source.discriminators is not None:
        _, discriminators, other = _stored(source.discriminators)
        change = other.mapping.lr_multiplier / own_multiplier
        if discriminators is None:
            raise UserError(
                f"--discriminators {source.discriminators}: no discriminators in it or beside it; name a run or a state"
            )
    if train_state.color_discriminator is not None:
        name = "discriminator_color/"
        own = {key.removeprefix(name): value for key, value in (discriminators or {}).items() if key.startswith(name)}
        fresh += [name + key for key in _take(train_state.color_discriminator, own, 1.0)]
    sources = str(path) + (f" and the discriminators of {source.discriminators}" if source.discriminators else "")
    if not train_state.discriminators:
        return Initialization(sources, fresh, why, len(wider))
    if discriminators is None:
        return Initialization(sources, ["the discriminators", *fresh], why, len(wider))
    for head, discriminator in train_state.discriminators.items():
        part = f"discriminator_{head}/"
        shared = _stored_blocks(discriminators, part, discriminator)
        fresh += [part + name for name in _take(discriminator, shared, change)]
    return Initialization(sources, fresh, why, len(wider))


def refuse_other_shapes(stored: Config, config: Config, path: Path) -> None:
    """UserError if a network's shapes under `config` are not those that it learned, apart from the grid."""
    free = {*SETTABLE, "mapping.lr_multiplier", "mapping.w_average_beta"} - {"geometry.symmetric"}
    changed = {
        name: values
        for name, values in differences(stored, config).items()
        if name.partition(".")[0] in ("classes", "mapping", "backbone", "geometry") and name not in free
    }
    if changed:
        raise UserError(
            f"{path}: the texture stage keeps its shapes, but {differing(changed, 'it', 'this run')}; "
            "leave out --config and these settings"
        )


def config_of(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a run's folder, a state or a network, with "path=value" overrides."""
    return override_config(read_header(_file(path)).get("config", {}), overrides, str(path))


def _file(path: Path) -> Path:
    return latest_state(path) if any_state(path) else network_file(path)


def _stored(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, Config]:
    """What --init names: tensors of the generator, of the discriminators (or None), and the configuration."""
    file = _file(path)
    tensors, header = load_tensors(file)
    config = build_config(header.get("config", {}), "the file's configuration")
    if header.get("kind") == "training-state":
        weights = {name.removeprefix("average/"): value for name, value in tensors.items()}
        return weights, tensors, config
    if header.get("kind") == "network":
        return tensors, load_discriminators(file, header), config
    raise UserError(f"{path}: expected a network or a training state, got {header.get('kind')!r}")


def with_own_channels(weights: Mapping[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """The last layer of a stored texture head with as many outputs as the generator's, by its tensors' names.

    Colors become base colors, and base colors colors. Metallic and roughness begin as those of a plain dielectric.
    """
    last = f"texture_head.rgb.layers.{len(generator.texture_head.rgb.layers) - 1}."
    fitted = {}
    for name, value in generator.state_dict().items():
        stored = weights.get(name)
        if name.startswith(last) and stored is not None and stored.shape[1:] == value.shape[1:]:
            more = stored.new_zeros(max(len(value) - len(stored), 0), *stored.shape[1:])
            fitted[name] = torch.cat([stored[: len(value)], more])
    return fitted


def zero_initialize_new_blocks(generator: Generator, fresh: Sequence[str]) -> None:
    """Zero-initialize the backbone's blocks above those that were copied, so that they have no effect at first.

    fresh: names of the generator's tensors that were not copied.
    """
    backbone, names = generator.backbone, generator.state_dict().keys()
    if not isinstance(backbone, TriPlaneBackbone):
        return
    numbers = range(len(backbone.blocks))
    copied = [k for k in numbers if any(n.startswith(f"backbone.blocks.{k}.") and n not in fresh for n in names)]
    for index in numbers[copied[-1] + 1 :] if copied else ():
        backbone.zero_initialize(index)


def _take(module: nn.Module, stored: Mapping[str, Tensor], change: float) -> list[str]:
    """Copy the tensors whose names and shapes agree into a module. Returns the names of the others.

    change: old mapping.lr_multiplier divided by the new one. The mapping networks multiply their weights by it, so
    they must be rescaled to compute the same.
    """
    left = []
    for name, value in module.state_dict().items():
        if name in stored and stored[name].shape == value.shape:
            value.copy_(stored[name] * change if MAPPING.match(name) else stored[name])
        else:
            left.append(name)
    return left


def _stored_blocks(stored: Mapping[str, Tensor], prefix: str, discriminator: ImageDiscriminator) -> dict[str, Tensor]:
    """`shared_blocks`; a discriminator of outlines is the same at every resolution."""
    if isinstance(discriminator, Discriminator):
        return shared_blocks(stored, prefix, discriminator)
    return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}


def shared_blocks(stored: Mapping[str, Tensor], prefix: str, discriminator: Discriminator) -> dict[str, Tensor]:
    """A stored discriminator's tensors under their names in `discriminator`, which may have another resolution.

    Blocks are numbered from the image inwards, so blocks of equal resolution have different numbers. The first layer
    (`entry` in the state dict) belongs to one resolution and is left out if that differs.
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
