"""The texture stage: what it learns, what it leaves bitwise alone, and that it can be stopped and resumed."""

import pytest
import torch
from click import UsageError

from tests.command_line import assert_refused, run
from tests.training import tiny
from torch_utils.checkpoint import load_network, load_tensors
from torch_utils.distributed import Ranks
from training.data import MinibatchSource, draw_latents
from training.run.step_statistics import Statistics
from training.stages import step_of
from training.texture_step import draw_textures, freeze_shapes
from training.train_state import build_train_state, state_parts

STAGE = {"stage": "texture", "texture_shapes": 12}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def prepared(**sections):
    """Settings of a texture stage, a train state of it, its data and its step."""
    sections["training"] = {**STAGE, **sections.get("training", {})}
    settings = tiny.config(**sections)
    state, data, statistics = build_train_state(settings, Ranks()), tiny.data(settings), Statistics()
    step = step_of(settings, state, data.camera_distribution, Ranks(), statistics)
    return settings, state, MinibatchSource(settings, data, Ranks()), step, statistics


def test_texture_alone_learns_and_the_shapes_stay_bitwise():
    settings, state, source, step, statistics = prepared()
    before = {name: value.clone() for name, value in state.generator.state_dict().items()}
    w_geo, _ = state.generator.map(torch.ones(3, 8), torch.ones(3, 8))
    shape = state.generator.mesh(w_geo).mesh
    for iteration in range(3):
        norms = step(source.draw(iteration * settings.training.batch, iteration))
    assert set(norms) == {"generator", "color discriminator"}
    learned = set(state.generator.texture_parameters())
    assert {name.split(".")[0] for name in learned} == {"mapping_tex", "backbone", "texture_head"}
    for name, value in state.generator.state_dict().items():
        moved = not torch.equal(before[name], value)
        assert moved == (name in learned or name == "w_average_tex"), name
    after = state.generator.mesh(state.generator.map(torch.ones(3, 8), torch.ones(3, 8))[0]).mesh
    assert torch.equal(shape.vertices, after.vertices) and torch.equal(shape.faces, after.faces)
    figures = statistics.read(Ranks())
    assert {"loss/discriminator_color", "loss/generator_color", "r1/color"} <= set(figures)


@pytest.mark.parametrize("supersample", [1, 2])
def test_drawn_textures_are_the_generators_own_images(supersample):
    """Inside the outline a frozen shape looks as `Generator.render` draws it."""
    settings, state, *_ = prepared(rendering={"supersample": supersample})
    generator, cameras = state.generator.eval(), tiny.data(settings).camera_distribution
    shapes = freeze_shapes(generator, cameras, settings)
    latents = draw_latents(settings.training.seed + 1, range(12), settings.mapping.z_dim)
    with torch.no_grad():
        w_geo, w_tex = generator.map(latents.geometry, latents.texture)
        views = cameras.sample(settings.training.seed + 1, range(12))
        rendered = generator.render(w_geo, w_tex, views)
        rows = torch.tensor([7, 2, 2, 11])
        rgb, mask = draw_textures(generator, shapes, rows, w_tex[rows])
    inside = -torch.nn.functional.max_pool2d(-mask, 3, 1, 1) > 0.99
    assert inside.sum() > 40
    difference = (rgb - rendered.rgb[rows]).abs().amax(1, keepdim=True)[inside]
    assert difference.max() < 1e-5


def test_micro_batches_are_the_whole_minibatch():
    """Without R1: the color discriminator takes maxima over pixels, and rounding decides ties."""
    learned = []
    for size in (0, 8):
        _, state, source, step, statistics = prepared(
            training={"batch": 16, "micro_batch": size, "precision": "fp64"}, loss={"gamma_color": 0.0}
        )
        for iteration in range(3):
            step(source.draw(16 * iteration, iteration))
        assert state.color_discriminator is not None
        tensors = {**tiny.tensors_of(state), **state.color_discriminator.state_dict()}
        learned.append((tensors, statistics.read(Ranks())))
    for name, value in learned[0][0].items():
        assert (learned[1][0][name] - value).abs().max() < 1e-9, name
    assert learned[0][1].keys() == learned[1][1].keys()
    for name, (mean, _) in learned[0][1].items():
        assert learned[1][1][name][0] == pytest.approx(mean, rel=1e-6, abs=1e-9), name


