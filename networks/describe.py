"""What a configuration builds: layers, parameters, multiply-adds and memory, worked out on the meta device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from configs.schema import Config
from networks.discriminator import Discriminator
from networks.generator import Generator
from networks.layers import Conv2d, EqualizedLinear, ModulatedConv, ModulatedPlaneHead, ModulatedPointLayer
from rendering.camera import Cameras

LAYERS = (EqualizedLinear, Conv2d, ModulatedConv, ModulatedPlaneHead, ModulatedPointLayer)
FP32_BYTES = 4


@dataclass(frozen=True)
class Layer:
    """One row of the table. shape: the output's without batch. multiply_adds: of one sample, or one point of a head."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Part:
    """A network. saved_bytes: what one sample's forward pass keeps for the backward, planes and images only."""

    name: str
    layers: list[Layer]
    parameters: int
    saved_bytes: int

    @property
    def multiply_adds(self) -> int:
        """Of one sample's forward pass, all layers."""
        return sum(layer.multiply_adds for layer in self.layers)


def describe(config: Config) -> list[Part]:
    """The backbone, the rest of the generator and both discriminators; nothing is allocated."""
    with torch.device("meta"):
        generator = Generator(config)
        heads = {3: Discriminator(config, 3), 1: Discriminator(config, 1)}
    generator.precision = heads[3].precision = heads[1].precision = "fp32"
    parts = [_backbone(generator), _rest_of_generator(generator)]
    for channels, name in ((3, "discriminator of RGB"), (1, "discriminator of masks")):
        parts.append(_discriminator(name, heads[channels], config))
    return parts


def _backbone(generator: Generator) -> Part:
    geo = torch.empty(1, generator.backbone.num_ws_geo, generator.config.mapping.w_dim, device="meta")
    tex = torch.empty(1, generator.backbone.num_ws_tex, generator.config.mapping.w_dim, device="meta")
    part = _record("backbone", generator.backbone, lambda: generator.backbone(geo, tex, torch.float32))
    constant = generator.backbone.constant
    first = Layer("constant", tuple(constant.shape), constant.numel(), 0)
    return Part(part.name, [first, *part.layers], part.parameters, part.saved_bytes)


def _rest_of_generator(generator: Generator) -> Part:
    """Mapping networks, for one sample, and heads, for one point."""
    config = generator.config
    rest = nn.ModuleDict(
        {
            "mapping_geo": generator.mapping_geo,
            "mapping_tex": generator.mapping_tex,
            "sdf": generator.geometry.sdf,
            **({} if generator.geometry.deformation is None else {"deformation": generator.geometry.deformation}),
            "texture": generator.texture_head,
        }
    )
    z = torch.empty(1, config.mapping.z_dim, device="meta")
    labels = torch.empty(1, config.classes, device="meta") if config.classes else None
    features = torch.empty(1, config.backbone.plane_channels, device="meta")
    w = torch.empty(1, generator.geometry.num_ws, config.mapping.w_dim, device="meta")
    offsets = torch.tensor([0, 1])

    def run() -> None:
        generator.mapping_geo(z, labels)
        generator.mapping_tex(z, labels)
        generator.geometry.sdf(features, w, offsets)
        if generator.geometry.deformation is not None:
            generator.geometry.deformation(features, w, offsets)
        generator.texture_head(features, w, offsets)

    return _record("mappings and heads", rest, run)


def _discriminator(name: str, network: Discriminator, config: Config) -> Part:
    side = config.data.resolution
    image = torch.empty(1, network.channels, side, side, device="meta")
    zero = torch.zeros(1, device="meta")
    cameras = Cameras.orbit(zero, zero, 1.0, 1.0)
    labels = torch.zeros(1, dtype=torch.int64, device="meta") if config.classes else None
    return _record(name, network, lambda: network(image, cameras, labels))


def _record(name: str, network: nn.Module, run: Callable[[], Any]) -> Part:
    layers: list[Layer] = []
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        return tensor

    with _hooks(network, layers), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    of_parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    return Part(name, layers, parameters, sum(n for key, n in storages.items() if key not in of_parameters))


@contextmanager
def _hooks(network: nn.Module, layers: list[Layer]) -> Iterator[None]:
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


def _hook(name: str, layers: list[Layer]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        layers.append(Layer(name, tuple(output.shape[1:]), parameters, _multiply_adds(module, inputs[0], output)))

    return hook


def _multiply_adds(module: nn.Module, x: Tensor, output: Tensor) -> int:
    """Of one sample (or point): weights times the places where they are applied; affine layers of styles included."""
    affine = sum(m.weight.numel() for m in module.modules() if m is not module and isinstance(m, EqualizedLinear))
    weight = module.weight
    assert isinstance(weight, Tensor), "every layer has a weight"
    if isinstance(module, ModulatedConv | ModulatedPlaneHead):
        # An upsampling convolution is a transposed one: its weights meet every input pixel, not every output pixel.
        return affine + weight.numel() * x.shape[2] * x.shape[3]
    if isinstance(module, Conv2d):
        return weight.numel() * output.shape[2] * output.shape[3]
    return affine + weight.numel()


def training_bytes(parts: list[Part], config: Config) -> int:
    """Estimate of a step's peak: weights, gradients, two moments (and the generator's average), and saved tensors.

    Point heads and the raster are not in it: they grow with the surface in view.
    """
    generator, discriminators = parts[:2], parts[2:]
    fixed = 5 * sum(p.parameters for p in generator) + 4 * sum(p.parameters for p in discriminators)
    half = 1 if config.training.precision == "fp32" else 2
    shapes = config.training.batch // config.data.views_per_shape
    saved = shapes * generator[0].saved_bytes + 2 * config.training.batch * sum(p.saved_bytes for p in discriminators)
    return fixed * FP32_BYTES + saved // half
