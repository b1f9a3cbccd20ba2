"""Samples of a trained generator as Python users have them: images, meshes, files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.trimesh_conversion import to_trimesh
from mesh_io.write import write_mesh
from rendering.camera import GRID_AZIMUTH_DEG, GRID_ELEVATION_DEG
from sampling.generate import export_meshes, textured_mesh
from torch_utils.errors import UserError

if TYPE_CHECKING:
    import trimesh

    from sampling.trained_generator import TrainedGenerator

TEXTURE_SIZE_PX = 1024


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """One sample: `render`, `mesh`, `export`, `to_trimesh`.

    seed: None within an interpolation, and of styles. label: the class, of a conditional network. z_geo, z_tex [z_dim]:
    latents, NaN if unknown.
    w_geo [1, num_ws_geo, w_dim], w_tex [1, num_ws_tex, w_dim]: styles of shape and texture.
    """

    generator: "TrainedGenerator"
    seed: int | None
    truncation: float
    label: int | None
    z_geo: Tensor
    z_tex: Tensor
    w_geo: Tensor
    w_tex: Tensor

    def __repr__(self) -> str:
        origin = "no seed" if self.seed is None else f"seed {self.seed}"
        return f"Sample({origin}, truncation {self.truncation:g}, {self.generator!r})"

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

    def mesh(self, texture_size: int = TEXTURE_SIZE_PX) -> Mesh:
        """The mesh with normals, UVs and a base-color texture of texture_size² px; on the CPU.

        UserError where the sample has no surface.
        """
        mesh = textured_mesh(self.generator.network, self.w_geo, self.w_tex, texture_size)
        if mesh is None:
            raise UserError(f"{self!r}: has no surface; take another seed, or a lower truncation")
        return mesh.to("cpu")

    def export(self, path: str | Path, texture_size: int = TEXTURE_SIZE_PX) -> Path:
        """Write the textured mesh as .glb, .obj or .usdz, by the file's ending; the path."""
        write_mesh(Path(path), self.mesh(texture_size), unlit=self.generator.shaded)
        return Path(path)

    def to_trimesh(self, texture_size: int = TEXTURE_SIZE_PX) -> "trimesh.Trimesh":
        """The textured mesh as a `trimesh.Trimesh`."""
        return to_trimesh(self.mesh(texture_size))


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Sequence[Sample]):
    """Several samples of one generator: `render` and `export`; a sequence of `Sample`.

    Fields as of `Sample`, with a batch dimension [B, …].
    """

    generator: "TrainedGenerator"
    seeds: tuple[int | None, ...]
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
    def __getitem__(self, index: slice) -> "Samples": ...
    def __getitem__(self, index: int | slice) -> "Sample | Samples":
        if isinstance(index, slice):
            rows = list(range(len(self)))[index]
            labels = None if self.labels is None else [self.labels[row] for row in rows]
            tensors = (tensor[rows] for tensor in (self.z_geo, self.z_tex, self.w_geo, self.w_tex))
            return Samples(self.generator, self.seeds[index], self.truncation, labels, *tensors)
        row = range(len(self))[index]
        label = None if self.labels is None else self.labels[row]
        styles = self.w_geo[row : row + 1], self.w_tex[row : row + 1]
        return Sample(
            self.generator, self.seeds[row], self.truncation, label, self.z_geo[row], self.z_tex[row], *styles
        )

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
    ) -> list[Path]:
        """Write one textured mesh per sample, seed0003.glb (step0003.glb of an interpolation); the files written.

        A sample without a surface has no file. file_format: glb, obj or usdz. texture_size: side, px. progress: called
        after each sample.
        """
        names = [f"step{row:04d}" if seed is None else f"seed{seed:04d}" for row, seed in enumerate(self.seeds)]
        return export_meshes(
            self.generator.network,
            self.w_geo,
            self.w_tex,
            [Path(folder) / f"{name}.{file_format}" for name in names],
            texture_size_px=texture_size,
            unlit=self.generator.shaded,
            progress=progress,
        )
