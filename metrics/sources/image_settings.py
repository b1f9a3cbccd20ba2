"""How the images of an evaluation are made: the same cameras, resolution, background and light for both sides."""

from dataclasses import dataclass
from typing import Any

from dataset_tool.dataset import ViewDataset
from dataset_tool.format import pixels
from metrics.protocols import Protocol
from networks.generator import Generator
from rendering.camera_distribution import CameraDistribution, load_camera_distribution
from rendering.lighting import Shading

# Used where neither the protocol nor a dataset decides.
DEFAULT_CAMERAS, DEFAULT_SIDE_PX = "chair", 128


@dataclass(frozen=True)
class ImageSettings:
    """Render settings of an evaluation's images.

    camera_distribution: the cameras are drawn from it. side: of an image, px. stored: side at which mesh files are
    rendered before they are averaged down to `side`, as a dataset's views are; a multiple of `side`. shading,
    supersample: those of the dataset. background: gray in [0, 1], sRGB. as_is: mesh files are in world units already;
    otherwise each is centered and its longest side becomes `scale`. truncation: ψ of a network. views_per_shape:
    successive images of a network that show one sample. light: of the dataset, with pbr shading; "" for others.
    """

    camera_distribution: CameraDistribution
    side: int
    stored: int
    shading: Shading = "albedo"
    supersample: int = 2
    background: float = 0.0
    as_is: bool = True
    scale: float = 1.0
    truncation: float = 1.0
    views_per_shape: int = 1
    light: str = ""

    @property
    def key(self) -> dict[str, Any]:
        """What an image of a mesh depends on, as plain values; what concerns networks alone is left out."""
        values = {**vars(self), "camera_distribution": repr(self.camera_distribution)}
        del values["truncation"], values["views_per_shape"]
        if not self.light:
            del values["light"]
        return values


def make_image_settings(protocol: Protocol, dataset: ViewDataset | None, generator: Generator | None) -> ImageSettings:
    """The settings of a protocol. What it leaves open comes from the dataset, else from the defaults.

    The resolution that the protocol leaves open is at most the generator's. UserError where the protocol's resolution
    does not divide the dataset's.
    """
    assert protocol.images is not None, "make_image_settings(): the protocol has no images"
    images, header = protocol.images, dataset.header if dataset is not None else None
    renderer = header.renderer if header is not None else {}
    if images.camera:
        camera_distribution = load_camera_distribution(images.camera)
    elif header is not None:
        camera_distribution = header.camera_distribution
    else:
        camera_distribution = load_camera_distribution(DEFAULT_CAMERAS)
    stored = header.resolution if header is not None else images.resolution or DEFAULT_SIDE_PX
    side = images.resolution or min(stored, generator.config.data.resolution if generator is not None else stored)
    pixels.divisor(stored, side, f"protocol {protocol.name}")
    return ImageSettings(
        camera_distribution,
        side,
        stored,
        # Without a dataset nothing is known of the colors: light shows the shape.
        renderer.get("shading", "albedo" if header is not None else "soft"),
        int(renderer.get("supersample", 2)),
        images.background,
        protocol.normalization == "none",
        float(renderer.get("scale", 1.0)),
        images.truncation,
        images.views_per_shape,
        str(renderer.get("light", "")) if renderer.get("shading") == "pbr" else "",
    )
