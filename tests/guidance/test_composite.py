"""Priors with more than a prompt: reference image, camera, several views, coordinates; and losses of a reference."""

import json
import math

import pytest
import torch

from guidance.composite import (
    CameraProjection,
    camera_values,
    canonical_coordinates,
    combine_image_and_text,
    depth_control,
    hybrid_loss,
    instruct_gradient,
    instruct_prediction,
    normal_control,
    relative_camera,
    set_joint_views,
    view_embeddings,
)
from guidance.priors.load import load_novel_view_prior
from guidance.reference_losses import depth_correlation_loss, masked_color_loss, normal_cosine_loss
from tests.guidance.gaussian_prior import gaussian, gaussian_prior
from tests.guidance.tiny_priors import HIDDEN, tiny_unet, widen
from tests.guidance.unet_prior import text, unet_prior
from torch_utils.errors import UserError


def test_two_scales_of_instruct_pix2pix():
    neither, image, both = torch.randn(3, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(combine_image_and_text(neither, image, both, 0.0, 0.0), neither)
    torch.testing.assert_close(combine_image_and_text(neither, image, both, 1.0, 0.0), image)
    torch.testing.assert_close(combine_image_and_text(neither, image, both, 1.0, 1.0), both)


def test_instructions_and_reference_each_have_their_scale():
    """A Gaussian prior whose mean is that of the prompt plus the reference's."""
    plain = gaussian_prior(pixel_space=False)

    def network(x_t, timestep, embeddings, *, concatenated):
        shift = concatenated.mean((1, 2, 3))
        tensors = {**embeddings.tensors, "mean": embeddings.tensors["mean"] + shift}
        return plain.network(x_t, timestep, type(embeddings)(tensors))

    prior = plain.with_network(network)
    x_t, t = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 0.7])
    reference = torch.full((2, 1, 4, 4), 0.4)
    got = instruct_prediction(prior, x_t, t, gaussian(0.2), gaussian(0.0), reference, image_scale=1.5, text_scale=7.5)
    # Linear in the mean: 1.5 · 0.4 of the reference and 7.5 · 0.2 of the instruction.
    torch.testing.assert_close(got.eps, plain.predict(x_t, t, gaussian(1.5 * 0.4 + 7.5 * 0.2)).eps)
    gradient = instruct_gradient(
        prior, x_t, gaussian(0.2), gaussian(0.0), reference, t, torch.zeros_like(x_t), weighting="constant"
    )
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_relative_cameras():
    still = relative_camera(torch.tensor([0.2]), torch.tensor([0.5]), torch.tensor([1.4]), 0.2, 0.5, 1.4)
    torch.testing.assert_close(still, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))
    up_and_left = relative_camera(torch.tensor([0.5]), torch.tensor([math.pi / 2]), torch.tensor([2.0]), 0.0, 0.0, 1.5)
    torch.testing.assert_close(up_and_left, torch.tensor([[-0.5, 1.0, 0.0, 0.5]]), atol=1e-6, rtol=0)


def test_the_camera_projection_starts_as_the_identity():
    features, camera = torch.randn(2, 768), torch.randn(2, 4)
    projection = CameraProjection()
    assert torch.equal(projection(features, camera), features)
    conditional, unconditional = view_embeddings(features, camera, projection)
    assert conditional.tensors["text"].shape == (2, 1, 768) and not unconditional.tensors["text"].any()


def test_views_of_one_object_see_each_other():
    prior = unet_prior(class_embed_type="projection", projection_class_embeddings_input_dim=16)
    generator = torch.Generator().manual_seed(0)
    x, camera = torch.randn(4, 3, 8, 8, generator=generator), torch.randn(4, 16, generator=generator)
    t = torch.full((4,), 0.5)

    def answer(images):
        return prior.predict(images, t, text(), class_labels=camera).eps

    apart = answer(x)
    set_joint_views(prior, 2)
    joint = answer(x)
    assert (joint - apart).abs().max() > 1e-3
    # The first object does not see the second; the views of the second see each other.
    moved = x.clone()
    moved[3] += 1
    changed = (answer(moved) - joint).abs().flatten(1).amax(1)
    assert changed[0] < 1e-6 and changed[1] < 1e-6 and changed[2] > 1e-3 and changed[3] > 1e-3
    # Two identical views have nothing to tell each other.
    twice, cameras = x[[0, 0, 1, 1]], camera[[0, 0, 1, 1]]
    same = prior.predict(twice, t, text(), class_labels=cameras).eps
    with pytest.raises(ValueError, match="expected a multiple of 2 views, got 3"):
        prior.predict(x[:3], t[:3], text(), class_labels=camera[:3])
    set_joint_views(prior, 1)
    torch.testing.assert_close(prior.predict(twice, t, text(), class_labels=cameras).eps, same, atol=1e-4, rtol=1e-4)
    assert torch.equal(answer(x), apart)
    other = prior.predict(x, t, text(), class_labels=camera.roll(1, 0)).eps
    assert (other - apart).abs().max() > 1e-3
    with pytest.raises(ValueError, match="expected a prior with a UNet"):
        set_joint_views(gaussian_prior(), 2)


