"""A trained generator as Python users have it: samples by seed, images, meshes, files.

`tetragan.load` and `tetragan.from_pretrained` give a `TrainedGenerator`; its `sample` gives a `Sample` or `Samples`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geometry.mesh import Mesh
from mesh_io.trimesh_conversion import to_trimesh
from mesh_io.write import write_mesh
from networks.export import write_pretrained_folder
from networks.generator import Generator
from networks.pretrained import load_generator_file, load_pretrained_folder
from rendering.camera import GRID_AZIMUTH_DEG, GRID_ELEVATION_DEG, orbit_cameras
from rendering.images import BLACK_BACKGROUND, LIGHT_BACKGROUND
from sampling.generate import class_labels, export_meshes, preview_shading, render_styles, textured_mesh
from sampling.latents import latents, spherical_paths
from torch_utils.checkpoint import NetworkFile
from torch_utils.devices import pick_device
from torch_utils.errors import UserError

if TYPE_CHECKING:
    import trimesh

TEXTURE_SIZE_PX = 1024
TRUNCATION = 0.7


def load(network: str | Path, device: str = "cpu") -> "TrainedGenerator":
    """A generator by the name of an included network ("chair-128"), or from a network file or folder.

    device: "cpu", "cuda", "cuda:1" or "auto" (CUDA where there is a card). UserError where the network or the card is
    missing, or the file is damaged.
    """
    return TrainedGenerator(*load_generator_file(network, pick_device(device)))


def from_pretrained(folder: str | Path, device: str = "cpu") -> "TrainedGenerator":
    """A generator from a folder in the Hugging Face form: config.json and model.safetensors. Otherwise as `load`."""
    return TrainedGenerator(*load_pretrained_folder(folder, pick_device(device)))


class TrainedGenerator:
    """A trained generator: `sample` and `interpolate` give samples, `save_pretrained` writes it to a folder.

    network: the module, in evaluation mode, fp32. header: what its file says besides the weights.
    """

    def __init__(self, network: Generator, file: NetworkFile) -> None:
        self.network = network
        self.header = file.header

    def __repr__(self) -> str:
        return f"TrainedGenerator({self.category}, {self.resolution} px, {self.device})"

    @property
    def category(self) -> str:
        """What it makes, such as "chair"."""
        return self.network.config.category

    @property
    def resolution(self) -> int:
        """Side of the training images, px."""
        return self.network.config.data.resolution

    @property
    def classes(self) -> int:
        """Number of classes of a conditional network; 0 for an unconditional one."""
        return self.network.config.classes

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.network.device

    @property
    def shaded(self) -> bool:
        """Whether the training images were shaded, so that viewers must not light the textures again."""
        return preview_shading(self.header.get("shading")) == "albedo"

    # -- samples -----------------------------------------------------------------------------------------------------

    @overload
    def sample(self, *, seed: int, truncation: float = ..., labels: int | None = ...) -> "Sample": ...
    @overload
    def sample(self, seeds: int, truncation: float = ..., labels: int | None = ...) -> "Sample": ...
    @overload
    def sample(
        self, seeds: Iterable[int], truncation: float = ..., labels: int | Sequence[int] | None = ...
    ) -> "Samples": ...
    def sample(
        self,
        seeds: int | Iterable[int] | None = None,
        truncation: float = TRUNCATION,
        labels: int | Sequence[int] | None = None,
        *,
        seed: int | None = None,
    ) -> "Sample | Samples":
        """The samples of some seeds: a `Sample` for one number, `Samples` for several.

        truncation: ψ; 1 gives the full variety, 0 the average shape. labels: classes of a conditional network, one for
        all samples or one each; None takes the classes in turn, seed modulo their number. ValueError for no seeds,
        negative seeds, `seeds` and `seed` together, or labels that do not fit.
        """
        chosen = seed if seeds is None else seeds
        if chosen is None or (seeds is not None and seed is not None):
            raise ValueError("sample(): expected one of seeds and seed")
        several = not isinstance(chosen, int)
        numbers = [int(number) for number in chosen] if isinstance(chosen, Iterable) else [chosen]
        if not numbers or min(numbers) < 0:
            raise ValueError(f"sample(): expected seeds of 0 or more, got {numbers or 'none'}")
        z_geo, z_tex = latents(numbers, self.network.config.mapping.z_dim, self.device)
        of_seeds = class_labels(self.classes, numbers, labels)
        samples = self._from_latents(z_geo, z_tex, truncation, of_seeds, tuple(numbers))
        return samples if several else samples[0]

    def interpolate(
        self,
        a: "int | Sample",
        b: "int | Sample",
        steps: int = 8,
        truncation: float = TRUNCATION,
        labels: int | None = None,
    ) -> "Samples":
        """A path of `steps` samples from one seed or sample to another, both ends included.

        The latents follow a great circle, so every point of the path is as likely as its ends. truncation, labels: for
        seeds. A seed that meets a sample takes those of the sample, and the second of two seeds the class of the first.
        """
        if isinstance(a, int):
            a = self.sample(a, truncation, labels) if isinstance(b, int) else self.sample(a, b.truncation, b.label)
        if isinstance(b, int):
            b = self.sample(b, a.truncation, a.label)
        return self.interpolate_all([a, b], steps)

    def interpolate_all(self, stops: "Sequence[Sample]", steps: int = 8) -> "Samples":
        """The paths from each sample to the next, `steps` samples each, one path after another.

        ValueError for fewer than two samples or steps, or for samples of several truncations or classes.
        """
        if len(stops) < 2 or steps < 2:
            raise ValueError(f"interpolate(): expected at least 2 samples and 2 steps, got {len(stops)} and {steps}")
        first = stops[0]
        if any((stop.truncation, stop.label) != (first.truncation, first.label) for stop in stops):
            raise ValueError("interpolate(): expected samples of one truncation and one class")
        z_geo = spherical_paths(torch.stack([stop.z_geo for stop in stops]), steps)
        z_tex = spherical_paths(torch.stack([stop.z_tex for stop in stops]), steps)
        labels = None if first.label is None else [first.label] * len(z_geo)
        return self._from_latents(z_geo, z_tex, first.truncation, labels, (None,) * len(z_geo))

    @torch.no_grad()
    def _from_latents(
        self, z_geo: Tensor, z_tex: Tensor, truncation: float, labels: list[int] | None, seeds: tuple[int | None, ...]
    ) -> "Samples":
        of_network = None if labels is None else torch.tensor(labels, device=self.device)
        w_geo, w_tex = self.network.map(z_geo, z_tex, truncation=truncation, labels=of_network)
        return Samples(self, seeds, truncation, labels, z_geo, z_tex, w_geo, w_tex)

    # -- images, meshes and files ------------------------------------------------------------------------------------

    def render(
        self,
        w_geo: Tensor,
        w_tex: Tensor,
        azimuth_deg: float | Sequence[float] = GRID_AZIMUTH_DEG,
        elevation_deg: float = GRID_ELEVATION_DEG,
        resolution: int | None = None,
        *,
        unlit: bool = False,
    ) -> NDArray[np.uint8]:
        """Images [B, R, R, 3] of styles [B, …], or [B, N, R, R, 3] for a list of N azimuths; `Samples.render`."""
        azimuths = [float(angle) for angle in np.atleast_1d(azimuth_deg)]
        images = render_styles(
            self.network,
            w_geo,
            w_tex,
            orbit_cameras(azimuths, elevation_deg),
            resolution or 2 * self.resolution,
            shading="albedo" if unlit else preview_shading(self.header.get("shading")),
            background=BLACK_BACKGROUND if unlit else LIGHT_BACKGROUND,
        )
        return images[:, 0] if np.ndim(azimuth_deg) == 0 else images

    def save_pretrained(self, folder: str | Path, *, half: bool | None = None) -> Path:
        """Write the Hugging Face form: config.json, model.safetensors and, unless there is one, the card README.md.

        half: store float16; None keeps the precision of the file it was loaded from. Returns the folder.
        """
        if half is None:
            half = self.header.get("precision") == "fp16"
        write_pretrained_folder(Path(folder), self.network.state_dict(), self.header, half=half)
        return Path(folder)


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """One sample: `render`, `mesh`, `export`, `to_trimesh`.

    seed: None within an interpolation. label: the class, of a conditional network. z_geo, z_tex [z_dim]: latents.
    w_geo [1, num_ws_geo, w_dim], w_tex [1, num_ws_tex, w_dim]: styles of shape and texture.
    """

    generator: TrainedGenerator
    seed: int | None
    truncation: float
    label: int | None
    z_geo: Tensor
    z_tex: Tensor
    w_geo: Tensor
    w_tex: Tensor

    def __repr__(self) -> str:
        origin = "interpolated" if self.seed is None else f"seed {self.seed}"
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

    generator: TrainedGenerator
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
