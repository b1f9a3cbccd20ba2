"""A trained generator as Python users have it: samples by seed, latents and styles.

`tetragan.load` and `tetragan.from_pretrained` give a `TrainedGenerator`; its `sample` gives a `Sample` or `Samples`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.export import write_pretrained_folder
from networks.generator import Generator
from networks.grid_memory import check_cells
from networks.pretrained import license_of, load_generator_file, load_pretrained_folder, network_file
from rendering.camera import GRID_AZIMUTH_DEG, GRID_ELEVATION_DEG, orbit_cameras
from rendering.images import BLACK_BACKGROUND, LIGHT_BACKGROUND
from sampling.latents import latents
from sampling.samples import Sample, Samples
from sampling.style_images import CHUNK, preview_shading, render_styles
from sampling.styles import StyleStatistics, labels_of_seeds, style_statistics, truncated, with_slots
from sampling.variations import LatentPath, Vary, interpolated, perturbed
from torch_utils.checkpoint import NetworkFile
from torch_utils.devices import pick_device
from torch_utils.errors import UserError
from torch_utils.files import file_hash

TRUNCATION = 0.7
PRECISIONS = ("fp32", "bf16", "auto")


def load(
    network: str | Path, device: str = "cpu", precision: str = "fp32", cells: int | None = None
) -> "TrainedGenerator":
    """A generator by the name of an included network ("chair-128"), or from a network file or folder.

    device: "cpu", "cuda", "cuda:1" or "auto" (CUDA where there is a card). precision: of the convolutions. "fp32" gives
    the same shapes on every processor; "bf16", and "auto" where the processor multiplies it, are several times faster
    for large networks. cells: of the grid along a side; more than the network was trained with give finer meshes.
    UserError where the network or the card is missing, the file is damaged, or the grid is too fine for the memory.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    where = pick_device(device)
    generator, file = load_generator_file(network, where, precision, cells)
    check_cells(generator.config, 1 if cells is None else CHUNK, where)
    return TrainedGenerator(generator, file, source=network_file(network))


def from_pretrained(folder: str | Path, device: str = "cpu") -> "TrainedGenerator":
    """A generator from a folder in the Hugging Face form: config.json and model.safetensors. Otherwise as `load`."""
    return TrainedGenerator(*load_pretrained_folder(folder, pick_device(device)), source=network_file(folder))


