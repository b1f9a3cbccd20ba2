"""Tiny folders of every family of priors with random weights, written by the libraries themselves."""

from pathlib import Path
from typing import Any

import torch

WORDS = ("a", "red", "blue", "chair", "car", ",", "front", "side", "back", "view")
_ADDED = ("<pad>", "</s>", "<unk>")
HIDDEN = 16
# A VAE with 4× smaller latents.
_VAE = {"block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
_BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
FAMILIES = ("unet", "unet_v", "unet_sample", "pixel_unet", "if", "sdxl", "ip2p", "sd3", "flux", "sana", "pixart")


def write_prior(path: Path, family: str, seed: int = 0) -> Path:
    """A folder of one family, saved by its pipeline."""
    torch.manual_seed(seed)
    components = _COMPONENTS[family](family)
    for part in components.values():
        if isinstance(part, torch.nn.Module):
            widen(part)
    _pipeline(family)(**components).save_pretrained(path)
    return path


def _pipeline(family: str) -> Any:
    import diffusers

    name = {"sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3", "flux": "Flux", "sana": "Sana", "if": "IF",
            "pixart": "PixArtSigma", "ip2p": "StableDiffusionInstructPix2Pix"}  # fmt: skip
    return getattr(diffusers, f"{name.get(family, 'StableDiffusion')}Pipeline")


def widen(module: torch.nn.Module) -> None:
    """Weights so large that every input of a network matters, also where it would start at zero."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.7 / parameter[0].numel() ** 0.5)
        elif not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


def _tokens(cls: Any, length: int) -> Any:
    """A tokenizer that knows a few words and cuts the rest to <unk>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = (*_ADDED, *WORDS)
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return cls(tokenizer_object=tokens, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=length)


def _clip_text(projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(WORDS) + len(_ADDED), hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=8, projection_dim=HIDDEN, pad_token_id=0, bos_token_id=2,
        eos_token_id=1,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(WORDS) + len(_ADDED), d_model=HIDDEN, d_kv=8, d_ff=HIDDEN, num_layers=1, num_heads=2)
    )


def _tokenizer(length: int = 8) -> Any:
    from transformers import PreTrainedTokenizerFast

    return _tokens(PreTrainedTokenizerFast, length)


def _vae(latents: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=latents, sample_size=32, scaling_factor=0.5, shift_factor=0.1, **_VAE, **_BLOCKS
    )


def tiny_unet(channels: int = 4, inputs: int | None = None, outputs: int | None = None, **options: Any) -> Any:
    """A UNet of two levels on 8 × 8 latents."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8, in_channels=inputs or channels, out_channels=outputs or channels, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=HIDDEN,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **options,
    )  # fmt: skip


def _unet(family: str) -> dict[str, Any]:
    from diffusers import DDIMScheduler

    kind = {"unet_v": "v_prediction", "unet_sample": "sample"}.get(family, "epsilon")
    scheduler = DDIMScheduler(prediction_type=kind, steps_offset=1, clip_sample=False)
    pixel = family == "pixel_unet"
    return {
        "unet": tiny_unet(3 if pixel else 4, inputs=8 if family == "ip2p" else None), "vae": None if pixel else _vae(),
        "text_encoder": _clip_text(), "tokenizer": _tokenizer(), "scheduler": scheduler,
        "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
    }  # fmt: skip


def _if(_: str) -> dict[str, Any]:
    from diffusers import DDPMScheduler

    return {
        "unet": tiny_unet(3, outputs=6), "text_encoder": _t5(), "tokenizer": _tokenizer(77),
        "scheduler": DDPMScheduler(variance_type="learned_range"), "safety_checker": None, "feature_extractor": None,
        "watermarker": None, "requires_safety_checker": False,
    }  # fmt: skip


def _sdxl(_: str) -> dict[str, Any]:
    from diffusers import EulerDiscreteScheduler

    unet = tiny_unet(
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + HIDDEN,
    )  # fmt: skip
    unet.register_to_config(cross_attention_dim=2 * HIDDEN)
    unet = type(unet).from_config(unet.config)
    return {
        "unet": unet, "vae": _vae(), "text_encoder": _clip_text(), "text_encoder_2": _clip_text(True),
        "tokenizer": _tokenizer(), "tokenizer_2": _tokenizer(), "scheduler": EulerDiscreteScheduler(),
    }  # fmt: skip


def _sd3(_: str) -> dict[str, Any]:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

    # A ControlNet does not reach the last of the layers.
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=2 * HIDDEN, caption_projection_dim=16,
        pooled_projection_dim=2 * HIDDEN, pos_embed_max_size=8,
    )  # fmt: skip
    from transformers import T5Config, T5EncoderModel

    wide = T5EncoderModel(T5Config(vocab_size=13, d_model=2 * HIDDEN, d_kv=8, d_ff=HIDDEN, num_layers=1, num_heads=2))
    return {
        "transformer": transformer, "vae": _vae(), "text_encoder": _clip_text(True), "text_encoder_2": _clip_text(True),
        "text_encoder_3": wide, "tokenizer": _tokenizer(), "tokenizer_2": _tokenizer(), "tokenizer_3": _tokenizer(16),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }  # fmt: skip


def _flux(_: str) -> dict[str, Any]:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=HIDDEN, pooled_projection_dim=HIDDEN, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    return {
        "transformer": transformer, "vae": _vae(), "text_encoder": _clip_text(), "tokenizer": _tokenizer(),
        "text_encoder_2": _t5(), "tokenizer_2": _tokenizer(16), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def _sana(_: str) -> dict[str, Any]:
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    vae = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock",) * 3,
        decoder_block_types=("ResBlock",) * 3, encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8), encoder_qkv_multiscales=((),) * 3, decoder_qkv_multiscales=((),) * 3,
        encoder_layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1), downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.5,
    )  # fmt: skip
    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=HIDDEN,
        sample_size=8,
    )  # fmt: skip
    text = Gemma2Model(
        Gemma2Config(
            vocab_size=13, hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=2, eos_token_id=1,
        )
    )  # fmt: skip
    return {
        "transformer": transformer, "vae": vae, "text_encoder": text, "tokenizer": _tokenizer(300),
        "scheduler": DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    }  # fmt: skip


def _pixart(_: str) -> dict[str, Any]:
    from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, cross_attention_dim=16, caption_channels=HIDDEN, num_embeds_ada_norm=1000,
        norm_num_groups=4, use_additional_conditions=False,
    )  # fmt: skip
    return {
        "transformer": transformer, "vae": _vae(), "text_encoder": _t5(), "tokenizer": _tokenizer(300),
        "scheduler": DPMSolverMultistepScheduler(),
    }  # fmt: skip


_COMPONENTS: dict[str, Any] = {
    "unet": _unet, "unet_v": _unet, "unet_sample": _unet, "pixel_unet": _unet, "ip2p": _unet, "if": _if, "sdxl": _sdxl,
    "sd3": _sd3, "flux": _flux, "sana": _sana, "pixart": _pixart,
}  # fmt: skip
