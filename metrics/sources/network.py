"""A network as a source of shapes, by seed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from dataset_tool.render.lights import draw_environments
from mesh_io.write import write_glb
from metrics.cache import content_key
from metrics.sources.description import Description
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages, to_uint8_truncating
from metrics.sources.shape_source import Shape, usable_shape
from metrics.sources.thumbnails import Thumbnail, network_image
from networks.generator import Generator
from rendering.lighting import Shading
from sampling.mesh_export import FACES, texture_colors
from sampling.style_images import preview_shading
from sampling.styles import styles_of_seeds
from sampling.texture_baking import bake
from torch_utils.checkpoint import read_header
from torch_utils.distributed import Ranks
from torch_utils.files import file_hash

# Samples that go through the generator together.
GENERATOR_BATCH = 8
# Side of the textures of exported meshes.
TEXTURE_PX = 512


@dataclass
class NetworkSource:
    """Shapes of a generator: shape i is the sample of seed first_seed + i, at truncation ψ.

    path: the network file; its hash is part of the key. classes: the dataset's class names, by which the samples of a
    conditional network are described.
    """

    path: Path
    generator: Generator
    count: int
    truncation: float
    first_seed: int = 0
    classes: Sequence[str] = ()
    label: str = field(init=False)
    ids: list[str] = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.label = f"{self.path.name}, ψ {self.truncation:g}"
        self.ids = [f"seed{self.first_seed + i:04d}" for i in range(self.count)]
        self.sha256 = file_hash(self.path)
        self.key = content_key({"network": self.sha256, "psi": self.truncation, "first": self.first_seed})

    @property
    def visible_points(self) -> bool:
        """False: samples have no points of their own."""
        return False

    @property
    def mesh_files(self) -> bool:
        """False: the meshes are generated."""
        return False

    def seed(self, row: int) -> int:
        """The seed of a shape."""
        return self.first_seed + row

    @cached_property
    def _shading(self) -> Shading:
        """How its colors are shown: those that hold light are not lit again."""
        return preview_shading(read_header(self.path).get("shading"))

    @torch.no_grad()
    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The meshes of these rows, on the CPU; an empty surface gives a shape that says so."""
        shapes: list[Shape] = []
        for start in range(0, len(rows), GENERATOR_BATCH):
            seeds = [self.seed(row) for row in rows[start : start + GENERATOR_BATCH]]
            w_geo, _ = styles_of_seeds(self.generator, seeds, self.truncation, self.generator.device)
            generated = self.generator.mesh(w_geo)
            meshes, empty = generated.mesh.detach().to("cpu"), generated.empty.tolist()
            for i in range(len(seeds)):
                shapes.append(Shape(None, "empty surface") if empty[i] else usable_shape(meshes[i]))
        return shapes

    def world_shapes(self, rows: Sequence[int], settings: ImageSettings) -> list[Shape]:
        """The meshes of these rows: a generator's units are the world's."""
        return self.shapes(rows)

    def missing_mesh(self, rows: Sequence[int]) -> str:
        """ "": a network makes all of its meshes."""
        return ""

    def stored_points(self, rows: Sequence[int], count: int) -> tuple[Tensor, list[str]] | None:
        """None: points are sampled on the meshes."""
        return None

    def images(
        self, count: int, settings: ImageSettings, *, camera_seed: int = 0, omit: Collection[int] = ()
    ) -> LazyImages:
        """Renders of as many seeds from the first on as `count` asks for, however many shapes are compared."""
        assert not omit, "NetworkSource.images(): the samples of a network are never references"
        cameras = settings.camera_distribution.sample(camera_seed, range(count))
        views = settings.views_per_shape

        @torch.no_grad()
        def draw(part: range) -> Tensor:
            images = []
            # Several samples with one view each, or several views of one sample, go through the generator together.
            for rows in _batches(part, views):
                seeds = [self.seed(row) for row in dict.fromkeys(row // views for row in rows)]
                w_geo, w_tex = styles_of_seeds(self.generator, seeds, settings.truncation, self.generator.device)
                seen = cameras[slice(rows.start, rows.stop)].to(self.generator.device)
                lights = draw_environments(settings.light, camera_seed, rows, self.generator.device)
                rendered = self.generator.render(
                    w_geo, w_tex, seen, settings.background, resolution=settings.side, environments=lights
                )
                coverage = (rendered.mask * 255).round().clamp(0, 255).to(torch.uint8)
                images.append(torch.cat([to_uint8_truncating(rendered.rgb), coverage], 1).cpu())
            return torch.cat(images)

        key = {"network": self.sha256, "psi": settings.truncation, "first": self.first_seed, "settings": settings.key}
        if views > 1:
            key["views"] = views
        return LazyImages([row // views for row in range(count)], cameras, draw, key)

    def thumbnail(self, row: int, side_px: int) -> Thumbnail | None:
        """The sample as image grids show it, on transparent ground."""
        w_geo, w_tex = styles_of_seeds(self.generator, [self.seed(row)], self.truncation, self.generator.device)
        return network_image(self.generator, w_geo, w_tex, side_px, self._shading)

    @torch.no_grad()
    def export(self, row: int, path: Path) -> bool:
        """Write the textured sample."""
        w_geo, w_tex = styles_of_seeds(self.generator, [self.seed(row)], self.truncation, self.generator.device)
        geometry_planes, texture_planes = self.generator.planes(w_geo, w_tex)
        surface = self.generator.surface(geometry_planes, w_geo)
        if bool(surface.empty[0]):
            return False
        colors = texture_colors(partial(self.generator.materials, texture_planes, w_tex))
        device = self.generator.device
        baked = bake(surface.mesh, lambda points: colors(points.to(device)), TEXTURE_PX, faces=FACES)
        write_glb(path, baked.mesh, unlit=self._shading == "albedo", name=self.ids[row])
        return True

    def description(self, row: int) -> Description:
        """The class that a conditional network was given, where the dataset has as many classes as the network."""
        if not self.classes or self.generator.config.classes != len(self.classes):
            return Description()
        # `sampling.styles.styles_of_seeds` gives a conditional network its classes in turn.
        return Description(attributes={"class": self.classes[self.seed(row) % len(self.classes)]})

    def notes(self, ranks: Ranks) -> list[str]:
        """Nothing to remark."""
        return []


def _batches(part: range, views: int) -> Iterator[range]:
    """`part` in pieces for the generator: GENERATOR_BATCH images of as many samples, or the images of one sample."""
    start = part.start
    while start < part.stop:
        stop = start + GENERATOR_BATCH if views == 1 else (start // views + 1) * views
        yield range(start, min(stop, part.stop))
        start = stop
