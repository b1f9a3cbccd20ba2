"""How each family of denoisers is called: (x_t, timestep [B], embeddings, **conditions) → raw output like x_t.

The arguments are those that the library's own pipelines pass.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from guidance.priors.prior import Embeddings

Network = Callable[..., Tensor]
# How the classes of diffusers are called; a subclass of none of these is refused.
UNET, SD3, FLUX, SANA, PIXART = (
    "UNet2DConditionModel",
    "SD3Transformer2DModel",
    "FluxTransformer2DModel",
    "SanaTransformer2DModel",
    "PixArtTransformer2DModel",
)
FAMILIES = (UNET, SD3, FLUX, SANA, PIXART)


def build_network(
    module: Any, control: nn.Module | None = None, encode_control: Callable[[Tensor], Tensor] | None = None
) -> Network:
    """The call of a denoiser by its class. control: a ControlNet of a UNet or of SD3, which sees its image through
    encode_control. ValueError for an unknown class.
    """
    family = type(module).__name__
    if family == UNET:
        return unet_network(module, control)
    if family == SD3:
        return sd3_network(module, control, encode_control)
    if control is not None:
        raise ValueError(f"build_network(): expected {UNET} or {SD3} for a ControlNet, got {family}")
    if family == FLUX:
        return flux_network(module)
    if family == SANA:
        return sana_network(module)
    if family == PIXART:
        return pixart_network(module)
    raise ValueError(f"build_network(): expected one of {', '.join(FAMILIES)}, got {family}")


def unet_network(unet: Any, control_net: Any = None) -> Network:
    """Stable Diffusion 1, 2 and XL, DeepFloyd IF, InstructPix2Pix, Zero-1-to-3 and multi-view UNets.

    Conditions: concatenated [B, C', h, w] (channels after x_t's), class_labels (of a UNet with class embeddings),
    control [B, 3, H, W] in [0, 1] with control_scale. Outputs beyond x_t's channels (learned variance) are cut off.
    """

    def call(
        x_t: Tensor,
        timestep: Tensor,
        embeddings: Embeddings,
        *,
        concatenated: Tensor | None = None,
        class_labels: Tensor | None = None,
        control: Tensor | None = None,
        control_scale: float = 1.0,
    ) -> Tensor:
        hidden = embeddings.tensors["text"].to(x_t.dtype)
        sample = x_t if concatenated is None else torch.cat([x_t, concatenated.to(x_t.dtype)], 1)
        arguments: dict[str, Any] = {"encoder_hidden_states": hidden, "return_dict": False}
        if unet.config.addition_embed_type == "text_time":
            arguments["added_cond_kwargs"] = {
                "text_embeds": embeddings.tensors["pooled"].to(x_t.dtype),
                "time_ids": _size_ids(sample),
            }
        if control_net is not None:
            if control is None:
                raise ValueError("unet_network(): expected a control image for the ControlNet, got none")
            down, middle = control_net(
                x_t,
                timestep,
                controlnet_cond=control.to(x_t.dtype),
                conditioning_scale=control_scale,
                **arguments,
            )
            arguments |= {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        if class_labels is not None:
            arguments["class_labels"] = class_labels.to(x_t.dtype)
        return unet(sample, timestep, **arguments)[0][:, : x_t.shape[1]]

    return call


def _size_ids(sample: Tensor) -> Tensor:
    """SDXL's micro-conditioning [B, 6]: original size, crop corner (0, 0) and target size, px, all of this image."""
    height, width = 8 * sample.shape[-2], 8 * sample.shape[-1]
    row = torch.tensor([height, width, 0, 0, height, width], device=sample.device, dtype=sample.dtype)
    return row.expand(len(sample), 6)


