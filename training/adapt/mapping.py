"""Many prompts in one network: only the mapping networks learn, by what a text adds to the styles.

The offset starts at zero, and everything else is frozen: without a text the network is bitwise the one before, and
what it makes for a text lies among the styles that it can draw. Source of the idea: Wei et al. 2023 (TAPS3D).
"""

import itertools
import math
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from networks.generator import Generator
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.seeding import uniform
from training.adapt.settings import Part
from training.adapt.shift import Pair, Shift, ShiftScene, draw_pair
from training.optimizer import AdamSettings, GuardedAdam

BETAS = (0.9, 0.99)
# Prompts that a template may stand for.
MAX_PROMPTS = 10_000


def expanded(template: str) -> list[str]:
    """The prompts of a template such as "a {red|blue} {chair|stool}".

    UserError for braces that do not match, and for more than `MAX_PROMPTS`.
    """
    pieces = re.split(r"\{([^{}]*)\}", template)
    if any("{" in piece or "}" in piece for piece in pieces):
        raise UserError(f"the template {template!r} has braces that do not match; write a {{red|blue}} chair")
    choices = [piece.split("|") if number % 2 else [piece] for number, piece in enumerate(pieces)]
    count = math.prod(map(len, choices))
    if count > MAX_PROMPTS:
        raise UserError(f"the template {template!r} stands for {count:,} prompts; expected at most {MAX_PROMPTS:,}")
    prompts = [" ".join("".join(choice).split()) for choice in itertools.product(*choices)]
    return list(dict.fromkeys(prompts))


def text_vectors(embed_texts: Callable[[Sequence[str]], Tensor], prompts: Sequence[str], source: str) -> Tensor:
    """What the mapping networks are told of prompts [N, D]: how they differ from the source, at unit mean square.

    embed_texts(N texts) → [N, D] of length 1. The source itself is zero: embeddings of short texts are nearly alike,
    and what they share says nothing.
    """
    difference = embed_texts(list(prompts)) - embed_texts([source])
    return rms_norm(difference, difference.shape[-1:], eps=1e-8)


def check_apart(prompts: Sequence[str], vectors: Tensor, source: str) -> None:
    """UserError for a prompt whose vector of `text_vectors` [N, D] is that of another one, or of the source."""
    told = "the text encoder of --set text_encoder cannot tell {!r} from {!r}; it may not know the words"
    for row, prompt in enumerate(prompts):
        if vectors[row].square().mean() < 0.5:
            raise UserError(told.format(prompt, source))
        distances = (vectors[:row] - vectors[row]).square().mean(1)
        if row and distances.min() < 1e-4:
            raise UserError(told.format(prompt, prompts[int(distances.argmin())]))


def with_text(twin: Generator, text_dim: int, seed: int) -> Generator:
    """The generator with offsets of a text, zero-initialized; otherwise bitwise the same."""
    config = twin.config.model_copy(update={"mapping": twin.config.mapping.model_copy(update={"text_dim": text_dim})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(config)
    missing, unexpected = generator.load_state_dict(twin.state_dict(), strict=False)
    assert not unexpected and all(name.startswith(("text_geo.", "text_tex.")) for name in missing)
    generator.precision = twin.precision
    return generator.to(twin.device).eval().requires_grad_(False)


def build_mapping(twin: Generator, text_dim: int, part: Part, rate: float, seed: int) -> Shift:
    """An adaptation whose generator and twin share all but the offsets, of which those of `part` learn."""
    twin.requires_grad_(False).eval()
    generator, average = with_text(twin, text_dim, seed), with_text(twin, text_dim, seed)
    prefixes = {"texture": ("text_tex.",), "geometry": ("text_geo.",), "both": ("text_geo.", "text_tex.")}[part]
    moving = {name: value for name, value in generator.named_parameters() if name.startswith(prefixes)}
    for parameter in moving.values():
        parameter.requires_grad_(True)
    return Shift(generator, twin, average, GuardedAdam("text", moving, AdamSettings(rate, *BETAS), Ranks()), part)


def prompt_rows(seed: int, step: int, batch: int, prompts: int) -> Tensor:
    """Which of the prompts the images of a step are drawn for [batch] int64; depends on (seed, step) alone."""
    drawn = uniform(seed, range(step * batch, (step + 1) * batch), "adapt prompts", 1)[:, 0]
    return (drawn * prompts).long()


def draw_text_pair(
    shift: Shift, scene: ShiftScene, text: Tensor, resolution: int, supersample: int, background: float
) -> Pair:
    """A scene by the generator under texts [B, text_dim], and by its twin, which knows none."""
    w_geo, w_tex = shift.generator.map(scene.z_geo, scene.z_tex, labels=scene.labels, text=text)
    if shift.part == "texture":
        w_geo = scene.w_geo
    elif shift.part == "geometry":
        w_tex = scene.w_tex
    return draw_pair(shift, scene, resolution, supersample, background, (w_geo, w_tex))
