"""Minibatches depend on (seed, global index) alone."""

import json

import torch

from tests.dataset_tool.shapes import write_dataset
from tests.training import tiny
from torch_utils.distributed import Ranks
from training.augment import Adaptation, augment, augmentation_uniforms
from training.data import MinibatchSource, draw_latents, named_after, open_data, real_order, shape_indices, spread_views
from training.fakes import mix_styles


def test_ranks_see_slices_of_the_same_minibatch():
    settings = tiny.config(data={"views_per_shape": 2, "resolution": 16})
    whole = MinibatchSource(settings, tiny.data(settings), Ranks()).draw(40, 5)
    halves = [MinibatchSource(settings, tiny.data(settings), Ranks(rank, 2)).draw(40, 5) for rank in (0, 1)]
    for pick in (
        lambda b: b.reals.rgb,
        lambda b: b.latents.geometry,
        lambda b: b.latents.mixing,
        lambda b: b.fake_cameras.camera_to_world,
        lambda b: b.reals.cameras.camera_to_world,
    ):
        assert torch.equal(pick(whole), torch.cat([pick(half) for half in halves]))
    assert whole.latents.geometry.shape[0] == 4


def test_every_real_view_is_seen_once_an_epoch():
    order = [view for nimg in range(0, 48, 8) for view in real_order(5, nimg, slice(0, 8), 12)]
    epochs = [order[i : i + 12] for i in range(0, 48, 12)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_latents_belong_to_their_index():
    a, b = draw_latents(1, [4, 9], 8), draw_latents(1, [9], 8)
    assert torch.equal(a.geometry[1:], b.geometry) and torch.equal(a.mixing_texture[1:], b.mixing_texture)
    assert not torch.equal(a.geometry[:1], b.geometry)
    assert not torch.equal(a.geometry, a.texture)
    assert list(shape_indices(16, slice(8, 16), 4)) == [24, 28]


def test_style_mixing_replaces_the_slots_from_a_drawn_one_on():
    w, other = torch.zeros(4, 5, 2), torch.ones(4, 5, 2)
    uniform = torch.tensor([[0.0, 0.0], [0.0, 0.999], [0.89, 0.5], [0.95, 0.5]])
    mixed = mix_styles(w, other, uniform, 0.9)[:, :, 0]
    assert mixed.tolist() == [[0, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]


def test_views_of_a_shape_are_in_different_stddev_groups():
    shape_of = torch.arange(16) // 2
    order = spread_views(16, 2, 4)
    assert sorted(order.tolist()) == list(range(16))
    for group in shape_of[order].split(4):
        assert len(set(group.tolist())) == 4
    # Slices of whole blocks are ordered alike, whatever the number of ranks.
    assert torch.equal(order, torch.cat([spread_views(8, 2, 4), 8 + spread_views(8, 2, 4)]))
    assert spread_views(5, 1, 4).tolist() == list(range(5))


def test_no_augmentation_changes_nothing():
    rgb, mask = image_and_mask()
    same = augment(rgb, mask, augmentation_uniforms(0, range(4), "real"), torch.tensor(0.0))
    assert torch.allclose(same[0], rgb, atol=1e-5) and torch.allclose(same[1], mask, atol=1e-5)


def test_augmentation_keeps_the_background_black_and_mask_and_color_together():
    rgb, mask = image_and_mask()
    new_rgb, new_mask = augment(rgb, mask, augmentation_uniforms(0, range(4), "real"), torch.tensor(1.0))
    assert not torch.allclose(new_mask, mask, atol=0.1)
    assert (new_rgb[(new_mask < 1e-6).expand_as(new_rgb)] < -1 + 1e-5).all()
    assert ((new_rgb + 1) / 2 <= new_mask + 1e-5).all(), "colors stay premultiplied"
    assert new_rgb.min() >= -1 - 1e-6 and new_rgb.max() <= 1 + 1e-6


def test_augmentation_passes_gradients_to_colors_and_mask():
    rgb, mask = (image.double().requires_grad_() for image in image_and_mask())
    out = augment(rgb, mask, augmentation_uniforms(0, range(4), "real").double(), torch.tensor(1.0))
    (mask_gradient,) = torch.autograd.grad(out[1].sum(), mask, retain_graph=True)
    (color_gradient,) = torch.autograd.grad(out[0].sum(), rgb)
    assert mask_gradient.abs().sum() > 0 and color_gradient.abs().sum() > 0


def test_adaptive_probability_follows_the_sign():
    settings = tiny.config(augment={"mode": "ada", "ada_target": 0.5}).augment
    adaptation = Adaptation(settings)
    for _ in range(50):
        adaptation.adapt(torch.tensor(0.9), images=1000)
    assert 0.3 < adaptation.probability.item() <= 0.5
    for _ in range(200):
        adaptation.adapt(torch.tensor(0.1), images=1000)
    assert adaptation.probability.item() == 0.0
    assert set(adaptation.state_dict()) == {"probability", "mean_sign"}


def image_and_mask() -> tuple[torch.Tensor, torch.Tensor]:
    images = tiny.data(tiny.config()).bank.batch([0, 5, 10, 19])[0]
    return images[:, :3], images[:, 3:]


def test_a_run_knows_how_many_shapes_it_trains_on(tmp_path):
    path = write_dataset(tmp_path / "blobs", count=10)
    counts, advice = open_data(path, tiny.config()).notes
    assert counts == "blobs: 7 shapes train, 1 validate, 2 test."
    assert "augment.mode=ada" in advice and "below 30 test shapes" in advice
    augmented = open_data(path, tiny.config(augment={"mode": "ada"})).notes
    assert not any("Few shapes" in note for note in augmented), "who augments already needs no advice"


def test_a_network_is_named_after_its_data(tmp_path):
    path = write_dataset(tmp_path / "blobs", count=10)
    header = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps({**header, "category": "mug"}))
    unnamed = tiny.config()
    opened = open_data(path, unnamed)
    assert unnamed.category == "object"
    assert named_after(opened, unnamed) == unnamed.model_copy(update={"category": "mug"})
    chair = unnamed.model_copy(update={"category": "chair"})
    assert named_after(opened, chair).category == "chair"
    assert not any("category" in note for note in opened.notes)
    [note] = [note for note in open_data(path, chair).notes if "category" in note]
    assert "of the category mug" in note and note.endswith("add --set category=mug.")


def test_edges_that_are_drawn_otherwise_are_named(tmp_path):
    path = write_dataset(tmp_path / "blobs", count=10)
    header = json.loads((path / "dataset.json").read_text())

    def advice(supersample: int, name: str = "built-in") -> list[str]:
        (path / "dataset.json").write_text(
            json.dumps({**header, "renderer": {"name": name, "supersample": supersample}})
        )
        return [note for note in open_data(path, config).notes if "samples" in note]

    config = tiny.config()
    averaged = header["resolution"] // config.data.resolution
    same = config.rendering.supersample // averaged
    assert same >= 1 and not advice(same) and not advice(2 * same, "blender")
    (note,) = advice(2 * same)
    assert note.endswith(f"add --set rendering.supersample={2 * config.rendering.supersample}.")
    (note,) = advice(16)
    assert note.endswith("render with another --supersample.")
