"""A folder of mesh files as a source of shapes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dataset_tool.format import pixels
from dataset_tool.render.lights import draw_environments
from dataset_tool.sources.orientation import normalize
from mesh_io.find_meshes import MESH_SUFFIXES, find_meshes
from mesh_io.read import read_mesh
from mesh_io.source_mesh import SourceMesh
from mesh_io.write import write_glb
from metrics.cache import content_key, mark_provisional
from metrics.sources.captions import load_captions
from metrics.sources.description import Description
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages, over_gray, stack_images
from metrics.sources.processes import in_processes
from metrics.sources.sampling import choice_note, chosen_rows
from metrics.sources.shape_source import Shape, file_shapes, merged_shape
from metrics.sources.thumbnails import Thumbnail, clay_image, colored_image
from rendering.camera import Cameras
from rendering.environment_light import EnvironmentLight
from rendering.lighting import Shading
from rendering.look import Look
from rendering.textured.scene import build_scene
from rendering.textured.views import render_views
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.failures import log_failure, note_failure
from torch_utils.files import file_hash, printable, write_bytes
from torch_utils.text import counted
from torch_utils.workers import Failed

Result = TypeVar("Result")


@dataclass
class FolderSource:
    """The mesh files of a folder and its subfolders, in the order of their paths.

    limit: at most so many, chosen at random by a fixed seed. num_files: how many there are.
    """

    folder: Path
    limit: int | None = None
    label: str = field(init=False)
    ids: list[str] = field(init=False)
    key: str = field(init=False)
    num_files: int = field(init=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; expected one with {', '.join(MESH_SUFFIXES)} files")
        self._passed_over: list[str] = []
        files = find_meshes(self.folder, self._passed_over.append)
        if not files:
            raise UserError(f"{self.folder}: holds no mesh file; expected {', '.join(MESH_SUFFIXES)}")
        self._files = [files[row] for row in chosen_rows(len(files), self.limit)]
        self.num_files = len(files)
        self.label = f"{self.folder.name}/ ({counted(len(self._files), 'mesh file')})"
        self.ids = [printable(path.relative_to(self.folder)) for path in self._files]
        self.key = content_key({"folder": [(i, file_hash(p)) for i, p in zip(self.ids, self._files, strict=True)]})

    @property
    def visible_points(self) -> bool:
        """False: points are sampled on the meshes."""
        return False

    @property
    def mesh_files(self) -> bool:
        """True."""
        return True

    @property
    def formats(self) -> list[str]:
        """The types of the files, e.g. [".glb", ".obj"]."""
        return sorted({path.suffix.lower() for path in self._files})

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The meshes of these rows in the files' units; a file that cannot be read gives a shape with the reason."""
        return file_shapes(lambda row: merged_shape(read_mesh(self._files[row])), rows, self.ids)

    def world_shapes(self, rows: Sequence[int], settings: ImageSettings) -> list[Shape]:
        """The meshes of these rows in world units."""
        if settings.as_is:
            return self.shapes(rows)
        return file_shapes(partial(self._world_shape, scale=settings.scale), rows, self.ids)

    def _world_shape(self, row: int, scale: float | None) -> Shape:
        mesh = self._placed_mesh(row, scale)
        return Shape(None, "no usable surface") if mesh is None else merged_shape(mesh)

    def _placed_mesh(self, row: int, scale: float | None, surfaces: bool = False) -> SourceMesh | None:
        """A file with its materials; None if it has no usable surface.

        scale: center its box at the origin and make its longest side this long; None leaves it where it is.
        """
        try:
            mesh = read_mesh(self._files[row], surfaces=surfaces)
            if merged_shape(mesh).mesh is None:
                return None
            return mesh if scale is None else normalize(mesh, "+Y", "+Z", scale)[0]
        except Exception as error:  # noqa: BLE001  # as in `attempt_shape`
            mark_provisional()
            note_failure(self.ids[row], error)
            return None

    def missing_mesh(self, rows: Sequence[int]) -> str:
        """ "": a folder has all of its meshes."""
        return ""

    def stored_points(self, rows: Sequence[int], count: int) -> tuple[Tensor, list[str]] | None:
        """None: points are sampled on the meshes."""
        return None

    def images(
        self, count: int, settings: ImageSettings, *, camera_seed: int = 0, omit: Collection[int] = ()
    ) -> LazyImages:
        """Renders of the files with their own materials, each through its own camera.

        Image i shows file i·n // count of the n files that are not omitted.
        """
        rows = [row for row in range(len(self.ids)) if row not in omit]
        shapes = [rows[i * len(rows) // count] for i in range(count)]
        cameras = settings.camera_distribution.sample(camera_seed, range(count))

        def draw(part: range) -> Tensor:
            groups = [list(images) for _, images in groupby(part, key=lambda image: shapes[image])]

            def render(group: int) -> NDArray[np.uint8]:
                first = groups[group][0]
                lights = draw_environments(settings.light, camera_seed, groups[group])
                return self._render(shapes[first], cameras[groups[group]], settings, lights).numpy()

            drawn = in_processes(render, range(len(groups)))
            return torch.cat(
                [
                    _blank(len(groups[i]), settings) if isinstance(images, Failed) else torch.from_numpy(images)
                    for i, images in enumerate(drawn)
                ]
            )

        key = {"folder": self.key, "rows": rows, "count": count, "seed": camera_seed, "settings": settings.key}
        return LazyImages(shapes, cameras, draw, key)

    def _render(
        self, row: int, cameras: Cameras, settings: ImageSettings, lights: Sequence[EnvironmentLight]
    ) -> Tensor:
        """Images of one file [N, 4, side, side] uint8; the bare background if that fails."""
        mesh = self._placed_mesh(row, None if settings.as_is else settings.scale, settings.shading == "pbr")
        if mesh is not None:
            try:
                return self._render_mesh(mesh, cameras, settings, lights)
            except Exception as error:  # noqa: BLE001  # as in `attempt_shape`
                mark_provisional()
                note_failure(self.ids[row], error)
        return _blank(len(cameras), settings)

    def _render_mesh(
        self, mesh: SourceMesh, cameras: Cameras, settings: ImageSettings, lights: Sequence[EnvironmentLight]
    ) -> Tensor:
        unlit = all(part.material.unlit for part in mesh.parts)
        shading: Shading = "albedo" if unlit else settings.shading
        look = Look(shading, environments=lights)
        views = render_views(build_scene(mesh), cameras, settings.stored, look, supersample=settings.supersample)
        factor = settings.stored // settings.side
        return stack_images([over_gray(pixels.premultiplied(v, factor), settings.background) for v in views.images])

    def thumbnail(self, row: int, side_px: int) -> Thumbnail | None:
        """A file in its own colors, or in clay if it has none."""

        def draw(row: int) -> Thumbnail | None:
            mesh = self._placed_mesh(row, 1.0)
            if mesh is not None and mesh.colored:
                return colored_image(mesh, side_px)
            shape = self.shapes([row])[0]
            return None if shape.mesh is None else clay_image(shape.mesh, side_px)

        return _or_none(in_processes(draw, [row])[0], self.ids[row])

    def export(self, row: int, path: Path) -> bool:
        """Copy a GLB file; write the geometry of any other."""
        return bool(_or_none(in_processes(lambda row: self._export(row, path), [row])[0], self.ids[row]))

    def _export(self, row: int, path: Path) -> bool:
        mesh = self.shapes([row])[0].mesh
        if mesh is None:
            return False
        if self._files[row].suffix.lower() == ".glb":
            write_bytes(path, self._files[row].read_bytes())
        else:
            write_glb(path, mesh, unlit=False)
        return True

    @cached_property
    def _captions(self) -> dict[str, Description]:
        return load_captions(self.folder)

    def description(self, row: int) -> Description:
        """What the folder's captions.json says of a file."""
        return self._captions.get(self.ids[row], Description())

    def notes(self, ranks: Ranks) -> list[str]:
        """Files that were passed over, and several file formats."""
        notes = [f"{self.folder.name}/: {line}" for line in self._passed_over]
        if self.num_files > len(self.ids):
            notes.append(f"{self.folder.name}/: {choice_note(len(self.ids), self.num_files, 'mesh files')}")
        if len(self.formats) > 1:
            notes.append(f"{self.folder.name}/: files of several formats, {', '.join(self.formats)}")
        return notes


def _blank(count: int, settings: ImageSettings) -> Tensor:
    """Images of the bare background [count, 4, side, side] uint8."""
    empty = torch.zeros(count, 4, settings.side, settings.side, dtype=torch.uint8)
    empty[:, :3] = round(255 * settings.background)
    return empty


def _or_none(result: Result | Failed, shape_id: str) -> Result | None:
    """The result; None, and the traceback in the log, where there is none."""
    if isinstance(result, Failed):
        log_failure(shape_id, result.traceback)
        return None
    return result
