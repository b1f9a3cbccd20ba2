"""Prompts to embeddings, by the text code of the library's own pipelines."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from guidance.priors.prior import Embeddings

# The pipeline whose `encode_prompt` serves a folder, where it is not that of the folder's own class.
_TEXT_PIPELINES = {
    "StableDiffusionInstructPix2PixPipeline": "StableDiffusionPipeline",
    "StableDiffusionControlNetPipeline": "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline": "StableDiffusionPipeline",
    "StableDiffusionXLImg2ImgPipeline": "StableDiffusionXLPipeline",
    "StableDiffusionXLControlNetPipeline": "StableDiffusionXLPipeline",
    "DiffusionPipeline": "StableDiffusionPipeline",
}
# Positions, in what `encode_prompt` returns, of our tensors.
_RETURNED: dict[str, dict[str, int]] = {
    "StableDiffusionPipeline": {"text": 0},
    "StableDiffusionXLPipeline": {"text": 0, "pooled": 2},
    "StableDiffusion3Pipeline": {"text": 0, "pooled": 2},
    "FluxPipeline": {"text": 0, "pooled": 1},
    "SanaPipeline": {"text": 0, "mask": 1},
    "PixArtAlphaPipeline": {"text": 0, "mask": 1},
    "PixArtSigmaPipeline": {"text": 0, "mask": 1},
    "IFPipeline": {"text": 0},
}
# Arguments beyond the prompts: those that the signature of `encode_prompt` requires.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {"num_images_per_prompt": 1},
    "StableDiffusion3Pipeline": {"prompt_2": None, "prompt_3": None},
    "FluxPipeline": {"prompt_2": None},
}
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
TEXT_CLASSES = (*_RETURNED, *_TEXT_PIPELINES)


def build_embed(
    class_name: str, components: dict[str, Any], device: torch.device
) -> Callable[[Sequence[str]], Embeddings]:
    """embed(prompts) for a pipeline's class and components. ValueError for a class that is not known.

    SANA's prompts go behind the instruction that its pipeline gives to its language model; the empty prompt does not.
    """
    import diffusers

    name = _TEXT_PIPELINES.get(class_name, class_name)
    if name not in _RETURNED:
        raise ValueError(f"build_embed(): expected one of {', '.join(TEXT_CLASSES)}, got {class_name}")
    pipeline_class = getattr(diffusers, name)
    pipeline = pipeline_class(**_arguments_of(pipeline_class, components))
    taken = inspect.signature(pipeline.encode_prompt).parameters
    arguments = {"device": device, **_ARGUMENTS.get(name, {})}
    if "do_classifier_free_guidance" in taken:
        arguments["do_classifier_free_guidance"] = False
    instruction = inspect.signature(pipeline_class.__call__).parameters.get("complex_human_instruction")

    @torch.no_grad()
    def embed_equal(prompts: list[str]) -> Embeddings:
        if instruction is not None:
            arguments["complex_human_instruction"] = instruction.default if prompts[0] else None
        returned = pipeline.encode_prompt(prompts, **arguments)
        return Embeddings({key: returned[index] for key, index in _RETURNED[name].items()})

    def embed(prompts: Sequence[str]) -> Embeddings:
        if isinstance(prompts, str) or not prompts:
            raise ValueError("embed(): expected a list of prompts")
        if instruction is None or len({bool(prompt) for prompt in prompts}) == 1:
            return embed_equal(list(prompts))
        each = [embed_equal([prompt]).tensors for prompt in prompts]
        return Embeddings({key: torch.cat([one[key] for one in each]) for key in each[0]})

    return embed


def unknown_words(tokenizers: Sequence[Any], prompt: str) -> tuple[str, ...]:
    """The words of a prompt for which every tokenizer has nothing but its unknown token."""

    def is_unknown(word: str, tokenizer: Any) -> bool:
        unknown = tokenizer.unk_token_id
        return unknown is not None and unknown in tokenizer(word, add_special_tokens=False).input_ids

    return tuple(word for word in prompt.split() if all(is_unknown(word, tokenizer) for tokenizer in tokenizers))


def _arguments_of(pipeline_class: Any, components: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments; what the folder lacks is None, and so is what texts do not need."""
    components = {name: part for name, part in components.items() if name.startswith(("text_encoder", "tokenizer"))}
    parameters = inspect.signature(pipeline_class.__init__).parameters.values()
    arguments = {
        p.name: components.get(p.name)
        for p in parameters
        if p.name != "self" and (p.name in components or p.default is inspect.Parameter.empty)
    }
    if "requires_safety_checker" in {p.name for p in parameters}:
        arguments["requires_safety_checker"] = False
    return arguments
