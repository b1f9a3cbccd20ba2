"""What a configuration builds: layers, parameters and multiply-adds, computed on the meta device."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from configs.schema import Config
from networks.discriminator import ImageDiscriminator, build_discriminator, discriminator_names
from networks.generator import Generator
from networks.layers import Conv2d, EqualizedLinear, ModulatedConv, ModulatedPlaneHead, ModulatedPointLayer
from networks.volume_backbone import ModulatedConv3d, Shortcut3d
from rendering.camera import Cameras

LAYERS = (EqualizedLinear, Conv2d, ModulatedConv, ModulatedPlaneHead, ModulatedPointLayer, ModulatedConv3d, Shortcut3d)
# How the table calls each discriminator.
TITLES = {
    "rgb": "discriminator of RGB",
    "mask": "discriminator of masks",
    "rgba": "discriminator of RGB and masks",
    "outline": "discriminator of outlines",
}


@dataclass(frozen=True)
class LayerSummary:
    """One row of the table. shape: of the output, without batch. multiply_adds: of a sample, or of a point in heads."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class NetworkSummary:
    """A network, layer by layer.

    sample_bytes: what the forward pass keeps of each sample for the backward pass, fp32, without point heads and
    raster. batch_bytes: what it keeps once a batch, such as scaled weights.
    """

    name: str
    layers: list[LayerSummary]
    parameters: int
    sample_bytes: int
    batch_bytes: int

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all layers in the forward pass of one sample."""
        return sum(layer.multiply_adds for layer in self.layers)


def describe(config: Config) -> list[NetworkSummary]:
    """The backbone, the rest of the generator and the discriminators; nothing is allocated."""
    with torch.device("meta"):
        generator = Generator(config)
        networks = {name: build_discriminator(config, name) for name in discriminator_names(config)}
    discriminators = [_discriminator(TITLES[name], network, config) for name, network in networks.items()]
    return [_backbone(generator), _rest_of_generator(generator), *discriminators]


def _backbone(generator: Generator) -> NetworkSummary:
    backbone, w_dim = generator.backbone, generator.config.mapping.w_dim

    def run(batch: int) -> None:
        geo = torch.empty(batch, backbone.num_ws_geo, w_dim, device="meta")
        backbone(geo, torch.empty(batch, backbone.num_ws_tex, w_dim, device="meta"), torch.float32)

    recorded = _record("backbone", backbone, run)
    constants = [
        LayerSummary(name, tuple(parameter.shape), parameter.numel(), 0)
        for name, parameter in backbone.named_parameters()
        if name.rpartition(".")[2] == "constant"
    ]
    return replace(recorded, layers=[*constants, *recorded.layers])


def _rest_of_generator(generator: Generator) -> NetworkSummary:
    """Mapping networks, for one sample, and heads, for one point."""
    config = generator.config
    rest = nn.ModuleDict(
        {
            "mapping_geo": generator.mapping_geo,
            "mapping_tex": generator.mapping_tex,
            "sdf": generator.geometry.sdf,
            **({} if generator.geometry.deformation is None else {"deformation": generator.geometry.deformation}),
            "texture": generator.texture_head,
            **({} if generator.geometry.weights is None else {"cube_weights": generator.geometry.weights}),
        }
    )

    def run(batch: int) -> None:
        z = torch.empty(batch, config.mapping.z_dim, device="meta")
        labels = torch.empty(batch, config.classes, device="meta") if config.classes else None
        features = torch.empty(batch, config.backbone.plane_channels, device="meta")
        w = torch.empty(batch, generator.geometry.num_ws, config.mapping.w_dim, device="meta")
        offsets = torch.arange(batch + 1)
        generator.mapping_geo(z, labels)
        generator.mapping_tex(z, labels)
        for head in (generator.geometry.sdf, generator.geometry.deformation, generator.geometry.weights):
            if head is not None:
                head(torch.empty(batch, head.inputs, device="meta"), w, offsets)
        generator.texture_head(features, w, offsets)

    return _record("mappings and heads", rest, run)


def _discriminator(name: str, network: ImageDiscriminator, config: Config) -> NetworkSummary:
    side = config.data.resolution
    network.precision = "fp32"

    def run(batch: int) -> None:
        image = torch.empty(batch, network.channels, side, side, device="meta")
        zero = torch.zeros(batch, device="meta")
        labels = torch.zeros(batch, dtype=torch.int64, device="meta") if config.classes else None
        network(image, Cameras.orbit(zero, zero, 1.0, 1.0), labels)

    return _record(name, network, run)


def _record(name: str, network: nn.Module, run: Callable[[int], Any]) -> NetworkSummary:
    """The summary of a network; run(batch) is a forward pass of a batch of that size."""
    layers: list[LayerSummary] = []
    with _hooks(network, layers):
        one = _saved_bytes(network, run, 1)
    sample = _saved_bytes(network, run, 2) - one
    return NetworkSummary(name, layers, sum(p.numel() for p in network.parameters()), sample, one - sample)


def _saved_bytes(network: nn.Module, run: Callable[[int], Any], batch: int) -> int:
    """What a forward pass keeps for the backward pass, besides the parameters."""
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage  # kept alive, so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(batch)
    of_parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    return sum(storage.nbytes() for key, storage in storages.items() if key not in of_parameters)


@contextmanager
def _hooks(network: nn.Module, layers: list[LayerSummary]) -> Iterator[None]:
    handles = []
    inside: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, LAYERS) and not any(name.startswith(f"{outer}.") for outer in inside):
            inside.append(name)
            handles.append(module.register_forward_hook(_hook(name, layers)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, layers: list[LayerSummary]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        layers.append(
            LayerSummary(name, tuple(output.shape[1:]), parameters, _multiply_adds(module, inputs[0], output))
        )

    return hook


def _multiply_adds(module: nn.Module, x: Tensor, output: Tensor) -> int:
    """For one sample (or point): weights times the places where they are applied, with the affine layers of styles."""
    affine = sum(m.weight.numel() for m in module.modules() if m is not module and isinstance(m, EqualizedLinear))
    weight = module.weight
    assert isinstance(weight, Tensor), "every layer has a weight"
    if isinstance(module, ModulatedConv | ModulatedPlaneHead | ModulatedConv3d | Shortcut3d):
        # An upsampling convolution is transposed: its weights are applied at every input pixel, not output pixel.
        return affine + weight.numel() * math.prod(x.shape[2:])
    if isinstance(module, Conv2d):
        return weight.numel() * output.shape[2] * output.shape[3]
    return affine + weight.numel()
