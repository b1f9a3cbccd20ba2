"""Folders of tiny `transformers` models, written by the library itself."""

from collections.abc import Sequence
from pathlib import Path

import torch

SIDE = 16
_TOWER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = ("<pad>", "<s>", "</s>", "<unk>", "a", "red", "blue", "chair", "stool", "box")


def write_classifier(path: Path, labels: Sequence[str], seed: int = 0) -> Path:
    """An image classifier with these labels and random weights, large enough that its outputs differ between images."""
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = ViTConfig(
        **_TOWER, image_size=SIDE, patch_size=8, id2label=names, label2id={v: k for k, v in names.items()}
    )
    model = ViTForImageClassification(config)
    _widen(model)
    model.save_pretrained(path)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


def _widen(model: torch.nn.Module) -> None:
    """Weights so large that different images give clearly different outputs."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)


def write_clip(path: Path, seed: int = 0) -> Path:
    """A CLIP with its image processor and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(seed)
    text = {**_TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 8}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = {**_TOWER, "image_size": SIDE, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    _widen(model)
    model.save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=8,
    ).save_pretrained(path)
    return path
