"""One run cut differently, into ranks or into micro-batches, is the same run."""

import pytest
import torch

from tests.processes import be_rank, free_ports, run_ranks
from tests.training import tiny
from torch_utils import distributed
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from training.data import MinibatchSource, check_batch

STEPS = 10
# Every option that reads more than one sample: groups, views, classes, adaptive augmentation, R1, the regularizers.
# Wild: shapes that leave the box to different extents, so that one rank has more fallback surfaces than another.
CASES = {
    "usual": {},
    "wild": {"geometry": {"sdf_scale": 8.0, "sphere_radius": 0.45}},
    "cubes": {
        "geometry": {"sdf_scale": 5.0, "extraction": "flexicubes"},
        "discriminator": {"crop_conditioning": True},
    },
    "connected": {
        "geometry": {"sdf_scale": 5.0, "connect_components": True},
        "loss": {"r1_interval": 3, "floater_weight": 0.5, "smoothness_weight": 0.1},
    },
}


def settings_of(case: str, precision: str = "fp64", micro_batch: int = 0):
    sections = {
        "data": {"resolution": 16, "views_per_shape": 2},
        "training": {"batch": 32, "precision": precision, "micro_batch": micro_batch},
        "augment": {"mode": "ada", "probability": 0.3},
        **CASES[case],
    }
    return tiny.config(**sections).model_copy(update={"classes": 2})


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def weights_and_means(case: str, ranks: Ranks, micro_batch: int = 0) -> tuple[dict, dict]:
    train_state, means = tiny.run_steps(settings_of(case, micro_batch=micro_batch), STEPS, ranks, noise=0.05)
    return tiny.tensors_of(train_state), means


def first_gradient(ranks: Ranks) -> dict[str, torch.Tensor]:
    """The generator's first gradient in fp32: Adam's first moment after one step, because β1 is 0."""
    train_state, _ = tiny.run_steps(settings_of("usual", "fp32"), 1, ranks, noise=0.05)
    state = train_state.generator_adam.state_dict()
    return {name: value for name, value in state.items() if name.startswith("exp_avg/")}


def _worker(rank: int, ports: dict[int, int], folder: str) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for world, port in ports.items():
        if rank >= world:
            continue
        be_rank(rank, world, port)
        ranks = distributed.start("cpu")
        results = {case: weights_and_means(case, ranks) for case in CASES}
        torch.save((results, first_gradient(ranks)), f"{folder}/{rank}_of_{world}.pt")
        distributed.stop(ranks)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Results by (rank, number of ranks), of four processes; two of them then run once more as two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    ports = dict(zip((4, 2), free_ports(2), strict=True))
    run_ranks(_worker, 4, ports, str(folder))
    return {
        (rank, world): torch.load(folder / f"{rank}_of_{world}.pt", weights_only=True)
        for world in ports
        for rank in range(world)
    }


@pytest.fixture(scope="module")
def alone():
    """Results of one process without micro-batches, by case."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return {case: weights_and_means(case, Ranks()) for case in CASES}


def assert_same_run(mine: tuple[dict, dict], expected: tuple[dict, dict]) -> None:
    for name, value in expected[0].items():
        assert value.dtype == torch.float64, name
        error = (mine[0][name] - value).abs().max() / value.abs().max().clamp(min=1)
        assert error < 1e-9, f"{name}: differs by {error:.1e}"
    assert mine[1].keys() == expected[1].keys()
    for name, mean in expected[1].items():
        assert mine[1][name] == pytest.approx(mean, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_ranks_is_one_rank(shared, alone, world, case):
    means = alone[case][1]
    assert (means["loss/fallback_surface"] > 0) == (case != "usual")
    assert means["augment/probability"] != 0.3
    results = [shared[rank, world][0][case] for rank in range(world)]
    for rank in range(1, world):
        for name, value in results[0][0].items():
            assert torch.equal(results[rank][0][name], value), f"ranks differ in {name}"
    assert_same_run(results[0], alone[case])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [8, 16])
def test_micro_batches_are_the_whole_minibatch(alone, case, size):
    assert_same_run(weights_and_means(case, Ranks(), size), alone[case])


def test_augmentation_that_changes_fast_is_the_same_in_micro_batches(monkeypatch):
    """Both steps of a minibatch augment with the probability before it, although the first one moves it."""
    monkeypatch.setattr("training.augment._ADA_KIMG", 0.1)
    learned = []
    for micro_batch in (0, 8):
        train_state, means = tiny.run_steps(settings_of("usual", micro_batch=micro_batch), 3, noise=0.05)
        learned.append((tiny.tensors_of(train_state), means))
    assert_same_run(learned[1], learned[0])


def test_the_color_discriminator_learns_the_same_from_micro_batches(monkeypatch):
    """One step without R1: the network takes maxima over pixels, and rounding decides ties."""
    monkeypatch.setitem(CASES, "colors", {"loss": {"color_weight": 0.5, "gamma_color": 0.0}})
    learned = []
    for micro_batch in (0, 8):
        train_state, _ = tiny.run_steps(settings_of("colors", micro_batch=micro_batch), 1, noise=0.05)
        assert train_state.color_discriminator is not None
        learned.append(train_state.color_discriminator.state_dict())
    for name, value in learned[0].items():
        assert (learned[1][name] - value).abs().max() < 1e-9, name


@pytest.mark.parametrize("world", [2, 4])
def test_the_first_gradient_in_single_precision_does_not_depend_on_the_number_of_ranks(shared, world):
    expected = first_gradient(Ranks())
    for name, value in expected.items():
        error = (shared[0, world][1][name] - value).norm() / value.norm().clamp(min=1e-6)
        assert error < 1e-4, f"{name}: {error:.1e}"


def test_batches_that_ranks_cannot_share_are_refused():
    check_batch(tiny.config(), Ranks(0, 2))
    with pytest.raises(UserError, match=r"expected a multiple of 12 .* got 8; try --set training.batch=12"):
        check_batch(tiny.config(), Ranks(0, 3))


def test_micro_batches_that_cut_groups_are_refused():
    check_batch(settings_of("usual", micro_batch=16), Ranks(0, 2))
    for micro_batch in (4, 24, 32):
        with pytest.raises(UserError, match=rf"the 16 images of a rank .*\(8, 16\), got {micro_batch}"):
            check_batch(settings_of("usual", micro_batch=micro_batch), Ranks(0, 2))


def test_parts_of_a_minibatch_make_up_the_whole():
    settings = settings_of("usual", "fp32")
    batch = MinibatchSource(settings, tiny.data(settings), Ranks()).draw(64, 2)
    parts = batch.split(8)
    assert len(parts) == 4 and batch.split(0) == batch.split(32) == [batch]
    assert [index for part in parts for index in part.indices] == list(batch.indices)
    for read in (
        lambda part: part.reals.rgb,
        lambda part: part.reals.labels,
        lambda part: part.reals.cameras.camera_to_world,
        lambda part: part.latents.mixing,
        lambda part: part.shape_labels,
        lambda part: part.fake_cameras.focal,
    ):
        assert torch.equal(torch.cat([read(part) for part in parts]), read(batch))
