"""What a configuration builds: layers, parameters, multiply-adds and memory, computed on the meta device."""

import math
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
from networks.volume_backbone import ModulatedConv3d, Shortcut3d
from rendering.camera import Cameras

LAYERS = (EqualizedLinear, Conv2d, ModulatedConv, ModulatedPlaneHead, ModulatedPointLayer, ModulatedConv3d, Shortcut3d)
FP32_BYTES = 4


@dataclass(frozen=True)
class LayerSummary:
    """One row of the table. shape: of the output, without batch. multiply_adds: of a sample, or of a point in heads."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class NetworkSummary:
    """A network, layer by layer. saved_bytes: what the forward pass of one sample keeps for the backward pass, without
    point heads and raster."""

    name: str
    layers: list[LayerSummary]
    parameters: int
    saved_bytes: int

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all layers in the forward pass of one sample."""
        return sum(layer.multiply_adds for layer in self.layers)


def describe(config: Config) -> list[NetworkSummary]:
    """The backbone, the rest of the generator and both discriminators; nothing is allocated."""
    with torch.device("meta"):
        generator = Generator(config)
        discriminator_rgb, discriminator_mask = Discriminator(config, 3), Discriminator(config, 1)
    generator.precision = discriminator_rgb.precision = discriminator_mask.precision = "fp32"
    return [
        _backbone(generator),
        _rest_of_generator(generator),
        _discriminator("discriminator of RGB", discriminator_rgb, config),
        _discriminator("discriminator of masks", discriminator_mask, config),
    ]


def _backbone(generator: Generator) -> NetworkSummary:
    geo = torch.empty(1, generator.backbone.num_ws_geo, generator.config.mapping.w_dim, device="meta")
    tex = torch.empty(1, generator.backbone.num_ws_tex, generator.config.mapping.w_dim, device="meta")
    recorded = _record("backbone", generator.backbone, lambda: generator.backbone(geo, tex, torch.float32))
    constants = [
        LayerSummary(name, tuple(parameter.shape), parameter.numel(), 0)
        for name, parameter in generator.backbone.named_parameters()
        if name.rpartition(".")[2] == "constant"
    ]
    return NetworkSummary(recorded.name, [*constants, *recorded.layers], recorded.parameters, recorded.saved_bytes)


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
    z = torch.empty(1, config.mapping.z_dim, device="meta")
    labels = torch.empty(1, config.classes, device="meta") if config.classes else None
    features = torch.empty(1, config.backbone.plane_channels, device="meta")
    w = torch.empty(1, generator.geometry.num_ws, config.mapping.w_dim, device="meta")
    offsets = torch.tensor([0, 1])

    def run() -> None:
        generator.mapping_geo(z, labels)
        generator.mapping_tex(z, labels)
        for head in (generator.geometry.sdf, generator.geometry.deformation, generator.geometry.weights):
            if head is not None:
                head(torch.empty(1, head.inputs, device="meta"), w, offsets)
        generator.texture_head(features, w, offsets)

    return _record("mappings and heads", rest, run)


def _discriminator(name: str, network: Discriminator, config: Config) -> NetworkSummary:
    side = config.data.resolution
    image = torch.empty(1, network.channels, side, side, device="meta")
    zero = torch.zeros(1, device="meta")
    cameras = Cameras.orbit(zero, zero, 1.0, 1.0)
    labels = torch.zeros(1, dtype=torch.int64, device="meta") if config.classes else None
    return _record(name, network, lambda: network(image, cameras, labels))


def _record(name: str, network: nn.Module, run: Callable[[], Any]) -> NetworkSummary:
    layers: list[LayerSummary] = []
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        return tensor

    with _hooks(network, layers), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    of_parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    return NetworkSummary(name, layers, parameters, sum(n for key, n in storages.items() if key not in of_parameters))


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


def training_bytes(summaries: list[NetworkSummary], config: Config) -> int:
    """Estimate of a step's peak memory: weights, gradients, two moments (and the generator's average), saved tensors.

    Point heads and raster are not included, because they grow with the visible surface.
    """
    generator, discriminators = summaries[:2], summaries[2:]
    fixed = 5 * sum(p.parameters for p in generator) + 4 * sum(p.parameters for p in discriminators)
    half = 1 if config.training.precision == "fp32" else 2
    shapes = config.training.batch // config.data.views_per_shape
    saved = shapes * generator[0].saved_bytes + 2 * config.training.batch * sum(p.saved_bytes for p in discriminators)
    return fixed * FP32_BYTES + saved // half
