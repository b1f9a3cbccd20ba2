"""A diffusion prior as the distillation losses see it: noised images in, predicted noise and clean image out.

Notation, as in the papers: x_t = αx + σε. Time t runs from 0 (clean) to 1 (noise). A variance-preserving model has
α² + σ² = 1 and ᾱ = α²; a rectified flow has α = 1 − t and σ = t.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample", "flow")


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of B prompts: tensors by name, each [B, …]. The names are those of the prior that made them."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def __getitem__(self, index: "slice | Tensor | list[int]") -> "Embeddings":
        return Embeddings({name: tensor[index] for name, tensor in self.tensors.items()})

    def expand(self, count: int) -> "Embeddings":
        """One prompt repeated for `count` images; B = count stays as it is."""
        if len(self) == count:
            return self
        if len(self) != 1:
            raise ValueError(f"Embeddings.expand(): expected 1 or {count} prompts, got {len(self)}")
        return Embeddings({name: t.expand(count, *t.shape[1:]) for name, t in self.tensors.items()})


def join_embeddings(parts: Sequence[Embeddings]) -> Embeddings:
    """Embeddings of all prompts of `parts`, in order."""
    names = parts[0].tensors
    return Embeddings({name: torch.cat([part.tensors[name] for part in parts]) for name in names})


@dataclass(frozen=True)
class NoiseLevels:
    """α and σ of a time t. alphas_cumprod: ᾱ of each of the model's steps [S]; None for a rectified flow."""

    alphas_cumprod: Tensor | None = None

    @property
    def is_flow(self) -> bool:
        """Whether x_t lies on the straight line between image and noise."""
        return self.alphas_cumprod is None

    def _step(self, t: Tensor) -> Tensor:
        assert self.alphas_cumprod is not None
        count = len(self.alphas_cumprod)
        return (t * count).round().long().clamp(0, count - 1)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ [B] of t [B] in [0, 1]; for a model of discrete steps, those of the nearest one."""
        if self.alphas_cumprod is None:
            return 1 - t, t
        squared = self.alphas_cumprod.to(t.device)[self._step(t)]
        return squared.sqrt(), (1 - squared).sqrt()

    def timestep(self, t: Tensor) -> Tensor:
        """What the network is told [B]: the step's number, or 1000·t for a flow."""
        return t * 1000 if self.alphas_cumprod is None else self._step(t)


@dataclass(frozen=True)
class Prediction:
    """A denoiser's answer to x_t, in two forms: predicted noise and predicted clean image, both shaped like x_t."""

    eps: Tensor
    x0: Tensor

    @property
    def velocity(self) -> Tensor:
        """ε̂ − x̂0: the velocity v̂ of a rectified flow."""
        return self.eps - self.x0


