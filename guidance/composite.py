"""Priors that are told more than a prompt: a second prior, a reference image, a camera, several views, coordinates."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.priors.prior import DiffusionPrior, Embeddings, Prediction, add_noise, predict_each
from guidance.score_distillation import WEIGHTINGS, clamp_prediction


def hybrid_loss(image_loss: Tensor, view_loss: Tensor, mu: float = 2.0) -> Tensor:
    """SDS loss of an image prior + μ · SDS loss of a prior that knows views, such as Zero-1-to-3.

    mu: 2 in the paper, 1 in its code. Source: Sun et al. 2024 (DreamCraft3D); Qian et al. 2024 (Magic123).
    """
    return image_loss + mu * view_loss


def combine_image_and_text(
    neither: Tensor, image_only: Tensor, both: Tensor, image_scale: float, text_scale: float
) -> Tensor:
    """ε(∅,∅) + s_I(ε(I,∅) − ε(∅,∅)) + s_T(ε(I,T) − ε(I,∅)). Source: Brooks et al. 2023 (InstructPix2Pix), eq. 3."""
    return neither + image_scale * (image_only - neither) + text_scale * (both - image_only)


def instruct_prediction(
    prior: DiffusionPrior,
    x_t: Tensor,
    t: Tensor,
    instruction: Embeddings,
    unconditional: Embeddings,
    reference: Tensor,
    *,
    image_scale: float = 1.5,
    text_scale: float = 7.5,
) -> Prediction:
    """The prediction of an InstructPix2Pix prior with its two guidance scales.

    reference [B, C, h, w]: `prior.condition(images)` of the unedited images; a missing image is all zeros.
    """
    texts = [instruction, unconditional, unconditional]
    images = torch.cat([reference, reference, torch.zeros_like(reference)])
    both, image_only, neither = predict_each(prior, x_t, t, texts, concatenated=images)
    return Prediction(
        combine_image_and_text(neither.eps, image_only.eps, both.eps, image_scale, text_scale),
        combine_image_and_text(neither.x0, image_only.x0, both.x0, image_scale, text_scale),
    )


def instruct_gradient(
    prior: DiffusionPrior,
    x: Tensor,
    instruction: Embeddings,
    unconditional: Embeddings,
    reference: Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    image_scale: float = 1.5,
    text_scale: float = 7.5,
    weighting: str = "dreamfusion",
    clamp: bool = True,
) -> Tensor:
    """SDS with an editing prior: x is moved to what the instruction makes of the reference images."""
    x = x.detach()
    alpha, sigma = prior.alpha_sigma(t)
    x_t = add_noise(x, noise, alpha, sigma)
    prediction = instruct_prediction(
        prior, x_t, t, instruction, unconditional, reference, image_scale=image_scale, text_scale=text_scale
    )
    if clamp and prior.pixel_space:
        prediction = clamp_prediction(prediction, x_t, alpha, sigma)
    return WEIGHTINGS[weighting](alpha, sigma) * (prediction.eps - noise)


# Zero-1-to-3: one image and a change of the camera.
IMAGE_FEATURES, CAMERA_FEATURES = 768, 4


def relative_camera(
    elevation_rad: Tensor,
    azimuth_rad: Tensor,
    radius: Tensor,
    reference_elevation_rad: Tensor | float,
    reference_azimuth_rad: Tensor | float,
    reference_radius: Tensor | float,
) -> Tensor:
    """(Δpolar, sin Δazimuth, cos Δazimuth, Δradius) [B, 4] from the reference camera to each of B cameras.

    The polar angle is 90° − elevation, so it falls as the camera rises. Source: Liu et al. 2023 (Zero-1-to-3), §3.2.
    """
    turn = azimuth_rad - reference_azimuth_rad
    polar = reference_elevation_rad - elevation_rad
    return torch.stack([polar, turn.sin(), turn.cos(), radius - reference_radius], -1)


class CameraProjection(nn.Module):
    """Image features and relative camera → condition: Linear(768 + 4 → 768), identity on the features at the start.

    Train it with ten times the rate of the UNet. Source: Liu et al. 2023 (Zero-1-to-3), released model.
    """

    def __init__(self, features: int = IMAGE_FEATURES) -> None:
        super().__init__()
        self.projection = nn.Linear(features + CAMERA_FEATURES, features)
        with torch.no_grad():
            self.projection.weight.copy_(torch.eye(features, features + CAMERA_FEATURES))
            self.projection.bias.zero_()

    def forward(self, features: Tensor, camera: Tensor) -> Tensor:
        """features [B, 768] of the reference images, camera [B, 4] → [B, 768]."""
        return self.projection(torch.cat([features, camera.to(features)], -1))


def view_embeddings(features: Tensor, camera: Tensor, projection: CameraProjection) -> tuple[Embeddings, Embeddings]:
    """Conditional and unconditional embeddings of a Zero-1-to-3 prior: one token of 768 values; zeros for none.

    The reference image itself enters as the condition `concatenated`, c = `prior.condition(images)`, zeros for none: a
    guided prediction of B images takes `torch.cat([c, torch.zeros_like(c)])` [2B, C, h, w].
    """
    token = projection(features, camera)[:, None]
    return Embeddings({"text": token}), Embeddings({"text": torch.zeros_like(token)})


# MVDream: several views of one object are denoised together.


class _JointAttention:
    """A processor of self-attention in which the tokens of N views of one object attend to each other."""

    def __init__(self, processor: Any, views: int) -> None:
        self.processor, self.views = processor, views

    def __call__(self, attn: Any, hidden_states: Tensor, *arguments: Any, **options: Any) -> Tensor:
        batch, tokens, channels = hidden_states.shape
        if batch % self.views:
            raise ValueError(f"with_joint_views(): expected a multiple of {self.views} views, got {batch}")
        joined = hidden_states.reshape(batch // self.views, self.views * tokens, channels)
        return self.processor(attn, joined, *arguments, **options).reshape(batch, tokens, channels)


def set_joint_views(prior: DiffusionPrior, views: int) -> None:
    """Let the self-attention of a UNet see all N views of an object; every N images in a row are one object.

    Cameras enter as `class_labels` [B · N, 16] of a UNet whose class embedding is a projection. views = 1 gives the
    UNet back as it was. Source: Shi et al. 2024 (MVDream), §3.1.
    """
    module: Any = prior.module
    if not hasattr(module, "attn_processors"):
        raise ValueError("set_joint_views(): expected a prior with a UNet, got one without")
    processors = {}
    for name, processor in module.attn_processors.items():
        plain = processor.processor if isinstance(processor, _JointAttention) else processor
        is_self = ".attn1." in name
        processors[name] = _JointAttention(plain, views) if is_self and views > 1 else plain
    module.set_attn_processor(processors)


def camera_values(camera_to_world: Tensor) -> Tensor:
    """camera [B, 16] from camera-to-world matrices [B, 4, 4]; the position has unit length. Source: MVDream's code."""
    matrix = camera_to_world.clone()
    matrix[:, :3, 3] = F.normalize(matrix[:, :3, 3], dim=1)
    return matrix.flatten(1)