def test_camera_values_do_not_depend_on_the_distance():
    matrix = torch.eye(4).repeat(2, 1, 1)
    matrix[0, :3, 3], matrix[1, :3, 3] = torch.tensor([0.0, 3.0, 4.0]), torch.tensor([0.0, 6.0, 8.0])
    values = camera_values(matrix)
    assert values.shape == (2, 16) and torch.equal(values[0], values[1])
    assert values[0, [3, 7, 11]].tolist() == pytest.approx([0, 0.6, 0.8])


def test_coordinates_as_an_image():
    positions = torch.tensor([[[[0.5, -0.5, 0.0], [0.25, 0.0, 0.0]]]], requires_grad=True)
    mask = torch.tensor([[[[1.0], [0.0]]]])
    image = canonical_coordinates(positions, mask)
    assert image[0, :, 0, 0].tolist() == [1, -1, 0] and image[0, :, 0, 1].tolist() == [-1, -1, -1]
    image[0, 2, 0, 0].backward()
    assert positions.grad[0, 0, 0].tolist() == [0, 0, 2]


def test_control_images():
    normals = torch.tensor([[[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.3, 0.3, 0.3]]]])
    mask = torch.tensor([[[[1.0], [1.0], [0.0]]]])
    assert normal_control(normals, mask)[0, :, 0].T.tolist() == [[0.5, 0.5, 1], [1, 0.5, 0.5], [0.5, 0.5, 1]]
    depth = torch.tensor([[[[1.0], [4.0], [0.0], [2.0]]]])
    control = depth_control(depth, torch.tensor([[[[1.0], [1.0], [0.0], [1.0]]]]))
    assert control.shape == (1, 3, 1, 4) and control[0, 0, 0].tolist() == pytest.approx([1, 0, 0, 1 / 3])


def test_losses_of_a_reference_view():
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(2, 1, 4, 4, generator=generator)
    mask = (torch.rand(2, 1, 4, 4, generator=generator) > 0.3).float()
    # Scale, shift and what lies outside the mask do not matter; the sign does.
    scaled = (3 * depth + 2) * mask + 100 * (1 - mask)
    assert depth_correlation_loss(depth, scaled, mask).item() == pytest.approx(-1, abs=1e-4)
    assert depth_correlation_loss(depth, -scaled, mask).item() == pytest.approx(1, abs=1e-4)
    wanted = -torch.corrcoef(torch.stack([depth[0][mask[0] > 0], depth.square()[0][mask[0] > 0]]))[0, 1]
    got = depth_correlation_loss(depth[:1], depth[:1].square(), mask[:1])
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 4, 4, generator=generator), dim=1)
    assert normal_cosine_loss(normals, normals, mask).item() == pytest.approx(0, abs=1e-6)
    assert normal_cosine_loss(normals, -normals, mask).item() == pytest.approx(2, abs=1e-6)
    images = torch.rand(2, 3, 4, 4, generator=generator)
    assert masked_color_loss(images, images + 0.5 * mask + 9 * (1 - mask), mask).item() == pytest.approx(0.25)
    assert masked_color_loss(images, images, 0 * mask) == 0
    assert hybrid_loss(torch.tensor(1.0), torch.tensor(3.0), mu=2.0) == 7


def write_novel_view_prior(path):
    """A tiny folder in the layout of Zero-1-to-3."""
    from diffusers import AutoencoderKL, DDIMScheduler
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    unet = tiny_unet(4, inputs=8)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2, image_size=16,
            patch_size=8, projection_dim=HIDDEN,
        )
    )  # fmt: skip
    for part in (unet, vae, encoder):
        widen(part)
    unet.save_pretrained(path / "unet")
    vae.save_pretrained(path / "vae")
    encoder.save_pretrained(path / "image_encoder")
    DDIMScheduler().save_pretrained(path / "scheduler")
    (path / "cc_projection").mkdir()
    projection = CameraProjection(HIDDEN)
    torch.nn.init.normal_(projection.projection.weight)
    save_file(projection.state_dict(), path / "cc_projection" / "diffusion_pytorch_model.safetensors")
    index = {
        "_class_name": "Zero1to3StableDiffusionPipeline", "cc_projection": ["pipeline_zero1to3", "CCProjection"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"], "scheduler": ["diffusers", "DDIMScheduler"],
    }  # fmt: skip
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def test_a_novel_view_prior_from_its_folder(tmp_path, no_network):
    novel = load_novel_view_prior(write_novel_view_prior(tmp_path / "zero123"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features, reference = novel.features(images), novel.prior.condition(images)
    assert features.shape == (2, HIDDEN) and reference.shape == (2, 4, 8, 8)
    cameras = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.2, 1.0, 0.0, 0.0]])
    text_features, empty = view_embeddings(features, cameras, novel.projection)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7])
    got = novel.prior.predict(x, t, text_features, concatenated=reference)
    for other in (
        novel.prior.predict(
            x, t, view_embeddings(features, cameras[[1, 0]], novel.projection)[0], concatenated=reference
        ),
        novel.prior.predict(x, t, empty, concatenated=reference),
        novel.prior.predict(x, t, text_features, concatenated=0 * reference),
    ):
        assert (got.eps - other.eps).abs().flatten(1).amax(1).min() > 1e-3
    with pytest.raises(ValueError, match="takes an image, not a prompt"):
        novel.prior.embed(["a chair"])
    (tmp_path / "zero123" / "cc_projection" / "diffusion_pytorch_model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="is no camera projection"):
        load_novel_view_prior(tmp_path / "zero123")
