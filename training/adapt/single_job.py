"""The job of one sample: where it begins, what it shall look like, and the mesh that comes out."""

import math
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_tool.format import pixels
from dataset_tool.posed_images import read_images
from networks.generator import Generator
from networks.pretrained import network_file
from rendering.camera import Cameras, fov_from_sensor, orbit_cameras
from rendering.images import over_background, preview_images, to_uint8
from rendering.lighting import Shading
from sampling.mesh_export import MeshSettings, texture_colors, write_sample
from sampling.style_file import save_styles
from sampling.style_images import preview_shading
from sampling.trained_generator import TrainedGenerator, load
from torch_utils.checkpoint import save_tensors
from torch_utils.errors import UserError
from torch_utils.files import file_hash, read_file
from training.adapt.follower import Follower, with_follower
from training.adapt.guide import Guide, guide_follower, guide_objective
from training.adapt.loop import AdaptJob
from training.adapt.photos import PhotoGuide, learned_facts, photo_follower, photo_objective, with_learning
from training.adapt.settings import AdaptSettings
from training.adapt.sheet import TILE_PX, labeled_rows
from training.adapt.shift import Answer, Objective, StepResult
from training.adapt.shift_job import network_cameras
from training.adapt.single import (
    Codes,
    ReferenceViews,
    Single,
    build_single,
    draw_codes,
    prompt_answer,
    reference_answer,
    single_step,
)
from training.photos.read import framed_photos

MESH, STYLES = "sample.glb", "styles.safetensors"
SHEET_AZIMUTHS_DEG = (35.0, 125.0, 215.0, 305.0)
# GET3D's cameras, which the included networks were trained with.
RADIUS = 1.2
# Weight of `style_distance` for a keep_weight of 1: styles have a mean square near 1, and losses of images are small.
KEEP = 1e-3
Answers = Callable[[int], tuple[Answer, Tensor]]


