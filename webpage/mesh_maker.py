"""From a query to bytes: samples of one network as mesh files and images, kept while they are likely to be wanted."""

import io
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from geometry.normals import vertex_normals
from geometry.simplification import simplify
from mesh_io.write import write_mesh
from networks.generator import Generator
from sampling.directions import Directions, parse_moves, principal_directions
from sampling.mesh_export import MeshSettings, Placement
from sampling.sample_jobs import SampleJob, SampleMaker, network_on_cpu
from sampling.styles import random_styles
from sampling.trained_generator import TrainedGenerator
from torch_utils.errors import UserError
from torch_utils.files import write_errors
from webpage.query import PCA_AXES, FileEnding, ImageQuery, MeshQuery, SampleQuery

if TYPE_CHECKING:
    from sampling.samples import Sample

CACHE_BYTES = 256 << 20
# Results of the network that wait for their texture.
STARTED = 4
# Latents that the principal axes are measured on.
PCA_LATENTS = 4096
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class NoSurface(UserError):
    """The sample of a query has no surface."""


class MeshMaker:
    """Makes one thing at a time, whatever the number of clients. The same query gives the same bytes."""

    def __init__(
        self,
        generator: TrainedGenerator,
        directions: Directions | None = None,
        latents: "Mapping[str, Sample] | None" = None,
    ) -> None:
        """directions: of attributes, for the sliders; None has none. latents: samples by name, besides those of
        seeds."""
        self.generator, self.directions, self.latents = generator, directions, dict(latents or {})
        self.identity = generator.identity()
        self._on_cpu = network_on_cpu(generator.network)
        self._lock = threading.Lock()
        self._bytes: OrderedDict[Any, bytes] = OrderedDict()
        self._started: OrderedDict[SampleQuery, Any] = OrderedDict()
        self._axes: Directions | None = None

    @property
    def attributes(self) -> list[str]:
        """The directions of attributes, which a query's `move` may name."""
        return [] if self.directions is None else [name for name in self.directions.names if "=" in name]

    def mesh(self, query: MeshQuery, ending: FileEnding) -> bytes:
        """A GLB or USDZ file, or a zip archive of OBJ, MTL and PNG. NoSurface, or UserError for a missing package."""
        make = self._textured if query.texture_size else self._geometry
        return self._kept((ending, query), lambda: make(query, ending))

    def image(self, query: ImageQuery) -> bytes:
        """A PNG of the lit sample on light gray."""
        return self._kept(("png", query), lambda: self._image(query))

    def _kept(self, key: Any, make: Callable[[], bytes]) -> bytes:
        """The bytes of the cache, or new ones; the oldest are dropped when they are too many."""
        with self._lock:
            if key in self._bytes:
                self._bytes.move_to_end(key)
                return self._bytes[key]
            made = self._bytes[key] = make()
            while sum(map(len, self._bytes.values())) > CACHE_BYTES and len(self._bytes) > 1:
                self._bytes.popitem(last=False)
            return made

    # -- samples -----------------------------------------------------------------------------------------------------

    def _sample(self, query: SampleQuery) -> "Sample":
        """The sample of a query: by name, by seeds, or between four seeds; then moved along axes and directions."""
        generator, corners = self.generator, query.corner_seeds()
        label = query.label if generator.classes else None
        if query.latent is not None:
            if query.latent not in self.latents:
                raise UserError(
                    f"latent: this page has {', '.join(self.latents) or 'none'}; start it with --latents FILE"
                )
            sample = self.latents[query.latent]
        elif corners is None:
            texture_seed = query.shape_seed if query.texture_seed is None else query.texture_seed
            sample = generator.sample_pairs([query.shape_seed], [texture_seed], query.truncation, label)[0]
        else:
            four = generator.sample(corners, query.truncation, label)
            weights = torch.tensor(
                [(1 - query.x) * (1 - query.y), query.x * (1 - query.y), (1 - query.x) * query.y, query.x * query.y],
                device=four.w_geo.device,
            )
            w_geo, w_tex = (torch.einsum("b,bsd->sd", weights, w)[None] for w in (four.w_geo, four.w_tex))
            sample = generator.from_styles(w_geo, w_tex)[0]
        if any(map(any, query.moves())):
            sample = self._principal_axes().moved(sample, query.axis_steps())
        if query.move:
            if self.directions is None:
                raise UserError("move: this page has no directions; start it with --directions FILE")
            sample = self.directions.moved(sample, parse_moves(query.move.split(","), "move"))
        return sample

    def _principal_axes(self) -> Directions:
        if self._axes is None:
            self._axes = principal_directions(*random_styles(self.generator.network, PCA_LATENTS), PCA_AXES)
        return self._axes

    # -- meshes and images -------------------------------------------------------------------------------------------

    def _begin(self, query: SampleQuery) -> Any:
        """What the network makes of a query; kept, because the texture is wanted after the geometry."""
        key = SampleQuery.model_validate(
            {name: value for name, value in query if name in SampleQuery.model_fields}, by_name=True
        )
        if key not in self._started:
            sample = self._sample(query)
            facts = {"network": self.identity["name"], "network_sha256": self.identity["sha256"]}
            given = key.model_dump(mode="json", exclude_defaults=True, by_alias=True)
            name = sample.name if sample.seed is not None else query.latent or "mixed"
            job = SampleJob(name, sample.w_geo, sample.w_tex, {**facts, "truncation": key.truncation, **given})
            started = self._sample_maker(self.generator.network, Path(), None).start(job)
            if started.surface is None:
                raise NoSurface("this sample has no surface; try another seed, or a lower truncation")
            self._started[key] = started
            while len(self._started) > STARTED:
                self._started.popitem(last=False)
        return self._started[key]

    def _sample_maker(self, network: Generator, folder: Path, settings: MeshSettings | None) -> SampleMaker:
        return SampleMaker(network, folder, settings, None, self.generator.shaded)

    def _geometry(self, query: MeshQuery, ending: FileEnding) -> bytes:
        MeshSettings(ending).check()
        started = self._begin(query)
        placed = Placement.of(started.surface, "floor", None)
        mesh = simplify(started.surface, query.faces)[0]
        with _scratch() as folder:
            path = folder / f"{started.job.name}.{ending}"
            write_mesh(path, placed.apply(mesh.replace(normals=vertex_normals(mesh))), about=started.job.about)
            return _archive([path]) if ending == "obj" else path.read_bytes()

    def _textured(self, query: MeshQuery, ending: FileEnding) -> bytes:
        settings = MeshSettings(ending, query.texture_size, query.faces)
        settings.check()
        started = self._begin(query)
        with _scratch() as folder:
            result = self._sample_maker(self._on_cpu, folder, settings).finish(started)
            assert result.record is not None
            if not result.record["files"]:
                reasons = [result.record[why] for why in ("refused", "failed") if why in result.record]
                raise UserError(f"this sample cannot be written: {reasons[0]}")
            paths = [folder / name for name in result.record["files"]]
            return _archive(paths) if ending == "obj" else paths[0].read_bytes()

    def _image(self, query: ImageQuery) -> bytes:
        pixels = self._sample(query).render(query.azimuth, resolution=query.resolution)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        return data.getvalue()


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder; WriteError where there is no room for one."""
    with write_errors(Path(tempfile.gettempdir())):
        made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with made as folder:
        yield Path(folder)


def _archive(paths: list[Path]) -> bytes:
    """A zip of files, with fixed times so that the same files give the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(paths):
            archive.writestr(zipfile.ZipInfo(path.name, ZIP_TIME), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return data.getvalue()