def test_a_conditional_network_keeps_a_shapes_class():
    settings = tiny.config(training=STAGE).model_copy(update={"classes": 3})
    state = build_train_state(settings, Ranks())
    shapes = freeze_shapes(state.generator, tiny.data(settings).camera_distribution, settings)
    assert shapes.labels is not None and shapes.labels_of(torch.tensor([0, 4, 5])).tolist() == [0, 1, 2]


def test_the_color_discriminator_joins_a_joint_step():
    settings = tiny.config(loss={"color_weight": 0.5})
    state, means = tiny.run_steps(settings, 2)
    assert state.color_discriminator is not None and "loss/generator_color" in means
    assert {"discriminator_color", "color_adam", "discriminator_adam"} <= set(state_parts(state))
    plain, other = tiny.run_steps(tiny.config(), 2)
    assert plain.color_discriminator is None and "loss/generator_color" not in other
    colors = [n for n, p in state.generator.named_parameters() if not torch.equal(p, plain.generator.state_dict()[n])]
    assert any(name.startswith("texture_head") for name in colors)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"loss": {"color_weight": 0}}, "loss.color_weight: expected a weight above 0 in the texture stage, got 0"),
        ({"data": {"resolution": 16, "views_per_shape": 2}}, "add --set data.views_per_shape=1"),
        ({"augment": {"mode": "ada"}}, "got ada; add --set augment.mode=none"),
        ({"training": {**STAGE, "progressive_kimg": 2}}, "got 2.0; add --set training.progressive_kimg=0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(sections, message):
    with pytest.raises(UsageError) as caught:
        tiny.config(**{"training": STAGE, **sections})
    assert caught.value.message.endswith(message)


def test_a_texture_stage_from_a_network_resumes_bitwise(tmp_path):
    data = tiny.write_dataset(tmp_path / "data")
    config = tiny.write_config(tmp_path / "config.yaml")
    assert_refused(
        run("train", "--config", config, "--data", data, "--out", tmp_path / "x", "--set", "training.stage=texture"),
        "needs a network whose shapes it keeps",
        "--init",
    )
    assert run("train", "--config", config, "--data", data, "--out", tmp_path / "joint", "--quiet").status == 0
    network = tmp_path / "joint" / "network.safetensors"
    arguments = ["train", "--init", network, "--data", data, "--quiet", "--set", "training.stage=texture"]
    arguments += ["--set", "training.texture_shapes=12"]
    assert run(*arguments, "--out", tmp_path / "whole").status == 0
    assert run(*arguments, "--out", tmp_path / "parts", "--set", "training.total_kimg=0.032").status == 0
    resume = ["train", "--data", data, "--out", tmp_path / "parts", "--resume", "--set", "training.total_kimg=0.08"]
    assert run(*resume, "--quiet").status == 0
    whole, _ = load_tensors(tmp_path / "whole" / "state-000000080.safetensors")
    parts, _ = load_tensors(tmp_path / "parts" / "state-000000080.safetensors")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    before, after = load_network(network).state, load_network(tmp_path / "whole" / "network.safetensors").state
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"mapping_tex", "backbone", "texture_head", "w_average_tex"}
    # Exported, it brings no discriminators: the texture stage trains none of images.
    state = tmp_path / "whole" / "state-000000080.safetensors"
    assert run("export", "--network", state, "--out", tmp_path / "n.safetensors").status == 0
    assert not (tmp_path / "discriminators").exists()