class TrainedGenerator:
    """A trained generator: `sample` and `interpolate` give samples, `save_pretrained` writes it to a folder.

    network: the module, in evaluation mode, fp32. header: what its file says besides the weights. source: its file.
    """

    def __init__(self, network: Generator, file: NetworkFile, *, source: Path | None = None) -> None:
        self.network = network
        self.header = file.header
        self.source = source

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

    @property
    def name(self) -> str:
        """What people call it: the file's name, or its folder's where every file has that name."""
        if self.source is None:
            return self.category
        return self.source.parent.resolve().name if self.source.stem in ("network", "model") else self.source.stem

    def identity(self) -> dict[str, Any]:
        """What tells it from other networks, as JSON values: name, SHA-256 of its file, category, images seen."""
        sha256 = None if self.source is None else file_hash(self.source)
        facts = {"images_seen": int(self.header.get("nimg", 0)), "commit": str(self.header.get("commit", ""))}
        return {"name": self.name, "sha256": sha256, "category": self.category, **facts}

    # -- latents and styles ------------------------------------------------------------------------------------------

    @property
    def slots(self) -> tuple[int, int]:
        """Slots of the styles of shape and of texture, from coarse to fine."""
        return self.network.num_ws_geo, self.network.num_ws_tex

    def latents(self, seeds: Iterable[int]) -> tuple[Tensor, Tensor]:
        """The latents z of shape and of texture [B, z_dim] each; row i depends on seed i alone."""
        return latents(_numbers(seeds), self.network.config.mapping.z_dim, self.device)

    @torch.no_grad()
    def styles(
        self,
        z_geo: Tensor,
        z_tex: Tensor,
        truncation: float | tuple[float, float] = TRUNCATION,
        cutoff: int | tuple[int | None, int | None] | None = None,
        labels: int | Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The styles w of shape [B, slots, w_dim] and of texture [B, slots, w_dim] of latents z [B, z_dim] each.

        truncation: ψ, one number or one each for shape and texture. cutoff: number of the first slots that are
        truncated, likewise; None = all. labels: classes of a conditional network; None takes them in turn. ValueError
        for latents that are not finite.
        """
        classes = labels_of_seeds(self.classes, range(len(z_geo)), labels)
        w_geo, w_tex = self._map(z_geo, z_tex, classes)
        psi = truncation if isinstance(truncation, tuple) else (truncation, truncation)
        ends = cutoff if isinstance(cutoff, tuple) else (cutoff, cutoff)
        averages = self.network.averages()
        shape, texture = map(truncated, (w_geo, w_tex), averages, psi, ends)
        return shape, texture

    def style_statistics(self, count: int = 4096, seed: int = 0) -> tuple[StyleStatistics, StyleStatistics]:
        """Mean and standard deviation of the styles of shape and of texture over random latents."""
        return style_statistics(self.network, count, seed)

    def from_styles(self, w_geo: Tensor, w_tex: Tensor) -> Samples:
        """Samples from styles [B, slots, w_dim] of shape and of texture, such as those of `styles`.

        ValueError for other shapes or values that are not finite. The samples know no seed and no latents, so
        `interpolate` takes them with path="w" only.
        """
        w_dim = self.network.config.mapping.w_dim
        for name, w, slots in (("w_geo", w_geo, self.slots[0]), ("w_tex", w_tex, self.slots[1])):
            if tuple(w.shape) != (len(w_geo), slots, w_dim):
                raise ValueError(
                    f"from_styles(): expected {name} [{len(w_geo)}, {slots}, {w_dim}], got {list(w.shape)}"
                )
        _refuse_not_finite("from_styles", "styles", w_geo, w_tex)
        nowhere = torch.full((len(w_geo), self.network.config.mapping.z_dim), torch.nan)
        unknown = (None,) * len(w_geo)
        return Samples(self, unknown, unknown, 1.0, None, nowhere, nowhere, w_geo, w_tex)

    def mix(
        self,
        base: Sample,
        other: Sample,
        shape: slice | Sequence[int] = (),
        texture: slice | Sequence[int] = slice(None),
    ) -> Sample:
        """`base` with some slots of its styles taken from `other`; by default its shape with the other's texture.

        shape, texture: which slots of w_geo and w_tex, from coarse to fine.
        """
        w_geo = with_slots(base.w_geo, other.w_geo, shape)
        return self.from_styles(w_geo, with_slots(base.w_tex, other.w_tex, texture))[0]

    # -- samples -----------------------------------------------------------------------------------------------------

    @overload
    def sample(self, *, seed: int, truncation: float = ..., labels: int | None = ...) -> Sample: ...
    @overload
    def sample(self, seeds: int, truncation: float = ..., labels: int | None = ...) -> Sample: ...
    @overload
    def sample(
        self, seeds: Iterable[int], truncation: float = ..., labels: int | Sequence[int] | None = ...
    ) -> Samples: ...
    def sample(
        self,
        seeds: int | Iterable[int] | None = None,
        truncation: float = TRUNCATION,
        labels: int | Sequence[int] | None = None,
        *,
        seed: int | None = None,
    ) -> Sample | Samples:
        """The samples of some seeds: a `Sample` for one number, `Samples` for several.

        truncation: ψ; 1 gives the full variety, 0 the average shape. labels: classes of a conditional network, one for
        all samples or one each; None takes the classes in turn, seed modulo their number. ValueError for no seeds,
        negative seeds, `seeds` and `seed` together, or labels that do not fit.
        """
        chosen = seed if seeds is None else seeds
        if chosen is None or (seeds is not None and seed is not None):
            raise ValueError("sample(): expected one of seeds and seed")
        several = isinstance(chosen, Iterable)
        numbers = _numbers(chosen if isinstance(chosen, Iterable) else [chosen])
        z_geo, z_tex = latents(numbers, self.network.config.mapping.z_dim, self.device)
        of_seeds = labels_of_seeds(self.classes, numbers, labels)
        samples = self.from_latents(z_geo, z_tex, truncation, of_seeds, numbers)
        return samples if several else samples[0]

    def sample_pairs(
        self,
        shape_seeds: Sequence[int],
        texture_seeds: Sequence[int],
        truncation: float = TRUNCATION,
        labels: int | Sequence[int] | None = None,
    ) -> Samples:
        """Samples whose shapes and textures have seeds of their own, pair by pair.

        A shape is bitwise the same under any texture. labels: as for `sample`; in turn, they follow the shape seeds.
        """
        shapes, textures = _numbers(shape_seeds), _numbers(texture_seeds)
        if len(shapes) != len(textures):
            raise ValueError(f"sample_pairs(): expected as many seeds, got {len(shapes)} and {len(textures)}")
        of_seeds = labels_of_seeds(self.classes, shapes, labels)
        z_geo, z_tex = self.latents(shapes)[0], self.latents(textures)[1]
        return self.from_latents(z_geo, z_tex, truncation, of_seeds, shapes, textures)

    def interpolate(
        self,
        a: int | Sample,
        b: int | Sample,
        steps: int = 8,
        truncation: float = TRUNCATION,
        labels: int | None = None,
        *,
        path: LatentPath = "slerp",
        vary: Vary = "both",
    ) -> Samples:
        """A path of `steps` samples from one seed or sample to another, both ends included.

        path, vary: as for `interpolate_all`. truncation, labels: for seeds. A seed that meets a sample takes those of
        the sample, and the second of two seeds the class of the first.
        """
        if isinstance(a, int):
            a = self.sample(a, truncation, labels) if isinstance(b, int) else self.sample(a, b.truncation, b.label)
        if isinstance(b, int):
            b = self.sample(b, a.truncation, a.label)
        return self.interpolate_all([a, b], steps, path=path, vary=vary)

    def interpolate_all(
        self,
        stops: Sequence[Sample],
        steps: int = 8,
        *,
        path: LatentPath = "slerp",
        vary: Vary = "both",
        loop: bool = False,
    ) -> Samples:
        """The paths from each sample to the next, `steps` samples each, one path after another.

        path: "slerp", a great circle through the latents, whose points are as likely as its ends; "linear", a straight
        line through the latents; "w", a straight line through the styles. vary: "shape" or "texture" keeps the other of
        the first sample. loop: go back to the first sample, and leave out the end of every path, which is the start of
        the next. ValueError for fewer than two samples or steps, or for samples of several truncations or classes.
        """
        return interpolated(self, stops, steps, path, vary, loop)

    def perturb(
        self,
        center: int | Sample,
        count: int,
        radius: float,
        *,
        seed: int = 0,
        vary: Vary = "both",
        truncation: float = TRUNCATION,
    ) -> Samples:
        """Variations of one sample, the nearest first.

        Each latent is turned towards a random one by an angle between 0 and radius · 90°, so a variation is as likely
        as its center, and radius 1 reaches unrelated samples. vary: "shape" or "texture" keeps the other bitwise.
        truncation: for a seed. seed: of the random numbers.
        """
        sample = self.sample(center, truncation) if isinstance(center, int) else center
        return perturbed(self, sample, count, radius, seed, vary)

    @torch.no_grad()
    def from_latents(
        self,
        z_geo: Tensor,
        z_tex: Tensor,
        truncation: float = TRUNCATION,
        labels: list[int] | None = None,
        seeds: Sequence[int] | None = None,
        texture_seeds: Sequence[int] | None = None,
    ) -> Samples:
        """Samples from latents [B, z_dim] of shape and of texture.

        labels: a class for each, of a conditional network; None takes them in turn. seeds, texture_seeds: what the
        samples are named after. ValueError for latents that are not finite, or labels that do not fit.
        """
        labels = labels_of_seeds(self.classes, range(len(z_geo)), labels)
        averages = self.network.averages()
        w_geo, w_tex = (
            truncated(w, average, truncation)
            for w, average in zip(self._map(z_geo, z_tex, labels), averages, strict=True)
        )
        unknown: tuple[int | None, ...] = (None,) * len(z_geo)
        own = unknown if seeds is None else tuple(seeds)
        of_textures = own if texture_seeds is None else tuple(texture_seeds)
        return Samples(self, own, of_textures, truncation, labels, z_geo, z_tex, w_geo, w_tex)

    def _map(self, z_geo: Tensor, z_tex: Tensor, labels: list[int] | None) -> tuple[Tensor, Tensor]:
        """Styles of latents, before truncation. One by one: products of matrices round differently for different
        numbers of rows, and a seed should give the same bits in any company. ValueError unless they are finite."""
        _refuse_not_finite("styles", "latents", z_geo, z_tex)
        z_geo, z_tex = z_geo.to(self.device), z_tex.to(self.device)
        of_network = None if labels is None else torch.tensor(labels, device=self.device)
        rows = [
            self.network.map(
                z_geo[row : row + 1],
                z_tex[row : row + 1],
                labels=None if of_network is None else of_network[row : row + 1],
            )
            for row in range(len(z_geo))
        ]
        return torch.cat([w_geo for w_geo, _ in rows]), torch.cat([w_tex for _, w_tex in rows])

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
        write_pretrained_folder(
            Path(folder), self.network.state_dict(), self.header, half=half, license_name=license_of(self.source)
        )
        return Path(folder)


def _numbers(seeds: Iterable[int]) -> list[int]:
    numbers = [int(number) for number in seeds]
    if not numbers or min(numbers) < 0:
        raise ValueError(f"sample(): expected seeds of 0 or more, got {numbers or 'none'}")
    return numbers


def _refuse_not_finite(function: str, what: str, *tensors: Tensor) -> None:
    """ValueError if a number is NaN or infinite: a network makes an empty shape of it, and no error."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise ValueError(f"{function}(): expected finite {what}, got NaN or infinity")
