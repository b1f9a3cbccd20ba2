"""Samples of a trained generator: what `TrainedGenerator.sample` and `interpolate` return."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.trimesh_conversion import to_trimesh
from rendering.camera import GRID_AZIMUTH_DEG, GRID_ELEVATION_DEG
from rendering.images import ColorsAt
from sampling.mesh_export import FACES, TEXTURE_SIZE_PX, FileFormat, MeshSettings, texture_colors, write_sample
from sampling.texture_baking import ColorField, bake
from torch_utils.errors import UserError

if TYPE_CHECKING:
    import trimesh

    from sampling.trained_generator import TrainedGenerator


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """One sample: `render`, `mesh`, `export`, `to_trimesh`.

    seed, texture_seed: of shape and texture; None for an interpolated or perturbed one, and of styles. label: the
    class, of a conditional network. z_geo, z_tex [z_dim]: latents, NaN if unknown.
    w_geo [1, num_ws_geo, w_dim], w_tex [1, num_ws_tex, w_dim]: styles of shape and texture.
    """

    generator: "TrainedGenerator"
    seed: int | None
    texture_seed: int | None
    truncation: float
    label: int | None
    z_geo: Tensor
    z_tex: Tensor
    w_geo: Tensor
    w_tex: Tensor

    def __repr__(self) -> str:
        origin = "no seed" if self.seed is None else f"seed {self.seed}"
        if self.texture_seed != self.seed:
            origin += f", texture of seed {self.texture_seed}"
        return f"Sample({origin}, truncation {self.truncation:g}, {self.generator!r})"

    @property
    def name(self) -> str:
        """What its files are called: seed0003, or shape0003_texture0007."""
        if self.seed is None:
            return "sample"
        if self.texture_seed == self.seed:
            return f"seed{self.seed:04d}"
        return f"shape{self.seed:04d}_texture{self.texture_seed:04d}"

    def about(self) -> dict[str, Any]:
        """What made it, as JSON values."""
        facts = {"shape_seed": self.seed, "texture_seed": self.texture_seed, "class": self.label}
        return {"truncation": self.truncation, **{key: value for key, value in facts.items() if value is not None}}

    def render(
        self,
        azimuth_deg: float | Sequence[float] = GRID_AZIMUTH_DEG,
        elevation_deg: float = GRID_ELEVATION_DEG,
        resolution: int | None = None,
        *,
        unlit: bool = False,
    ) -> NDArray[np.uint8]:
        """An image [R, R, 3] uint8, or [N, R, R, 3] for a list of N azimuths. Arguments as for `Samples.render`."""
        return self.generator.render(self.w_geo, self.w_tex, azimuth_deg, elevation_deg, resolution, unlit=unlit)[0]

    def mesh(self, texture_size: int = TEXTURE_SIZE_PX, faces: int | None = FACES, *, normal_map: bool = False) -> Mesh:
        """The mesh with normals, UVs and a base-color texture of texture_size² px, in the generator's frame.

        faces: simplified to about so many; None keeps all. normal_map: see `sampling.texture_baking.bake`. UserError
        where the sample has no surface.
        """
        surface, colors_at = self.surface()
        return bake(surface, self._color_field(colors_at), texture_size, faces=faces, normal_map=normal_map).mesh

    @torch.no_grad()
    def surface(self) -> tuple[Mesh, ColorsAt]:
        """The full surface, a batch of one, and the colors of packed points on it. EmptySurface where there is none."""
        network = self.generator.network
        w_geo, w_tex = self.w_geo.to(network.device), self.w_tex.to(network.device)  # which may have moved since
        geometry_planes, texture_planes = network.planes(w_geo, w_tex)
        surface = network.surface(geometry_planes, w_geo)
        if bool(surface.empty[0]):
            raise EmptySurface(f"{self!r}: has no surface; take another seed, or a lower truncation")
        return surface.mesh.detach(), partial(network.materials, texture_planes, w_tex)

    def _color_field(self, colors_at: ColorsAt) -> ColorField:
        """The colors of points of any device."""
        return lambda points: texture_colors(colors_at)(points.to(self.generator.device))

    def export(self, path: str | Path, texture_size: int = TEXTURE_SIZE_PX, **settings: Any) -> Path:
        """Write the mesh as .glb, .obj, .usdz, .ply or .stl, by the path's ending; the path.

        settings: fields of `sampling.mesh_export.MeshSettings`, such as faces, normal_map, pivot and height_m.
        UserError where the sample has no surface, or an open one that `watertight` refuses.
        """
        path = Path(path)
        wanted = MeshSettings(check_format(path), texture_size, **settings)
        wanted.check()
        surface, colors_at = self.surface()
        colors, about = self._color_field(colors_at), {**self.about(), "network": self.generator.name}
        record = write_sample(path.parent, path.stem, surface, colors, wanted, unlit=self.generator.shaded, about=about)
        if "refused" in record:
            raise RefusedMesh(f"{path}: not written, {record['refused']}")
        return path

    def to_trimesh(self, texture_size: int = TEXTURE_SIZE_PX, faces: int | None = FACES) -> "trimesh.Trimesh":
        """The textured mesh as a `trimesh.Trimesh`, in the generator's frame."""
        return to_trimesh(self.mesh(texture_size, faces))


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Sequence[Sample]):
    """Several samples of one generator: `render` and `export`; a sequence of `Sample`.

    Fields as of `Sample`, with a batch dimension [B, …].
    """

    generator: "TrainedGenerator"
    seeds: tuple[int | None, ...]
    texture_seeds: tuple[int | None, ...]
    truncation: float
    labels: list[int] | None
    z_geo: Tensor
    z_tex: Tensor
    w_geo: Tensor
    w_tex: Tensor

    def __repr__(self) -> str:
        return f"Samples({len(self)}, truncation {self.truncation:g}, {self.generator!r})"

    def __len__(self) -> int:
        return len(self.seeds)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice | list[int]) -> "Samples": ...
    def __getitem__(self, index: int | slice | list[int]) -> "Sample | Samples":
        if not isinstance(index, int):
            rows = index if isinstance(index, list) else list(range(len(self)))[index]
            labels = None if self.labels is None else [self.labels[row] for row in rows]
            seeds, texture_seeds = (tuple(every[row] for row in rows) for every in (self.seeds, self.texture_seeds))
            tensors = (tensor[rows] for tensor in (self.z_geo, self.z_tex, self.w_geo, self.w_tex))
            return Samples(self.generator, seeds, texture_seeds, self.truncation, labels, *tensors)
        row = range(len(self))[index]
        label = None if self.labels is None else self.labels[row]
        styles = self.w_geo[row : row + 1], self.w_tex[row : row + 1]
        seed, texture_seed, latents = self.seeds[row], self.texture_seeds[row], (self.z_geo[row], self.z_tex[row])
        return Sample(self.generator, seed, texture_seed, self.truncation, label, *latents, *styles)

    def render(
        self,
        azimuth_deg: float | Sequence[float] = GRID_AZIMUTH_DEG,
        elevation_deg: float = GRID_ELEVATION_DEG,
        resolution: int | None = None,
        *,
        unlit: bool = False,
    ) -> NDArray[np.uint8]:
        """Images [B, R, R, 3] uint8, or [B, N, R, R, 3] for a list of N azimuths.

        Azimuth 0 sees the front; it grows counterclockwise seen from above. resolution: side, px; default twice that of
        the training images. unlit: the bare colors on black, instead of the studio light on light gray.
        """
        return self.generator.render(self.w_geo, self.w_tex, azimuth_deg, elevation_deg, resolution, unlit=unlit)

    def export(
        self,
        folder: str | Path,
        file_format: str = "glb",
        texture_size: int = TEXTURE_SIZE_PX,
        *,
        progress: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> list[Path]:
        """Write one textured mesh per sample, seed0003.glb (step0003.glb of an interpolation); the files written.

        Samples of one seed and several classes are told apart by the class, seed0003_class1.glb. A sample without a
        surface has no file, nor has an open one with `watertight`.
        file_format: glb, obj, usdz, ply or stl. texture_size: side, px. settings: as for `Sample.export`. progress:
        called after each sample.
        """
        written = []
        names = [f"step{row:04d}" if sample.seed is None else sample.name for row, sample in enumerate(self)]
        classes: dict[str, set[int | None]] = {}
        for sample, name in zip(self, names, strict=True):
            classes.setdefault(name, set()).add(sample.label)
        for sample, name in zip(self, names, strict=True):
            if len(classes[name]) > 1:
                name = f"{name}_class{sample.label}"
            with suppress(EmptySurface, RefusedMesh):
                written.append(sample.export(Path(folder) / f"{name}.{file_format}", texture_size, **settings))
            progress()
        return written


class EmptySurface(UserError):
    """A sample has no surface."""


class RefusedMesh(UserError):
    """The settings refuse the mesh of a sample."""


def check_format(path: Path) -> FileFormat:
    """The format of a file's ending. UserError for one that no writer has."""
    for file_format in ("glb", "obj", "usdz", "ply", "stl"):
        if path.suffix == f".{file_format}":
            return file_format
    raise UserError(f"{path}: expected a name that ends in .glb, .obj, .usdz, .ply or .stl")