def single_job(
    settings: AdaptSettings,
    guide: Guide | None,
    device: torch.device,
    learned: PhotoGuide | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> AdaptJob:
    """The job of one sample: by a prompt with a guide, by a reference without one, or by photos that a prior learned.

    say: takes a line about each round of `with_learning`.
    """
    trained = load(settings.network, str(device))
    begin = trained.sample(seed=settings.sample, truncation=settings.truncation)
    single = build_single(trained.network, begin.w_geo, begin.w_tex, settings.rate, planes=settings.planes)
    shading = preview_shading(trained.header.get("shading"))
    views = read_reference(settings, device) if settings.reference else None
    follower: Follower | None = None
    if views is not None:
        answer, rows = _from_views(single, settings, views), [("reference", _shown(views))]
    elif learned is not None:
        follower = photo_follower(learned, settings)
        answer = _from_objective(single, settings, photo_objective(learned, settings, follower))
        rows = [("photos", _tiles(framed_photos(learned.photos, TILE_PX, 1, np.random.default_rng(0))))]
    else:
        assert guide is not None, "a prompt has a guide"
        follower = guide_follower(guide, settings)
        answer, rows = _from_objective(single, settings, guide_objective(guide, settings, follower)), []
    before = _turned(single.network, single.start, shading)

    def step(number: int) -> StepResult:
        return single_step(single, *answer(number), settings.keep_weight * KEEP)

    def rehearse(number: int) -> None:
        answer(number)[0].loss.backward()
        single.codes.zero_grad(set_to_none=True)

    def sheet() -> np.ndarray:
        after = _turned(single.network, single.codes, shading)
        return labeled_rows([*rows, (f"before: seed {settings.sample}", before), (f"after: {settings.goal}", after)])

    job = AdaptJob(
        settings,
        parts={"codes": single.codes, "adam": single.adam},
        rehearse=rehearse,
        step=step,
        sheet=sheet,
        save=partial(_write, trained=trained, single=single, settings=settings),
        device=device,
        network=file_hash(network_file(settings.network)),
        facts={
            "network": settings.network,
            "sample": f"seed {settings.sample}, truncation {settings.truncation:g}",
            "moves": "styles and planes" if settings.planes else "styles",
            "towards": settings.goal,
        },
    )
    if learned is not None:
        job.facts |= learned_facts(learned, settings)
        job = with_learning(job, learned, partial(_renders, single, settings), say)
    return with_follower(job, follower)


@torch.no_grad()
def _renders(single: Single, settings: AdaptSettings, step: int, count: int) -> Tensor:
    """Images [count, 3, R, R] in [−1, 1] of the sample now, by cameras that no step before has."""
    cameras = network_cameras(single.network.config, settings.camera)
    drawn = cameras.sample(settings.seed + 1, range(step * count, (step + 1) * count)).to(single.network.device)
    side, supersample = settings.resolution, settings.supersample
    return draw_codes(single.network, single.codes, drawn, side, supersample, settings.background).rgb


def _from_objective(single: Single, settings: AdaptSettings, objective: Objective) -> Answers:
    cameras = network_cameras(single.network.config, settings.camera)

    def answer(step: int) -> tuple[Answer, Tensor]:
        drawn = cameras.sample(settings.seed, range(step * settings.batch, (step + 1) * settings.batch))
        return prompt_answer(
            single,
            drawn.to(single.network.device),
            step,
            objective,
            resolution=settings.resolution,
            supersample=settings.supersample,
            background=settings.background,
        )

    return answer


def _from_views(single: Single, settings: AdaptSettings, views: ReferenceViews) -> Answers:
    def answer(step: int) -> tuple[Answer, Tensor]:
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        rows = torch.randperm(len(views), generator=generator)[: settings.batch].tolist()
        return reference_answer(single, views.rows(rows), settings.supersample)

    return answer


def read_reference(settings: AdaptSettings, device: torch.device) -> ReferenceViews:
    """The views of `settings.reference`, at `settings.resolution`: an image seen by the camera `view_deg`, or a folder
    with transforms.json and, if there are any, normal.npz and depth.npz, as a shape's folder of a dataset has them.

    UserError where they cannot be read, have no alpha, or show nothing.
    """
    path = Path(settings.reference)
    views = _read_folder(path) if path.is_dir() else _read_image(path, settings)
    if not bool((views.mask > 0.5).any()):
        raise UserError(f"--reference {path}: shows nothing, its alpha is empty; name images of the object")
    return views.to_side(settings.resolution, device)


def _read_folder(path: Path) -> ReferenceViews:
    posed = read_images(path)
    normals, depth = _stored(path / "normal.npz", len(posed.rgb)), _stored(path / "depth.npz", len(posed.rgb))
    return ReferenceViews(
        posed.rgb,
        posed.mask,
        posed.cameras,
        None if normals is None else normals.permute(0, 3, 1, 2),
        None if depth is None else depth[:, None],
    )


def _stored(path: Path, views: int) -> Tensor | None:
    """The array of a file such as normal.npz, float32; None where there is none. UserError for one of other views."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = torch.from_numpy(stored[path.stem].astype(np.float32))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if len(values) != views:
        raise UserError(f"{path}: has {len(values)} views, but transforms.json {views}")
    return values


def _read_image(path: Path, settings: AdaptSettings) -> ReferenceViews:
    rgba = pixels.decode(read_file(path), str(path))
    if rgba.shape[0] != rgba.shape[1]:
        raise UserError(f"--reference {path}: expected a square image, got {rgba.shape[1]} × {rgba.shape[0]} px")
    image = torch.from_numpy(rgba.astype(np.float32) / 255).permute(2, 0, 1)[None]
    if bool((image[:, 3] == 1).all()):
        raise UserError(
            f"--reference {path}: has no alpha, which says where the object is; cut it out first, e.g. with rembg"
        )
    azimuth, elevation = (torch.tensor([math.radians(angle)]) for angle in settings.view_deg)
    cameras = Cameras.orbit(azimuth, elevation, RADIUS, fov_from_sensor(32, 35))
    return ReferenceViews(image[:, :3] * image[:, 3:], image[:, 3:], cameras)


@torch.no_grad()
def _turned(network: Generator, codes: Codes, shading: Shading) -> np.ndarray:
    """The sample from four sides, lit: [4, S, S, 3] uint8."""
    surface, texture_planes = codes.surface(network)
    return preview_images(
        surface.mesh,
        partial(network.materials, texture_planes, codes.w_tex),
        orbit_cameras(SHEET_AZIMUTHS_DEG).to(network.device),
        TILE_PX,
        shading=shading,
        supersample=network.config.rendering.supersample,
        backend=network.config.rendering.backend,
    )


def _shown(views: ReferenceViews) -> np.ndarray:
    """Four of the reference views (the only one four times) over the sheet's background: [4, S, S, 3] uint8."""
    large = [
        torch.nn.functional.interpolate(each.cpu(), (TILE_PX, TILE_PX), mode="bilinear")
        for each in (views.rgb, views.mask)
    ]
    return _tiles(over_background(large[0], large[1]))


def _tiles(images: Tensor) -> np.ndarray:
    """Four of the images [N, 3, S, S] in [0, 1] as a row of a sheet: [4, S, S, 3] uint8."""
    rows = [k * len(images) // len(SHEET_AZIMUTHS_DEG) for k in range(len(SHEET_AZIMUTHS_DEG))]
    return to_uint8(images[rows] * 2 - 1)


@torch.no_grad()
def _write(folder: Path, *, trained: TrainedGenerator, single: Single, settings: AdaptSettings) -> None:
    """`MESH` and `STYLES`."""
    network, codes = single.network, single.codes
    surface, texture_planes = codes.surface(network)
    if bool(surface.empty[0]):
        raise UserError(f"--sample {settings.sample}: has no surface any more; try a lower --set rate")
    colors = partial(network.materials, texture_planes, codes.w_tex)
    about = {"network": trained.name, "sample": settings.sample, "goal": settings.goal}
    write_sample(
        folder,
        Path(MESH).stem,
        surface.mesh.detach(),
        lambda points: texture_colors(colors)(points.to(network.device)),
        MeshSettings("glb"),
        unlit=trained.shaded,
        about=about,
    )
    facts = {"seed": settings.sample, "goal": settings.goal}
    if not settings.planes:
        save_styles(folder / STYLES, [Path(MESH).stem], codes.w_geo, codes.w_tex, trained.identity(), [facts])
        return
    # Styles alone would be another sample.
    header = {"kind": "styles with planes", "network": trained.identity(), "facts": [facts]}
    save_tensors(folder / STYLES, {name: value.detach() for name, value in codes.state_dict().items()}, header)