def sd3_network(
    transformer: Any, control_net: Any = None, encode_control: Callable[[Tensor], Tensor] | None = None
) -> Network:
    """Stable Diffusion 3 and 3.5.

    Conditions: control [B, 3, H, W] in [0, 1] with control_scale. encode_control(images in [−1, 1]) → latents without
    shift and scale [B, C, h, w], as the ControlNet takes its image.
    """

    def call(
        x_t: Tensor,
        timestep: Tensor,
        embeddings: Embeddings,
        *,
        control: Tensor | None = None,
        control_scale: float = 1.0,
    ) -> Tensor:
        text, pooled = (embeddings.tensors[name].to(x_t.dtype) for name in ("text", "pooled"))
        residuals = None
        if control_net is not None:
            if control is None:
                raise ValueError("sd3_network(): expected a control image for the ControlNet, got none")
            config = control_net.config
            residuals = control_net(
                hidden_states=x_t,
                timestep=timestep,
                # The ControlNets of SD3.5 know no text, and some of SD3 no pooled text.
                encoder_hidden_states=None if config.joint_attention_dim is None else text,
                pooled_projections=torch.zeros_like(pooled) if config.force_zeros_for_pooled_projection else pooled,
                controlnet_cond=encode_control(control * 2 - 1).to(x_t.dtype) if encode_control else control,
                conditioning_scale=control_scale,
                return_dict=False,
            )[0]
        return transformer(
            hidden_states=x_t,
            timestep=timestep,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            block_controlnet_hidden_states=residuals,
            return_dict=False,
        )[0]

    return call


def flux_network(transformer: Any) -> Network:
    """FLUX.1: 2 × 2 latents are one token. Condition: guidance, the scale that FLUX.1-dev takes as an input."""
    embedded = transformer.config.guidance_embeds

    def call(x_t: Tensor, timestep: Tensor, embeddings: Embeddings, *, guidance: float = 3.5) -> Tensor:
        batch, channels, height, width = x_t.shape
        hidden = embeddings.tensors["text"].to(x_t.dtype)
        output = transformer(
            hidden_states=nn.functional.pixel_unshuffle(x_t, 2).flatten(2).transpose(1, 2),
            # The network multiplies by 1000 itself.
            timestep=timestep.to(x_t.dtype) / 1000,
            guidance=torch.full((batch,), guidance, device=x_t.device, dtype=x_t.dtype) if embedded else None,
            pooled_projections=embeddings.tensors["pooled"].to(x_t.dtype),
            encoder_hidden_states=hidden,
            txt_ids=hidden.new_zeros(hidden.shape[1], 3),
            img_ids=_token_ids(height // 2, width // 2, x_t),
            return_dict=False,
        )[0]
        tokens = output.transpose(1, 2).reshape(batch, 4 * channels, height // 2, width // 2)
        return nn.functional.pixel_shuffle(tokens, 2)

    return call


def _token_ids(height: int, width: int, like: Tensor) -> Tensor:
    """Positions (0, row, column) of the tokens of an image [height · width, 3]."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).to(like)


def sana_network(transformer: Any) -> Network:
    """SANA."""
    scale = transformer.config.timestep_scale

    def call(x_t: Tensor, timestep: Tensor, embeddings: Embeddings) -> Tensor:
        return transformer(
            hidden_states=x_t,
            encoder_hidden_states=embeddings.tensors["text"].to(x_t.dtype),
            encoder_attention_mask=embeddings.tensors["mask"],
            timestep=timestep * scale,
            return_dict=False,
        )[0]

    return call


def pixart_network(transformer: Any) -> Network:
    """PixArt-α and -Σ. Outputs beyond x_t's channels (learned variance) are cut off."""
    # The α model of 1024 px is told the image's size.
    micro = bool(transformer.use_additional_conditions)

    def call(x_t: Tensor, timestep: Tensor, embeddings: Embeddings) -> Tensor:
        size: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if micro:
            height, width = x_t.shape[-2:]
            size["resolution"] = x_t.new_tensor([[8 * height, 8 * width]]).expand(len(x_t), 2)
            size["aspect_ratio"] = x_t.new_tensor([[height / width]]).expand(len(x_t), 1)
        output = transformer(
            x_t,
            encoder_hidden_states=embeddings.tensors["text"].to(x_t.dtype),
            encoder_attention_mask=embeddings.tensors["mask"],
            timestep=timestep,
            added_cond_kwargs=size,
            return_dict=False,
        )[0]
        return output[:, : x_t.shape[1]]

    return call
