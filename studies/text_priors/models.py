"""The included priors' tokenizer and networks: the standard classes of transformers and diffusers, made small."""

from collections.abc import Sequence
from typing import Any

import torch

from dataset_tool.procedural.captions import vocabulary
from studies.text_priors.data import SIDE

PAD, BOS, UNKNOWN, EOS = "[PAD]", "[BOS]", "[UNK]", "[EOS]"
# CLIPTextModel takes the features at the end token, except where its id is 2, which has an old meaning.
SPECIAL = (PAD, BOS, UNKNOWN, "[MASK]", EOS)
TEXT_WIDTH, TEXT_LENGTH = 64, 16
PIXEL_SIDE = 16
LATENT_SIDE = SIDE // 4


def make_tokenizer() -> Any:
    """A tokenizer of whole lower-case words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate([*SPECIAL, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("-", "removed"), pre_tokenizers.Split(",", "removed")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, words[BOS]), (EOS, words[EOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNKNOWN,
        eos_token=EOS,
        model_max_length=TEXT_LENGTH,
    )


def make_clip(tokenizer: Any, patch: int, width: int, layers: int) -> Any:
    """A CLIP of `width` channels and `layers` layers in the image tower, which sees patches of `patch` px."""
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 2 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TEXT_LENGTH,
        "projection_dim": 64,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": patch,
        "projection_dim": 64,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def image_processor(side: int) -> Any:
    """Resize to `side` px, then [−1, 1]; the processor that belongs to a CLIP or a classifier here."""
    from transformers import ViTImageProcessor

    return ViTImageProcessor(
        size={"height": side, "width": side}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


def make_pixel_unet() -> Any:
    """The text-conditional UNet on pixels; only its coarser level looks at the text."""
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    return _text_unet(PIXEL_SIDE, 3, (24, 48), down, up)


def _text_unet(side: int, channels: int, widths: tuple[int, int], down: Sequence[str], up: Sequence[str]) -> Any:
    """A UNet for images [B, channels, side, side]. down, up: diffusers' types of block, finest and coarsest first."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
    )


def make_vae() -> Any:
    """The autoencoder of the latent pipeline: 32² pixels to 8² latents of 4 channels.

    Each group of a normalization holds several channels: alone, a channel would lose its mean, and with it the color.
    """
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        sample_size=SIDE,
        latent_channels=4,
        block_out_channels=(16, 24, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        # Little noise on the latents at first: under that of a fresh encoder, the decoder learns no hue.
        vae.quant_conv.bias[4:] = -4.0
    return vae


def make_latent_unet() -> Any:
    """The text-conditional UNet on latents."""
    return _text_unet(LATENT_SIDE, 4, (40, 56), ("CrossAttnDownBlock2D",) * 2, ("CrossAttnUpBlock2D",) * 2)