@dataclass(frozen=True)
class DiffusionPrior:
    """A pretrained denoiser with its text encoder, and the space it works in.

    network(x_t, timestep [B], embeddings, **conditions) → raw output like x_t, with gradient where asked for.
    prediction_type: what the raw output is. encode(images [B, 3, H, W] in [−1, 1]) → x with gradient; decode: back.
    embed(prompts) → embeddings. pixel_space: x is an image in [−1, 1]. resolution: side of its images, px. factor:
    pixels along one pixel of x. channels: of x.
    check_resolution: UserError for a side that the network cannot take. embedded_guidance: the guidance scale is an
    input of the network (`guidance`), so that one pass does what otherwise takes two. condition(images): latents
    without the scale, as InstructPix2Pix and Zero-1-to-3 take their reference image; None for pixels. module: the
    denoiser, for LoRA. text_key(): changes with any weight or setting of the text encoders. notes: for the user, one
    line each. unknown_words(prompt): those that no tokenizer knows.
    """

    network: Callable[..., Tensor]
    prediction_type: PredictionType
    levels: NoiseLevels
    embed: Callable[[Sequence[str]], Embeddings]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    pixel_space: bool
    resolution: int
    channels: int
    device: torch.device
    dtype: torch.dtype
    factor: int = 1
    check_resolution: Callable[[int], None] = lambda side: None
    embedded_guidance: bool = False
    condition: Callable[[Tensor], Tensor] | None = None
    module: nn.Module | None = None
    text_key: Callable[[], str] = lambda: ""
    notes: tuple[str, ...] = ()
    unknown_words: Callable[[str], tuple[str, ...]] = lambda prompt: ()

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ of t [B], shaped [B, 1, 1, 1]."""
        alpha, sigma = self.levels.alpha_sigma(t)
        return alpha[:, None, None, None], sigma[:, None, None, None]

    def to_prior(self, images: Tensor, resolution: int | None = None) -> Tensor:
        """Images [B, 3, H, W] in [−1, 1], resized to `resolution` px (default: the prior's own) and encoded.

        With gradient. UserError for a resolution that the prior cannot take.
        """
        side = resolution or self.resolution
        self.check_resolution(side)
        if images.shape[-2:] != (side, side):
            images = nn.functional.interpolate(
                images, (side, side), mode="bilinear", align_corners=False, antialias=True
            )
        return self.encode(images)

    def denoise(self, x_t: Tensor, t: Tensor, embeddings: Embeddings, **conditions: Any) -> Prediction:
        """The prediction with gradient to x_t and to the network's trainable parameters. Arguments as in `predict`."""
        output = self.network(
            x_t.to(self.dtype), self.levels.timestep(t), embeddings.expand(len(x_t)), **conditions
        ).to(x_t.dtype)
        return as_prediction(self.prediction_type, output, x_t, *self.alpha_sigma(t))

    @torch.no_grad()
    def predict(self, x_t: Tensor, t: Tensor, embeddings: Embeddings, **conditions: Any) -> Prediction:
        """The prediction for x_t [B, C, h, w] at t [B] in [0, 1] under B prompts or one, without gradient.

        conditions: what the network takes besides, such as `control`, `concatenated`, `class_labels` or `guidance`.
        """
        return self.denoise(x_t, t, embeddings, **conditions)

    def with_network(self, network: Callable[..., Tensor]) -> "DiffusionPrior":
        """The same prior with another network."""
        return replace(self, network=network)


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x_t = αx + σε. x, noise [B, C, h, w]; alpha, sigma [B, 1, 1, 1]."""
    return alpha * x + sigma * noise


def as_prediction(kind: PredictionType, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
    """Noise and clean image from a network's raw output. ValueError for an unknown kind.

    v: x̂0 = αx_t − σv, ε̂ = αv + σx_t (Salimans and Ho 2022, appendix D). flow: x̂0 = x_t − σv, ε̂ = x_t + (1 − σ)v.
    """
    if kind == "epsilon":
        return Prediction(output, (x_t - sigma * output) / alpha)
    if kind == "sample":
        return Prediction((x_t - alpha * output) / sigma, output)
    if kind == "v_prediction":
        return Prediction(alpha * output + sigma * x_t, alpha * x_t - sigma * output)
    if kind == "flow":
        return Prediction(x_t + (1 - sigma) * output, x_t - sigma * output)
    raise ValueError(f"as_prediction(): expected one of {', '.join(PREDICTION_TYPES)}, got {kind}")


def guided(conditional: Prediction, unconditional: Prediction, scale: float) -> Prediction:
    """Classifier-free guidance ε_u + s(ε_c − ε_u): s = 0 unconditional, s = 1 conditional only.

    The clean image follows the same rule, because it is linear in ε̂. Source: Ho and Salimans 2022, with s = 1 + w.
    """
    return Prediction(
        torch.lerp(unconditional.eps, conditional.eps, scale), torch.lerp(unconditional.x0, conditional.x0, scale)
    )


def predict_each(
    prior: DiffusionPrior, x_t: Tensor, t: Tensor, embeddings: Sequence[Embeddings], **conditions: Any
) -> list[Prediction]:
    """One prediction for each of `embeddings`, from one pass over all of them."""
    count, batch = len(embeddings), len(x_t)
    joined = join_embeddings([each.expand(batch) for each in embeddings])
    repeated = {name: _repeat(value, batch, count) for name, value in conditions.items()}
    both = prior.predict(x_t.repeat(count, 1, 1, 1), t.repeat(count), joined, **repeated)
    return [Prediction(eps, x0) for eps, x0 in zip(both.eps.chunk(count), both.x0.chunk(count), strict=True)]


def guided_prediction(
    prior: DiffusionPrior,
    x_t: Tensor,
    t: Tensor,
    conditional: Embeddings,
    unconditional: Embeddings | None,
    scale: float,
    **conditions: Any,
) -> Prediction:
    """The prediction under guidance: two passes in one batch, one where s is 0 or 1.

    A prior with embedded guidance is told the scale and needs no `unconditional`; with one, s combines two passes.
    """
    if unconditional is None:
        if prior.embedded_guidance:
            conditions["guidance"] = scale
        elif scale != 1:
            raise ValueError(f"guided_prediction(): expected unconditional embeddings for scale {scale}, got none")
        return prior.predict(x_t, t, conditional, **conditions)
    if scale == 1:
        return prior.predict(x_t, t, conditional, **conditions)
    if scale == 0:
        return prior.predict(x_t, t, unconditional, **conditions)
    with_text, without_text = predict_each(prior, x_t, t, [conditional, unconditional], **conditions)
    return guided(with_text, without_text, scale)


def _repeat(value: Any, batch: int, count: int) -> Any:
    """A condition of B images for count·B; anything else unchanged."""
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == batch:
        return value.repeat(count, *(1 for _ in value.shape[1:]))
    return value
