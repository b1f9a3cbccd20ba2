"""Projection: the losses, the descent to a sample's own image, cameras that are searched for, and the style file."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from networks.generator import Generator
from rendering.camera import Cameras
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS, CameraDistribution, ScalarDistribution
from sampling.projection import (
    WARMUP,
    DescentStage,
    Starts,
    StyleSpace,
    color_psnr,
    descend,
    descent_rate,
    drawn,
    image_losses,
    mask_iou,
    project_styles,
    stages_of,
)
from sampling.projection_target import read_projection_target
from sampling.start_search import (
    SampleBank,
    camera_grid,
    camera_of_angles,
    make_bank,
    starts_anywhere,
    starts_for_cameras,
)
from sampling.style_file import load_styles, save_styles
from sampling.trained_generator import TrainedGenerator, load
from tests.training import tiny
from tests.training.tiny import write_dataset
from torch_utils.checkpoint import save_network, save_tensors
from torch_utils.errors import UserError

CHAIR = CAMERA_DISTRIBUTIONS["chair"]


@pytest.fixture(scope="module")
def g(tmp_path_factory: pytest.TempPathFactory) -> TrainedGenerator:
    torch.manual_seed(1)
    config = tiny.config(geometry={"cells": 8, "sdf_scale": 0.3}, texture={"plane_scale": 8.0})
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_network(path, Generator(config), config.model_dump(mode="json"), 8000)
    return load(path)


@pytest.fixture(scope="module")
def bank(g: TrainedGenerator) -> SampleBank:
    return make_bank(g.network, g.slots, 12)


def disc(shift: int, color: float = 0.5) -> torch.Tensor:
    """A square of 8² px on 32², moved to the right: [1, 4, 32, 32]."""
    image = torch.zeros(1, 4, 32, 32)
    image[:, :3, 8:16, 8 + shift : 16 + shift] = color
    image[:, 3, 8:16, 8 + shift : 16 + shift] = 1
    return image


def test_the_loss_falls_as_a_thin_part_approaches_without_overlap() -> None:
    def bar(column: int) -> torch.Tensor:
        image = torch.zeros(1, 4, 32, 32)
        image[:, :, 4:28, column] = 1
        return image

    losses = image_losses(torch.stack([bar(column) for column in (8, 9, 10, 12, 16)]), bar(8))
    assert losses[0] == 0 and bool((losses.diff() > 0.01).all())


def test_iou_and_psnr_by_hand() -> None:
    assert mask_iou(disc(0), disc(4)) == pytest.approx(4 / 12)
    assert mask_iou(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)) == 0
    # 64 of 1,024 pixels differ by 0.25 in all channels.
    assert color_psnr(disc(0, 0.75), disc(0, 0.5)) == pytest.approx(-10 * math.log10(0.25**2 / 16), abs=1e-3)


def test_coordinates_are_those_of_the_styles(g: TrainedGenerator) -> None:
    space = StyleSpace(g.network)
    sample = g.sample(3, 0.9)
    coordinates = space.coordinates(sample.w_geo, sample.w_tex)
    for styles, again in zip((sample.w_geo, sample.w_tex), space.styles(coordinates), strict=True):
        assert torch.allclose(styles, again, atol=0.05 * float(styles.std()))
    assert 0.2 < float(coordinates[0].square().mean()) < 3, "standard deviations"


def test_a_sample_is_found_again_from_its_image(g: TrainedGenerator, bank: SampleBank) -> None:
    """The target is not in the bank; descending must come much closer than the best start."""
    sample, camera = g.sample(77, 1.0), camera_of_angles(CHAIR, 40, 20)
    with torch.no_grad():
        target = drawn(g.network, sample.w_geo, sample.w_tex, camera, 16)
    starts = starts_for_cameras(bank, target, camera)
    with torch.no_grad():
        before = drawn(g.network, starts.w_geo[:1], starts.w_tex[:1], camera, 16)
    steps = []
    stages = (DescentStage(3, 6, 2), DescentStage(1, 30, 1))
    result = project_styles(g.network, StyleSpace(g.network), target, starts, camera, stages, lambda: steps.append(1))
    assert len(steps) == 36 and result.images.shape == (1, 4, 16, 16)
    assert result.psnr_db > color_psnr(before, target) + 3
    assert result.iou > 0.9 and result.w_geo.shape == sample.w_geo.shape


def test_two_views_constrain_one_sample(g: TrainedGenerator, bank: SampleBank) -> None:
    sample = g.sample(78, 1.0)
    cameras = Cameras.cat([camera_of_angles(CHAIR, 0, 10), camera_of_angles(CHAIR, 120, 10)])
    with torch.no_grad():
        target = drawn(g.network, sample.w_geo, sample.w_tex, cameras, 16)
    starts = starts_for_cameras(bank, target, cameras)
    new, losses = descend(g.network, StyleSpace(g.network), target, starts[[0, 1]], cameras, DescentStage(2, 15, 1))
    with torch.no_grad():
        images = drawn(g.network, new.w_geo, new.w_tex, Cameras.cat([cameras] * 2), 16).unflatten(0, (2, 2))
    assert torch.allclose(image_losses(images, target), losses, atol=1e-4), "the losses are those of the best points"


def test_each_start_descends_on_its_own(g: TrainedGenerator, bank: SampleBank) -> None:
    camera = camera_of_angles(CHAIR, 40, 20)
    with torch.no_grad():
        target = drawn(g.network, bank.w_geo[:1], bank.w_tex[:1], camera, 16)
    both = Starts(bank.w_geo[[3, 4]], bank.w_tex[[3, 4]])
    space = StyleSpace(g.network)
    _, together = descend(g.network, space, target, both, camera, DescentStage(2, 3, 1))
    _, alone = descend(g.network, space, target, both[[1]], camera, DescentStage(1, 3, 1))
    assert together[1] == pytest.approx(float(alone[0]), rel=0.02)


def test_the_camera_of_a_member_of_the_bank_is_found(g: TrainedGenerator, bank: SampleBank) -> None:
    truth = torch.tensor([[math.radians(77.0), math.radians(14.0)]])
    grid = camera_grid(CHAIR)
    camera = Cameras.orbit(truth[:, 0], truth[:, 1], grid.radius, grid.fov_y_rad)
    with torch.no_grad():
        target = drawn(g.network, bank.w_geo[[2]], bank.w_tex[[2]], camera, 32)
    starts = starts_anywhere(bank, target, CHAIR)
    assert starts.orbit is not None
    azimuths = torch.rad2deg(starts.orbit.angles[:, 0])
    apart = ((azimuths - 77 + 180) % 360 - 180).abs()
    assert float(apart.min()) <= 15
    row = int(apart.argmin())
    result = project_styles(g.network, StyleSpace(g.network), target, starts[[row]], None, (DescentStage(1, 25, 1),))
    assert result.cameras.azimuth_rad().rad2deg().item() == pytest.approx(77, abs=12)
    assert result.iou > 0.85


def test_the_grid_covers_the_distribution() -> None:
    grid = camera_grid(CHAIR)
    azimuths, elevations = torch.rad2deg(grid.angles).T
    assert len(grid.angles) == 24 * len(elevations.unique()) and float(azimuths.max()) < 360
    assert (float(elevations.min()), float(elevations.max())) == pytest.approx((0, 30), abs=1e-4)
    assert grid.radius == pytest.approx(1.2)
    for azimuth, expected in (
        (ScalarDistribution(uniform=(0, 90)), [0, 15, 30, 45, 60, 75, 90]),
        (ScalarDistribution(uniform=(-20, 2)), [-20, 2]),
        (ScalarDistribution(fixed=40), [40]),
    ):
        part = CameraDistribution(azimuth_deg=azimuth, elevation_deg=ScalarDistribution(fixed=10))
        assert torch.rad2deg(camera_grid(part).angles[:, 0]).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_network_without_surfaces_has_nothing_to_start_from(g: TrainedGenerator, monkeypatch) -> None:
    real = g.network.mesh

    def nothing(w_geo: torch.Tensor):
        found = real(w_geo)
        return replace(found, empty=torch.ones_like(found.empty))

    monkeypatch.setattr(g.network, "mesh", nothing)
    with pytest.raises(UserError, match="none of 2 random samples has a surface"):
        make_bank(g.network, g.slots, 2)


def test_stages_and_their_learning_rates() -> None:
    stages = stages_of(6, 50)
    assert [stage.starts for stage in stages] == [6, 2, 2] and stages[-1].steps == 50
    assert [stage.starts for stage in stages_of(1, 50)] == [1, 1, 1]
    # A full rate at the first step would lead far away from a good start.
    factors = [descent_rate(step, DescentStage(1, 60, 1, 0.4)) for step in range(61)]
    assert factors[0] == pytest.approx(1 / WARMUP) and factors[30] == pytest.approx(0.7)
    assert max(factors) == factors[WARMUP - 1] > 0.9 and factors[-1] == pytest.approx(0.4)


def test_styles_come_back_from_their_file(g: TrainedGenerator, tmp_path: Path) -> None:
    samples = g.sample([1, 2])
    save_styles(tmp_path / "a.safetensors", ["a", "b"], samples.w_geo, samples.w_tex, g.identity(), [{"iou": 0.9}] * 2)
    names, again = load_styles(tmp_path / "a.safetensors", g)
    assert names == ["a", "b"] and again[1].seed is None
    assert torch.equal(again.w_geo, samples.w_geo) and torch.equal(again.w_tex, samples.w_tex)
    with pytest.raises(ValueError, match="expected 1 styles, got 2"):
        save_styles(tmp_path / "b.safetensors", ["a"], samples.w_geo, samples.w_tex, g.identity())
    short = {**g.identity()}
    save_styles(tmp_path / "c.safetensors", ["a"], samples.w_geo[:1, :1], samples.w_tex[:1], short)
    with pytest.raises(UserError, match="does not fit the network"):
        load_styles(tmp_path / "c.safetensors", g)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "", ".."])
def test_styles_whose_names_lead_to_other_folders_are_refused(g: TrainedGenerator, tmp_path: Path, name: str) -> None:
    sample = g.sample(seed=1)
    save_styles(tmp_path / "a.safetensors", [name], sample.w_geo, sample.w_tex, g.identity())
    with pytest.raises(UserError, match=r"a\.safetensors: a sample is called .*, which is no plain file name"):
        load_styles(tmp_path / "a.safetensors", g)


def test_styles_need_a_name_each(g: TrainedGenerator, tmp_path: Path) -> None:
    sample = g.sample(seed=1)
    header = {"kind": "styles", "names": [], "network": g.identity(), "facts": []}
    save_tensors(tmp_path / "a.safetensors", {"w_geo": sample.w_geo, "w_tex": sample.w_tex}, header)
    with pytest.raises(UserError, match="has 0 names for 1 samples"):
        load_styles(tmp_path / "a.safetensors", g)


def test_the_folder_where_one_stands_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(tmp_path / "data", shapes=1, views=1) / "shapes" / "shape0"
    monkeypatch.chdir(folder)
    for path in (Path(), folder):
        assert read_projection_target(path, 16, CHAIR).name == "shape0"