def canonical_coordinates(positions: Tensor, mask: Tensor, half_extent: float = 0.5) -> Tensor:
    """Rendered world positions as an image [B, 3, H, W] in [−1, 1] that a prior of geometry can be asked about.

    positions [B, H, W, 3] in the object's frame, mask [B, H, W, 1] coverage; the background is −1. half_extent: of the
    box that [−1, 1] stands for. With gradient. Source: Li et al. 2024 (SweetDreamer), canonical coordinates maps.
    """
    colors = (positions / half_extent).clamp(-1, 1) * mask - (1 - mask)
    return colors.permute(0, 3, 1, 2)


# Images for a ControlNet, from exact renders.


def normal_control(normals: Tensor, mask: Tensor) -> Tensor:
    """Camera-space normals as a ControlNet takes them: [B, 3, H, W] in [0, 1], x right, y up, z towards the camera.

    normals [B, H, W, 3] of unit length, mask [B, H, W, 1]; the background faces the camera.
    """
    facing = normals.new_tensor([0.0, 0.0, 1.0])
    return ((normals * mask + facing * (1 - mask)) * 0.5 + 0.5).clamp(0, 1).permute(0, 3, 1, 2)


def depth_control(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth as a ControlNet takes it: inverse depth of each image from 0 (far) to 1 (near), [B, 3, H, W].

    depth [B, H, W, 1] > 0 where mask [B, H, W, 1] is; the background is 0.
    """
    inside = mask > 0.5
    inverse = torch.where(inside, 1 / depth.clamp_min(1e-6), torch.zeros_like(depth))
    nearest = inverse.flatten(1).amax(1)[:, None, None, None]
    masked = torch.where(inside, inverse, nearest)
    farthest = masked.flatten(1).amin(1)[:, None, None, None]
    span = (nearest - farthest).clamp_min(1e-6)
    scaled = torch.where(inside, (inverse - farthest) / span, torch.zeros_like(inverse))
    return scaled.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
